"""ONNX files, float, QDQ or with quantized operators (QLinearConv and its like), as a `Network`.

Weights are never needed, only their shapes, so external data is not read. The file's batch does not matter. Operators
are those of https://onnx.ai/onnx/operators/, and for quantized models ONNX Runtime's com.microsoft ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from profiler.errors import UnsupportedModel
from profiler.frontend.graph import (
    Adaptive,
    Graph,
    GraphInput,
    Kind,
    Node,
    RefusedError,
    Window,
    build_network,
    first_line,
    quoted,
)
from profiler.workload import Network

OLDEST_OPSET = 7
"""Before this one, broadcasting was spelled with attributes."""

_DOMAINS = ("", "ai.onnx", "com.microsoft")
_SMALL = 64
"""Constants of at most so many elements keep their values: shapes, axes, limits, zero points."""


def load(path: Path, batch: int, *, skip_unsupported: bool = False) -> Network:
    """The network in an ONNX file; raises `UnsupportedModel` with one line for whatever stands in the way."""
    model = _read(path)
    return build_network(_Reader(path, model).graph(), batch, skip_unsupported=skip_unsupported)


def _read(path: Path) -> Any:
    try:
        import onnx
    except ImportError:
        raise UnsupportedModel(
            f"{path}: reading ONNX files needs the onnx package: pip install 'lowbit-profiler[onnx]'"
        ) from None
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf has no common base for what a broken file can raise
        raise UnsupportedModel(f"{path}: not an ONNX file, or a damaged one ({first_line(error)})") from None
    if not model.HasField("graph") or not model.graph.node:
        raise UnsupportedModel(f"{path}: not an ONNX model: it has no graph with nodes")
    newest = onnx.defs.onnx_opset_version()
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not opsets:
        raise UnsupportedModel(f"{path}: the model does not say its opset")
    if not OLDEST_OPSET <= opsets[0] <= newest:
        raise UnsupportedModel(
            f"{path}: opset {opsets[0]} is not supported (known are {OLDEST_OPSET} to {newest}); "
            "export the model again with one of these"
        )
    if model.functions:
        import onnx.inliner

        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            raise UnsupportedModel(f"{path}: its local functions cannot be inlined ({first_line(error)})") from None
    return model


@dataclass(frozen=True)
class _Constant:
    """A constant of the model: its shape (None where unknown), the values of a small one, and its element type."""

    shape: tuple[int, ...] | None
    values: tuple[float, ...] | None = None
    elem_type: int = 0
    weight_name: str = ""


@dataclass(frozen=True)
class _Operator:
    """A node of the file with its attributes taken apart. ``inputs`` may hold empty names (left-out optional ones)."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def text(self) -> str:
        where = quoted(self.name) if self.name else f"that makes {quoted(self.outputs[0] if self.outputs else '')}"
        return f"operator {quoted(self.op)[1:-1]} ({where})"

    def input(self, index: int) -> str:
        """Name of an input; empty where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def get(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)


class _Reader:
    """Translates one model; operators and constants in, `Node`s out."""

    def __init__(self, path: Path, model: Any) -> None:
        self.path = path
        self.model = model
        self.constants: dict[str, _Constant] = {}
        self.nodes: list[Node] = []

    def graph(self) -> Graph:
        graph = self.model.graph
        for tensor in graph.initializer:
            self.constants[_str(tensor.name)] = _constant(tensor)
        for tensor in graph.sparse_initializer:
            name = _str(tensor.values.name)
            self.constants[name] = _Constant(tuple(tensor.dims), weight_name=name)
        operators = [_operator(node) for node in graph.node]
        self._constant_operators(operators)
        for operator in operators:
            outputs = tuple(name for name in operator.outputs if name)
            if outputs and not all(name in self.constants for name in outputs):
                self._translate(operator)
        results = dict.fromkeys(_str(entry.name) for entry in graph.output)
        outputs = tuple(name for name in results if name not in self.constants)
        return Graph(self.path.stem, str(self.path), self._inputs(), tuple(self.nodes), outputs, self._shape_of)

    def _inputs(self) -> tuple[GraphInput, ...]:
        from onnx import TensorProto

        unsigned = (TensorProto.UINT8, TensorProto.UINT4)
        found = {}
        for entry in self.model.graph.input:
            name = _str(entry.name)
            if name in self.constants:
                continue
            dims = _dims(entry.type.tensor_type)
            shape = None if not dims else tuple(-1 if extent is None else extent for extent in dims[1:])
            if shape is not None and len(shape) == 3 and name in self.channels_last:
                shape = (shape[2], shape[0], shape[1])
            found[name] = GraphInput(name, shape, entry.type.tensor_type.elem_type not in unsigned)
        return tuple(found.values())

    @cached_property
    def channels_last(self) -> frozenset[str]:
        """Inputs that are NHWC and read only through a transposition to NCHW, as in models from TensorFlow."""
        readers: dict[str, list[Any]] = {_str(entry.name): [] for entry in self.model.graph.input}
        for node in self.model.graph.node:
            for name in map(_str, node.input):
                if name in readers:
                    readers[name].append(node)

        def to_nchw(node: Any) -> bool:
            return node.op_type == "Transpose" and [list(a.ints) for a in node.attribute] == [[0, 3, 1, 2]]

        return frozenset(name for name, nodes in readers.items() if nodes and all(map(to_nchw, nodes)))

    def _shape_of(self, name: str) -> tuple[int, ...] | None:
        dims = self._inferred.get(name)
        return None if not dims else tuple(-1 if extent is None else extent for extent in dims[1:])

    def _constant_operators(self, operators: Sequence[_Operator]) -> None:
        """What can be known without running the model: constants, what is computed from them, and shapes.

        In topological order, whatever the order of the file.
        """
        waiting: dict[str, list[_Operator]] = {}
        missing: dict[int, int] = {}
        ready = []
        for operator in operators:
            if operator.op in ("Constant", "Shape", "Size"):
                ready.append(operator)
            if operator.op in ("Constant", "Shape", "Size", "If", "Loop", "Scan") or not any(operator.inputs):
                continue
            inputs = {name for name in operator.inputs if name and name not in self.constants}
            if not inputs:
                ready.append(operator)
                continue
            missing[id(operator)] = len(inputs)
            for name in inputs:
                waiting.setdefault(name, []).append(operator)
        while ready:
            operator = ready.pop()
            for name in operator.outputs:
                if name and name not in self.constants:
                    self.constants[name] = self._evaluate(operator)
                    for dependent in waiting.pop(name, ()):
                        missing[id(dependent)] -= 1
                        if missing[id(dependent)] == 0:
                            ready.append(dependent)

    def _evaluate(self, operator: _Operator) -> _Constant:
        source = self.constants.get(operator.input(0), _Constant(None))
        if operator.op == "Constant":
            return _constant_attribute(operator)
        if operator.op in ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear"):
            values = source.values if operator.op in ("Identity", "Cast") else None
            return replace(source, values=values)
        if operator.op == "Transpose" and source.shape is not None:
            order = operator.get("perm", None) or range(len(source.shape) - 1, -1, -1)
            if sorted(order) == list(range(len(source.shape))):
                return replace(source, shape=tuple(source.shape[axis] for axis in order), values=None)
        return _Constant(None, weight_name=source.weight_name)

    @cached_property
    def _inferred(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shapes by onnx's inference, batch included; empty where it gives up. Needed only for unusual models."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for tensor in model.graph.initializer:
            if _count(tensor.dims) > _SMALL:
                for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "external_data"):
                    tensor.ClearField(field)
                tensor.ClearField("data_location")
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception:
            return {}
        graph = model.graph
        entries = (*graph.value_info, *graph.output, *graph.input)
        found = {_str(entry.name): _dims(entry.type.tensor_type) for entry in entries}
        return {name: dims for name, dims in found.items() if dims is not None}

    def _translate(self, operator: _Operator) -> None:
        if operator.op not in _RULES:
            self._unsupported(operator, "this operator is not supported")
            return
        done = len(self.nodes)
        try:
            _RULES[operator.op](self, operator)
        except RefusedError as error:
            del self.nodes[done:]
            self._unsupported(operator, str(error))
        except (TypeError, ValueError, IndexError, AttributeError, KeyError, OverflowError):
            del self.nodes[done:]
            self._unsupported(operator, "its attributes or inputs are malformed")

    def _unsupported(self, operator: _Operator, reason: str) -> None:
        inputs = tuple(name for name in operator.inputs if name and name not in self.constants)
        outputs = tuple(name for name in operator.outputs if name and name not in self.constants)
        node = self._node(operator, Kind.UNSUPPORTED, inputs)
        self.nodes.append(replace(node, outputs=outputs, reason=reason))

    # -- what the rules are made of ---------------------------------------------------------------------------------

    def emit(
        self, operator: _Operator, kind: Kind, *inputs: str, clamped_by: str | None = None, **details: Any
    ) -> None:
        """Add a node; ``clamped_by`` names the zero point of the type that a quantized operator stores."""
        for name in inputs:
            if not name:
                raise RefusedError("an input is missing")
            if name in self.constants:
                raise RefusedError(f"its input {quoted(name)} is a constant; only activations are supported there")
        clamped = clamped_by is not None and self.clamps(self.constants.get(clamped_by))
        self.nodes.append(self._node(operator, kind, inputs, clamped=clamped, **details))

    def _node(self, operator: _Operator, kind: Kind, inputs: tuple[str, ...], **details: Any) -> Node:
        details.setdefault("label", _node_label(operator))
        outputs = tuple(name for name in operator.outputs if name)
        return Node(text=operator.text, kind=kind, inputs=inputs, outputs=outputs, **details)

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

    def label(self, operator: _Operator, weights: str) -> str:
        """``layer1.0.conv1`` where the weights are called ``layer1.0.conv1.weight``, else the node's own name."""
        name = self.constants[weights].weight_name
        for suffix in (".weight", ".weight_quantized"):
            if name.endswith(suffix) and len(name) > len(suffix):
                return name.removesuffix(suffix)
        return _node_label(operator)

    def elements(self, name: str) -> int:
        """Elements of an optional constant; zero where it is left out."""
        return _count(self.weights(name, "biases")) if name else 0

    def integers(self, operator: _Operator, attribute: str, index: int) -> tuple[int, ...] | None:
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

    def keeps_batch(self, extent: int) -> bool:
        """Whether a reshape to that first extent leaves the batch alone, as far as that can be told here."""
        batches = {dims[0] for entry in self.model.graph.input if (dims := _dims(entry.type.tensor_type))}
        return extent in (-1, 0, 1) or extent in batches

    def clamps(self, zero_point: _Constant | None) -> bool:
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


