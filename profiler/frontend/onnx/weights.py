"""What an ONNX file says of a layer with weights: one rule per operator, from the operator to numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from profiler.frontend.graph import Node
from profiler.frontend.layer_values import Affine, Doubles, LayerValues, normalization, row
from profiler.frontend.lowering import Lowered, Origin, lower
from profiler.frontend.onnx.file import read
from profiler.frontend.onnx.model import Model
from profiler.frontend.onnx.protobuf import Operator
from profiler.frontend.onnx.reader import graph_of
from profiler.frontend.onnx.values import Values, dequantized
from profiler.frontend.refusal import RefusedError


def opened(
    path: Path, batch: int, *, skip_unsupported: bool = False
) -> tuple[Lowered, Callable[[Origin], LayerValues]]:
    """The network in an ONNX file, and what the file says of a layer; the latter raises `RefusedError`."""
    proto = read(path)
    model = Model(proto)
    lowered = lower(graph_of(model, path.stem, str(path)), batch, skip_unsupported=skip_unsupported)
    values = Values(proto, path.parent)
    makers = {name: operator for operator in model.operators for name in operator.outputs if name}

    def values_of(origin: Origin) -> LayerValues:
        operator = makers[origin.node.outputs[0]]
        try:
            weight, bias = _LAYERS[operator.op](values, operator)
            folds = tuple(_affine(values, makers[fold.outputs[0]], fold) for fold in origin.folds)
        except (TypeError, ValueError, IndexError, AttributeError, KeyError):
            raise RefusedError("the attributes or inputs of its operators are malformed") from None
        return LayerValues(weight, bias, folds)

    return lowered, values_of


def _conv(values: Values, operator: Operator) -> tuple[Doubles, Doubles | None]:
    return values.doubles(operator.input(1)), _optional(values, operator.input(2))


def _gemm(values: Values, operator: Operator) -> tuple[Doubles, Doubles | None]:
    weight = values.doubles(operator.input(1))
    weight = weight if operator.get("transB", 0) else weight.T
    bias = _optional(values, operator.input(2))
    if bias is not None:
        bias = _bias_row(bias) * operator.get("beta", 1.0)
    return weight * operator.get("alpha", 1.0), bias


def _matmul(values: Values, operator: Operator) -> tuple[Doubles, Doubles | None]:
    return values.doubles(operator.input(1)).T, None


def _quantized_conv(values: Values, operator: Operator) -> tuple[Doubles, Doubles | None]:
    """Weights of scale ``w_scale``; a bias in int32 of scale ``x_scale * w_scale``."""
    scale = values.array(operator.input(4))
    weight = dequantized(values.array(operator.input(3)), scale, values.array(operator.input(5)), 0)
    return weight, _quantized_bias(values, operator.input(8), operator.input(1), scale)


def _quantized_gemm(values: Values, operator: Operator) -> tuple[Doubles, Doubles | None]:
    scale = values.array(operator.input(4))
    axis = 0 if operator.get("transB", 0) else 1
    weight = dequantized(values.array(operator.input(3)), scale, values.array(operator.input(5)), axis)
    weight = weight if axis == 0 else weight.T
    alpha = operator.get("alpha", 1.0)
    bias = _quantized_bias(values, operator.input(6), operator.input(1), scale)
    return weight * alpha, None if bias is None else bias * alpha


def _quantized_matmul(values: Values, operator: Operator) -> tuple[Doubles, Doubles | None]:
    scale = values.array(operator.input(4)).reshape(-1)
    zero_point = values.array(operator.input(5)).reshape(-1)
    return dequantized(values.array(operator.input(3)), scale, zero_point, 1).T, None


def _quantized_bias(values: Values, name: str, input_scale: str, weight_scale: Doubles) -> Doubles | None:
    if not name:
        return None
    return _bias_row(values.doubles(name)) * row(values.doubles(input_scale)) * row(weight_scale.astype(np.float64))


def _optional(values: Values, name: str) -> Doubles | None:
    return values.doubles(name) if name else None


def _bias_row(bias: Doubles) -> Doubles:
    if bias.size > 1 and bias.shape[-1] != bias.size:
        raise RefusedError(f"its bias of shape {bias.shape} is not one value per output")
    return row(bias)


def _affine(values: Values, operator: Operator, fold: Node) -> Affine:
    if operator.op == "BatchNormalization":
        gain, shift, mean, variance = (values.doubles(operator.input(index)) for index in range(1, 5))
        return normalization(mean, variance, operator.get("epsilon", 1e-5), gain, shift)
    constant_first = operator.input(0) not in fold.inputs
    constant = row(values.doubles(operator.input(0 if constant_first else 1)))
    one, zero = np.ones(()), np.zeros(())
    with np.errstate(divide="ignore"):
        return {
            "Add": Affine(one, constant),
            "Sum": Affine(one, constant),
            "Sub": Affine(one, -constant),
            "Mul": Affine(constant, zero),
            "Div": Affine(1 / constant, zero),
        }[operator.op]


_LAYERS: Mapping[str, Callable[[Values, Operator], tuple[Doubles, Doubles | None]]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "QLinearConv": _quantized_conv,
    "QGemm": _quantized_gemm,
    "QLinearMatMul": _quantized_matmul,
}
