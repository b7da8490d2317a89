"""A network as ONNX Runtime runs it in INT8: the same weights and images through its own quantizer, one session.

The model is QDQ with unsigned activations and signed weights per channel, which is what ONNX Runtime's documentation
recommends on x86-64, and what its optimizer turns into integer kernels with channels last. Whether it did is read from
the session's own profile. So that both sides do the same, the float ends are cut off: the model reads 8-bit images with
channels last, and writes 8-bit logits.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from bench.peers import session_options
from profiler.errors import UnsupportedModel
from profiler.frontend.weights import LayerWeights
from profiler.network.images import Images
from profiler.workload import Layer, Network, Op

Array = npt.NDArray[Any]

INTEGER_KERNELS = ("QLinearConv", "QGemm")
"""What convolutions and dense layers become where ONNX Runtime runs them in integers."""
_IMAGES = "images"
_PREPROCESSED = {"onnx.quant.pre_process": "onnxruntime.quant"}
"""Nothing is left to fold or to infer in our models: without this the quantizer warns that it was not done."""


@dataclass(frozen=True)
class End:
    """Where integers become real numbers: real = (integer - zero) * scale."""

    name: str
    scale: float
    zero: int

    def integers(self, real: Array) -> npt.NDArray[np.uint8]:
        return np.asarray(np.clip(np.rint(real / self.scale) + self.zero, 0, 255), np.uint8)

    def real(self, integers: Array) -> npt.NDArray[np.float64]:
        return (integers.astype(np.float64) - self.zero) * self.scale


@dataclass(frozen=True)
class PeerModel:
    """The model with integer ends. ``input`` is [N, H, W, C], ``output`` [N, features], both uint8."""

    proto: bytes
    input: End
    output: End


@dataclass
class PeerNetwork:
    """A session that is bound to its buffers."""

    model: PeerModel
    session: ort.InferenceSession
    binding: Any

    def times_s(self, runs: int) -> list[float]:
        """Seconds of each run."""
        found = []
        for _ in range(runs):
            begin = time.perf_counter()
            self.session.run_with_iobinding(self.binding)
            found.append(time.perf_counter() - begin)
        return found

    def logits(self) -> npt.NDArray[np.float64]:
        """Real numbers [N, features] of the last run."""
        return self.model.output.real(self.binding.copy_outputs_to_cpu()[0])


def peer_model(network: Network, weights: Mapping[str, LayerWeights], images: Images) -> PeerModel:
    """Quantized by ONNX Runtime, with the ranges that it finds of these images.

    Raises `UnsupportedModel` for a network of several inputs or outputs, and for layers that this bench does not know
    how to write down.
    """
    (name, values), *others = images.inputs.items()
    if others or len(network.outputs) != 1:
        raise UnsupportedModel(f"network '{network.name}': this bench compares networks of one input and one output")
    with tempfile.TemporaryDirectory(prefix="lowbit-bench-") as folder:
        real, quantized = Path(folder) / "real.onnx", Path(folder) / "quantized.onnx"
        onnx.save(float_model(network, weights), str(real))
        quantize_static(
            real,
            quantized,
            _Reader(name, values.transpose(0, 3, 1, 2)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return _with_integer_ends(onnx.load(str(quantized)), network.batch)


def peer_network(model: PeerModel, images: Array, threads: int = 1) -> PeerNetwork:
    """``images`` are real numbers [N, H, W, C]."""
    session = ort.InferenceSession(model.proto, session_options(threads), providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    given = np.ascontiguousarray(model.input.integers(images))
    binding.bind_ortvalue_input(_IMAGES, ort.OrtValue.ortvalue_from_numpy(given))
    shape = session.get_outputs()[0].shape
    binding.bind_ortvalue_output(model.output.name, ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.uint8)))
    return PeerNetwork(model, session, binding)


def executed(model: PeerModel, images: Array, threads: int = 1) -> Counter[str]:
    """What one run of the model is made of: the operators of its nodes, by a profile that the session writes."""
    with tempfile.TemporaryDirectory(prefix="lowbit-bench-") as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(model.proto, options, providers=["CPUExecutionProvider"])
        session.run(None, {_IMAGES: model.input.integers(images)})
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    return Counter(e["args"]["op_name"] for e in nodes)


def in_float(network: Network, found: Mapping[str, int]) -> int:
    """How many of the network's convolutions and dense layers did not become integer kernels."""
    return len(network.weighted_layers) - sum(found.get(kernel, 0) for kernel in INTEGER_KERNELS)


