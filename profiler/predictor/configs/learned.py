"""The analytic model, corrected by what was measured of this and similar kernels.

A Gaussian process learns log(measured / modelled). With no record it says what the analytic model says; each record
pulls the configs, and less so the kernels, that resemble it. Its hyperparameters are constants, so that five records
cannot overfit them and a fit costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

from profiler.predictor.configs.feature_vector import Features
from profiler.predictor.configs.features import DeviceSpec, feature_family, features, modelled_s
from profiler.predictor.configs.gaussian_process import ConfigProcess, ConfigRows, Covariance
from profiler.predictor.configs.prediction import Prediction, one_each
from profiler.predictor.configs.thinning import evenly
from profiler.predictor.model_state import ConfigLatency
from profiler.record import Measurement
from profiler.space.config import ScheduleConfig, parse_config
from profiler.workload import KernelSpec

MAX_ROWS = 400
"""ConfigRows of one regression: those of the kernels that resemble the asked one most."""
_ROWS_OF_A_KERNEL = 16
"""Of another kernel than the asked one, at least, where there are more kernels than rows."""

# Standard deviations of the parts of the correction (in log latency), and the distances over which they change.
# Chosen by the likelihood of sweeps over ResNet18's layers and by searches simulated on them, which hardly change when
# these are halved or doubled; on 100 kernels of bench/data, other workloads known, it is the same. A machine's level is
# a guess, and so is the noise of another one: no second machine of a kind has been measured.
_COVARIANCE = Covariance(
    level=0.37,
    machine_level=0.15,
    kernel_level=0.4,
    schedule=0.25,
    interaction=0.3,
    shape_scale=3.0,
    schedule_scale=2.5,
)
_LEAST_NOISE = 0.03  # what a screening may be off, and what the features do not see
_LEAST_NOISE_ELSEWHERE = 0.06  # and by how much another machine differs beyond its level
_HERE, _ELSEWHERE = 0, 1


@dataclass(frozen=True)
class _Row:
    machine: int
    spec: KernelSpec
    config: str
    family: str
    features: Features
    correction: float
    noise: float


class LearnedModel:
    """`features.modelled_s` times a correction that a Gaussian process learns from measurements.

    ``threads`` are of a CPU. ``known`` are latencies from elsewhere: of another machine of the kind, or of this one
    under an earlier compiler or clock. They have a level of their own, and one gives way to a measurement of the same
    kernel and config. Raises `InvalidConfig` for known configs of another kind of device.
    """

    def __init__(self, device: DeviceSpec, threads: int = 1, known: Sequence[ConfigLatency] = ()) -> None:
        self._device, self._threads = device, threads
        # On a busy machine BLAS with several threads takes ten times as long, spinning where another run may measure.
        self._threads_of_blas = ThreadpoolController()
        self._elsewhere = tuple(self._row(_ELSEWHERE, latency) for latency in known)
        self._seen: dict[tuple[KernelSpec, str], tuple[tuple[float, ...], _Row]] = {}
        self._rows = self._elsewhere
        self._fitted: tuple[KernelSpec | None, dict[str, ConfigProcess | None]] = (None, {})
        self._space: tuple[KernelSpec | None, dict[ScheduleConfig, tuple[float, Features]]] = (None, {})

    def fit(self, measurements: Iterable[Measurement]) -> None:
        """Forget what was fitted before and learn from these; the regression waits until a kernel is asked for."""
        measured = {(m.spec, m.config): self._measured_row(m) for m in one_each(measurements)}
        elsewhere = (row for row in self._elsewhere if (row.spec, row.config) not in measured)
        self._rows = (*elsewhere, *measured.values())
        self._fitted = (None, {})

    def predict(self, spec: KernelSpec, configs: Sequence[ScheduleConfig]) -> Prediction:
        """Latencies of valid configs of the kernel."""
        asked = [self._described(spec, config) for config in configs]
        median_s = np.array([latency_s for latency_s, _ in asked], dtype=np.float64)
        spread = np.full(len(configs), _COVARIANCE.deviation)
        places: dict[str, list[int]] = {}
        for place, config in enumerate(configs):
            places.setdefault(feature_family(config), []).append(place)
        with self._threads_of_blas.limit(limits=1):
            for family, found in places.items():
                described = [asked[place][1] for place in found]
                regression = self._regression(spec, family, described[0].shape)
                if regression is not None:
                    correction, spread[found] = regression.predict(_matrices(described, [_HERE] * len(found)))
                    median_s[found] *= np.exp(correction)
        return Prediction(median_s, spread)

    def _described(self, spec: KernelSpec, config: ScheduleConfig) -> tuple[float, Features]:
        """Modelled latency in seconds, and features; kept as long as the same kernel is asked for."""
        if self._space[0] != spec:
            self._space = (spec, {})
        known = self._space[1]
        if config not in known:
            latency_s = modelled_s(spec, config, self._device, self._threads)
            known[config] = (latency_s, features(spec, config, self._device))
        return known[config]

    def _measured_row(self, measurement: Measurement) -> _Row:
        key = (measurement.spec, measurement.config)
        cached = self._seen.get(key)
        if cached is not None and cached[0] == measurement.samples_s:
            return cached[1]
        summary = measurement.summary
        noise = summary.relative_halfwidth / 2  # an interval of 95% is two deviations wide on either side
        row = self._row(_HERE, ConfigLatency(*key, summary.median_s, noise))
        self._seen[key] = (measurement.samples_s, row)
        return row

    def _row(self, machine: int, latency: ConfigLatency) -> _Row:
        config = parse_config(latency.config)
        expected_s = modelled_s(latency.spec, config, self._device, self._threads)
        return _Row(
            machine=machine,
            spec=latency.spec,
            config=latency.config,
            family=feature_family(config),
            features=features(latency.spec, config, self._device),
            correction=log(latency.latency_s / expected_s),
            noise=max(_LEAST_NOISE_ELSEWHERE if machine == _ELSEWHERE else _LEAST_NOISE, latency.noise),
        )

    def _regression(self, spec: KernelSpec, family: str, shape: tuple[float, ...]) -> ConfigProcess | None:
        """Of the templates of a family, near a kernel; kept as long as the same kernel is asked for."""
        if self._fitted[0] != spec:
            self._fitted = (spec, {})
        known = self._fitted[1]
        if family not in known:
            known[family] = self._fit(spec, family, shape)
        return known[family]

    def _fit(self, spec: KernelSpec, family: str, shape: tuple[float, ...]) -> ConfigProcess | None:
        """None where nothing of the family was measured."""
        kernels: dict[KernelSpec, list[_Row]] = {}
        for row in self._rows:
            if row.family == family:
                kernels.setdefault(row.spec, []).append(row)
        if not kernels:
            return None
        rows = _nearest(kernels, spec, shape)
        values, noise = np.array([row.correction for row in rows]), np.array([row.noise for row in rows])
        return ConfigProcess(
            _COVARIANCE, _matrices([row.features for row in rows], [row.machine for row in rows]), values, noise
        )


def _nearest(kernels: Mapping[KernelSpec, list[_Row]], spec: KernelSpec, shape: tuple[float, ...]) -> list[_Row]:
    """The rows of the kernel itself (the latest ones), then those of the nearest other kernels, thinned alike."""
    chosen = list(kernels.get(spec, ()))[-MAX_ROWS:]
    others = [rows for other, rows in kernels.items() if other != spec]
    if len(chosen) + sum(map(len, others)) <= MAX_ROWS:
        return chosen + [row for rows in others for row in rows]
    each = max(_ROWS_OF_A_KERNEL, (MAX_ROWS - len(chosen)) // len(others))
    distance = np.linalg.norm(np.array([rows[0].features.shape for rows in others]) - shape, axis=1)
    for index in np.argsort(distance, kind="stable"):
        room = min(each, MAX_ROWS - len(chosen))
        chosen += evenly(others[index], room)
    return chosen


def _matrices(found: Sequence[Features], machines: Sequence[int]) -> ConfigRows:
    schedule = np.array([row.schedule for row in found], dtype=np.float64)
    shape = np.array([row.shape for row in found], dtype=np.float64)
    return ConfigRows(schedule, shape, np.array(machines, dtype=np.int64))
