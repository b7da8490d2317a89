"""The model with the quantization in it: operators with integer weights, and QuantizeLinear and DequantizeLinear pairs
ahead of what reads quantized activations. All else stays as it is in the user's file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import UnsupportedModel
from profiler.export.qdq.model_file import PRODUCER
from profiler.export.qdq.plan import FoldedLayer, QdqPlan, Read
from profiler.export.qdq.quantizer import QuantizedWeight, packed
from profiler.frontend.onnx.protobuf import decoded
from profiler.frontend.refusal import quoted
from profiler.workload import DType, Op

Scales = Mapping[tuple[str, DType], np.float32]
"""Of an activation: by name of the value in the user's model, and type."""


def rewritten(
    proto: Any,
    path: Path,
    plan: QdqPlan,
    weights: Mapping[str, QuantizedWeight],
    biases: Mapping[str, npt.NDArray[np.float64]],
    scales: Scales,
) -> Any:
    """A new ``onnx.ModelProto``. ``weights`` are OHWI and ``biases`` per output channel, by name of the layer; reads
    without a scale stay floats. ``path`` is for messages. Raises `UnsupportedModel`."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(proto)
    model.producer_name = PRODUCER
    graph = model.graph
    _require_operators(graph, path, plan)
    renamed = _without_folds(graph, plan)
    writer = _Writer(graph)
    layers = {layer.output: layer for layer in plan.layers}
    reads: dict[str, list[Read]] = {}
    for read in plan.reads:
        if (read.value, read.dtype) in scales:
            reads.setdefault(read.output, []).append(read)
    nodes: list[Any] = []
    for node in graph.node:
        layer = layers.get(node.output[0]) if node.output else None
        if layer is not None:
            added, node = writer.layer(node, layer, weights[layer.name], biases[layer.name])
            nodes += added
        for read in reads.get(node.output[0] if node.output else "", ()):
            value = renamed.get(read.value, read.value)
            added, name = writer.activation(value, read.dtype, scales[read.value, read.dtype])
            nodes += added
            node.input[:] = [name if source == value else source for source in node.input]
        nodes.append(node)
    _replace_nodes(graph, nodes)
    graph.initializer.extend(writer.initializers)
    _sweep(graph)
    return model


class _Writer:
    """Makes nodes and initializers under names that the model does not have yet."""

    def __init__(self, graph: Any) -> None:
        self._taken = set(_names(graph))
        self._pairs: dict[tuple[str, DType], str] = {}
        self.initializers: list[Any] = []

    def layer(
        self, node: Any, layer: FoldedLayer, weight: QuantizedWeight, bias: npt.NDArray[np.float64]
    ) -> tuple[list[Any], Any]:
        """The operator with dequantized weights and a float bias, and what goes ahead of it."""
        from onnx import TensorProto, helper

        is_conv = layer.op is Op.CONV2D
        values = weight.values.transpose(0, 3, 1, 2) if is_conv else weight.values.reshape(len(weight.values), -1)
        kind = {4: TensorProto.INT4, 8: TensorProto.INT8}[weight.bits]
        # Behind this suffix our own frontend finds the name of the layer again.
        integers = self._initializer(f"{layer.name}.weight_quantized", kind, values.shape, packed(values, weight.bits))
        scale = self._initializer(f"{layer.name}.weight_scale", TensorProto.FLOAT, weight.scales.shape, weight.scales)
        name = self._fresh(f"{layer.name}.weight_dequantized")
        dequantize = helper.make_node(
            "DequantizeLinear", [integers, scale], [name], self._fresh(f"{name}/node"), axis=0
        )
        operands = [node.input[0], name]
        if np.any(bias):
            operands.append(
                self._initializer(f"{layer.name}.bias_folded", TensorProto.FLOAT, bias.shape, bias.astype(np.float32))
            )
        if is_conv:
            node.input[:] = operands
        else:
            node = helper.make_node("Gemm", operands, [node.output[0]], decoded(node.name), transB=1)
        return [dequantize], node

    def activation(self, value: str, dtype: DType, scale: np.float32) -> tuple[list[Any], str]:
        """A value quantized and dequantized, once for all of its readers in that type: new nodes, and the name."""
        from onnx import TensorProto, helper

        if (value, dtype) in self._pairs:
            return [], self._pairs[value, dtype]
        base = f"{value}.{dtype.value}"
        factor = self._initializer(f"{base}_scale", TensorProto.FLOAT, (), np.asarray(scale, np.float32))
        kind = getattr(TensorProto, dtype.name)
        zero = self._initializer(f"{base}_zero_point", kind, (), packed(np.zeros(1, np.int8), dtype.bits))
        integers, floats = self._fresh(f"{base}_quantized"), self._fresh(f"{base}_dequantized")
        self._pairs[value, dtype] = floats
        return [
            helper.make_node("QuantizeLinear", [value, factor, zero], [integers], self._fresh(f"{integers}/node")),
            helper.make_node("DequantizeLinear", [integers, factor, zero], [floats], self._fresh(f"{floats}/node")),
        ], floats

    def _initializer(self, name: str, kind: int, shape: tuple[int, ...], data: bytes | npt.NDArray[Any]) -> str:
        from onnx import helper

        name = self._fresh(name)
        raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
        self.initializers.append(helper.make_tensor(name, kind, shape, raw, raw=True))
        return name

    def _fresh(self, name: str) -> str:
        found, count = name, 1
        while found in self._taken:
            found, count = f"{name}_{count}", count + 1
        self._taken.add(found)
        return found


def _require_operators(graph: Any, path: Path, plan: QdqPlan) -> None:
    """That the upgrade has left the operators of the plan where they were."""
    makers = {node.output[0]: node for node in graph.node if node.output}
    known = {entry.name for entry in graph.input} | {name for node in graph.node for name in node.output}
    kinds = {Op.CONV2D: ("Conv",), Op.DENSE: ("Gemm", "MatMul")}
    for layer in plan.layers:
        folds = [output for _, output in layer.folds]
        if (
            layer.output not in makers
            or makers[layer.output].op_type not in kinds[layer.op]
            or set(folds) - set(makers)
        ):
            raise _lost(path, f"layer {quoted(layer.name)}")
    for read in plan.reads:
        if read.value not in known or read.output not in makers or read.value not in makers[read.output].input:
            raise _lost(path, f"the activation {quoted(read.value)}")


def _lost(path: Path, what: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{path}: {what} is not found in the model that onnx upgraded; export it again with opset 21"
    )


def _without_folds(graph: Any, plan: QdqPlan) -> dict[str, str]:
    """Take out the operators that are in the weights now; what their outputs are called from here on.

    Where the model hands such an output out, or a subgraph reads it, a copy keeps its name.
    """
    from onnx import helper

    keep = {entry.name for entry in graph.output} | set(_captured(graph))
    renamed: dict[str, str] = {}
    retired: dict[str, str] = {}
    for layer in plan.layers:
        for source, output in layer.folds:
            retired[output] = renamed.get(source, source)
            if output not in keep:
                renamed[output] = retired[output]
    nodes = []
    for node in graph.node:
        if node.output and node.output[0] in retired:
            if node.output[0] in keep:
                copy = [retired[node.output[0]]], [node.output[0]], decoded(node.name)
                nodes.append(helper.make_node("Identity", *copy))
            continue
        node.input[:] = [renamed.get(source, source) for source in node.input]
        nodes.append(node)
    _replace_nodes(graph, nodes)
    return renamed


def _replace_nodes(graph: Any, nodes: Sequence[Any]) -> None:
    import onnx

    kept = onnx.GraphProto(node=nodes)  # copies: those of the graph end with the next line
    del graph.node[:]
    graph.node.extend(kept.node)


def _sweep(graph: Any) -> None:
    """Drop what nothing reads any more: the float weights, constants folded into them, and what is said of them."""
    used = {entry.name for entry in graph.output}
    kept = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(node.input)
            used.update(_captured_by(node))
            kept.append(node)
    _replace_nodes(graph, kept[::-1])
    constants = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    _keep(graph.input, lambda entry: entry.name in used or entry.name not in constants)
    _keep(graph.initializer, lambda tensor: tensor.name in used)
    _keep(graph.sparse_initializer, lambda tensor: tensor.values.name in used)
    _keep(graph.value_info, lambda entry: entry.name in used)


def _keep(field: Any, wanted: Any) -> None:
    for index in reversed([index for index, entry in enumerate(field) if not wanted(entry)]):
        del field[index]


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _captured(graph: Any) -> Iterator[str]:
    """Names that subgraphs may read from outside."""
    for node in graph.node:
        yield from _captured_by(node)


def _captured_by(node: Any) -> Iterator[str]:
    for graph in _subgraphs(node):
        yield from (entry.name for entry in graph.output)
        for inner in graph.node:
            yield from inner.input
            yield from _captured_by(inner)


def _names(graph: Any) -> Iterator[str]:
    """All names of values and nodes."""
    for field in (graph.input, graph.output, graph.value_info, graph.initializer):
        yield from (entry.name for entry in field)
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        yield node.name
        yield from (*node.input, *node.output)
        for inner in _subgraphs(node):
            yield from _names(inner)
