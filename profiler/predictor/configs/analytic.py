"""The analytic models of `space.model` (CPU) and `space.gpu_model` as a cost model: only its level is learned."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from math import exp, log

import numpy as np

from profiler.predictor.configs.features import DeviceSpec, modelled_s
from profiler.predictor.configs.prediction import Prediction, one_each
from profiler.record import Measurement
from profiler.space.config import ScheduleConfig, parse_config
from profiler.workload import KernelSpec

SPREAD = 0.2
"""How far configs of one kernel lie from the analytic model, level apart: seen on ResNet18's layers, 0.1 to 0.3."""


class AnalyticModel:
    """`analytic_latency_s` times the median of measured over modelled latency of that kernel, else of all kernels.

    ``threads`` are of a CPU.
    """

    def __init__(self, device: DeviceSpec, threads: int = 1) -> None:
        self._device, self._threads = device, threads
        self._known: dict[tuple[KernelSpec, str], float] = {}
        self._levels: dict[KernelSpec, float] = {}
        self._level = 0.0

    def fit(self, measurements: Iterable[Measurement]) -> None:
        """Forget what was fitted before and take the levels from these."""
        by_spec: dict[KernelSpec, list[float]] = {}
        for measurement in one_each(measurements):
            spec = measurement.spec
            ratio = statistics.median(measurement.samples_s) / self._known_s(spec, measurement.config)
            by_spec.setdefault(spec, []).append(log(ratio))
        self._levels = {spec: statistics.median(logarithms) for spec, logarithms in by_spec.items()}
        self._level = statistics.median(self._levels.values()) if self._levels else 0.0

    def predict(self, spec: KernelSpec, configs: Sequence[ScheduleConfig]) -> Prediction:
        """Latencies of valid configs of the kernel."""
        level = exp(self._levels.get(spec, self._level))
        modelled = [level * self._modelled_s(spec, config) for config in configs]
        return Prediction(np.array(modelled, dtype=np.float64), np.full(len(configs), SPREAD))

    def _known_s(self, spec: KernelSpec, config: str) -> float:
        key = (spec, config)
        if key not in self._known:
            self._known[key] = self._modelled_s(spec, parse_config(config))
        return self._known[key]

    def _modelled_s(self, spec: KernelSpec, config: ScheduleConfig) -> float:
        return modelled_s(spec, config, self._device, self._threads)
