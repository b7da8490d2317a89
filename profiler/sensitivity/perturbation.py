"""The squared perturbation ||Q(W) - W||^2 of a layer's weights: a sensitivity that needs no data.

Q quantizes each output channel symmetrically: Q(w) = s clip(round(w / s), -T, T) with T = 2**(bits - 1) - 1, so there
are 2**bits - 1 levels. Halves are rounded to even, as HAWQ does (torch.round). The scale s of a channel is the largest
magnitude over T (max-abs), or the one of least squared error (MSE).

One bit has the levels -s and s: the sign of a weight (of zero: +) times the mean magnitude of its channel, which has
the least squared error (XNOR-Net, arXiv 1603.05279). Either way to choose a scale gives that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import ProfilerError
from profiler.sensitivity.clipping import Reals, optimal_scales, squared_errors
from profiler.sensitivity.table import LayerSensitivity, Sensitivity
from profiler.workload import Precision

LEAST_BITS, MOST_BITS = 1, 8


class Clipping(str, Enum):
    """How the scale of a channel is chosen."""

    MAX_ABS = "max-abs"
    MSE = "mse"

    @property
    def text(self) -> str:
        return "max-abs" if self is Clipping.MAX_ABS else "MSE-optimal clipping"


def top_level(bits: int) -> int:
    """T, the largest integer of a symmetric quantizer; of one bit 1. Raises `ProfilerError` outside of 1 to 8 bits."""
    if not LEAST_BITS <= bits <= MOST_BITS:
        raise ProfilerError(f"weights of {bits} bits: symmetric quantization takes {LEAST_BITS} to {MOST_BITS}")
    return 1 if bits == 1 else int((1 << (bits - 1)) - 1)


def channel_scales(weight: npt.ArrayLike, bits: int, clipping: Clipping) -> Reals:
    """The scale of each output channel.

    weight : array of shape (out_channels, ...), finite. Returns an ndarray of shape (out_channels,); zero for a channel
    of zeros. Raises `ProfilerError` for other weights, and for bits outside of 1 to 8.
    """
    return _scales_and_errors(_rows(weight), bits, clipping)[0]


def quantized(weight: npt.ArrayLike, scales: npt.ArrayLike, bits: int) -> npt.NDArray[np.int8]:
    """The integers of the weights, of the same shape, halves rounded to even; ``scales`` as of `channel_scales`."""
    rows, divisor = _rows(weight), np.asarray(scales, dtype=np.float64)
    if bits == 1:
        return np.where(rows >= 0, 1, -1).astype(np.int8).reshape(np.shape(weight))
    top = top_level(bits)
    levels = np.rint(rows / np.where(divisor > 0, divisor, 1.0)[:, None])
    levels = np.where(divisor[:, None] > 0, np.clip(levels, -top, top), 0.0)
    return levels.astype(np.int8).reshape(np.shape(weight))


def squared_perturbation(weight: npt.ArrayLike, bits: int, clipping: Clipping) -> float:
    """||Q(W) - W||^2, summed over all weights; arguments and errors as of `channel_scales`."""
    return float(_scales_and_errors(_rows(weight), bits, clipping)[1].sum())


def perturbation_sensitivity(
    weights: Mapping[str, npt.ArrayLike], precisions: Sequence[Precision], clipping: Clipping
) -> Sensitivity:
    """A table whose costs are squared perturbations.

    weights : by name of the layer, arrays of shape (out_channels, ...). Raises `ProfilerError` naming the layer.
    """
    layers = []
    for name, weight in weights.items():
        cost = layer_perturbations(name, weight, precisions, clipping)
        layers.append(LayerSensitivity(name, cost, cost, parameters=int(np.size(weight))))
    return Sensitivity(f"squared weight perturbation, {clipping.text}", tuple(layers))


def layer_perturbations(
    name: str, weight: npt.ArrayLike, precisions: Sequence[Precision], clipping: Clipping
) -> dict[str, float]:
    """`squared_perturbation` by name of the precision; raises `ProfilerError` naming the layer."""
    try:
        rows = _rows(weight)
        return {p.name: float(_scales_and_errors(rows, p.weight_bits, clipping)[1].sum()) for p in precisions}
    except ProfilerError as error:
        raise ProfilerError(f"layer '{name}': {error}") from None


def _rows(weight: npt.ArrayLike) -> Reals:
    """As float64 of shape (out_channels, weights of a channel)."""
    array: npt.NDArray[Any] = np.asarray(weight)
    if array.dtype.kind not in "fiu" or array.ndim < 1 or array.size == 0:
        raise ProfilerError(f"weights must be real numbers by output channel, not {array.dtype} of shape {array.shape}")
    rows: Reals = array.astype(np.float64).reshape(len(array), -1)
    if not np.isfinite(rows).all():
        raise ProfilerError("weights must be finite; there are infinite ones, or NaN")
    return rows


def _scales_and_errors(rows: Reals, bits: int, clipping: Clipping) -> tuple[Reals, Reals]:
    """Per channel, in units of the largest magnitude while they are sought, so that no square overflows."""
    top = top_level(bits)
    magnitudes = np.abs(rows)
    largest = magnitudes.max(axis=1)
    magnitudes /= np.where(largest > 0, largest, 1.0)[:, None]
    if bits == 1:
        scales = magnitudes.mean(axis=1)
        with np.errstate(over="ignore"):
            return scales * largest, np.square(magnitudes - scales[:, None]).sum(axis=1) * largest * largest
    scales = np.where(largest > 0, 1 / top, 0.0)
    errors = squared_errors(magnitudes, scales, top)
    if clipping is Clipping.MSE:
        found = optimal_scales(magnitudes, top)
        found_errors = squared_errors(magnitudes, found, top)
        better = found_errors < errors
        scales, errors = np.where(better, found, scales), np.where(better, found_errors, errors)
    with np.errstate(over="ignore"):  # an infinite error is refused where it becomes a cost
        return scales * largest, errors * largest * largest
