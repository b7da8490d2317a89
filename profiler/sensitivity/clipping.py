"""The scale of a symmetric quantizer that minimises the squared error: of each channel, by an exact sweep.

Magnitudes a_i >= 0 are quantized to s q_i with integers 0 <= q_i <= T. For given q the best scale is
s = A / B with A = sum a_i q_i, B = sum q_i^2, and the error is sum a_i^2 - A^2 / B; for a given s the best q_i is
min(round(a_i / s), T). As s falls, q_i steps up from k - 1 to k at s = a_i / (k - 1/2), which changes A by a_i and B by
2 k - 1. So a sweep over those points in falling order visits every assignment that is the best of any scale, and the
largest A^2 / B on its way is the global optimum.

Two bounds hold for it. s <= max a, since A <= max(a) sum q_i and q_i <= q_i^2; and s >= mean(a) / T, since
sum q_i^2 <= T sum q_i, and a is at least its mean on average under the weights q, which rise with a (Chebyshev's sum
inequality).

A channel with many weights has many such points, at 8 bits too many. There a grid of scales is tried first, and the
sweep covers the range of those that come near the best.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

_FEW_POINTS = 1 << 14
_FEW_WEIGHTS = 512
"""With few weights the error is a rough function of the scale, which a grid follows less well."""
_BLOCK = 1 << 20
"""Points that are sorted at once, about: bounds the memory."""
_CACHED = 1 << 15
"""Magnitudes that the grid looks at together, so that they stay in cache."""
_GRID = 48
_FINE_GRID = 160
"""Scales of the grid where there are few weights."""
_SAMPLED = 64
_NEAR = 3.6
"""The mean of n squared rounding errors scatters by sqrt(0.8 / n) of itself (they are about uniform, whose fourth
moment is 1.8 times its squared variance); what lies within four such deviations of the grid's best may hold it."""


def optimal_scales(magnitudes: Reals, top: int) -> Reals:
    """The scales of least squared error, for levels 0, s, ..., ``top`` s.

    magnitudes : ndarray of shape (channels, weights), finite, not negative, the largest of each channel in the order
    of 1 (squares must neither overflow nor vanish). Returns an ndarray of shape (channels,), positive where a channel
    has a weight that is not zero, and zero elsewhere.
    """
    scales = np.zeros(len(magnitudes))
    alive = np.flatnonzero(magnitudes.max(axis=1, initial=0.0) > 0)
    full = _is_small(magnitudes.shape[1], top)
    rows = max(1, _BLOCK // (magnitudes.shape[1] * (top if full else 8)))
    for start in range(0, len(alive), rows):
        block = alive[start : start + rows]
        a = magnitudes[block]
        low, high = (a.mean(axis=1) / top, a.max(axis=1)) if full else _promising(a, top)
        scales[block] = _sweep(a, low, high, top)
    return scales


def _is_small(weights: int, top: int) -> bool:
    """Whether the sweep covers the whole range."""
    return weights < _FEW_WEIGHTS and weights * top <= _FEW_POINTS


def squared_errors(magnitudes: Reals, scales: Reals, top: int) -> Reals:
    """Per channel the sum of squared differences; shapes as in `optimal_scales`. A scale of zero keeps nothing."""
    divisor = np.where(scales > 0, scales, 1.0)[:, None]
    difference = np.minimum(np.rint(magnitudes / divisor), top)
    difference *= scales[:, None]
    difference -= magnitudes
    errors: Reals = np.einsum("ij,ij->i", difference, difference)
    return errors


def _promising(a: Reals, top: int) -> tuple[Reals, Reals]:
    """Per channel a range of scales that holds those which come near the best of a grid."""
    largest = a.max(axis=1)
    low, high = np.log(a.mean(axis=1) / top), np.log(1.3 * largest / top)
    count = _FINE_GRID if a.shape[1] < _FEW_WEIGHTS else _GRID
    step = (high - low) / (count - 1)
    grid = np.exp(low + np.arange(count)[:, None] * step)
    # Weights that lie on a grid already (trained with quantization) have a narrow optimum where the largest weight is
    # a whole number of steps. A few weights show which.
    sample = a[:, :: max(1, a.shape[1] // _SAMPLED)]
    whole = largest / np.arange(1, top + 1)[:, None]
    fits = whole[_errors(sample, whole, top).argmin(axis=0), np.arange(len(a))]
    candidates = np.concatenate([grid, fits[None]])
    errors = _errors(a, candidates, top)
    near = errors <= errors.min(axis=0) * (1 + _NEAR / np.sqrt(a.shape[1]))
    margin = np.exp(step)
    lowest = np.where(near, candidates, np.inf).min(axis=0) / margin
    highest = np.where(near, candidates, 0.0).max(axis=0) * margin
    return lowest, highest


def _errors(a: Reals, candidates: Reals, top: int) -> Reals:
    """Squared errors of shape (candidates, channels)."""
    rows = max(1, _CACHED // a.shape[1])
    errors = np.empty((len(candidates), len(a)))
    for start in range(0, len(a), rows):
        block = slice(start, start + rows)
        for number, scales in enumerate(candidates):
            errors[number, block] = squared_errors(a[block], scales[block], top)
    return errors


def _sweep(a: Reals, low: Reals, high: Reals, top: int) -> Reals:
    """Per channel the best scale among the assignments that are the best of a scale between ``low`` and ``high``."""
    channels, width = a.shape
    first = np.minimum(np.rint(a / high[:, None]), top)
    last = np.minimum(np.rint(a / low[:, None]), top)
    steps = (last - first).astype(np.int64).ravel()
    element = np.repeat(np.arange(a.size), steps)
    begins = np.cumsum(steps) - steps
    level = first.ravel()[element] + (np.arange(len(element)) - begins[element]) + 1
    magnitude = a.ravel()[element]
    row = element // width
    # Channels in order, and within each its points falling: none lies above ``high``, so the halves keep them apart.
    order = np.argsort(row - magnitude / (level - 0.5) / (2 * high[row]))
    row = row[order]
    # Sums run on over all channels; each channel's own begin at what the sums were ahead of it.
    total_a = np.concatenate([[0.0], np.cumsum(magnitude[order])])
    total_b = np.concatenate([[0.0], np.cumsum(2 * level[order] - 1)])
    ends = np.cumsum(np.bincount(row, minlength=channels))
    starts = ends - np.bincount(row, minlength=channels)
    first_a, first_b = np.einsum("ij,ij->i", a, first), np.einsum("ij,ij->i", first, first)
    sum_a = total_a[1:] + (first_a - total_a[starts])[row]
    sum_b = total_b[1:] + (first_b - total_b[starts])[row]
    gain = sum_a * sum_a / sum_b
    best_a, best_b = first_a, first_b
    best = np.divide(first_a * first_a, first_b, out=np.zeros(channels), where=first_b > 0)
    moving = np.flatnonzero(ends > starts)
    if len(moving):
        peaks = np.maximum.reduceat(gain, starts[moving])
        of_row = np.full(channels, np.inf)
        of_row[moving] = peaks
        found = np.flatnonzero(gain == of_row[row])[::-1]  # the first of equal ones is written last
        place = np.zeros(channels, dtype=np.int64)
        place[row[found]] = found
        better = moving[peaks > best[moving]]
        best_a[better], best_b[better] = sum_a[place[better]], sum_b[place[better]]
    scales: Reals = np.divide(best_a, best_b, out=high.copy(), where=best_b > 0)
    return scales