def _str(text: str | bytes) -> str:
    """Protobuf hands out bytes where a name of the file is not UTF-8."""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def _node_label(operator: _Operator) -> str:
    """A layer's name from its node's: torch's ``/layer2/downsample/downsample.0/Conv`` is layer2.downsample.0."""
    name = operator.name or (operator.outputs[0] if operator.outputs else "")
    if not name.startswith("/"):
        return name
    parts: list[str] = []
    for part in name.split("/")[1:]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    if len(parts) > 1 and parts[-1].removesuffix("_quant") in ("Conv", "Gemm", "MatMul"):
        parts.pop()
    return ".".join(parts)


def _dims(tensor_type: Any) -> tuple[int | None, ...] | None:
    if not tensor_type.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor_type.shape.dim)


def _count(shape: Sequence[int]) -> int:
    product = 1
    for extent in shape:
        product *= extent
    return product


def _operator(node: Any) -> _Operator:
    import onnx

    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        try:
            attributes[_str(attribute.name)] = onnx.helper.get_attribute_value(attribute)
        except ValueError:
            attributes[_str(attribute.name)] = None
    op, domain = _str(node.op_type), _str(node.domain)
    return _Operator(
        op=op if domain in _DOMAINS else f"{domain}.{op}",
        name=_str(node.name),
        inputs=tuple(map(_str, node.input)),
        outputs=tuple(map(_str, node.output)),
        attributes=attributes,
    )


