"""Exports the small models of this folder with other people's tools; see README.md. Needs torch, onnx, onnxruntime.

python tests/data/export_tiny.py torch tests/data          # where torch and onnxscript are installed
python tests/data/export_tiny.py onnxruntime tests/data    # where onnxruntime is installed
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

IMAGE = (3, 32, 32)


def tiny_model() -> Any:
    """A residual network with one of everything: 6,858 parameters (batch normalization included)."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, channels: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = None
            if stride > 1:
                self.downsample = nn.Sequential(
                    nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
                )

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            y += x if self.downsample is None else self.downsample(x)
            return self.relu(y)

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(8)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            self.layer1 = Block(8, 8, 1)
            self.layer2 = Block(8, 16, 2)
            self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
            self.relu6 = nn.ReLU6()
            self.branch = nn.Conv2d(16, 8, (1, 3), padding=(0, 1))
            self.dropout = nn.Dropout(0.2)
            self.fc = nn.Linear(24, 10)

        def forward(self, x: Any) -> Any:
            x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
            x = self.layer2(self.layer1(x))
            left = self.relu6(self.depthwise(x))
            right = functional.relu(self.branch(functional.avg_pool2d(x, 3, 1, 1)))
            x = functional.adaptive_avg_pool2d(torch.cat([left, right], 1), (1, 1))
            return self.fc(self.dropout(torch.flatten(x, 1)))

    torch.manual_seed(0)
    model = Tiny()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                values.uniform_(0.5, 1.5)
    return model.eval()


def export_with_torch(folder: Path) -> None:
    import onnx
    import torch

    model, image = tiny_model(), torch.zeros(1, *IMAGE)
    new, old = folder / "tiny_torch.onnx", folder / "tiny_torchscript.onnx"
    torch.onnx.export(model, (image,), str(new), dynamo=True, external_data=False)
    torch.onnx.export(
        model, (image,), str(old), dynamo=False, input_names=["image"], dynamic_axes={"image": {0: "batch"}}
    )
    proto = onnx.load(str(new))
    for entry in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input):
        del entry.metadata_props[:]  # stack traces with paths of the machine
    onnx.save(proto, str(new))


def quantize_with_onnxruntime(folder: Path) -> None:
    import tempfile

    import numpy as np
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.images = iter([{"image": rng.standard_normal((1, *IMAGE), dtype=np.float32)} for _ in range(4)])

        def get_next(self) -> Any:
            return next(self.images, None)

    with tempfile.TemporaryDirectory() as scratch:
        ready = str(Path(scratch) / "ready.onnx")
        quant_pre_process(str(folder / "tiny_torchscript.onnx"), ready, skip_symbolic_shape=True)
        for name, form, activations in (
            ("tiny_qdq", quantization.QuantFormat.QDQ, quantization.QuantType.QInt8),
            ("tiny_qoperator", quantization.QuantFormat.QOperator, quantization.QuantType.QUInt8),
        ):
            quantization.quantize_static(
                ready,
                str(folder / f"{name}.onnx"),
                Images(),
                quant_format=form,
                activation_type=activations,
                weight_type=quantization.QuantType.QInt8,
            )


if __name__ == "__main__":
    {"torch": export_with_torch, "onnxruntime": quantize_with_onnxruntime}[sys.argv[1]](Path(sys.argv[2]))
