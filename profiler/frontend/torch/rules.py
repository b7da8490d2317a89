"""What each ATen operator means to a graph: one rule per operator, from the torch.fx node to a node (or two).

A rule takes the arguments by their names in the operator's schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

from profiler.frontend.graph import Adaptive, Divisor, Kind, Node, Window
from profiler.frontend.refusal import RefusedError
from profiler.frontend.relu_limit import relu_limit
from profiler.frontend.torch.fx import dims_of, extent_of, operator_name
from profiler.frontend.torch.values import Values

Rule = Callable[[Values, Any, Mapping[str, Any]], list[Node]]
"""Raises `RefusedError`."""

_TRAINING = "the program was exported in training mode; call eval() on the model before torch.export.export"


def _node(values: Values, fx: Any, kind: Kind, *inputs: Any, **details: Any) -> list[Node]:
    """The torch.fx node as one node that reads the given ones."""
    for source in inputs:
        if not hasattr(source, "name") or source.name in values.constants:
            raise RefusedError("one of its operands is a constant; only activations are supported there")
    return [values.node(fx, kind, tuple(values.name(source) for source in inputs), **details)]


def _pair(value: Any, what: str) -> tuple[int, int]:
    """Torch writes [3, 3], [3] or 3."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    items = items * 2 if len(items) == 1 else items
    if len(items) != 2 or not all(isinstance(item, int) for item in items):
        raise RefusedError(f"its {what} is not that of 2 dimensions")
    return items[0], items[1]