def _constant(tensor: Any) -> _Constant:
    from onnx import TensorProto, numpy_helper

    shape = tuple(tensor.dims)
    values = None
    if 0 <= _count(shape) <= _SMALL and tensor.data_location != TensorProto.EXTERNAL:
        try:
            values = tuple(numpy_helper.to_array(tensor).reshape(-1).astype(float).tolist())
        except Exception:  # damaged, or a type that NumPy lacks: then its values are not known
            values = None
    return _Constant(shape, values, tensor.data_type, _str(tensor.name))


def _constant_attribute(operator: _Operator) -> _Constant:
    for name, value in operator.attributes.items():
        if name == "value" and hasattr(value, "dims"):
            return replace(_constant(value), weight_name=_str(value.name) or operator.outputs[0])
        if name in ("value_float", "value_int"):
            return _Constant((), (float(value),))
        if name in ("value_floats", "value_ints"):
            return _Constant((len(value),), tuple(float(item) for item in value) if len(value) <= _SMALL else None)
    return _Constant(None)


# -- the rules: one per operator ------------------------------------------------------------------------------------


def _window(operator: _Operator, kernel: Sequence[int]) -> Window:
    if len(kernel) != 2:
        raise RefusedError(f"it has {len(kernel)} spatial dimensions; only 2 (height and width) are supported")
    stride = operator.get("strides", None) or (1, 1)
    dilation = operator.get("dilations", None) or (1, 1)
    auto_pad = operator.get("auto_pad", b"NOTSET").decode() or "NOTSET"
    pads = (operator.get("pads", None) or (0, 0, 0, 0)) if auto_pad == "NOTSET" else (0, 0, 0, 0)
    same = {"NOTSET": "", "VALID": "", "SAME_UPPER": "upper", "SAME_LOWER": "lower"}
    if auto_pad not in same:
        raise RefusedError(f"its auto_pad {quoted(auto_pad)} is unknown")
    if (len(stride), len(dilation), len(pads)) != (2, 2, 4):
        raise RefusedError("its strides, dilations or pads are not those of 2 dimensions")
    top, left, bottom, right = pads
    return Window(
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        pads=(top, left, bottom, right),
        dilation=(dilation[0], dilation[1]),
        same=same[auto_pad],
        ceil_mode=bool(operator.get("ceil_mode", 0)),
    )


