"""Two tables of latencies beside each other, kernel by kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from statistics import NormalDist

from profiler.record import Conditions
from profiler.report.content.table import Cell, Column, Kind, Table, span_cells
from profiler.verdict import Ratio, Span, Verdict, judge

FALSE_ALARMS = 0.025
"""In how many comparisons of unchanged kernels `Comparison.slowdowns` names any, at most; as often the interval of the
mean errs upwards."""
_ROUNDING = 1e-9
_ANSWERS = {
    Verdict.FASTER: "B is faster",
    Verdict.SLOWER: "B is slower",
    Verdict.SAME: "B is as fast as A",
    Verdict.AMBIGUOUS: "whether B is faster cannot be told",
}


@dataclass(frozen=True)
class ComparedTable:
    """``path`` is the end of it that tells the two apart; ``days`` on which the compared rows were measured, in UTC."""

    path: str
    device_name: str
    fingerprint: str
    days: str

    @property
    def title(self) -> str:
        return f"{self.path}: {self.device_name}, {self.days}"


@dataclass(frozen=True)
class Noise:
    """``sigma`` is the standard deviation of the logarithm of a latency from one run to the next; ``origin`` says where
    the figure comes from. ``assumed``: not from these instruments."""

    sigma: float
    origin: str
    assumed: bool = False


@dataclass(frozen=True)
class ComparedKernel:
    """A kernel that both tables have, under the same conditions.

    ``kernel`` is unique together with the conditions; ``label`` is shorter, for people, and as unique. ``group`` names
    the kernels that are like it. ``ratio`` is b / a with its 95% interval, ``verdict`` that of b against a. ``once``:
    both rows are one and the same measurement.
    """

    kernel: str
    label: str
    group: str
    conditions: Conditions
    a: Span
    b: Span
    ratio: Ratio
    verdict: Verdict
    same_config: bool
    once: bool


@dataclass(frozen=True)
class Comparison:
    """``kernels`` from the one that is slowest in b, compared with a, to the fastest. ``notes`` should be read first.
    Raises `ValueError` where no kernel is compared."""

    a: ComparedTable
    b: ComparedTable
    kernels: tuple[ComparedKernel, ...]
    only_a: int
    only_b: int
    noise: Noise
    margin: float
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.kernels:
            raise ValueError("there is nothing to compare")

    def count(self, verdict: Verdict) -> int:
        return sum(kernel.verdict is verdict for kernel in self.kernels)

    @property
    def geometric_mean(self) -> Ratio:
        """Of b / a over the kernels. The ends of its 95% interval are geometric means too: kernels of one run share its
        clock, so that in the worst case they all err alike."""
        ratios = [kernel.ratio for kernel in self.kernels]
        value = geometric_mean([ratio.value for ratio in ratios])
        low, high = geometric_mean([ratio.low for ratio in ratios]), geometric_mean([ratio.high for ratio in ratios])
        return Ratio(value, min(low, value), max(high, value))  # rounding

    @property
    def verdict(self) -> Verdict:
        """Of the geometric mean."""
        return judge(self.geometric_mean, self.margin)

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(sorted({kernel.group for kernel in self.kernels}))

    @property
    def slowdowns(self) -> tuple[ComparedKernel, ...]:
        """Kernels that take longer by at least the margin, as chance among so many kernels does not make them.

        A 95% interval errs for one unchanged kernel in twenty, so of 150 some always do. Here the intervals are widened
        until any of them errs upwards in at most one comparison of forty, however the errors of kernels hang together
        (Bonferroni's correction: Dunn, Multiple comparisons among means, JASA 56, 1961), taking logarithms for normal.
        """
        twice = sum(not kernel.once for kernel in self.kernels)
        if not twice:
            return ()
        normal = NormalDist()
        wider = normal.inv_cdf(1 - FALSE_ALARMS / twice) / normal.inv_cdf(0.975)
        return tuple(
            kernel
            for kernel in self.kernels
            if self._beyond_margin(kernel.ratio)
            and log(kernel.ratio.value) > wider * log(kernel.ratio.value / kernel.ratio.low)
        )

    @property
    def slower_on_the_whole(self) -> bool:
        """Whether the geometric mean is slower, and by at least the margin."""
        return self.verdict is Verdict.SLOWER and self._beyond_margin(self.geometric_mean)

    def _beyond_margin(self, ratio: Ratio) -> bool:
        return ratio.value >= (1 + self.margin) * (1 - _ROUNDING)

    @property
    def headline(self) -> str:
        """The answer in a sentence."""
        counts = ", ".join(f"{self.count(verdict)} {verdict.value}" for verdict in Verdict)
        mean, several = self.geometric_mean, "s" * (len(self.kernels) != 1)
        interval = f"{mean.low:.3f} to {mean.high:.3f}"
        return (
            f"{_ANSWERS[self.verdict]}: it takes {mean.value:.3f} times as long ({interval}), in the geometric mean of "
            f"{len(self.kernels)} kernel{several}: {counts}"
        )


def geometric_mean(values: Sequence[float]) -> float:
    """Raises `ValueError` where there is none."""
    if not values:
        raise ValueError("nothing to take the mean of")
    return exp(fsum(map(log, values)) / len(values))


def table_of(comparison: Comparison) -> Table:
    """A row per kernel."""
    columns = (
        Column("kernel", "kernel"),
        Column("threads", "threads", Kind.NUMBER),
        Column("cache_mode", "cache"),
        Column("a_s", "A", Kind.SECONDS),
        Column("a_low_s", "A from", Kind.SECONDS),
        Column("a_high_s", "A to", Kind.SECONDS),
        Column("b_s", "B", Kind.SECONDS),
        Column("b_low_s", "B from", Kind.SECONDS),
        Column("b_high_s", "B to", Kind.SECONDS),
        Column("ratio", "B / A", Kind.RATIO),
        Column("ratio_low", "B / A from", Kind.RATIO),
        Column("ratio_high", "B / A to", Kind.RATIO),
        Column("verdict", "B is"),
        Column("config", "config"),
    )
    return Table(columns, tuple(_row(kernel) for kernel in comparison.kernels))


def summary_of(comparison: Comparison) -> Table:
    """A row per group of kernels, and one of all."""
    columns = (
        Column("group", "kernels of"),
        Column("kernels", "number", Kind.NUMBER),
        Column("ratio", "B / A", Kind.RATIO),
        *(Column(verdict.value, verdict.value, Kind.NUMBER) for verdict in Verdict),
    )
    rows = [(name, [k for k in comparison.kernels if k.group == name]) for name in comparison.groups]
    rows.append(("all", list(comparison.kernels)))
    return Table(columns, tuple(_summary(name, kernels) for name, kernels in rows))


def _row(k: ComparedKernel) -> tuple[Cell, ...]:
    return (
        k.kernel,
        k.conditions.threads,
        k.conditions.cache_mode.value,
        *span_cells(k.a),
        *span_cells(k.b),
        k.ratio.value,
        k.ratio.low,
        k.ratio.high,
        k.verdict.value,
        "same" if k.same_config else "other",
    )


def _summary(name: str, kernels: Sequence[ComparedKernel]) -> tuple[Cell, ...]:
    counts = (sum(kernel.verdict is verdict for kernel in kernels) for verdict in Verdict)
    return (name, len(kernels), geometric_mean([kernel.ratio.value for kernel in kernels]), *counts)
