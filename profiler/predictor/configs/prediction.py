"""What a model says about latencies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.record import FINAL_STAGE, Measurement
from profiler.workload import KernelSpec

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """Latencies of some configs, in their order.

    median_s : ndarray of shape (n_configs,), seconds. spread : ndarray of shape (n_configs,), standard deviation of
    the logarithm of the latency around the logarithm of ``median_s``: 0.05 is about 5%.
    """

    median_s: Array
    spread: Array

    def __post_init__(self) -> None:
        if self.median_s.shape != self.spread.shape or self.median_s.ndim != 1:
            raise ValueError(f"shapes of medians and spreads: {self.median_s.shape} and {self.spread.shape}")


def one_each(measurements: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """One measurement per kernel and config: the latest, a final one before those of the search."""
    kept: dict[tuple[KernelSpec, str], Measurement] = {}
    for measurement in measurements:
        key = (measurement.spec, measurement.config)
        other = kept.get(key)
        if other is None or measurement.stage == FINAL_STAGE or other.stage != FINAL_STAGE:
            kept[key] = measurement
    return tuple(kept.values())