def float_model(network: Network, weights: Mapping[str, LayerWeights]) -> onnx.ModelProto:
    """The network in float32 and NCHW, the batch open. Raises `UnsupportedModel`."""
    return _Writer(network, weights).model()


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Images one by one."""

    def __init__(self, name: str, images: Array) -> None:
        self._images: Iterator[Array] = iter(np.split(images, len(images)))
        self._name = name

    def get_next(self) -> dict[str, Array] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: image}


class _Writer:
    """Nodes and constants so far."""

    def __init__(self, network: Network, weights: Mapping[str, LayerWeights]) -> None:
        self._network, self._weights = network, weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        network = self._network
        written: set[str] = set()
        for layer in network.layers:
            if layer.output not in written:  # the slices of a concatenation are one node
                self._layer(layer)
            written.add(layer.output)
        inputs = [tensor for tensor in network.tensors if tensor.name not in written]
        graph = helper.make_graph(
            self._nodes,
            network.name,
            [
                helper.make_tensor_value_info(t.name, TensorProto.FLOAT, ["n", t.channels, t.height, t.width])
                for t in inputs
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", network.tensor(name).channels])
                for name in network.outputs
            ],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, _PREPROCESSED)
        return model

    def _layer(self, layer: Layer) -> None:
        work, inputs = layer.workload, list(layer.inputs)
        if work.op is Op.CONV2D:
            attributes = {**_window(layer), "dilations": [work.dilation_h, work.dilation_w], "group": work.groups}
            weight = self._weights[layer.name].weight.transpose(0, 3, 1, 2)
            self._emit(layer, "Conv", [*inputs, *self._parameters(layer, weight)], **attributes)
        elif work.op is Op.DENSE:
            flat = f"{layer.name}.flat"
            self._nodes.append(helper.make_node("Flatten", inputs, [flat], name=flat))
            weight = self._weights[layer.name].weight.reshape(work.out_channels, -1)
            self._emit(layer, "Gemm", [flat, *self._parameters(layer, weight)], transB=1)
        elif work.op is Op.ADD:
            self._emit(layer, "Add", inputs)
        elif work.op is Op.MAX_POOL:
            self._emit(layer, "MaxPool", inputs, **_window(layer))
        elif work.op is Op.AVG_POOL:
            self._average(layer)
        elif work.op is Op.CONCAT and not self._flattens(layer):
            slices = [other.inputs[0] for other in self._network.layers if other.output == layer.output]
            self._emit(layer, "Concat", slices, axis=1)
        else:
            raise UnsupportedModel(f"layer '{layer.name}': this bench does not write this {work.op.value}")

    def _average(self, layer: Layer) -> None:
        work, pads = layer.workload, _window(layer)["pads"]
        counted = list(layer.counted_pads)
        if (work.kernel_h, work.kernel_w) == (work.in_height, work.in_width) and not any(pads):
            self._emit(layer, "GlobalAveragePool", list(layer.inputs))
        elif counted in (pads, [0, 0, 0, 0]):
            self._emit(
                layer, "AveragePool", list(layer.inputs), count_include_pad=int(counted == pads), **_window(layer)
            )
        else:
            raise UnsupportedModel(f"layer '{layer.name}': this bench writes no average of which some padding counts")

    def _flattens(self, layer: Layer) -> bool:
        """Whether a concatenation reads images as vectors of features."""
        tensor = self._network.tensor(layer.inputs[0])
        return (layer.workload.in_height, layer.workload.in_width) != (tensor.height, tensor.width)

    def _parameters(self, layer: Layer, weight: Array) -> list[str]:
        names = [f"{layer.name}.weight", f"{layer.name}.bias"]
        for name, values in zip(names, (weight, self._weights[layer.name].bias), strict=True):
            self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return names

    def _emit(self, layer: Layer, op: str, inputs: Sequence[str], **attributes: Any) -> None:
        output = f"{layer.output}.sum" if layer.relu else layer.output
        self._nodes.append(helper.make_node(op, inputs, [output], name=layer.name, **attributes))
        if layer.relu:
            self._nodes.append(helper.make_node("Relu", [output], [layer.output], name=f"{layer.name}.relu"))


def _window(layer: Layer) -> dict[str, list[int]]:
    w = layer.workload
    return {
        "kernel_shape": [w.kernel_h, w.kernel_w],
        "strides": [w.stride_h, w.stride_w],
        "pads": [w.pad_top, w.pad_left, w.pad_bottom, w.pad_right],
    }


def _with_integer_ends(model: onnx.ModelProto, batch: int) -> PeerModel:
    """Without the first node, which quantizes the input, and the last one, which makes floats of the output."""
    graph = model.graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    (given,), (handed_out,) = graph.input, graph.output
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == given.name)
    last = next(node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] == handed_out.name)
    channels, height, width = (d.dim_value for d in given.type.tensor_type.shape.dim[1:])
    features = handed_out.type.tensor_type.shape.dim[1].dim_value
    ends = [
        End(name, float(constants[node.input[1]]), int(constants[node.input[2]]))
        for name, node in ((_IMAGES, first), (last.input[0], last))
    ]
    turned = helper.make_node("Transpose", [_IMAGES], [first.output[0]], name="to_nchw", perm=[0, 3, 1, 2])
    graph.node.remove(first)
    graph.node.remove(last)
    graph.node.insert(0, turned)
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info(_IMAGES, TensorProto.UINT8, [batch, height, width, channels]))
    graph.output.append(helper.make_tensor_value_info(ends[1].name, TensorProto.UINT8, [batch, features]))
    onnx.checker.check_model(model)
    return PeerModel(model.SerializeToString(), *ends)
