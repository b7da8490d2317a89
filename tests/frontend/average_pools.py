"""What an average pool divides by, counted one window at a time on a drawing of the padded input."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.workload import Layer

Array = npt.NDArray[Any]


def divisors(layer: Layer) -> Array:
    """Elements that count under each window, [OH, OW]."""
    return _under_windows(layer, layer.counted_pads)


def averages_of_ones(layer: Layer) -> Array:
    """What the pool makes of an input of ones, where padding is zeros, [OH, OW]; NaN where nothing counts."""
    with np.errstate(invalid="ignore"):
        return np.asarray(_under_windows(layer, (0, 0, 0, 0)) / divisors(layer))


def _under_windows(layer: Layer, counted: tuple[int, int, int, int]) -> Array:
    w = layer.workload
    height, width = w.in_height + w.pad_top + w.pad_bottom, w.in_width + w.pad_left + w.pad_right
    drawing = np.zeros((height, width), np.int64)
    for row in range(w.pad_top - counted[0], w.pad_top + w.in_height + counted[2]):
        for column in range(w.pad_left - counted[1], w.pad_left + w.in_width + counted[3]):
            drawing[row, column] = 1
    counts = np.zeros((w.out_height, w.out_width), np.int64)
    for y, x in np.ndindex(*counts.shape):
        for i, j in np.ndindex(w.kernel_h, w.kernel_w):
            counts[y, x] += drawing[y * w.stride_h + i * w.dilation_h, x * w.stride_w + j * w.dilation_w]
    return counts
