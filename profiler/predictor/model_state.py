"""What a fitted latency model consists of: plain values that a file can hold, and that a model is built of again."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from profiler.lut.schema import LutRow
from profiler.predictor.device_facts import DeviceFacts
from profiler.predictor.observation import Observation
from profiler.record import Conditions
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class Origin:
    """Of which device and under which conditions a model predicts; ``fingerprint`` as in the rows it was fitted to."""

    device: str
    device_name: str
    arch: str
    fingerprint: str
    conditions: Conditions

    @staticmethod
    def of(row: LutRow) -> Origin:
        """Of the rows of a LUT that are alike in these."""
        return Origin(row.device, row.device_name, row.arch, row.fingerprint, row.conditions)

    def is_of(self, device: str, arch: str, conditions: Conditions) -> bool:
        """Whether latencies of such a device under such conditions are what it predicts; drivers may differ."""
        return (self.device, self.arch, self.conditions) == (device, arch, conditions)


@dataclass(frozen=True)
class Calibration:
    """How far the regression was off where it had not seen the workload.

    scores : of held-out kernels, a tuple for each workload: |log(measured / predicted)| in units of the predicted
    spread. sums : log(measured / predicted) of sums over held-out kernels, each as many as a network has.
    """

    scores: tuple[tuple[float, ...], ...]
    sums: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(self.scores) or not all(isfinite(s) and s >= 0 for group in self.scores for s in group):
            raise ValueError("scores are finite and not negative, and each workload has one")
        if not self.sums or not all(map(isfinite, self.sums)):
            raise ValueError("logarithms of sums are finite, and at least one")


@dataclass(frozen=True)
class ConfigLatency:
    """The latency in seconds of a kernel under a schedule config (its text), as a search or a final run timed it."""

    spec: KernelSpec
    config: str
    latency_s: float
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.latency_s < float("inf") and 0 <= self.noise < float("inf")):
            raise ValueError(f"not a latency with its noise: {self.latency_s}, {self.noise}")


@dataclass(frozen=True)
class ModelState:
    """``regressor`` names one of `regressors.REGRESSORS`; its fit to ``observations`` is settled by the
    ``hyperparameters``. ``configs`` may be empty."""

    origin: Origin
    facts: DeviceFacts
    observations: tuple[Observation, ...]
    regressor: str
    hyperparameters: tuple[float, ...]
    calibration: Calibration
    configs: tuple[ConfigLatency, ...] = ()
