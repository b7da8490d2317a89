"""The numbers of a model's constants: initializers, inside the file or beside it, and what is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.frontend.onnx.protobuf import Operator, decoded, operator_of
from profiler.frontend.refusal import RefusedError, first_line, quoted

Array = npt.NDArray[Any]

_LONGEST_CHAIN = 100
"""Operators between an initializer and its reader; more than that is a cycle."""


class Values:
    """Of one ``onnx.ModelProto``; ``folder`` is where its external data lies. Raises `RefusedError`."""

    def __init__(self, proto: Any, folder: Path) -> None:
        self._folder = folder
        self._tensors = {decoded(tensor.name): tensor for tensor in proto.graph.initializer}
        self._sparse = {decoded(tensor.values.name) for tensor in proto.graph.sparse_initializer}
        self._makers = {decoded(name): node for node in proto.graph.node for name in node.output[:1]}

    def doubles(self, name: str) -> npt.NDArray[np.float64]:
        """The constant in float64."""
        array = self.array(name)
        if array.dtype.kind not in "fiub" and not _is_small_float_or_integer(array.dtype):
            raise RefusedError(f"its constant {quoted(name)} is of type {array.dtype}, which is no real number")
        with np.errstate(invalid="ignore"):  # of a NaN that signals: whoever folds looks for NaNs
            return array.astype(np.float64)

    def array(self, name: str) -> Array:
        """The constant in its own type; what a DequantizeLinear makes is float64."""
        return self._array(name, 0)

    def _array(self, name: str, depth: int) -> Array:
        if name in self._tensors:
            return self.of_tensor(self._tensors[name], name)
        if name in self._sparse:
            raise RefusedError(f"its constant {quoted(name)} is a sparse tensor, which is not supported")
        if name not in self._makers or depth > _LONGEST_CHAIN:
            raise RefusedError(f"its constant {quoted(name)} is not in the file")
        operator = operator_of(self._makers[name])
        if operator.op not in _COMPUTED:
            raise RefusedError(
                f"its constant {quoted(name)} is computed by {operator.text}, whose result is not known without running"
                " the model; fold the model's constants first, e.g. with onnxsim"
            )
        inputs = [self._array(source, depth + 1) if source else None for source in operator.inputs]
        try:
            return _COMPUTED[operator.op](self, operator, inputs)
        except (TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
            raise RefusedError(f"{operator.text} cannot be computed ({first_line(error)})") from None

    def of_tensor(self, tensor: Any, name: str) -> Array:
        """Of a ``TensorProto``, which messages call by that name."""
        import onnx

        what = f"its constant {quoted(name)}"
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            local = onnx.TensorProto()
            local.CopyFrom(tensor)
            try:
                onnx.external_data_helper.load_external_data_for_tensor(local, str(self._folder))
            except Exception as error:  # onnx checks paths and sizes with errors of several kinds
                file = quoted(entries.get("location", ""))
                raise RefusedError(
                    f"{what} lies in the file {file} beside the model, which cannot be read ({first_line(error)})"
                ) from None
            tensor = local
        try:
            return np.asarray(onnx.numpy_helper.to_array(tensor))
        except Exception as error:  # of damaged tensors, from NumPy or onnx
            raise RefusedError(f"{what} is damaged ({first_line(error)})") from None


def dequantized(values: Array, scale: Array, zero_point: Array | None, axis: int) -> npt.NDArray[np.float64]:
    """``(values - zero_point) * scale`` in float64, per tensor, or per slice of the axis."""
    shifted = values.astype(np.float64)
    if zero_point is not None:
        shifted = shifted - _along(zero_point, values, axis).astype(np.float64)
    return shifted * _along(scale, values, axis).astype(np.float64)


def _along(factor: Array, values: Array, axis: int) -> Array:
    """One scale or zero point, or one per slice of the axis, in a shape that broadcasts."""
    if factor.size == 1:
        return factor.reshape(())
    if factor.ndim != 1 or factor.size != values.shape[axis]:
        raise RefusedError(f"it has scales or zero points of shape {factor.shape} for weights of shape {values.shape}")
    shape = [1] * values.ndim
    shape[axis] = factor.size
    return factor.reshape(shape)


def _given(inputs: list[Array | None], index: int) -> Array:
    found = inputs[index]
    if found is None:
        raise ValueError("an input is missing")
    return found


def _constant(values: Values, operator: Operator, inputs: list[Array | None]) -> Array:
    for key, held in operator.attributes.items():
        if key == "value":
            return values.of_tensor(held, operator.outputs[0])
        if key in ("value_float", "value_floats"):
            return np.asarray(held, np.float32)
        if key in ("value_int", "value_ints"):
            return np.asarray(held, np.int64)
    raise ValueError("it holds no number")


def _cast(values: Values, operator: Operator, inputs: list[Array | None]) -> Array:
    import onnx

    kind: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(operator.attributes["to"])
    cast: Array = _given(inputs, 0).astype(kind)
    return cast


def _transpose(values: Values, operator: Operator, inputs: list[Array | None]) -> Array:
    return _given(inputs, 0).transpose(operator.get("perm", None))


def _identity(values: Values, operator: Operator, inputs: list[Array | None]) -> Array:
    return _given(inputs, 0)


def _reshape(values: Values, operator: Operator, inputs: list[Array | None]) -> Array:
    source = _given(inputs, 0)
    target = [int(extent) for extent in _given(inputs, 1)]
    if not operator.get("allowzero", 0):
        target = [source.shape[index] if extent == 0 else extent for index, extent in enumerate(target)]
    return source.reshape(target)


def _quantize(values: Values, operator: Operator, inputs: list[Array | None]) -> Array:
    """To integers: float weights that the model quantizes itself. Rounds half to even, and clips, as ONNX has it."""
    import onnx

    source, scale = _given(inputs, 0), _given(inputs, 1)
    zero_point = inputs[2] if len(inputs) > 2 else None
    if operator.get("block_size", 0):
        raise RefusedError("it quantizes its weights in blocks, which is not supported")
    if zero_point is None:
        kind = onnx.helper.tensor_dtype_to_np_dtype(operator.get("output_dtype", 0) or onnx.TensorProto.UINT8)
        zero_point = np.zeros((), kind)
    axis = operator.get("axis", 1)
    # ONNX divides in the type of the scale, usually float32.
    rounded = np.rint(source.astype(scale.dtype) / _along(scale, source, axis)).astype(np.float64)
    low, high = _range_of(zero_point.dtype)
    shifted = rounded + _along(zero_point, source, axis).astype(np.float64)
    quantized: Array = np.clip(shifted, low, high).astype(zero_point.dtype)
    return quantized


def _dequantize(values: Values, operator: Operator, inputs: list[Array | None]) -> Array:
    source, scale = _given(inputs, 0), _given(inputs, 1)
    zero_point = inputs[2] if len(inputs) > 2 else None
    axis, block = operator.get("axis", 1), operator.get("block_size", 0)
    if block and scale.ndim == source.ndim:
        taken = np.arange(source.shape[axis]) // block
        factors = np.take(scale, taken, axis).astype(np.float64)
        offsets = 0.0 if zero_point is None else np.take(zero_point, taken, axis).astype(np.float64)
        blocks: Array = (source.astype(np.float64) - offsets) * factors
        return blocks
    return dequantized(source, scale, zero_point, axis)


def _range_of(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Of an integer type, NumPy's own or one of onnx's 2- and 4-bit ones."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    bits = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2}[dtype.name]
    return (0, 2**bits - 1) if dtype.name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _is_small_float_or_integer(dtype: np.dtype[Any]) -> bool:
    """One of ml_dtypes' types, which NumPy knows as opaque."""
    return dtype.name.startswith(("int", "uint", "float", "bfloat"))


_COMPUTED: Mapping[str, Callable[[Values, Operator, list[Array | None]], Array]] = {
    "Constant": _constant,
    "Identity": _identity,
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
}
