"""A model as the rules ask about it: inputs, constants, shapes, and what the protobuf only implies."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

from profiler.frontend.graph import GraphInput
from profiler.frontend.onnx.constants import known_constants
from profiler.frontend.onnx.protobuf import LARGEST_KEPT, Constant, Operator, decoded, dims_of, operator_of
from profiler.frontend.refusal import RefusedError


class Model:
    """One ``onnx.ModelProto``. What is asked of it in vain raises `RefusedError`."""

    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self.operators = tuple(operator_of(node) for node in proto.graph.node)
        self.constants = known_constants(proto.graph, self.operators)

    # -- its ends ---------------------------------------------------------------------------------------------------

    def inputs(self) -> tuple[GraphInput, ...]:
        """Those that are no constants."""
        from onnx import TensorProto

        unsigned = (TensorProto.UINT8, TensorProto.UINT4)
        found = {}
        for entry in self._proto.graph.input:
            name = decoded(entry.name)
            if name in self.constants:
                continue
            shape = _without_batch(dims_of(entry.type.tensor_type))
            if shape is not None and len(shape) == 3 and name in self.channels_last:
                shape = (shape[2], shape[0], shape[1])
            found[name] = GraphInput(name, shape, entry.type.tensor_type.elem_type not in unsigned)
        return tuple(found.values())

    def outputs(self) -> tuple[str, ...]:
        """Those that are no constants."""
        names = dict.fromkeys(decoded(entry.name) for entry in self._proto.graph.output)
        return tuple(name for name in names if name not in self.constants)

    @cached_property
    def channels_last(self) -> frozenset[str]:
        """Inputs that are NHWC and read only through a transposition to NCHW, as in models from TensorFlow."""
        readers: dict[str, list[Any]] = {decoded(entry.name): [] for entry in self._proto.graph.input}
        for node in self._proto.graph.node:
            for name in map(decoded, node.input):
                if name in readers:
                    readers[name].append(node)

        def to_nchw(node: Any) -> bool:
            return node.op_type == "Transpose" and [list(a.ints) for a in node.attribute] == [[0, 3, 1, 2]]

        return frozenset(name for name, nodes in readers.items() if nodes and all(map(to_nchw, nodes)))

    def keeps_batch(self, extent: int) -> bool:
        """Whether a reshape to that first extent leaves the batch alone, as far as that can be told here."""
        batches = {dims[0] for entry in self._proto.graph.input if (dims := dims_of(entry.type.tensor_type))}
        return extent in (-1, 0, 1) or extent in batches

    # -- shapes -----------------------------------------------------------------------------------------------------

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """By onnx's inference; batch left out, -1 for an open extent. None where it gives up."""
        return _without_batch(self._inferred.get(name))

    @cached_property
    def _inferred(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shapes by onnx's inference, batch included. Needed only for unusual models."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._proto)
        for tensor in model.graph.initializer:
            if prod(tensor.dims) > LARGEST_KEPT:
                for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "external_data"):
                    tensor.ClearField(field)
                tensor.ClearField("data_location")
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception:
            return {}
        graph = model.graph
        entries = (*graph.value_info, *graph.output, *graph.input)
        found = {decoded(entry.name): dims_of(entry.type.tensor_type) for entry in entries}
        return {name: dims for name, dims in found.items() if dims is not None}

    # -- constant operands ------------------------------------------------------------------------------------------

    def weights(self, name: str, what: str = "weights") -> tuple[int, ...]:
        """The shape of a constant operand."""
        constant = self.constants.get(name)
        if constant is None:
            raise RefusedError(f"its {what} are not constants")
        shape = constant.shape
        if shape is None and name in self._inferred:
            shape = tuple(extent or 0 for extent in self._inferred[name])
        if shape is None:
            raise RefusedError(f"the shape of its {what} is not known")
        if any(extent < 1 for extent in shape):
            raise RefusedError(f"its {what} have an empty shape {shape}")
        return shape

    def elements(self, name: str) -> int:
        """Elements of an optional constant; zero where it is left out."""
        return prod(self.weights(name, "biases")) if name else 0

    def label(self, operator: Operator, weights: str) -> str:
        """``layer1.0.conv1`` where the weights are called ``layer1.0.conv1.weight``, else the node's own name."""
        name = self.constants[weights].weight_name
        for suffix in (".weight", ".weight_quantized"):
            if name.endswith(suffix) and len(name) > len(suffix):
                return name.removesuffix(suffix)
        return operator.label

    def integers(self, operator: Operator, attribute: str, index: int) -> tuple[int, ...] | None:
        """Integers that are an attribute in old opsets and an input in new ones; None where left out."""
        if attribute in operator.attributes:
            return tuple(operator.attributes[attribute])
        name = operator.input(index)
        if not name:
            return None
        constant = self.constants.get(name)
        if constant is None or constant.values is None:
            raise RefusedError(f"its {attribute} are not constants")
        return tuple(int(value) for value in constant.values)


def clamps(zero_point: Constant | None) -> bool:
    """Whether a quantized type holds nothing below zero: its zero point is the least number of the type."""
    from onnx import TensorProto

    least: dict[int, int] = {
        TensorProto.UINT8: 0,
        TensorProto.UINT4: 0,
        TensorProto.UINT16: 0,
        TensorProto.INT8: -128,
        TensorProto.INT4: -8,
        TensorProto.INT16: -32768,
    }
    if zero_point is None or zero_point.elem_type not in least or not zero_point.values:
        return False
    return set(zero_point.values) == {least[zero_point.elem_type]}


def _without_batch(dims: tuple[int | None, ...] | None) -> tuple[int, ...] | None:
    return None if not dims else tuple(-1 if extent is None else extent for extent in dims[1:])
