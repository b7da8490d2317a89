"""What a latency model learns from: one latency of one kernel, and how far to trust it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from profiler.errors import InvalidFile
from profiler.lut.schema import LutRow, Source
from profiler.record import Conditions
from profiler.workload import KernelSpec, Workload


@dataclass(frozen=True)
class Observation:
    """The latency of a kernel under its best known config.

    ``noise`` is the standard deviation of its logarithm, as far as the samples tell: 0.01 is about 1%. ``source`` is
    that of the row; `Source.PREDICTED` is refused, since nothing is learned from what was predicted.
    """

    spec: KernelSpec
    latency_s: float
    noise: float = 0.0
    source: Source = Source.MEASURED

    def __post_init__(self) -> None:
        if not (isfinite(self.latency_s) and self.latency_s > 0):
            raise ValueError(f"a latency is positive and finite, not {self.latency_s}")
        if not (isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"noise is finite and not negative, not {self.noise}")
        if self.source is Source.PREDICTED:
            raise ValueError("a predicted latency is no observation")

    @property
    def group(self) -> Workload:
        """What is held out together: kernels of one workload, whatever their batch, types and epilogue."""
        return self.spec.workload.with_batch(1)


def observations(rows: Iterable[LutRow], conditions: Conditions) -> tuple[Observation, ...]:
    """What was measured or published under those conditions, in the order of the rows."""
    return tuple(
        Observation(row.spec, row.latency_median_s, _noise(row), row.source)
        for row in rows
        if row.conditions == conditions and row.source is not Source.PREDICTED
    )


def usual_conditions(rows: Sequence[LutRow]) -> Conditions:
    """The conditions of most of the rows that can be learned from. Raises `InvalidFile` if there is none."""
    learnable = [row for row in rows if row.source is not Source.PREDICTED]
    if not learnable:
        raise InvalidFile("holds no measured or published row; measure some first (make profile, make sample)")
    return commonest_conditions(learnable)


def commonest_conditions(rows: Sequence[LutRow]) -> Conditions:
    """Those of most rows, of which there is at least one."""
    counts = Counter(row.conditions for row in rows)
    return max(counts, key=lambda c: (counts[c], -c.threads, c.cache_mode.value))


def data_sha256(observed: Iterable[Observation]) -> str:
    """Of kernels, latencies and sources, in whatever order they come."""
    lines = sorted(f"{o.spec.key} {o.latency_s!r} {o.source.value}" for o in observed)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _noise(row: LutRow) -> float:
    """Of the median: its 95% interval is four standard deviations wide."""
    if row.latency_ci95_low_s is None or row.latency_ci95_high_s is None:
        return 0.0
    return (row.latency_ci95_high_s - row.latency_ci95_low_s) / row.latency_median_s / 4
