"""Static ranges of activations: what a quantizer has to hold of each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from profiler.workload import DType


@dataclass(frozen=True)
class TensorRange:
    """``low`` to ``high`` is what the values of a tensor reach; ``clipped`` are narrower ranges that a method chose for
    types of so many bits: (bits, low, high). Raises `ValueError` for what is no range."""

    low: float
    high: float
    clipped: tuple[tuple[int, float, float], ...] = ()

    def __post_init__(self) -> None:
        for low, high in ((self.low, self.high), *((low, high) for _, low, high in self.clipped)):
            if not (isfinite(low) and isfinite(high) and low <= high):
                raise ValueError(f"not a range: {low} to {high}")

    def of(self, dtype: DType) -> tuple[float, float]:
        """What the type shall hold."""
        return next(((low, high) for bits, low, high in self.clipped if bits == dtype.bits), (self.low, self.high))


Ranges = Mapping[str, TensorRange]
"""By name of a network's tensor; of max pools only what they read is asked for."""
