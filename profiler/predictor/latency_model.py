"""The latency model of a device: for any kernel a latency, an interval, and which kind of answer it is.

`fit` chooses a regression on rows of the device (`selection`) and calibrates its intervals on workloads that were held
out (`conformal`). What a model knows is a plain value, `ModelState`, from which `LatencyModel` is built again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, isinf, log
from statistics import NormalDist

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from profiler.errors import ProfilerError
from profiler.lut.schema import Source
from profiler.predictor.conformal import grouped_quantile, quantile
from profiler.predictor.device_facts import DeviceFacts
from profiler.predictor.envelope import Envelope
from profiler.predictor.estimate import Basis, Estimate, TotalEstimate
from profiler.predictor.kernel_features import KernelFeatures, core_features, kernel_features
from profiler.predictor.kernel_only import KernelOnly
from profiler.predictor.model_state import Calibration, ConfigLatency, ModelState, Origin
from profiler.predictor.observation import Observation
from profiler.predictor.regressors import REGRESSORS, Array, Rows
from profiler.predictor.selection import select
from profiler.predictor.sums import KERNELS_OF_A_SUM, held_out_sums
from profiler.workload import KernelSpec

LEAST_ROWS, LEAST_WORKLOADS = 16, 8
_USUAL = (0.05, 0.95)
"""Quantiles of the corrections that were learned, which an interval spans where nothing like the kernel was seen."""
_WIDEST = 20.0
"""Half of the widest interval, as a logarithm: so that ends stay finite."""


@dataclass(frozen=True)
class _Interval:
    """The regression's answer in seconds, and half of its interval as a logarithm."""

    latency_s: float
    half: float


class LatencyModel:
    """Built from its state, deterministically. Raises `ValueError` for a state that no fit has left."""

    def __init__(self, state: ModelState) -> None:
        self.state = state
        self._view = KernelOnly.of([o.spec for o in state.observations])
        self._observed = {o.spec for o in state.observations}
        self._known = _known([replace(o, spec=self._seen_as(o.spec)) for o in state.observations])
        self._envelope = Envelope(o.spec for o in state.observations)
        described = [self._described(o.spec) for o in state.observations]
        rows = training_rows(state.observations, described, state.facts)
        self._usual = tuple(float(c) for c in np.quantile(rows.y, _USUAL))
        with threadpool_limits(1):
            self._regression = REGRESSORS[state.regressor].fit(rows, state.hyperparameters)

    @property
    def kernel_only(self) -> bool:
        """Whether all layers that it was fitted to are bare kernels; those that it is asked for are taken for such."""
        return self._view is not None

    def estimate(
        self, specs: Sequence[KernelSpec], confidence: float = 0.9, look_up: bool = True
    ) -> tuple[Estimate, ...]:
        """An answer for each kernel, in their order. The interval holds the truth with that confidence, on average over
        workloads like those that the model has seen.

        ``look_up`` answers with the latency of the very kernel where it was measured; without, it is always the
        regression's. Raises `ValueError` for a confidence outside of (0, 1).
        """
        scale = grouped_quantile(self.state.calibration.scores, confidence)
        asked = [self._seen_as(spec) for spec in specs]
        intervals = self._intervals(asked, scale)
        return tuple(
            self._recorded(spec, seen, confidence)
            if look_up and seen in self._known
            else self._predicted(spec, seen, interval, isinf(scale))
            for spec, seen, interval in zip(specs, asked, intervals, strict=True)
        )

    def total(self, counts: Mapping[KernelSpec, int], confidence: float = 0.9) -> TotalEstimate:
        """The sum of the latencies of kernels, each as often as told."""
        estimates = self.estimate(list(counts), confidence)
        shares = [estimate.latency_s * counts[estimate.spec] for estimate in estimates]
        pairs = list(zip(estimates, shares, strict=True))
        known_s = sum(share for estimate, share in pairs if estimate.basis.known)
        predicted_s = sum(share for estimate, share in pairs if not estimate.basis.known)
        factor = self.factor(confidence)
        predicted = sum(counts[estimate.spec] for estimate in estimates if not estimate.basis.known)
        own_ends = [e for e in estimates if e.basis.known or predicted < KERNELS_OF_A_SUM]
        scaled_s = 0.0 if predicted < KERNELS_OF_A_SUM else predicted_s
        return TotalEstimate(
            latency_s=known_s + predicted_s,
            low_s=sum(e.low_s * counts[e.spec] for e in own_ends) + scaled_s / factor,
            high_s=sum(e.high_s * counts[e.spec] for e in own_ends) + scaled_s * factor,
            known_s=known_s,
            predicted_s=predicted_s,
            extrapolated_s=sum(share for e, share in pairs if e.basis is Basis.EXTRAPOLATED),
            factor=factor,
            warnings=self._sum_warnings(confidence) if scaled_s else (),
            stand_in_s=sum(share for e, share in pairs if e.basis is Basis.STAND_IN),
        )

    def factor(self, confidence: float) -> float:
        """The conformal factor on sums: predicted times and over it enclose the measured sum with that confidence."""
        scores = [abs(score) for score in self.state.calibration.sums]
        reached = quantile(scores, confidence)
        return exp(min(reached if not isinf(reached) else max(scores), _WIDEST))

    def _sum_warnings(self, confidence: float) -> tuple[str, ...]:
        sums = [abs(score) for score in self.state.calibration.sums]
        if not isinf(quantile(sums, confidence)):
            return ()
        return (f"{len(sums)} held-out sums are too few for an interval of this confidence",)

    def _seen_as(self, spec: KernelSpec) -> KernelSpec:
        return self._view.of_kernel(spec) if self._view else spec

    def _described(self, spec: KernelSpec) -> KernelFeatures:
        return kernel_features(spec, self.state.facts, self.state.origin.conditions.threads)

    def _intervals(self, specs: Sequence[KernelSpec], scale: float) -> list[_Interval]:
        if not specs:
            return []
        described = [self._described(spec) for spec in specs]
        with threadpool_limits(1):
            mean, spread = self._regression.predict(np.array([d.values for d in described]))
        if isinf(scale):
            scale = max(score for scores in self.state.calibration.scores for score in scores)
        return [
            _Interval(d.modelled_s * exp(correction), min(scale * deviation, _WIDEST))
            for d, correction, deviation in zip(described, mean.tolist(), spread.tolist(), strict=True)
        ]

    def _recorded(self, spec: KernelSpec, seen: KernelSpec, confidence: float) -> Estimate:
        observed = self._known[seen]
        half = exp(NormalDist().inv_cdf((1 + confidence) / 2) * observed.noise)
        basis = Basis.PUBLISHED if observed.source is Source.PUBLISHED else Basis.MEASURED
        if spec not in self._observed:
            basis = Basis.STAND_IN
        return Estimate(spec, observed.latency_s, observed.latency_s / half, observed.latency_s * half, basis)

    def _predicted(self, spec: KernelSpec, seen: KernelSpec, interval: _Interval, uncalibrated: bool) -> Estimate:
        warnings = self._envelope.warnings(seen)
        if uncalibrated:
            workloads = len(self.state.calibration.scores)
            warnings = (*warnings, f"{workloads} workloads are too few for an interval of this confidence")
        low_s, high_s = interval.latency_s * exp(-interval.half), interval.latency_s * exp(interval.half)
        if not warnings:
            return Estimate(spec, interval.latency_s, low_s, high_s, Basis.PREDICTED)
        least_s, most_s = (self._described(seen).modelled_s * exp(correction) for correction in self._usual)
        return Estimate(
            spec, interval.latency_s, min(low_s, least_s), max(high_s, most_s), Basis.EXTRAPOLATED, warnings
        )