def _convolution(x: int, w: int, bias: int, zero_point: int | None) -> Callable[[_Reader, _Operator], None]:
    """Conv and QLinearConv differ in where their operands stand."""

    def rule(reader: _Reader, operator: _Operator) -> None:
        shape = reader.weights(operator.input(w))
        kernel = operator.get("kernel_shape", None) or shape[2:]
        window = _window(operator, kernel)
        if tuple(kernel) != shape[2:]:
            raise RefusedError(f"its kernel_shape {tuple(kernel)} contradicts its weights of shape {shape}")
        groups = operator.get("group", 1)
        if operator.get("activation", b"") or operator.get("channels_last", 0):
            raise RefusedError("it holds an activation or a layout that ONNX does not define")
        reader.emit(
            operator,
            Kind.CONV2D,
            operator.input(x),
            clamped_by=None if zero_point is None else operator.input(zero_point),
            label=reader.label(operator, operator.input(w)),
            window=window,
            in_channels=shape[1] * groups,
            out_channels=shape[0],
            groups=groups,
            parameters=_count(shape) + reader.elements(operator.input(bias)),
        )

    return rule


def _dense(x: int, w: int, bias: int, zero_point: int | None, gemm: bool) -> Callable[[_Reader, _Operator], None]:
    """Gemm, MatMul and their quantized forms. alpha and beta scale the weights and the bias, at no cost."""

    def rule(reader: _Reader, operator: _Operator) -> None:
        shape = reader.weights(operator.input(w))
        if len(shape) != 2:
            raise RefusedError(f"its weights have {len(shape)} dimensions; only 2 are supported")
        if operator.get("transA", 0):
            raise RefusedError("it transposes its activations")
        transposed = gemm and operator.get("transB", 0)
        features, out = (shape[1], shape[0]) if transposed else shape
        biases = reader.elements(operator.input(bias)) if gemm else 0
        if biases not in (0, 1, out):
            raise RefusedError(f"its bias has {biases} values for {out} outputs")
        reader.emit(
            operator,
            Kind.DENSE,
            operator.input(x),
            clamped_by=None if zero_point is None else operator.input(zero_point),
            label=reader.label(operator, operator.input(w)),
            in_channels=features,
            out_channels=out,
            parameters=_count(shape) + biases,
        )

    return rule


