"""A histogram of a tensor's values, and where a quantizer of it should clip.

2,048 bins of each sign lie between zero and the largest magnitude; zeros, of which there are many behind a ReLU, are
counted by themselves, since every type holds them exactly. Within a bin values are taken to lie evenly. Integer counts
do not depend on the order in which values come.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from profiler.workload import DType

Doubles = npt.NDArray[np.float64]

BINS = 2048
_BLOCK = 16
"""Clips that are looked at together, so that they stay in cache."""


class Histogram:
    """Of values from -``largest`` to ``largest``, which are finite."""

    def __init__(self, largest: float) -> None:
        self._largest = largest
        self._counts = np.zeros(2 * BINS, np.int64)
        """Of bins from the least to the greatest; a zero is in none."""
        self._zeros = 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count the values, of any shape."""
        zeros = values.size - int(np.count_nonzero(values))
        self._zeros += zeros
        if zeros == values.size:
            return
        place = values.reshape(-1) / np.float32(self._largest)
        place *= np.float32(BINS)
        np.floor(place, out=place)
        indices = place.astype(np.int64)
        indices += BINS
        np.minimum(indices, 2 * BINS - 1, out=indices)  # the largest magnitude itself
        self._counts += np.bincount(indices, minlength=2 * BINS)
        self._counts[BINS] -= zeros

    def percentile(self, percent: float) -> float:
        """The least upper end of a bin of magnitudes that so many per cent of the values do not exceed; more than zero,
        unless all values are zero."""
        within = self._zeros + np.cumsum(self._positive + self._negative)
        return self._end(int(np.argmax(within >= percent / 100 * within[-1])))

    def least_error(self, dtype: DType) -> float:
        """The magnitude c at which to clip, an upper end of a bin, for the least squared error of rounding to the
        integers of the type times c / ``dtype.high``."""
        if not self._counts.any():
            return self._largest
        clips = np.arange(1, BINS + 1) / BINS
        errors = _errors(self._positive, clips / dtype.high, dtype.high)
        if dtype.low < 0:
            errors += _errors(self._negative, clips / dtype.high, -dtype.low)
        return self._end(int(errors.argmin()))

    @property
    def _positive(self) -> npt.NDArray[np.int64]:
        return self._counts[BINS:]

    @property
    def _negative(self) -> npt.NDArray[np.int64]:
        """By magnitude."""
        return self._counts[:BINS][::-1]

    def _end(self, index: int) -> float:
        return self._largest * ((index + 1) / BINS)


def _errors(counts: npt.NDArray[np.int64], scales: Doubles, top: int) -> Doubles:
    """For each scale s the squared error of rounding to 0, s, ..., ``top`` s; magnitudes and scales are in units of the
    largest magnitude, errors in some unit.

    With k = min(round(x / s), top) the squared error, integrated from 0 to x, is k s^3 / 12 + (x - k s)^3 / 3: each
    level that lies behind has s^3 / 12, half of it on either side. Over a bin it is the difference of its ends.
    """
    ends = np.arange(BINS + 1) / BINS
    # A sum over bins of count times (integral at its end - integral at its start) is one over ends.
    weights = np.diff(-counts, prepend=0, append=0).astype(np.float64)
    errors = np.empty(len(scales))
    for start in range(0, len(scales), _BLOCK):
        s = scales[start : start + _BLOCK, None]
        k = np.minimum(np.rint(ends / s), top)
        rest = ends - k * s
        errors[start : start + _BLOCK] = (rest * rest * rest / 3 + k * (s * s * s / 12)) @ weights
    return errors
