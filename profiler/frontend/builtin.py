"""The networks that need no file: ResNet18, ResNet50 and InceptionV3 for ImageNet, as they run at inference.

Layer names are torchvision's. The input is signed: HAWQ-V3 quantizes the normalized image (mean subtracted) to
symmetric int8.

Sources: He et al. 2016 (ResNet, "v1": a downsampling bottleneck has its stride in the first 1x1 convolution, as
pytorchcv and HAWQ-V3 have it; "v1.5" has it in the 3x3, as torchvision has it); Szegedy et al. 2016 and
torchvision/models/inception.py (InceptionV3 at 299x299, without its auxiliary head, which inference does not run).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from profiler.frontend.graph import Adaptive, Divisor, Graph, GraphInput, Kind, Node, Window
from profiler.frontend.lowering import build_network
from profiler.workload import Network

CLASSES = 1000


def resnet18(batch: int) -> Network:
    """ResNet18 at 224x224: 11,689,512 parameters, 1.814 G multiply-accumulates per image."""
    trace = _Trace()
    x = _stem(trace)
    channels = 64
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            y = trace.conv(f"{name}.conv1", x, channels, width, 3, stride, 1)
            y = trace.conv(f"{name}.conv2", y, width, width, 3, 1, 1, relu=False)
            if stride != 1:
                x = trace.conv(f"{name}.downsample", x, channels, width, 1, stride, relu=False)
            x = trace.add(f"{name}.add", y, x)
            channels = width
    return _head(trace, x, channels).network("resnet18", (3, 224, 224), batch)


def resnet50(batch: int, *, stride_in_3x3: bool = False) -> Network:
    """ResNet50 at 224x224: 25,557,032 parameters; 3.858 G multiply-accumulates (v1) or 4.089 G (v1.5) per image."""
    trace = _Trace()
    x = _stem(trace)
    channels = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            strides = (1, stride) if stride_in_3x3 else (stride, 1)
            y = trace.conv(f"{name}.conv1", x, channels, width, 1, strides[0])
            y = trace.conv(f"{name}.conv2", y, width, width, 3, strides[1], 1)
            y = trace.conv(f"{name}.conv3", y, width, 4 * width, 1, relu=False)
            if block == 0:
                x = trace.conv(f"{name}.downsample", x, channels, 4 * width, 1, stride, relu=False)
            x = trace.add(f"{name}.add", y, x)
            channels = 4 * width
    name = "resnet50_v1.5" if stride_in_3x3 else "resnet50"
    return _head(trace, x, channels).network(name, (3, 224, 224), batch)


def resnet50_v1_5(batch: int) -> Network:
    """ResNet50 with torchvision's placement of the strides."""
    return resnet50(batch, stride_in_3x3=True)


def inceptionv3(batch: int) -> Network:
    """InceptionV3 at 299x299 without the auxiliary head: 23,834,568 parameters, 5.713 G multiply-accumulates."""
    trace = _Trace()
    x = trace.conv("Conv2d_1a_3x3", "input", 3, 32, 3, 2)
    x = trace.conv("Conv2d_2a_3x3", x, 32, 32, 3)
    x = trace.conv("Conv2d_2b_3x3", x, 32, 64, 3, 1, 1)
    x = trace.max_pool("maxpool1", x, 3, 2)
    x = trace.conv("Conv2d_3b_1x1", x, 64, 80, 1)
    x = trace.conv("Conv2d_4a_3x3", x, 80, 192, 3)
    x = trace.max_pool("maxpool2", x, 3, 2)
    x = _inception_a(trace, "Mixed_5b", x, 192, 32)
    x = _inception_a(trace, "Mixed_5c", x, 256, 64)
    x = _inception_a(trace, "Mixed_5d", x, 288, 64)
    x = _inception_b(trace, "Mixed_6a", x, 288)
    for block, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        x = _inception_c(trace, f"Mixed_{block}", x, 768, width)
    x = _inception_d(trace, "Mixed_7a", x, 768)
    x = _inception_e(trace, "Mixed_7b", x, 1280)
    x = _inception_e(trace, "Mixed_7c", x, 2048)
    return _head(trace, x, 2048).network("inceptionv3", (3, 299, 299), batch)