def _arithmetic(reader: _Reader, operator: _Operator) -> None:
    """Add of two activations, or Add, Sub, Mul, Div with a constant, which is folded into the layer ahead."""
    first, second = operator.input(0), operator.input(1)
    if first in reader.constants and operator.op in ("Add", "Mul"):
        first, second = second, first
    if second in reader.constants:
        shape = reader.weights(second, "constants")
        reader.emit(operator, Kind.FOLD, first, constant_shape=shape, parameters=_count(shape))
    elif operator.op == "Add":
        reader.emit(operator, Kind.ADD, first, second)
    else:
        raise RefusedError("this operator is not supported between two activations")


def _sum(reader: _Reader, operator: _Operator) -> None:
    if len(operator.inputs) != 2:
        raise RefusedError(f"it sums {len(operator.inputs)} tensors; only 2 are supported")
    _arithmetic(reader, replace(operator, op="Add"))


def _quantized_add(reader: _Reader, operator: _Operator) -> None:
    reader.emit(operator, Kind.ADD, operator.input(0), operator.input(3), clamped_by=operator.input(7))


def _batch_norm(reader: _Reader, operator: _Operator) -> None:
    if operator.get("training_mode", 0):
        raise RefusedError("it is in training mode; export the model for inference")
    scale = reader.weights(operator.input(1), "scales")
    reader.emit(operator, Kind.FOLD, operator.input(0), in_channels=_count(scale), parameters=2 * _count(scale))


def _concat(reader: _Reader, operator: _Operator) -> None:
    _concatenate(reader, operator, operator.inputs, None)


def _quantized_concat(reader: _Reader, operator: _Operator) -> None:
    """QLinearConcat: output scale and zero point, then input, scale and zero point of each."""
    _concatenate(reader, operator, operator.inputs[2::3], operator.input(1))


def _concatenate(reader: _Reader, operator: _Operator, inputs: Sequence[str], zero_point: str | None) -> None:
    axis = operator.get("axis", None)
    if axis not in (1, -3) or not inputs:
        raise RefusedError(f"it concatenates along axis {axis}; only channels (axis 1 of NCHW) are supported")
    reader.emit(operator, Kind.CONCAT, *inputs, clamped_by=zero_point)


def _pool(kind: Kind, zero_point: int | None = None) -> Callable[[_Reader, _Operator], None]:
    def rule(reader: _Reader, operator: _Operator) -> None:
        if operator.get("channels_last", 0):
            raise RefusedError("it has its channels last; only NCHW is supported")
        clamped_by = None if zero_point is None else operator.input(zero_point)
        window = _window(operator, operator.get("kernel_shape", ()))
        reader.emit(operator, kind, operator.input(0), clamped_by=clamped_by, window=window)

    return rule


def _global_pool(kind: Kind, zero_point: int | None = None) -> Callable[[_Reader, _Operator], None]:
    def rule(reader: _Reader, operator: _Operator) -> None:
        if operator.get("channels_last", 0):
            raise RefusedError("it has its channels last; only NCHW is supported")
        clamped_by = None if zero_point is None else operator.input(zero_point)
        reader.emit(operator, kind, operator.input(0), clamped_by=clamped_by, window=Adaptive((1, 1)))

    return rule


def _reduce_mean(reader: _Reader, operator: _Operator) -> None:
    axes = reader.integers(operator, "axes", 1)
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise RefusedError("it takes the mean over other dimensions than height and width")
    if operator.get("keepdims", 1):
        reader.emit(operator, Kind.AVG_POOL, operator.input(0), window=Adaptive((1, 1)))
        return
    pooled = replace(operator, outputs=(f"{operator.outputs[0]} before it is flattened",))
    reader.emit(pooled, Kind.AVG_POOL, operator.input(0), window=Adaptive((1, 1)), label=_node_label(operator))
    reader.emit(operator, Kind.RESHAPE, pooled.outputs[0], target=(-1,))


def _relu(reader: _Reader, operator: _Operator) -> None:
    reader.emit(operator, Kind.RELU, operator.input(0))