def fit(
    observed: Sequence[Observation],
    origin: Origin,
    facts: DeviceFacts,
    configs: Sequence[ConfigLatency] = (),
    seed: int = 0,
    among: Sequence[str] = tuple(REGRESSORS),
) -> LatencyModel:
    """The model of a device, fitted to these latencies of it; the same ones give the same model. ``among`` names the
    regressions to choose from.

    Raises `ProfilerError` for fewer than 16 latencies or 8 workloads.
    """
    reason = reason_too_few(observed)
    if reason is not None:
        raise ProfilerError(f"{reason}; measure more (make sample)")
    groups = [o.group for o in observed]
    threads = origin.conditions.threads
    features = [kernel_features(o.spec, facts, threads) for o in observed]
    rows = training_rows(observed, features, facts)
    with threadpool_limits(1):  # several spin for each other where a machine is busy
        selection = select(rows, groups, seed, among)
    out = selection.out_of_fold
    predicted_s = np.array([f.modelled_s for f in features]) * np.exp(out.mean)
    calibration = Calibration(
        scores=scores_by_group(groups, np.abs(rows.y - out.mean) / out.spread),
        sums=held_out_sums([o.spec for o in observed], [o.latency_s for o in observed], predicted_s, out.fold, seed),
    )
    state = ModelState(
        origin, facts, tuple(observed), selection.family, selection.hyperparameters, calibration, tuple(configs)
    )
    return LatencyModel(state)


def reason_too_few(observed: Sequence[Observation]) -> str | None:
    """Why nothing can be learned from so few latencies; None if they suffice."""
    workloads = len({o.group for o in observed})
    if len(observed) >= LEAST_ROWS and workloads >= LEAST_WORKLOADS:
        return None
    return (
        f"{len(observed)} latencies of {workloads} workloads are too few to learn from: {LEAST_ROWS} of "
        f"{LEAST_WORKLOADS} are needed"
    )


def training_rows(observed: Sequence[Observation], features: Sequence[KernelFeatures], facts: DeviceFacts) -> Rows:
    """What the regression learns from, a row for each observation and its features."""
    pairs = list(zip(observed, features, strict=True))
    return Rows(
        x=np.array([f.values for f in features]),
        y=np.array([log(o.latency_s / f.modelled_s) for o, f in pairs]),
        noise=np.array([o.noise for o in observed]),
        core=core_features(facts),
    )


def scores_by_group(groups: Sequence[object], scores: Array) -> tuple[tuple[float, ...], ...]:
    """The scores of each group, in the order of their first occurrence."""
    found: dict[object, list[float]] = {}
    for group, score in zip(groups, scores.tolist(), strict=True):
        found.setdefault(group, []).append(score)
    return tuple(tuple(scores) for scores in found.values())


def _known(observed: Sequence[Observation]) -> dict[KernelSpec, Observation]:
    """The observation of each kernel: of several a measured one goes ahead of a published one, then the fastest."""
    found: dict[KernelSpec, Observation] = {}
    for o in sorted(observed, key=lambda o: (o.source is not Source.MEASURED, o.latency_s)):
        found.setdefault(o.spec, o)
    return found
