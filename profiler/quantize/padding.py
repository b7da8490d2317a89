"""Extents that are rounded up to a multiple, with zeros behind what there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def padded(values: Array, axis: int, multiple: int) -> Array:
    """Zeros behind the axis, up to a multiple; the array itself where nothing is missing."""
    missing = -values.shape[axis] % multiple
    if not missing:
        return values
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, missing)
    return np.pad(values, widths)
