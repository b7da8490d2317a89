"""Two LUTs beside each other: the rows of one kernel under the same conditions, and in what the instruments differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from profiler.lut.schema import LutRow, Source
from profiler.record import Conditions
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class RowPair:
    """A kernel under the same conditions in both tables."""

    a: LutRow
    b: LutRow

    @property
    def same_config(self) -> bool:
        return self.a.config == self.b.config

    @property
    def once(self) -> bool:
        """Whether both are one and the same measurement; of published rows: the same row."""
        if Source.MEASURED not in (self.a.source, self.b.source):
            return self.a == self.b
        return _measurement(self.a) == _measurement(self.b)


@dataclass(frozen=True)
class Joined:
    """Kernels in both tables, in the order of the first, and how many are in one of them only."""

    pairs: tuple[RowPair, ...]
    only_a: int
    only_b: int


def join(a: Iterable[LutRow], b: Iterable[LutRow]) -> Joined:
    """Rows of one kernel (workload, types, epilogue, layouts) under the same conditions (threads, cache mode).

    Of a kernel that a table has several rows of, the measured one counts ahead of the published one; predicted rows are
    passed over.
    """
    by_kernel_a, by_kernel_b = _by_kernel(a), _by_kernel(b)
    pairs = tuple(RowPair(row, by_kernel_b[key]) for key, row in by_kernel_a.items() if key in by_kernel_b)
    return Joined(pairs, len(by_kernel_a) - len(pairs), len(by_kernel_b) - len(pairs))


def differing(a: LutRow, b: LutRow) -> tuple[str, ...]:
    """The columns that tell two instruments apart; none for two of one model."""
    return tuple(name for name in ("device", "device_name", "arch") if getattr(a, name) != getattr(b, name))


def subject(rows: Iterable[LutRow]) -> str:
    """What a table is about, in a few words."""
    rows = tuple(rows)
    batches = ", ".join(map(str, sorted({row.spec.workload.batch for row in rows})))
    threads = ", ".join(map(str, sorted({row.conditions.threads for row in rows})))
    modes = ", ".join(sorted({row.conditions.cache_mode.value for row in rows}))
    return f"batch {batches}, threads {threads}, cache mode {modes}"


def usual_clock_mhz(rows: Iterable[LutRow]) -> float | None:
    """The median over the rows of the middle of the core clock that each was measured at; None if none tells."""
    clocks = [
        (row.sm_clock_mhz_low + row.sm_clock_mhz_high) / 2
        for row in rows
        if row.sm_clock_mhz_low is not None and row.sm_clock_mhz_high is not None
    ]
    return median(clocks) if clocks else None


def _measurement(row: LutRow) -> tuple[object, ...]:
    return row.source, row.run_id, row.measured_at, row.artifact_sha256, row.latency_median_s


def _by_kernel(rows: Iterable[LutRow]) -> dict[tuple[KernelSpec, Conditions], LutRow]:
    found: dict[tuple[KernelSpec, Conditions], LutRow] = {}
    for row in rows:
        key = row.spec, row.conditions
        if row.source is Source.MEASURED or (row.source is Source.PUBLISHED and key not in found):
            found[key] = row
    return found