def _clip(reader: _Reader, operator: _Operator) -> None:
    """Clip from 0 to anything above: the upper end is the upper end of the quantized range."""
    low = operator.attributes.get("min")
    if low is None and operator.input(1):
        constant = reader.constants.get(operator.input(1))
        low = constant.values[0] if constant is not None and constant.values else None
    if low != 0:
        raise RefusedError("it clips from another value than 0")
    reader.emit(operator, Kind.RELU, operator.input(0))


def _quantize(reader: _Reader, operator: _Operator) -> None:
    from onnx import TensorProto

    zero_point = reader.constants.get(operator.input(2))
    if not operator.input(2):  # then it is 0, of the type in an attribute, by default uint8
        zero_point = _Constant((), (0.0,), operator.get("output_dtype", 0) or TensorProto.UINT8)
    reader.emit(operator, Kind.CLAMP if reader.clamps(zero_point) else Kind.PASS, operator.input(0))


def _pass(reader: _Reader, operator: _Operator) -> None:
    reader.emit(operator, Kind.PASS, operator.input(0))


def _flatten(reader: _Reader, operator: _Operator) -> None:
    if operator.get("axis", 1) not in (1, -3):
        raise RefusedError("it flattens the batch too")
    reader.emit(operator, Kind.RESHAPE, operator.input(0), target=(-1,))


def _reshape(reader: _Reader, operator: _Operator) -> None:
    constant = reader.constants.get(operator.input(1))
    target: tuple[int, ...] = ()
    if constant is not None and constant.values:
        batch, *rest = (int(value) for value in constant.values)
        if not reader.keeps_batch(batch) or rest == [0]:
            raise RefusedError("it changes the batch")
        # 0 copies the extent of the input, which a common part of the two shapes does anyway.
        target = tuple(-1 if extent == 0 else extent for extent in rest)
    else:
        dims = reader._inferred.get(operator.outputs[0])
        if dims is not None and len(dims) in (2, 4):
            target = tuple(-1 if extent is None else extent for extent in dims[1:])
    reader.emit(operator, Kind.RESHAPE, operator.input(0), target=target)


def _transpose(reader: _Reader, operator: _Operator) -> None:
    order = operator.get("perm", None)
    if operator.input(0) not in reader.channels_last and (order is None or list(order) != sorted(order)):
        raise RefusedError("it reorders the dimensions of an activation")
    reader.emit(operator, Kind.PASS, operator.input(0))


def _squeeze(reader: _Reader, operator: _Operator) -> None:
    axes = reader.integers(operator, "axes", 1)
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise RefusedError("it removes other dimensions than height and width")
    reader.emit(operator, Kind.RESHAPE, operator.input(0), target=(-1,))


def _unsqueeze(reader: _Reader, operator: _Operator) -> None:
    axes = reader.integers(operator, "axes", 1)
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise RefusedError("it adds other dimensions than height and width")
    reader.emit(operator, Kind.RESHAPE, operator.input(0), target=(-1, 1, 1))


_RULES: Mapping[str, Callable[[_Reader, _Operator], None]] = {
    "Conv": _convolution(0, 1, 2, None),
    "QLinearConv": _convolution(0, 3, 8, 7),
    "Gemm": _dense(0, 1, 2, None, gemm=True),
    "QGemm": _dense(0, 3, 6, 8, gemm=True),
    "MatMul": _dense(0, 1, 2, None, gemm=False),
    "QLinearMatMul": _dense(0, 3, 6, 7, gemm=False),
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Sum": _sum,
    "QLinearAdd": _quantized_add,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "QLinearConcat": _quantized_concat,
    "MaxPool": _pool(Kind.MAX_POOL),
    "AveragePool": _pool(Kind.AVG_POOL),
    "QLinearAveragePool": _pool(Kind.AVG_POOL, 4),
    "GlobalMaxPool": _global_pool(Kind.MAX_POOL),
    "GlobalAveragePool": _global_pool(Kind.AVG_POOL),
    "QLinearGlobalAveragePool": _global_pool(Kind.AVG_POOL, 4),
    "ReduceMean": _reduce_mean,
    "Relu": _relu,
    "Clip": _clip,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _pass,
    "Identity": _pass,
    "Dropout": _pass,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
