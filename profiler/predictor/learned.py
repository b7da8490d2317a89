"""The analytic model, corrected by what was measured of this and similar kernels.

A Gaussian process learns log(measured / modelled). With no record it says what the analytic model says; each record
pulls the configs, and less so the kernels, that resemble it. Its hyperparameters are constants, so that five records
cannot overfit them and a fit costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

from profiler.predictor.feature_vector import Features
from profiler.predictor.features import DeviceSpec, features, modelled_s
from profiler.predictor.prediction import Array, Prediction, one_each
from profiler.record import Measurement
from profiler.space.config import ScheduleConfig, parse_config, template_of
from profiler.workload import KernelSpec

MAX_ROWS = 400
"""Rows of one regression: those of the kernels that resemble the asked one most."""

# Standard deviations of the parts of the correction (in log latency), and the distances over which they change.
# Chosen by the likelihood of sweeps over ResNet18's layers and by searches simulated on them, which hardly change when
# these are halved or doubled.
_LEVEL, _KERNEL_LEVEL, _SCHEDULE, _INTERACTION = 0.4, 0.4, 0.25, 0.3
_SHAPE_SCALE, _SCHEDULE_SCALE = 3.0, 2.5
_NO_EFFECT = 1e5  # distance over which a part changes with features that are not its own
_LEAST_NOISE = 0.03  # what a screening may be off, and what the features do not see


@dataclass(frozen=True)
class _Row:
    spec: KernelSpec
    template: str
    features: Features
    correction: float
    noise: float


class LearnedModel:
    """`features.modelled_s` times a correction that a Gaussian process learns from measurements.

    ``threads`` are of a CPU.
    """

    def __init__(self, device: DeviceSpec, threads: int = 1) -> None:
        self._device, self._threads = device, threads
        # On a busy machine BLAS with several threads takes ten times as long, spinning where another run may measure.
        self._threads_of_blas = ThreadpoolController()
        self._known: dict[tuple[KernelSpec, str], tuple[tuple[float, ...], _Row]] = {}
        self._rows: tuple[_Row, ...] = ()
        self._fitted: tuple[KernelSpec, GaussianProcessRegressor | None] | None = None
        self._space: tuple[KernelSpec | None, dict[ScheduleConfig, tuple[float, Features]]] = (None, {})

    def fit(self, measurements: Iterable[Measurement]) -> None:
        """Forget what was fitted before and learn from these; the regression waits until a kernel is asked for."""
        self._rows = tuple(self._row(measurement) for measurement in one_each(measurements))
        self._fitted = None

    def predict(self, spec: KernelSpec, configs: Sequence[ScheduleConfig]) -> Prediction:
        """Latencies of valid configs of the kernel."""
        asked = [self._described(spec, config) for config in configs]
        prior_s = np.array([latency_s for latency_s, _ in asked], dtype=np.float64)
        spread = np.full(len(configs), sqrt(_LEVEL**2 + _KERNEL_LEVEL**2 + _SCHEDULE**2 + _INTERACTION**2))
        if not configs:
            return Prediction(prior_s, spread)
        with self._threads_of_blas.limit(limits=1):
            if self._fitted is None or self._fitted[0] != spec:
                self._fitted = (spec, self._regression(spec, template_of(configs[0]), asked[0][1].shape))
            regression = self._fitted[1]
            if regression is None:
                return Prediction(prior_s, spread)
            correction, spread = regression.predict(_matrix([described for _, described in asked]), return_std=True)
        return Prediction(prior_s * np.exp(correction), spread)

    def _described(self, spec: KernelSpec, config: ScheduleConfig) -> tuple[float, Features]:
        """Modelled latency in seconds, and features; kept as long as the same kernel is asked for."""
        if self._space[0] != spec:
            self._space = (spec, {})
        known = self._space[1]
        if config not in known:
            latency_s = modelled_s(spec, config, self._device, self._threads)
            known[config] = (latency_s, features(spec, config, self._device))
        return known[config]

    def _row(self, measurement: Measurement) -> _Row:
        key = (measurement.spec, measurement.config)
        cached = self._known.get(key)
        if cached is not None and cached[0] == measurement.samples_s:
            return cached[1]
        config = parse_config(measurement.config)
        latency_s = modelled_s(measurement.spec, config, self._device, self._threads)
        summary = measurement.summary
        row = _Row(
            spec=measurement.spec,
            template=template_of(config),
            features=features(measurement.spec, config, self._device),
            correction=log(summary.median_s / latency_s),
            noise=max(_LEAST_NOISE, summary.relative_halfwidth / 2),  # an interval of 95% is two deviations wide
        )
        self._known[key] = (measurement.samples_s, row)
        return row

    def _regression(self, spec: KernelSpec, template: str, shape: tuple[float, ...]) -> GaussianProcessRegressor | None:
        rows = [row for row in self._rows if row.template == template]
        if not rows:
            return None
        if len(rows) > MAX_ROWS:
            rows = _nearest(rows, spec, shape)
        kernel = _kernel(len(rows[0].features.schedule), len(shape))
        noise = np.array([row.noise for row in rows])
        regression = GaussianProcessRegressor(kernel, alpha=noise**2, optimizer=None)
        return regression.fit(_matrix([row.features for row in rows]), np.array([row.correction for row in rows]))


def _nearest(rows: list[_Row], spec: KernelSpec, shape: tuple[float, ...]) -> list[_Row]:
    """The rows of the kernel itself (the latest ones), then those of the nearest kernels, evenly thinned."""
    own = [row for row in rows if row.spec == spec][-MAX_ROWS:]
    others = [row for row in rows if row.spec != spec]
    room = MAX_ROWS - len(own)
    distance = np.linalg.norm(np.array([row.features.shape for row in others]).reshape(len(others), -1) - shape, axis=1)
    near = np.sort(np.argsort(distance, kind="stable")[: 2 * room])  # twice the room, then every other one
    thinned = near[np.linspace(0, len(near) - 1, room).round().astype(int)] if room and len(near) else []
    return own + [others[i] for i in thinned]


def _kernel(n_schedule: int, n_shape: int) -> Kernel:
    """A level for all, a level for each kind of kernel, what a schedule does anywhere, and what it does there."""
    no_schedule, no_shape = [_NO_EFFECT] * n_schedule, [_NO_EFFECT] * n_shape
    schedule, shape = [_SCHEDULE_SCALE] * n_schedule, [_SHAPE_SCALE] * n_shape
    return (
        _constant(_LEVEL)
        + _constant(_KERNEL_LEVEL) * RBF(no_schedule + shape, "fixed")
        + _constant(_SCHEDULE) * RBF(schedule + no_shape, "fixed")
        + _constant(_INTERACTION) * RBF(schedule + shape, "fixed")
    )


def _constant(deviation: float) -> Kernel:
    return ConstantKernel(deviation**2, "fixed")


def _matrix(rows: Sequence[Features]) -> Array:
    return np.array([row.schedule + row.shape for row in rows], dtype=np.float64)
