"""Real scales of quantized tensors, symmetric: zero is zero."""

from __future__ import annotations

import math

from profiler.workload import DType


def activation_scale(low: float, high: float, dtype: DType) -> float:
    """The scale with which the type just holds the range; 1 for a range that is nothing but zero.

    Unsigned types hold nothing below zero: ``low`` does not count there. Raises `ValueError` for what is no range.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"not a range: {low} to {high}")
    magnitude = max(high, -low) if dtype.signed else high
    return magnitude / dtype.high if magnitude > 0 else 1.0
