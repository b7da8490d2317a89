"""How good answers are that were given without having seen the workload, next to what the measurements themselves are
off. Percentages are of the measured latency."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import log, pi, sqrt
from statistics import fmean, median

from profiler.predictor.conformal import binomial_interval
from profiler.predictor.estimate import Basis, Estimate
from profiler.predictor.observation import Observation
from profiler.workload import DType, KernelSpec

LEAST_REPLICATES = 8
"""With fewer pairs of runs the rows' own intervals tell more of the noise."""
JUDGED_ROWS = 600
"""With fewer held-out rows the coverage of an interval is too uncertain to be called held or missed."""
HELD_PERCENT = (87.0, 93.0)
"""Where the coverage of a 90% interval shall lie."""


@dataclass(frozen=True)
class Answer:
    """A held-out row, and what a model says of its kernel."""

    observed: Observation
    estimate: Estimate

    @property
    def error_percent(self) -> float:
        """Positive where the answer is too long."""
        return 100 * (self.estimate.latency_s / self.observed.latency_s - 1)

    @property
    def covered(self) -> bool:
        return self.estimate.low_s <= self.observed.latency_s <= self.estimate.high_s

    @property
    def inside(self) -> bool:
        """Whether the kernel lies in the range of what the model has seen."""
        return self.estimate.basis is not Basis.EXTRAPOLATED


@dataclass(frozen=True)
class Accuracy:
    """Of points: mean and median of absolute errors, and the shares of rows whose error is at most so large."""

    rows: int
    mape_percent: float
    median_percent: float
    within_5_percent: float
    within_10_percent: float
    within_20_percent: float


@dataclass(frozen=True)
class Coverage:
    """How many of the rows lie in their intervals; ``low_percent`` to ``high_percent`` is the exact 95% interval of
    that share (Clopper and Pearson), which takes the rows for independent."""

    rows: int
    covered: int
    low_percent: float
    high_percent: float

    @property
    def percent(self) -> float:
        return 100 * self.covered / self.rows

    def describe(self) -> str:
        """The share with its interval."""
        return f"{self.percent:.1f}% ({self.low_percent:.1f} to {self.high_percent:.1f})"

    @property
    def verdict(self) -> str:
        """Of a 90% interval, in words."""
        low, high = HELD_PERCENT
        if self.high_percent < low or self.low_percent > high:
            return f"missed ({low:g} to {high:g}%)"
        if self.rows < JUDGED_ROWS:
            return f"too few rows to judge ({JUDGED_ROWS} are needed)"
        return f"{'held' if low <= self.percent <= high else 'missed'} ({low:g} to {high:g}%)"


@dataclass(frozen=True)
class RatioErrors:
    """Of the ratio of the latencies with 8 and with 4 bits. ``decided`` pairs differ by more than noise explains; in
    ``right`` of them the model names the faster one."""

    pairs: int
    median_percent: float
    mean_percent: float
    decided: int
    right: int

    @property
    def right_percent(self) -> float | None:
        return 100 * self.right / self.decided if self.decided else None


@dataclass(frozen=True)
class NetworkSum:
    """The kernels of one inference, as far as rows tell: ``kernels`` of those ``wanted``, each as often as it is
    launched. ``weights`` is the precision by name, or the type of weights where rows stand in. The ends are those of
    the interval of the predicted sum; None where there is none.
    """

    network: str
    weights: str
    batch: int
    kernels: int
    wanted: int
    measured_s: float
    predicted_s: float
    low_s: float | None
    high_s: float | None

    @property
    def error_percent(self) -> float:
        """Positive where the prediction is too long."""
        return 100 * (self.predicted_s / self.measured_s - 1)

    @property
    def inside(self) -> bool | None:
        """Whether the measured sum lies in the interval."""
        if self.low_s is None or self.high_s is None:
            return None
        return self.low_s <= self.measured_s <= self.high_s


class NoiseOrigin(str, Enum):
    """What tells of the noise: kernels that two runs measured, the intervals of the rows' medians, or nothing."""

    REPLICATES = "replicates"
    INTERVALS = "intervals"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class NoiseFloor:
    """``sigma`` is the standard deviation of the logarithm of a measured latency, ``samples`` are the pairs of runs or
    the rows that it comes from."""

    sigma: float
    origin: NoiseOrigin
    samples: int

    @property
    def percent(self) -> float:
        """How far two measurements of one kernel lie apart, on average."""
        return 100 * 2 * self.sigma / sqrt(pi)

    @property
    def tie(self) -> float:
        """The logarithm of a ratio of two latencies that noise alone exceeds once in twenty times."""
        return 1.96 * sqrt(2) * self.sigma