BUILTINS: Mapping[str, Callable[[int], Network]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnet50_v1.5": resnet50_v1_5,
    "inceptionv3": inceptionv3,
}


def _stem(trace: _Trace) -> str:
    return trace.max_pool("maxpool", trace.conv("conv1", "input", 3, 64, 7, 2, 3), 3, 2, 1)


def _head(trace: _Trace, x: str, channels: int) -> _Trace:
    trace.dense("fc", trace.pool("avgpool", x, Kind.AVG_POOL, Adaptive((1, 1))), channels, CLASSES)
    return trace


def _inception_a(trace: _Trace, block: str, x: str, channels: int, pool_width: int) -> str:
    a = trace.conv(f"{block}.branch1x1", x, channels, 64, 1)
    b = trace.conv(f"{block}.branch5x5_1", x, channels, 48, 1)
    b = trace.conv(f"{block}.branch5x5_2", b, 48, 64, 5, 1, 2)
    c = trace.conv(f"{block}.branch3x3dbl_1", x, channels, 64, 1)
    c = trace.conv(f"{block}.branch3x3dbl_2", c, 64, 96, 3, 1, 1)
    c = trace.conv(f"{block}.branch3x3dbl_3", c, 96, 96, 3, 1, 1)
    d = trace.conv(f"{block}.branch_pool", _avg_pool(trace, block, x), channels, pool_width, 1)
    return trace.concat(f"{block}.concat", a, b, c, d)


def _inception_b(trace: _Trace, block: str, x: str, channels: int) -> str:
    a = trace.conv(f"{block}.branch3x3", x, channels, 384, 3, 2)
    b = trace.conv(f"{block}.branch3x3dbl_1", x, channels, 64, 1)
    b = trace.conv(f"{block}.branch3x3dbl_2", b, 64, 96, 3, 1, 1)
    b = trace.conv(f"{block}.branch3x3dbl_3", b, 96, 96, 3, 2)
    return trace.concat(f"{block}.concat", a, b, trace.max_pool(f"{block}.pool", x, 3, 2))


def _inception_c(trace: _Trace, block: str, x: str, channels: int, width: int) -> str:
    a = trace.conv(f"{block}.branch1x1", x, channels, 192, 1)
    b = trace.conv(f"{block}.branch7x7_1", x, channels, width, 1)
    b = trace.conv(f"{block}.branch7x7_2", b, width, width, (1, 7), 1, (0, 3))
    b = trace.conv(f"{block}.branch7x7_3", b, width, 192, (7, 1), 1, (3, 0))
    c = trace.conv(f"{block}.branch7x7dbl_1", x, channels, width, 1)
    c = trace.conv(f"{block}.branch7x7dbl_2", c, width, width, (7, 1), 1, (3, 0))
    c = trace.conv(f"{block}.branch7x7dbl_3", c, width, width, (1, 7), 1, (0, 3))
    c = trace.conv(f"{block}.branch7x7dbl_4", c, width, width, (7, 1), 1, (3, 0))
    c = trace.conv(f"{block}.branch7x7dbl_5", c, width, 192, (1, 7), 1, (0, 3))
    d = trace.conv(f"{block}.branch_pool", _avg_pool(trace, block, x), channels, 192, 1)
    return trace.concat(f"{block}.concat", a, b, c, d)


def _inception_d(trace: _Trace, block: str, x: str, channels: int) -> str:
    a = trace.conv(f"{block}.branch3x3_1", x, channels, 192, 1)
    a = trace.conv(f"{block}.branch3x3_2", a, 192, 320, 3, 2)
    b = trace.conv(f"{block}.branch7x7x3_1", x, channels, 192, 1)
    b = trace.conv(f"{block}.branch7x7x3_2", b, 192, 192, (1, 7), 1, (0, 3))
    b = trace.conv(f"{block}.branch7x7x3_3", b, 192, 192, (7, 1), 1, (3, 0))
    b = trace.conv(f"{block}.branch7x7x3_4", b, 192, 192, 3, 2)
    return trace.concat(f"{block}.concat", a, b, trace.max_pool(f"{block}.pool", x, 3, 2))


