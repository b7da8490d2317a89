"""Two LUTs of the same kernels beside each other: how well a measurement repeats.

Two runs, two days, or a bundle and a direct run. Rows are joined by kernel and conditions; only measured rows count.
A difference is |a - b| as a share of their mean, the drift is b - a as a share of it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from profiler.errors import InvalidFile, ProfilerError
from profiler.lut import store
from profiler.lut.comparison import RowPair, differing, join, subject
from profiler.lut.schema import LutRow, Source
from profiler.units import format_duration
from profiler.workload import Op

GOAL = 0.02
LARGEST = 5


@dataclass(frozen=True)
class Pair(RowPair):
    """How two measurements of a kernel agree."""

    @property
    def drift(self) -> float:
        """b - a, as a share of their mean; positive if b is slower."""
        a_s, b_s = self.a.latency_median_s, self.b.latency_median_s
        return (b_s - a_s) / ((a_s + b_s) / 2)

    @property
    def difference(self) -> float:
        """|a - b|, as a share of their mean."""
        return abs(self.drift)

    @property
    def overlaps(self) -> bool:
        """Whether the 95% intervals have a point in common."""
        (a_low, a_high), (b_low, b_high) = _interval(self.a), _interval(self.b)
        return a_low <= b_high and b_low <= a_high


@dataclass(frozen=True)
class Repeatability:
    """Of some kernels. All but ``kernels`` are shares: of the mean latency, and of the kernels."""

    kernels: int
    median: float
    p90: float
    largest: float
    drift: float
    within_goal: float
    overlapping: float

    @staticmethod
    def of(pairs: Sequence[Pair]) -> Repeatability:
        """Raises `ValueError` for no pairs."""
        if not pairs:
            raise ValueError("there is nothing to compare")
        differences = [pair.difference for pair in pairs]
        return Repeatability(
            kernels=len(pairs),
            median=statistics.median(differences),
            p90=_p90(differences),
            largest=max(differences),
            drift=statistics.median(pair.drift for pair in pairs),
            within_goal=statistics.fmean(difference <= GOAL for difference in differences),
            overlapping=statistics.fmean(pair.overlaps for pair in pairs),
        )


def warnings(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """What a reader of the comparison must know: two instruments, or measurements that were not taken twice."""
    found = []
    a, b = pairs[0].a, pairs[0].b
    if a.fingerprint != b.fingerprint:
        how = "; ".join(
            f"{name} is '{getattr(a, name)}' in a and '{getattr(b, name)}' in b" for name in differing(a, b)
        )
        same_model = "a card of the same model: it, its driver, compiler, power limit or the like is another one"
        found.append(f"two instruments, {a.fingerprint} and {b.fingerprint} ({how or same_model})")
    once = sum(pair.once for pair in pairs)
    if once:
        found.append(
            f"{once} of the kernels were measured once and are the same row in both: a run takes what its journals "
            "know, so the second one needs a folder of its own (OUT=)"
        )
    return tuple(found)


def measured(path: Path) -> tuple[LutRow, ...]:
    """The measured rows of a file. Raises `InvalidFile` for a damaged file, and for one without any."""
    rows = tuple(row for row in store.read(path) if row.source is Source.MEASURED)
    if not rows:
        raise InvalidFile(f"{path}: holds no measured row; give the LUT of a run")
    return rows


def bench_repeat(path_a: Path, path_b: Path, console: Console | None = None) -> Repeatability:
    """Print how well two files agree. Raises `ProfilerError` if they cannot be read or have no kernel in common."""
    console = console or Console(width=160, highlight=False, markup=False)
    a, b = measured(path_a), measured(path_b)
    joined = join(a, b)
    pairs = tuple(Pair(pair.a, pair.b) for pair in joined.pairs)
    if not pairs:
        raise ProfilerError(
            f"{path_a} and {path_b} have no kernel in common under the same conditions: one has {subject(a)}, the "
            f"other {subject(b)}; compare runs of one model with the same batch, threads and cache mode"
        )
    whole = Repeatability.of(pairs)
    in_both = f"{len(pairs)} kernels in both"
    console.print(
        f"{in_both}, {joined.only_a} only in {path_a} (a), {joined.only_b} only in {path_b} (b)", soft_wrap=True
    )
    for warning in warnings(pairs):
        console.print(f"warning: {warning}", soft_wrap=True)
    console.print(_summary(pairs, whole))
    console.print(
        f"goal: medians within {GOAL:.0%}; {whole.within_goal:.1%} of the kernels are, the largest difference is "
        f"{whole.largest:.2%}",
        soft_wrap=True,
    )
    for line in _largest(pairs):
        console.print(line, soft_wrap=True)
    return whole


def main(arguments: Sequence[str]) -> None:
    """``python -m bench repeat A.csv B.csv``."""
    parser = argparse.ArgumentParser(prog="bench repeat", description=__doc__)
    parser.add_argument("a", type=Path, metavar="A.csv")
    parser.add_argument("b", type=Path, metavar="B.csv")
    parsed = parser.parse_args(arguments)
    bench_repeat(parsed.a, parsed.b)


def _interval(row: LutRow) -> tuple[float, float]:
    assert row.latency_ci95_low_s is not None, "measured rows have one"
    assert row.latency_ci95_high_s is not None
    return row.latency_ci95_low_s, row.latency_ci95_high_s


def _p90(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]


def _summary(pairs: Sequence[Pair], whole: Repeatability) -> Table:
    table = Table(title="|a - b| / mean of a and b", title_justify="left", box=None, pad_edge=False)
    table.add_column("kernels of")
    for column in ("number", "median", "90%", "largest", "drift (b - a)", f"within {GOAL:.0%}", "intervals overlap"):
        table.add_column(column, justify="right")
    groups = {op.value: [pair for pair in pairs if pair.a.spec.workload.op is op] for op in _ops(pairs)}
    groups["same config"] = [pair for pair in pairs if pair.same_config]
    rows = [(name, Repeatability.of(group)) for name, group in groups.items() if group]
    for name, found in (*rows, ("all", whole)):
        shares = (found.median, found.p90, found.largest)
        table.add_row(
            name, str(found.kernels), *(f"{share:.2%}" for share in shares), f"{found.drift:+.2%}",
            f"{found.within_goal:.1%}", f"{found.overlapping:.1%}",
        )  # fmt: skip
    return table


def _ops(pairs: Sequence[Pair]) -> tuple[Op, ...]:
    return tuple(dict.fromkeys(pair.a.spec.workload.op for pair in pairs))


def _largest(pairs: Sequence[Pair]) -> list[str]:
    """Lines on the kernels that differ most, none where all are equal."""
    lines = []
    for pair in sorted(pairs, key=lambda pair: -pair.difference)[:LARGEST]:
        if pair.difference == 0:
            break
        a_s, b_s = (format_duration(row.latency_median_s) for row in (pair.a, pair.b))
        mode, threads = pair.a.conditions.cache_mode.value, pair.a.conditions.threads
        lines += [
            f"{pair.drift:+.2%}: {pair.a.spec.key}, {mode}, {threads} thread(s): a {a_s}, b {b_s}, intervals "
            f"{'overlap' if pair.overlaps else 'apart'}",
        ]
        configs = ("both", pair.a.config), ("a", pair.a.config), ("b", pair.b.config)
        lines += [f"  {who}: {config}" for who, config in (configs[:1] if pair.same_config else configs[1:])]
    return ["the largest differences (b - a):", *lines] if lines else []