def _conv2d(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    shape = values.constant_shape(a["weight"])
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
    return _node(
        values,
        fx,
        Kind.CONV2D,
        a["input"],
        label=values.label(fx, a["weight"]),
        window=Window(kernel, _pair(a["stride"], "stride"), pads, dilation),
        in_channels=shape[1] * a["groups"],
        out_channels=shape[0],
        groups=a["groups"],
        parameters=prod(shape) + values.count(a["bias"]),
    )


def _dense(data: str, weight: str, bias: str, transposed: bool) -> Rule:
    """linear, addmm, mm and matmul differ in the names and the order of the weights' dimensions."""

    def rule(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
        shape = values.constant_shape(a[weight])
        if len(shape) != 2:
            raise RefusedError(f"its weights have {len(shape)} dimensions; only 2 are supported")
        features, out = (shape[1], shape[0]) if transposed else shape
        biases = values.count(a[bias]) if bias else 0
        if biases not in (0, 1, out):
            raise RefusedError(f"its bias has {biases} values for {out} outputs")
        return _node(
            values,
            fx,
            Kind.DENSE,
            a[data],
            label=values.label(fx, a[weight]),
            in_channels=features,
            out_channels=out,
            parameters=prod(shape) + biases,
        )

    return rule


def _batch_norm(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    if a.get("training"):
        raise RefusedError(_TRAINING)
    channels = values.count(a["running_mean"])
    if not channels:
        raise RefusedError("it has no running statistics to fold")
    parameters = values.count(a["weight"]) + values.count(a["bias"])
    return _node(values, fx, Kind.FOLD, a["input"], in_channels=channels, parameters=parameters)


def _arithmetic(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    """Sum of two activations, or add, sub, mul, div with a constant, which is folded into the layer ahead."""
    name = operator_name(fx).removeprefix("aten.").rstrip("_")
    first, second = a["self"], a["other"]
    if name in ("add", "mul") and values.is_constant(first):
        first, second = second, first
    if values.is_constant(second):
        if a.get("rounding_mode") is not None:
            raise RefusedError("it rounds")
        shape = values.constant_shape(second)
        parameters = prod(shape) if hasattr(second, "name") else 0
        return _node(values, fx, Kind.FOLD, first, constant_shape=shape, parameters=parameters)
    elif name == "add":
        return _node(values, fx, Kind.ADD, first, second)
    else:
        raise RefusedError("this operator is not supported between two activations")


def _max_pool(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    return _node(values, fx, Kind.MAX_POOL, a["self"], window=_window(a))


def _avg_pool(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    window, override = _window(a), a["divisor_override"]
    size = prod(window.kernel)
    if override is None:
        divisor = Divisor.PADDED if a["count_include_pad"] else Divisor.IMAGE
    elif override == size:
        divisor = Divisor.KERNEL
    else:
        raise RefusedError(
            f"its divisor_override is {override}; only none, or the {size} elements of its kernel, is supported"
        )
    return _node(values, fx, Kind.AVG_POOL, a["self"], window=replace(window, divisor=divisor))


def _window(a: Mapping[str, Any]) -> Window:
    """Of a pool."""
    kernel = _pair(a["kernel_size"], "kernel")
    pad = _pair(a["padding"], "padding")
    return Window(
        kernel=kernel,
        stride=_pair(a["stride"], "stride") if a["stride"] else kernel,
        pads=(*pad, *pad),
        dilation=_pair(a.get("dilation", 1), "dilation"),
        ceil_mode=bool(a["ceil_mode"]),
    )


def _adaptive(kind: Kind) -> Rule:
    def rule(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
        return _node(values, fx, kind, a["self"], window=Adaptive(_pair(a["output_size"], "output")))

    return rule


def _mean(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    axes = a.get("dim")
    rank = len(dims_of(a["self"]) or ())
    if rank != 4 or not axes or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise RefusedError("it takes the mean over other dimensions than height and width")
    pooled = _node(values, fx, Kind.AVG_POOL, a["self"], window=Adaptive((1, 1)))
    if a["keepdim"]:
        return pooled
    raw = f"{fx.name} before it is flattened"
    return [replace(pooled[0], outputs=(raw,), stands_for=fx.name), values.node(fx, Kind.RESHAPE, (raw,), target=(-1,))]


def _relu(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    return _node(values, fx, Kind.RELU, a["self"])


def _relu6(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    return _node(values, fx, Kind.RELU, a["self"], limit=6.0)


def _clamp(lower: str, upper: str) -> Rule:
    """The names of its ends; `clamp_min` has no upper one."""

    def rule(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
        ends = a[lower], a.get(upper)
        if any(hasattr(end, "name") for end in ends):
            raise RefusedError("it clips to what a tensor holds; only numbers are supported")
        return _node(values, fx, Kind.RELU, a["self"], limit=relu_limit(*ends))

    return rule


def _cat(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    rank = len(dims_of(a["tensors"][0]) or ())
    if a["dim"] not in (1, 1 - rank):
        raise RefusedError(f"it concatenates along dimension {a['dim']}; only channels (1 of NCHW) are supported")
    return _node(values, fx, Kind.CONCAT, *a["tensors"])


def _reshape(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    source = a.get("self", a.get("input"))
    before, after = (node.meta.get("val") for node in (source, fx))
    if before is None or after is None or len(after.shape) < 1 or str(before.shape[0]) != str(after.shape[0]):
        raise RefusedError("it changes the batch")
    return _node(values, fx, Kind.RESHAPE, source, target=tuple(extent_of(extent) for extent in after.shape[1:]))


def _pass(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    if a.get("train"):
        raise RefusedError(_TRAINING)
    return _node(values, fx, Kind.PASS, next(iter(a.values())))


def _quantize(values: Values, fx: Any, a: Mapping[str, Any]) -> list[Node]:
    """PT2E quantization: an unsigned range that starts at the zero point holds nothing below zero."""
    clamps = a["zero_point"] == a["quant_min"]
    return _node(values, fx, Kind.CLAMP if clamps else Kind.PASS, a["input"])


RULES: Mapping[str, Rule] = {
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
    **dict.fromkeys(("aten.relu", "aten.relu_"), _relu),
    **dict.fromkeys(("aten.relu6", "aten.relu6_"), _relu6),
    **dict.fromkeys(("aten.hardtanh", "aten.hardtanh_"), _clamp("min_val", "max_val")),
    **dict.fromkeys(("aten.clamp", "aten.clamp_", "aten.clamp_min", "aten.clamp_min_"), _clamp("min", "max")),
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
