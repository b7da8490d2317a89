"""Programs saved by ``torch.export.save`` (.pt2) as a `Network`.

The ATen graph is read as `torch.export.export` leaves it, and as `run_decompositions` does. A ``.pt2`` is read by
torch's own loader: as with any file of PyTorch, open only those whose origin you trust.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
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

_TRAINING = "the program was exported in training mode; call eval() on the model before torch.export.export"


def load(path: Path, batch: int, *, skip_unsupported: bool = False) -> Network:
    """The network in an exported program; raises `UnsupportedModel` with one line for whatever stands in the way."""
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UnsupportedModel(
            f"{path}: reading exported programs needs PyTorch: pip install 'lowbit-profiler[torch]'"
        ) from None
    try:
        program = torch.export.load(str(path))
    except Exception as error:  # torch's loader has no common base for what a broken file can raise
        raise UnsupportedModel(f"{path}: torch.export.load cannot read it ({first_line(error)})") from None
    return build_network(_Reader(path, program).graph(), batch, skip_unsupported=skip_unsupported)


class _Reader:
    """Translates one exported program; torch.fx nodes in, `Node`s out."""

    def __init__(self, path: Path, program: Any) -> None:
        self.path = path
        self.program = program
        self.signature = program.graph_signature
        self.constants: dict[str, str] = {}
        """Names that do not depend on the inputs, to the parameter that they are (made of); else empty."""
        self.mutated: dict[str, str] = {}
        """Values that an operator like relu_ has overwritten, to what they hold from there on."""
        self.shapes: dict[str, tuple[int, ...] | None] = {}
        self.nodes: list[Node] = []

    def graph(self) -> Graph:
        user_inputs = set(self.signature.user_inputs)
        parameters = {**self.signature.inputs_to_buffers, **self.signature.inputs_to_parameters}
        inputs = []
        for fx in self.program.graph.nodes:
            self._note_shapes(fx)
            if fx.op == "placeholder" and fx.name in user_inputs and self._is_tensor(fx):
                inputs.append(GraphInput(fx.name, self._shape_of(fx.name), self._dtype(fx) != "torch.uint8"))
            elif fx.op in ("placeholder", "get_attr"):
                self.constants[fx.name] = parameters.get(fx.name, "")
            elif fx.op == "call_function":
                self._call(fx)
        outputs = [self.mutated.get(name, name) for name in self.signature.user_outputs if isinstance(name, str)]
        outputs = [name for name in dict.fromkeys(outputs) if name not in self.constants]
        return Graph(self.path.stem, str(self.path), tuple(inputs), tuple(self.nodes), tuple(outputs), self._shape_of)

    def _call(self, fx: Any) -> None:
        sources = [source.name for source in fx.all_input_nodes]
        if not self._is_tensor(fx) or all(name in self.constants for name in sources):
            named = [self.constants[name] for name in sources if self.constants.get(name)]
            self.constants[fx.name] = named[0] if named else ""
            return
        if fx.target is operator.getitem:
            source, index = fx.args
            self._add(fx, Kind.PASS, (self._name(source) if index == 0 else f"{source.name}:{index}",))
            return
        rule = _RULES.get(_operator_name(fx))
        done = len(self.nodes)
        try:
            if rule is None:
                raise RefusedError("this operator is not supported")
            rule(self, fx, _arguments(fx))
        except RefusedError as error:
            del self.nodes[done:]
            inputs = tuple(self._name(source) for source in fx.all_input_nodes if source.name not in self.constants)
            self._add(fx, Kind.UNSUPPORTED, inputs, reason=str(error))
        if _operator_name(fx).endswith("_") and fx.all_input_nodes:
            target = fx.all_input_nodes[0].name
            for name in [
                target,
                *(old for old, new in self.mutated.items() if new == self._name(fx.all_input_nodes[0])),
            ]:
                self.mutated[name] = fx.name

    def _add(self, fx: Any, kind: Kind, inputs: tuple[str, ...], **details: Any) -> None:
        details.setdefault("label", fx.name)
        value = fx.meta.get("val")
        count = len(value) if isinstance(value, (tuple, list)) else 1
        outputs = (fx.name, *(f"{fx.name}:{index}" for index in range(1, count)))
        self.nodes.append(
            Node(text=f"operator {fx.target} ({quoted(fx.name)})", kind=kind, inputs=inputs, outputs=outputs, **details)
        )

    # -- what the rules are made of ---------------------------------------------------------------------------------

    def emit(self, fx: Any, kind: Kind, *inputs: Any, **details: Any) -> None:
        """Add a node that reads the given fx nodes."""
        for source in inputs:
            if not hasattr(source, "name") or source.name in self.constants:
                raise RefusedError("one of its operands is a constant; only activations are supported there")
        self._add(fx, kind, tuple(self._name(source) for source in inputs), **details)

    def is_constant(self, value: Any) -> bool:
        """Whether an argument is a number, a parameter, or made of these."""
        return not hasattr(value, "name") or value.name in self.constants

    def constant_shape(self, value: Any) -> tuple[int, ...]:
        """The shape of a constant operand; () of a number."""
        if not hasattr(value, "name"):
            return ()
        if value.name not in self.constants:
            raise RefusedError("its weights are not constants")
        dims = _dims(value)
        if dims is None or any(extent < 1 for extent in dims):
            raise RefusedError("the shape of its weights is not known, or empty")
        return dims

    def count(self, value: Any) -> int:
        """Elements of an optional constant."""
        return 0 if value is None else _product(self.constant_shape(value))

    def label(self, fx: Any, weight: Any) -> str:
        """``layer1.0.conv1`` for weights of that name."""
        name: str = self.constants.get(weight.name, "").removesuffix(".weight")
        return name or str(fx.name)

    def _name(self, source: Any) -> str:
        return self.mutated.get(source.name, str(source.name))

    def _note_shapes(self, fx: Any) -> None:
        value = fx.meta.get("val")
        values = value if isinstance(value, (tuple, list)) else [value]
        for index, item in enumerate(values):
            shape = getattr(item, "shape", None)
            name = fx.name if index == 0 else f"{fx.name}:{index}"
            self.shapes[name] = None if shape is None else tuple(_extent(extent) for extent in shape)

    def _shape_of(self, name: str) -> tuple[int, ...] | None:
        shape = self.shapes.get(name)
        return shape[1:] if shape else None

    @staticmethod
    def _is_tensor(fx: Any) -> bool:
        value = fx.meta.get("val")
        values = value if isinstance(value, (tuple, list)) else [value]
        return value is None or any(hasattr(item, "shape") for item in values)

    @staticmethod
    def _dtype(fx: Any) -> str:
        return str(getattr(fx.meta.get("val"), "dtype", ""))


def _operator_name(fx: Any) -> str:
    """``aten.relu_`` for ``aten.relu_.default``: the overloads that matter differ in their arguments only."""
    name = str(fx.target)
    return name.rsplit(".", 1)[0] if name.count(".") == 2 else name


def _arguments(fx: Any) -> dict[str, Any]:
    """The arguments by their names in the operator's schema, defaults included."""
    schema = getattr(fx.target, "_schema", None)
    if schema is None:
        raise RefusedError("this operator is not supported")
    found = {}
    for index, argument in enumerate(schema.arguments):
        given = fx.args[index] if index < len(fx.args) else fx.kwargs.get(argument.name, argument.default_value)
        found[argument.name] = given
    return found