@dataclass(frozen=True)
class Pair:
    """Two answers of one fold whose kernels differ in precision only."""

    eight: Answer
    four: Answer

    @property
    def measured(self) -> float:
        """How many times longer the kernel with 8 bits takes."""
        return self.eight.observed.latency_s / self.four.observed.latency_s

    @property
    def predicted(self) -> float:
        return self.eight.estimate.latency_s / self.four.estimate.latency_s


def accuracy(answers: Sequence[Answer]) -> Accuracy:
    """Raises `ValueError` if there is none."""
    if not answers:
        raise ValueError("no answer to judge")
    errors = [abs(answer.error_percent) for answer in answers]

    def within(percent: float) -> float:
        return 100 * sum(error <= percent for error in errors) / len(errors)

    return Accuracy(len(errors), fmean(errors), median(errors), within(5), within(10), within(20))


def coverage(answers: Sequence[Answer]) -> Coverage | None:
    """None if there is no answer."""
    if not answers:
        return None
    covered = sum(answer.covered for answer in answers)
    low, high = binomial_interval(covered, len(answers))
    return Coverage(len(answers), covered, 100 * low, 100 * high)


def halfwidth_percent(answers: Sequence[Answer]) -> float:
    """The median over intervals of how far their upper end lies above the point."""
    return median(100 * (answer.estimate.high_s / answer.estimate.latency_s - 1) for answer in answers)


def precision_pairs(answers: Iterable[Answer]) -> tuple[Pair, ...]:
    """Kernels of one workload and epilogue whose narrow types are all of 8 bits in one and of 4 in the other.

    Signs are the same in both, unless a kernel finds no such partner: tables of others have signed INT8 and unsigned
    INT4. Layouts may differ.
    """
    by_bits: dict[int, dict[KernelSpec, Answer]] = {8: {}, 4: {}}
    for answer in answers:
        bits = _uniform_bits(answer.observed.spec)
        if bits in by_bits:
            by_bits[bits][answer.observed.spec] = answer
    pairs: list[Pair] = []
    for role in (_role, _role_without_signs):
        partners: dict[object, KernelSpec] = {role(spec): spec for spec in by_bits[4]}
        for spec in list(by_bits[8]):
            partner = partners.pop(role(spec), None)
            if partner is not None:
                pairs.append(Pair(by_bits[8].pop(spec), by_bits[4].pop(partner)))
    return tuple(pairs)


def ratio_errors(pairs: Sequence[Pair], noise: NoiseFloor) -> RatioErrors | None:
    """None if there is no pair."""
    if not pairs:
        return None
    errors = [abs(100 * (pair.predicted / pair.measured - 1)) for pair in pairs]
    decided = [pair for pair in pairs if abs(log(pair.measured)) > noise.tie]
    right = sum((pair.predicted > 1) == (pair.measured > 1) for pair in decided)
    return RatioErrors(len(pairs), median(errors), fmean(errors), len(decided), right)


def noise_floor(observed: Sequence[Observation], replicates: Sequence[tuple[float, float]] = ()) -> NoiseFloor:
    """``replicates`` : latencies of one kernel in two runs, in seconds.

    Two normal variables lie 2 sigma / sqrt(pi) apart on average, which gives sigma from replicates; of rows it is the
    mean of their own.
    """
    if len(replicates) >= LEAST_REPLICATES:
        apart = fmean(abs(log(first / second)) for first, second in replicates)
        return NoiseFloor(apart * sqrt(pi) / 2, NoiseOrigin.REPLICATES, len(replicates))
    known = [o.noise for o in observed if o.noise > 0]
    if known:
        return NoiseFloor(fmean(known), NoiseOrigin.INTERVALS, len(known))
    return NoiseFloor(0.0, NoiseOrigin.UNKNOWN, 0)


def _uniform_bits(spec: KernelSpec) -> int | None:
    """The one width of all its types of up to 8 bits; None if there are none, or several."""
    widths = {dtype.bits for dtype in _types(spec) if dtype.bits <= 8}
    return widths.pop() if len(widths) == 1 else None


def _types(spec: KernelSpec) -> tuple[DType, ...]:
    types = (spec.input_dtype, spec.input2_dtype, spec.weight_dtype, spec.output_dtype)
    return tuple(dtype for dtype in types if dtype is not None)


def _role(spec: KernelSpec) -> object:
    signs = tuple((dtype.bits > 8, dtype.signed) for dtype in _types(spec))
    return (*_role_without_signs(spec), signs)


def _role_without_signs(spec: KernelSpec) -> tuple[object, ...]:
    return (spec.workload, spec.epilogue, tuple(dtype.bits > 8 for dtype in _types(spec)))
