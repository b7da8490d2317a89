"""The exact output of every kernel, in integers, for given logical arguments.

Accumulators are int32; a sum that does not fit raises `OverflowError` rather than wrap. Two accumulators stand behind
a convolution: a plain one in int64, and one through float64 BLAS, which is exact because all of its partial sums are
integers below 2**53, whatever their order. Large workloads take the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.dyadic import requantize
from profiler.quantize.operands import operands
from profiler.quantize.stored import numpy_dtype
from profiler.quantize.whole_bytes import cleared_behind
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

Array = npt.NDArray[Any]

_CHUNK_BYTES = 128 << 20
"""Memory that the unfolded input of one step may take."""
_PLAIN_MACS = 1 << 18
"""Up to here the plain accumulator is as fast."""
_INT32 = np.iinfo(np.int32)


def reference(spec: KernelSpec, arguments: Mapping[str, Array]) -> Array:
    """The logical output [N, OH, OW, O], in the NumPy type of the output (narrower values in 8 bits).

    arguments : by the names of `operands.operands`; ``output`` is read only by `concat`. Raises `ValueError` for an
    argument that is missing, of another shape or out of its type's range, `OverflowError` where int32 is too narrow,
    `InvalidWorkload` for what has no integer kernel.
    """
    checked = _checked(spec, arguments)
    op = spec.workload.op
    if op.has_weights:
        values = _weighted(spec, checked)
    elif op is Op.ADD:
        values = _rescaled(checked, "input")
        values += requantize(checked["input2"], checked["multiplier2"], checked["shift2"])
    elif op is Op.MAX_POOL:
        return _max_pool(spec.workload, checked["input"], spec.input_dtype)
    elif op is Op.AVG_POOL:
        sums = _window_sums(spec.workload, checked["input"])
        values = requantize(sums, checked["multiplier"][:, :, None], checked["shift"][:, :, None])
    else:
        values = _rescaled(checked, "input")
    stored = _clamped(spec, values)
    if op is not Op.CONCAT:
        return stored
    output = checked["output"].astype(stored.dtype)
    filled, channels = spec.workload.in_channels, spec.workload.out_channels
    output[..., :filled] = stored
    output[..., filled : filled + cleared_behind(filled, channels, spec.output_dtype)] = 0
    return output


def accumulate_plain(workload: Workload, x: Array, weight: Array) -> Array:
    """Accumulators of a convolution or dense layer in int64 arithmetic, tap by tap.

    x : integers [N, H, W, C]; weight : integers [O, KH, KW, C / groups]; returns int32 [N, OH, OW, O].
    """
    groups = workload.groups
    windows = _windows(workload, _padded(workload, x, 0))
    taps = weight.reshape(groups, -1, *weight.shape[1:]).astype(np.int64)
    n, height, width, out = workload.output_shape
    sums = np.zeros((groups, n * height * width, out // groups), np.int64)
    for i in range(workload.kernel_h):
        for j in range(workload.kernel_w):
            pixels = windows[..., i, j].reshape(n * height * width, groups, -1).transpose(1, 0, 2)
            sums += pixels.astype(np.int64) @ taps[:, :, i, j].transpose(0, 2, 1)
    return _int32(sums.transpose(1, 0, 2).reshape(workload.output_shape), "accumulator")


def accumulate_blas(workload: Workload, x: Array, weight: Array) -> Array:
    """`accumulate_plain` through float64 matrix products, in steps of bounded memory.

    Raises `OverflowError` where the types of the operands (8 or 16 bits) do not bound the sums below 2**53.
    """
    bound = workload.reduction * _magnitude(x.dtype) * _magnitude(weight.dtype)
    if bound >= 1 << 53:
        raise OverflowError(f"{workload.text}: sums up to {bound} are not exact in float64")
    groups = workload.groups
    n, height, width, out = workload.output_shape
    windows = _windows(workload, _padded(workload, x, 0))
    windows = windows.reshape(n, height, width, groups, -1, workload.kernel_h, workload.kernel_w)
    windows = windows.transpose(3, 0, 1, 2, 5, 6, 4)  # group, n, oh, ow, kh, kw, channel
    matrix = weight.reshape(groups, out // groups, -1).transpose(0, 2, 1).astype(np.float64)
    sums = np.empty((n, height, width, out), np.int32)
    row_bytes = 8 * width * (workload.reduction * groups + 2 * out)
    rows = max(1, min(height, _CHUNK_BYTES // row_bytes))
    images = max(1, _CHUNK_BYTES // (row_bytes * height))
    for image in range(0, n, images):
        for row in range(0, height, rows):
            part = windows[:, image : image + images, row : row + rows]
            unfolded = part.astype(np.float64, order="C").reshape(groups, -1, workload.reduction)
            product = (unfolded @ matrix).transpose(1, 0, 2).reshape(*part.shape[1:4], out)
            sums[image : image + images, row : row + rows] = _int32(product, "accumulator")
    return sums


def _accumulate(workload: Workload, x: Array, weight: Array) -> Array:
    chosen: Callable[[Workload, Array, Array], Array]
    chosen = accumulate_plain if workload.macs <= _PLAIN_MACS else accumulate_blas
    return chosen(workload, x, weight)


def _weighted(spec: KernelSpec, arguments: Mapping[str, Array]) -> Array:
    sums = _accumulate(spec.workload, arguments["input"], arguments["weight"])
    if spec.epilogue is Epilogue.NONE:
        return sums
    biased = _int32(sums.astype(np.int64) + arguments["bias"], "accumulator with bias")
    if spec.epilogue is Epilogue.BIAS:
        return biased
    values = requantize(biased, arguments["multiplier"], arguments["shift"])
    if spec.epilogue.adds:
        values += _rescaled(arguments, "residual", "residual_")
    return values


def _rescaled(arguments: Mapping[str, Array], name: str, prefix: str = "") -> Array:
    return requantize(arguments[name], arguments[f"{prefix}multiplier"], arguments[f"{prefix}shift"])


def _clamped(spec: KernelSpec, values: Array) -> Array:
    dtype = spec.output_dtype
    low = max(dtype.low, 0) if spec.epilogue.relu else dtype.low
    return np.clip(values, low, dtype.high).astype(numpy_dtype(dtype))


def _max_pool(workload: Workload, x: Array, dtype: DType) -> Array:
    """Padding has the lowest value of the type, so it never wins; a window of nothing but padding yields that value."""
    windows = _windows(workload, _padded(workload, x, dtype.low))
    result = windows[..., 0, 0].copy()
    for i in range(workload.kernel_h):
        for j in range(workload.kernel_w):
            np.maximum(result, windows[..., i, j], out=result)
    return result


def _window_sums(workload: Workload, x: Array) -> Array:
    windows = _windows(workload, _padded(workload, x, 0))
    sums = np.zeros(workload.output_shape, np.int64)
    for i in range(workload.kernel_h):
        for j in range(workload.kernel_w):
            sums += windows[..., i, j]
    return _int32(sums, "sum of a window")


def _padded(workload: Workload, x: Array, value: int) -> Array:
    if not workload.has_padding:
        return x
    margins = ((workload.pad_top, workload.pad_bottom), (workload.pad_left, workload.pad_right))
    return np.pad(x, ((0, 0), *margins, (0, 0)), constant_values=value)


def _windows(workload: Workload, padded: Array) -> Array:
    """A view [N, OH, OW, C, KH, KW] of the padded input."""
    extents = (
        workload.dilation_h * (workload.kernel_h - 1) + 1,
        workload.dilation_w * (workload.kernel_w - 1) + 1,
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=(1, 2))
    strided: Array = windows[
        :, :: workload.stride_h, :: workload.stride_w, :, :: workload.dilation_h, :: workload.dilation_w
    ]
    return strided


def _int32(values: Array, what: str) -> Array:
    if values.size and (values.min() < _INT32.min or values.max() > _INT32.max):
        raise OverflowError(f"{what}: values from {values.min()} to {values.max()} do not fit int32")
    return values.astype(np.int32)


def _magnitude(dtype: np.dtype[Any]) -> int:
    limits = np.iinfo(dtype)
    return max(-int(limits.min), int(limits.max))


def _checked(spec: KernelSpec, arguments: Mapping[str, Array]) -> dict[str, Array]:
    """The arguments in the NumPy type of their logical type; shapes and ranges are as `operands` says."""
    checked: dict[str, Array] = {}
    for operand in operands(spec):
        if operand.name == "output" and spec.workload.op is not Op.CONCAT:
            continue
        if operand.name not in arguments:
            raise ValueError(f"{spec.key}: argument '{operand.name}' is missing")
        values = np.asarray(arguments[operand.name])
        if values.shape != operand.shape or values.dtype.kind not in "iu":
            raise ValueError(
                f"{spec.key}: argument '{operand.name}' must be integers of shape {operand.shape}, "
                f"not {values.dtype} of shape {values.shape}"
            )
        if values.min() < operand.dtype.low or values.max() > operand.dtype.high:
            raise ValueError(f"{spec.key}: argument '{operand.name}' is out of the range of {operand.dtype.value}")
        if operand.dtype.step > 1 and ((values - operand.dtype.low) % operand.dtype.step).any():
            raise ValueError(f"{spec.key}: argument '{operand.name}' has values between those of {operand.dtype.value}")
        checked[operand.name] = values.astype(numpy_dtype(operand.dtype), copy=False)
    return checked
