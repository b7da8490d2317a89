"""What each ONNX operator means to a graph: one rule per operator, from the operator to its node (or nodes)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from profiler.frontend.graph import Adaptive, Divisor, Kind, Node, Window
from profiler.frontend.onnx.model import Model, clamps
from profiler.frontend.onnx.protobuf import Constant, Operator
from profiler.frontend.refusal import RefusedError, quoted
from profiler.frontend.relu_limit import relu_limit

Rule = Callable[[Model, Operator], list[Node]]
"""Raises `RefusedError`; other errors are those of malformed attributes and inputs."""


def _node(
    model: Model, operator: Operator, kind: Kind, *inputs: str, clamped_by: str | None = None, **details: Any
) -> list[Node]:
    """The operator as one node; ``clamped_by`` names the zero point of the type that a quantized operator stores."""
    for name in inputs:
        if not name:
            raise RefusedError("an input is missing")
        if name in model.constants:
            raise RefusedError(f"its input {quoted(name)} is a constant; only activations are supported there")
    clamped = clamped_by is not None and clamps(model.constants.get(clamped_by))
    outputs = tuple(name for name in operator.outputs if name)
    details.setdefault("label", operator.label)
    return [Node(text=operator.text, kind=kind, inputs=inputs, outputs=outputs, clamped=clamped, **details)]


def _window(operator: Operator, kernel: Sequence[int]) -> Window:
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


def _convolution(x: int, w: int, bias: int, zero_point: int | None) -> Rule:
    """Conv and QLinearConv differ in where their operands stand."""

    def rule(model: Model, operator: Operator) -> list[Node]:
        shape = model.weights(operator.input(w))
        kernel = operator.get("kernel_shape", None) or shape[2:]
        window = _window(operator, kernel)
        if tuple(kernel) != shape[2:]:
            raise RefusedError(f"its kernel_shape {tuple(kernel)} contradicts its weights of shape {shape}")
        groups = operator.get("group", 1)
        if operator.get("activation", b"") or operator.get("channels_last", 0):
            raise RefusedError("it holds an activation or a layout that ONNX does not define")
        return _node(
            model,
            operator,
            Kind.CONV2D,
            operator.input(x),
            clamped_by=None if zero_point is None else operator.input(zero_point),
            label=model.label(operator, operator.input(w)),
            window=window,
            in_channels=shape[1] * groups,
            out_channels=shape[0],
            groups=groups,
            parameters=prod(shape) + model.elements(operator.input(bias)),
        )

    return rule


def _dense(x: int, w: int, bias: int, zero_point: int | None, gemm: bool) -> Rule:
    """Gemm, MatMul and their quantized forms. alpha and beta scale the weights and the bias, at no cost."""

    def rule(model: Model, operator: Operator) -> list[Node]:
        shape = model.weights(operator.input(w))
        if len(shape) != 2:
            raise RefusedError(f"its weights have {len(shape)} dimensions; only 2 are supported")
        if operator.get("transA", 0):
            raise RefusedError("it transposes its activations")
        transposed = gemm and operator.get("transB", 0)
        features, out = (shape[1], shape[0]) if transposed else shape
        biases = model.elements(operator.input(bias)) if gemm else 0
        if biases not in (0, 1, out):
            raise RefusedError(f"its bias has {biases} values for {out} outputs")
        return _node(
            model,
            operator,
            Kind.DENSE,
            operator.input(x),
            clamped_by=None if zero_point is None else operator.input(zero_point),
            label=model.label(operator, operator.input(w)),
            in_channels=features,
            out_channels=out,
            parameters=prod(shape) + biases,
        )

    return rule


def _arithmetic(model: Model, operator: Operator) -> list[Node]:
    """Add of two activations, or Add, Sub, Mul, Div with a constant, which is folded into the layer ahead."""
    first, second = operator.input(0), operator.input(1)
    if first in model.constants and operator.op in ("Add", "Mul"):
        first, second = second, first
    if second in model.constants:
        shape = model.weights(second, "constants")
        return _node(model, operator, Kind.FOLD, first, constant_shape=shape, parameters=prod(shape))
    elif operator.op == "Add":
        return _node(model, operator, Kind.ADD, first, second)
    else:
        raise RefusedError("this operator is not supported between two activations")


def _sum(model: Model, operator: Operator) -> list[Node]:
    if len(operator.inputs) != 2:
        raise RefusedError(f"it sums {len(operator.inputs)} tensors; only 2 are supported")
    return _arithmetic(model, replace(operator, op="Add"))


def _quantized_add(model: Model, operator: Operator) -> list[Node]:
    return _node(model, operator, Kind.ADD, operator.input(0), operator.input(3), clamped_by=operator.input(7))


def _batch_norm(model: Model, operator: Operator) -> list[Node]:
    if operator.get("training_mode", 0):
        raise RefusedError("it is in training mode; export the model for inference")
    scale = model.weights(operator.input(1), "scales")
    return _node(model, operator, Kind.FOLD, operator.input(0), in_channels=prod(scale), parameters=2 * prod(scale))


def _concat(model: Model, operator: Operator) -> list[Node]:
    return _concatenate(model, operator, operator.inputs, None)


def _quantized_concat(model: Model, operator: Operator) -> list[Node]:
    """QLinearConcat: output scale and zero point, then input, scale and zero point of each."""
    return _concatenate(model, operator, operator.inputs[2::3], operator.input(1))


def _concatenate(model: Model, operator: Operator, inputs: Sequence[str], zero_point: str | None) -> list[Node]:
    axis = operator.get("axis", None)
    if axis not in (1, -3) or not inputs:
        raise RefusedError(f"it concatenates along axis {axis}; only channels (axis 1 of NCHW) are supported")
    return _node(model, operator, Kind.CONCAT, *inputs, clamped_by=zero_point)


def _pool(
    kind: Kind, zero_point: int | None = None, *, whole: bool = False, counting: Divisor = Divisor.PADDED
) -> Rule:
    """``whole``: over all of the input, as the operators called Global do. ``counting``: what an average pool divides
    by where its count_include_pad is set."""

    def rule(model: Model, operator: Operator) -> list[Node]:
        if operator.get("channels_last", 0):
            raise RefusedError("it has its channels last; only NCHW is supported")
        clamped_by = None if zero_point is None else operator.input(zero_point)
        window: Adaptive | Window
        if whole:
            window = Adaptive((1, 1))
        else:
            divisor = counting if operator.get("count_include_pad", 0) else Divisor.IMAGE
            window = replace(_window(operator, operator.get("kernel_shape", ())), divisor=divisor)
        return _node(model, operator, kind, operator.input(0), clamped_by=clamped_by, window=window)

    return rule


def _reduce_mean(model: Model, operator: Operator) -> list[Node]:
    axes = model.integers(operator, "axes", 1)
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise RefusedError("it takes the mean over other dimensions than height and width")
    if operator.get("keepdims", 1):
        return _node(model, operator, Kind.AVG_POOL, operator.input(0), window=Adaptive((1, 1)))
    pooled = replace(operator, outputs=(f"{operator.outputs[0]} before it is flattened",))
    stands = {"label": operator.label, "stands_for": operator.outputs[0]}
    return [
        *_node(model, pooled, Kind.AVG_POOL, operator.input(0), window=Adaptive((1, 1)), **stands),
        *_node(model, operator, Kind.RESHAPE, pooled.outputs[0], target=(-1,)),
    ]


def _relu(model: Model, operator: Operator) -> list[Node]:
    return _node(model, operator, Kind.RELU, operator.input(0))


def _clip(model: Model, operator: Operator) -> list[Node]:
    low, high = (_clip_end(model, operator, name, index) for name, index in (("min", 1), ("max", 2)))
    return _node(model, operator, Kind.RELU, operator.input(0), limit=relu_limit(low, high))


def _clip_end(model: Model, operator: Operator, name: str, index: int) -> float | None:
    """An attribute in old opsets, an input in new ones; None where left out."""
    if name in operator.attributes or not operator.input(index):
        end: float | None = operator.get(name, None)
        return end
    constant = model.constants.get(operator.input(index))
    if constant is None or not constant.values:
        raise RefusedError(f"its {name} is not a constant")
    return constant.values[0]


def _quantize(model: Model, operator: Operator) -> list[Node]:
    from onnx import TensorProto

    zero_point = model.constants.get(operator.input(2))
    if not operator.input(2):  # then it is 0, of the type in an attribute, by default uint8
        zero_point = Constant((), (0.0,), operator.get("output_dtype", 0) or TensorProto.UINT8)
    return _node(model, operator, Kind.CLAMP if clamps(zero_point) else Kind.PASS, operator.input(0))


def _pass(model: Model, operator: Operator) -> list[Node]:
    return _node(model, operator, Kind.PASS, operator.input(0))


def _flatten(model: Model, operator: Operator) -> list[Node]:
    if operator.get("axis", 1) not in (1, -3):
        raise RefusedError("it flattens the batch too")
    return _node(model, operator, Kind.RESHAPE, operator.input(0), target=(-1,))


def _reshape(model: Model, operator: Operator) -> list[Node]:
    constant = model.constants.get(operator.input(1))
    target: tuple[int, ...] = ()
    if constant is not None and constant.values:
        batch, *rest = (int(value) for value in constant.values)
        if not model.keeps_batch(batch) or rest == [0]:
            raise RefusedError("it changes the batch")
        # 0 copies the extent of the input, which a common part of the two shapes does anyway.
        target = tuple(-1 if extent == 0 else extent for extent in rest)
    else:
        shape = model.shape_of(operator.outputs[0])
        if shape is not None and len(shape) in (1, 3):
            target = shape
    return _node(model, operator, Kind.RESHAPE, operator.input(0), target=target)


def _transpose(model: Model, operator: Operator) -> list[Node]:
    order = operator.get("perm", None)
    if operator.input(0) not in model.channels_last and (order is None or list(order) != sorted(order)):
        raise RefusedError("it reorders the dimensions of an activation")
    return _node(model, operator, Kind.PASS, operator.input(0))


def _squeeze(model: Model, operator: Operator) -> list[Node]:
    axes = model.integers(operator, "axes", 1)
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise RefusedError("it removes other dimensions than height and width")
    return _node(model, operator, Kind.RESHAPE, operator.input(0), target=(-1,))


def _unsqueeze(model: Model, operator: Operator) -> list[Node]:
    axes = model.integers(operator, "axes", 1)
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise RefusedError("it adds other dimensions than height and width")
    return _node(model, operator, Kind.RESHAPE, operator.input(0), target=(-1, 1, 1))


RULES: Mapping[str, Rule] = {
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
    # ONNX Runtime, whose operator it is, then divides by the size of the kernel, also where ceil_mode lets a window
    # reach beyond the padding; its AveragePool does not, nor does ONNX's.
    "QLinearAveragePool": _pool(Kind.AVG_POOL, 4, counting=Divisor.KERNEL),
    "GlobalMaxPool": _pool(Kind.MAX_POOL, whole=True),
    "GlobalAveragePool": _pool(Kind.AVG_POOL, whole=True),
    "QLinearGlobalAveragePool": _pool(Kind.AVG_POOL, 4, whole=True),
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