def _extent(extent: Any) -> int:
    """An extent that is open (a symbol) is -1."""
    return extent if isinstance(extent, int) else -1


def _dims(fx: Any) -> tuple[int, ...] | None:
    shape = getattr(fx.meta.get("val"), "shape", None)
    return None if shape is None else tuple(_extent(extent) for extent in shape)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for extent in shape:
        product *= extent
    return product


def _pair(value: Any, what: str) -> tuple[int, int]:
    """Torch writes [3, 3], [3] or 3."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    items = items * 2 if len(items) == 1 else items
    if len(items) != 2 or not all(isinstance(item, int) for item in items):
        raise RefusedError(f"its {what} is not that of 2 dimensions")
    return items[0], items[1]


# -- the rules: one per operator ------------------------------------------------------------------------------------

_Rule = Callable[[_Reader, Any, Mapping[str, Any]], None]


def _conv2d(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    shape = reader.constant_shape(a["weight"])
    if len(shape) != 4:
        raise RefusedError(f"it has {len(shape) - 2} spatial dimensions; only 2 (height and width) are supported")
    if a.get("transposed"):
        raise RefusedError("it is a transposed convolution")
    kernel, dilation = (shape[2], shape[3]), _pair(a["dilation"], "dilation")
    if a["padding"] == "same":
        # Torch gives the odd element to the bottom and right; its stride is 1 then.
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
    else:
        pad = (0, 0) if a["padding"] == "valid" else _pair(a["padding"], "padding")
        pads = (*pad, *pad)
    reader.emit(
        fx,
        Kind.CONV2D,
        a["input"],
        label=reader.label(fx, a["weight"]),
        window=Window(kernel, _pair(a["stride"], "stride"), pads, dilation),
        in_channels=shape[1] * a["groups"],
        out_channels=shape[0],
        groups=a["groups"],
        parameters=_product(shape) + reader.count(a["bias"]),
    )


def _dense(data: str, weight: str, bias: str, transposed: bool) -> _Rule:
    """linear, addmm, mm and matmul differ in the names and the order of the weights' dimensions."""

    def rule(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
        shape = reader.constant_shape(a[weight])
        if len(shape) != 2:
            raise RefusedError(f"its weights have {len(shape)} dimensions; only 2 are supported")
        features, out = (shape[1], shape[0]) if transposed else shape
        biases = reader.count(a[bias]) if bias else 0
        if biases not in (0, 1, out):
            raise RefusedError(f"its bias has {biases} values for {out} outputs")
        reader.emit(
            fx,
            Kind.DENSE,
            a[data],
            label=reader.label(fx, a[weight]),
            in_channels=features,
            out_channels=out,
            parameters=_product(shape) + biases,
        )

    return rule


def _batch_norm(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    if a.get("training"):
        raise RefusedError(_TRAINING)
    channels = reader.count(a["running_mean"])
    if not channels:
        raise RefusedError("it has no running statistics to fold")
    parameters = reader.count(a["weight"]) + reader.count(a["bias"])
    reader.emit(fx, Kind.FOLD, a["input"], in_channels=channels, parameters=parameters)


def _arithmetic(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    """Sum of two activations, or add, sub, mul, div with a constant, which is folded into the layer ahead."""
    name = _operator_name(fx).removeprefix("aten.").rstrip("_")
    first, second = a["self"], a["other"]
    if name in ("add", "mul") and reader.is_constant(first):
        first, second = second, first
    if reader.is_constant(second):
        if a.get("rounding_mode") is not None:
            raise RefusedError("it rounds")
        shape = reader.constant_shape(second)
        parameters = _product(shape) if hasattr(second, "name") else 0
        reader.emit(fx, Kind.FOLD, first, constant_shape=shape, parameters=parameters)
    elif name == "add":
        reader.emit(fx, Kind.ADD, first, second)
    else:
        raise RefusedError("this operator is not supported between two activations")


def _max_pool(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    _pool(reader, fx, a, Kind.MAX_POOL)


def _avg_pool(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    _pool(reader, fx, a, Kind.AVG_POOL)


def _pool(reader: _Reader, fx: Any, a: Mapping[str, Any], kind: Kind) -> None:
    kernel = _pair(a["kernel_size"], "kernel")
    pad = _pair(a["padding"], "padding")
    window = Window(
        kernel=kernel,
        stride=_pair(a["stride"], "stride") if a["stride"] else kernel,
        pads=(*pad, *pad),
        dilation=_pair(a.get("dilation", 1), "dilation"),
        ceil_mode=bool(a["ceil_mode"]),
    )
    reader.emit(fx, kind, a["self"], window=window)


def _adaptive(kind: Kind) -> _Rule:
    def rule(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
        reader.emit(fx, kind, a["self"], window=Adaptive(_pair(a["output_size"], "output")))

    return rule


def _mean(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    axes = a.get("dim")
    rank = len(_dims(a["self"]) or ())
    if rank != 4 or not axes or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise RefusedError("it takes the mean over other dimensions than height and width")
    if a["keepdim"]:
        reader.emit(fx, Kind.AVG_POOL, a["self"], window=Adaptive((1, 1)))
        return
    reader.emit(fx, Kind.AVG_POOL, a["self"], window=Adaptive((1, 1)))
    pooled = reader.nodes.pop()
    raw = f"{fx.name} before it is flattened"
    reader.nodes.append(Node(pooled.label, pooled.text, pooled.kind, pooled.inputs, (raw,), window=pooled.window))
    reader.nodes.append(Node(pooled.label, pooled.text, Kind.RESHAPE, (raw,), pooled.outputs, target=(-1,)))


def _relu(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    reader.emit(fx, Kind.RELU, a["self"])


def _clamp(lower: str) -> _Rule:
    """Clamps from 0 to anything above: the upper end is the upper end of the quantized range."""

    def rule(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
        if a[lower] != 0:
            raise RefusedError("it clamps from another value than 0")
        reader.emit(fx, Kind.RELU, a["self"])

    return rule


def _cat(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    rank = len(_dims(a["tensors"][0]) or ())
    if a["dim"] not in (1, 1 - rank):
        raise RefusedError(f"it concatenates along dimension {a['dim']}; only channels (1 of NCHW) are supported")
    reader.emit(fx, Kind.CONCAT, *a["tensors"])


def _reshape(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    source = a.get("self", a.get("input"))
    before, after = (node.meta.get("val") for node in (source, fx))
    if before is None or after is None or len(after.shape) < 1 or str(before.shape[0]) != str(after.shape[0]):
        raise RefusedError("it changes the batch")
    reader.emit(fx, Kind.RESHAPE, source, target=tuple(_extent(extent) for extent in after.shape[1:]))


def _pass(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    if a.get("train"):
        raise RefusedError(_TRAINING)
    reader.emit(fx, Kind.PASS, next(iter(a.values())))


def _quantize(reader: _Reader, fx: Any, a: Mapping[str, Any]) -> None:
    """PT2E quantization: an unsigned range that starts at the zero point holds nothing below zero."""
    clamps = a["zero_point"] == a["quant_min"]
    reader.emit(fx, Kind.CLAMP if clamps else Kind.PASS, a["input"])


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("aten.conv2d", "aten.convolution", "aten.conv1d", "aten.conv3d"), _conv2d),
    "aten.linear": _dense("input", "weight", "bias", transposed=True),
    "aten.addmm": _dense("mat1", "mat2", "self", transposed=False),
    "aten.mm": _dense("self", "mat2", "", transposed=False),
    "aten.matmul": _dense("self", "other", "", transposed=False),
    **dict.fromkeys(
        (
            "aten.batch_norm",
            "aten.native_batch_norm",
            "aten._native_batch_norm_legit",
            "aten._native_batch_norm_legit_no_training",
        ),
        _batch_norm,
    ),
    **{f"aten.{name}{end}": _arithmetic for name in ("add", "sub", "mul", "div") for end in ("", "_")},
    **dict.fromkeys(("aten.max_pool2d", "aten.max_pool2d_with_indices"), _max_pool),
    "aten.avg_pool2d": _avg_pool,
    **dict.fromkeys(("aten.adaptive_avg_pool2d", "aten._adaptive_avg_pool2d"), _adaptive(Kind.AVG_POOL)),
    "aten.adaptive_max_pool2d": _adaptive(Kind.MAX_POOL),
    "aten.mean": _mean,
    **dict.fromkeys(("aten.relu", "aten.relu_", "aten.relu6", "aten.relu6_"), _relu),
    **dict.fromkeys(("aten.hardtanh", "aten.hardtanh_"), _clamp("min_val")),
    **dict.fromkeys(("aten.clamp", "aten.clamp_", "aten.clamp_min", "aten.clamp_min_"), _clamp("min")),
    **dict.fromkeys(("aten.cat", "aten.concat"), _cat),
    **dict.fromkeys(
        (
            "aten.flatten",
            "aten.view",
            "aten.reshape",
            "aten._unsafe_view",
            "aten.squeeze",
            "aten.unsqueeze",
        ),
        _reshape,
    ),
    **dict.fromkeys(
        (
            "aten.dropout",
            "aten.dropout_",
            "aten.feature_dropout",
            "aten.clone",
            "aten.contiguous",
            "aten.alias",
            "aten.detach",
            "aten.detach_",
            "aten.to",
            "aten._to_copy",
            "aten.lift_fresh_copy",
            "quantized_decomposed.dequantize_per_tensor",
        ),
        _pass,
    ),
    "quantized_decomposed.quantize_per_tensor": _quantize,
}