def _inception_e(trace: _Trace, block: str, x: str, channels: int) -> str:
    a = trace.conv(f"{block}.branch1x1", x, channels, 320, 1)
    b = trace.conv(f"{block}.branch3x3_1", x, channels, 384, 1)
    b1 = trace.conv(f"{block}.branch3x3_2a", b, 384, 384, (1, 3), 1, (0, 1))
    b2 = trace.conv(f"{block}.branch3x3_2b", b, 384, 384, (3, 1), 1, (1, 0))
    b = trace.concat(f"{block}.branch3x3_2", b1, b2)
    c = trace.conv(f"{block}.branch3x3dbl_1", x, channels, 448, 1)
    c = trace.conv(f"{block}.branch3x3dbl_2", c, 448, 384, 3, 1, 1)
    c1 = trace.conv(f"{block}.branch3x3dbl_3a", c, 384, 384, (1, 3), 1, (0, 1))
    c2 = trace.conv(f"{block}.branch3x3dbl_3b", c, 384, 384, (3, 1), 1, (1, 0))
    c = trace.concat(f"{block}.branch3x3dbl_3", c1, c2)
    d = trace.conv(f"{block}.branch_pool", _avg_pool(trace, block, x), channels, 192, 1)
    return trace.concat(f"{block}.concat", a, b, c, d)


def _avg_pool(trace: _Trace, block: str, x: str) -> str:
    """Its padding counts, as it does in torchvision (F.avg_pool2d by default)."""
    window = Window((3, 3), (1, 1), (1, 1, 1, 1), divisor=Divisor.PADDED)
    return trace.pool(f"{block}.pool", x, Kind.AVG_POOL, window)


class _Trace:
    """Writes nodes down; each method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.last = "input"

    def network(self, name: str, image: tuple[int, int, int], batch: int) -> Network:
        """``image`` is (C, H, W)."""
        graph = Graph(name, name, (GraphInput("input", image),), tuple(self.nodes), (self.last,))
        return build_network(graph, batch)

    def conv(
        self,
        name: str,
        x: str,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        pad: int | tuple[int, int] = 0,
        relu: bool = True,
    ) -> str:
        """A convolution without bias, its batch normalization, and a ReLU unless told otherwise."""
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        pad = (pad, pad) if isinstance(pad, int) else pad
        y = self._node(
            name,
            Kind.CONV2D,
            (x,),
            window=Window(kernel, (stride, stride), (*pad, *pad)),
            in_channels=in_channels,
            out_channels=out_channels,
            parameters=out_channels * in_channels * kernel[0] * kernel[1],
        )
        y = self._node(f"{name}.bn", Kind.FOLD, (y,), in_channels=out_channels, parameters=2 * out_channels)
        return self._node(f"{name}.relu", Kind.RELU, (y,)) if relu else y

    def add(self, name: str, x: str, y: str) -> str:
        """The sum of two tensors, and a ReLU."""
        return self._node(f"{name}.relu", Kind.RELU, (self._node(name, Kind.ADD, (x, y)),))

    def max_pool(self, name: str, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        return self.pool(name, x, Kind.MAX_POOL, Window((kernel, kernel), (stride, stride), (pad, pad, pad, pad)))

    def pool(self, name: str, x: str, kind: Kind, window: Window | Adaptive) -> str:
        return self._node(name, kind, (x,), window=window)

    def concat(self, name: str, *xs: str) -> str:
        return self._node(name, Kind.CONCAT, xs)

    def dense(self, name: str, x: str, in_channels: int, out_channels: int) -> str:
        """Flattens, and multiplies; with a bias."""
        x = self._node(f"{name}.flatten", Kind.RESHAPE, (x,), target=(-1,))
        parameters = (in_channels + 1) * out_channels
        return self._node(
            name, Kind.DENSE, (x,), in_channels=in_channels, out_channels=out_channels, parameters=parameters
        )

    def _node(
        self,
        name: str,
        kind: Kind,
        inputs: tuple[str, ...],
        *,
        window: Window | Adaptive | None = None,
        in_channels: int = 0,
        out_channels: int = 0,
        parameters: int = 0,
        target: tuple[int, ...] = (),
    ) -> str:
        self.nodes.append(
            Node(
                label=name,
                text=name,
                kind=kind,
                inputs=inputs,
                outputs=(name,),
                window=window,
                in_channels=in_channels,
                out_channels=out_channels,
                parameters=parameters,
                target=target,
            )
        )
        self.last = name
        return name
