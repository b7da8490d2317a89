"""What the search needs to know of a model of latencies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from profiler.predictor.configs.prediction import Prediction
from profiler.record import Measurement
from profiler.space.config import ScheduleConfig
from profiler.workload import KernelSpec


class CostModel(Protocol):
    """Refitted between batches, so both calls take milliseconds. Deterministic: same measurements, same predictions."""

    def fit(self, measurements: Iterable[Measurement]) -> None:
        """Forget what was fitted before and learn from these measurements, of any kernels; none is fine."""
        ...

    def predict(self, spec: KernelSpec, configs: Sequence[ScheduleConfig]) -> Prediction:
        """Latencies of valid configs of a kernel, in their order."""
        ...
