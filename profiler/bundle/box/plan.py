"""What to measure next: a function of what is known and of the time that is left.

    first     FINAL of every kernel's best modelled candidate (its next one where that failed): the LUT is complete
    screen    SCREEN of the second candidates, of the third, ...
    last      FINAL of each kernel's fastest three, beside the best so far

Each phase goes through groups of kernels that are measured in turn: of one workload, in all precisions. Heavy groups
come first, so that a short budget covers what matters, and those that only mixed precision needs come last. Of a
limited time a quarter is kept for the last phase.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Tuple

from profiler.bundle.box.manifest import Candidate, Kernel
from profiler.record import FINAL_STAGE, SCREEN_STAGE, Failure, Measurement
from profiler.workload import KernelSpec, Workload

SIDE_BY_SIDE = 8
"""Kernels of a group at most; what a killed run has to measure again."""
FINALISTS = 3
LAST_SIDE_BY_SIDE = 4
"""Kernels whose finalists are measured in turn."""
RESERVE = 0.25
"""Share of the budget that is kept for the last phase, if it can take that long."""

Group = Tuple[Kernel, ...]


class Phase(str, Enum):
    FIRST = "first"
    SCREEN = "screen"
    LAST = "last"

    @property
    def stage(self) -> str:
        """As in `Measurement`."""
        return SCREEN_STAGE if self is Phase.SCREEN else FINAL_STAGE


@dataclass(frozen=True)
class Pace:
    """Seconds of wall time that a candidate takes, in a final measurement and in a screening."""

    final_s: float = 2.0
    screen_s: float = 0.5

    def of(self, phase: Phase) -> float:
        return self.screen_s if phase is Phase.SCREEN else self.final_s


@dataclass(frozen=True)
class Step:
    """Candidates that are measured in turn."""

    phase: Phase
    candidates: tuple[tuple[Kernel, Candidate], ...]


@dataclass
class Known:
    """What is known of a kernel: by config the time that ranks it (the first that was measured), whether that is final,
    and what failed."""

    times_s: dict[str, float] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)

    def add(self, record: Measurement | Failure) -> None:
        if isinstance(record, Failure):
            self.failed[record.config] = record
            return
        median_s = record.summary.median_s
        self.times_s.setdefault(record.config, median_s)
        if record.stage == FINAL_STAGE:
            self.finals[record.config] = median_s

    def tried(self, candidate: Candidate) -> bool:
        return candidate.config in self.times_s or candidate.config in self.failed

    @property
    def best(self) -> str | None:
        """The config with the lowest final median."""
        working = [config for config in self.finals if config not in self.failed]
        return min(working, key=lambda config: (self.finals[config], config), default=None)

    @property
    def missing_finals(self) -> tuple[str, ...]:
        """Configs among the fastest without a final measurement; with them, to compare, the best that has one."""
        working = [config for config in self.times_s if config not in self.failed]
        fastest = sorted(working, key=lambda config: (self.times_s[config], config))[:FINALISTS]
        missing = tuple(config for config in fastest if config not in self.finals)
        return (self.best, *missing) if missing and self.best is not None else missing


class Ledger:
    """What is known of each kernel."""

    def __init__(self, records: Iterable[Measurement | Failure] = ()) -> None:
        self._known: dict[KernelSpec, Known] = {}
        self.add(records)

    def add(self, records: Iterable[Measurement | Failure]) -> None:
        for record in records:
            self.of(record.spec).add(record)

    def of(self, spec: KernelSpec) -> Known:
        return self._known.setdefault(spec, Known())

    def first_of(self, kernel: Kernel) -> Candidate | None:
        """The candidate that shall give the kernel its first final; None if it has one, or all have failed."""
        known = self.of(kernel.spec)
        if known.best is not None:
            return None
        return next((c for c in kernel.candidates if c.config not in known.failed), None)


@dataclass(frozen=True)
class Progress:
    """Kernels that have a final, or never will; candidates that were tried; kernels whose fastest candidates of those
    have finals. Each of all."""

    first: tuple[int, int]
    tried: tuple[int, int]
    settled: tuple[int, int]


def progress(kernels: Sequence[Kernel], ledger: Ledger) -> Progress:
    """How far a run has come."""
    first = sum(ledger.first_of(kernel) is None for kernel in kernels)
    tried = sum(sum(map(ledger.of(kernel.spec).tried, kernel.candidates)) for kernel in kernels)
    settled = sum(not ledger.of(kernel.spec).missing_finals for kernel in kernels)
    total = len(kernels)
    return Progress((first, total), (tried, sum(len(kernel.candidates) for kernel in kernels)), (settled, total))


def groups(kernels: Iterable[Kernel]) -> tuple[Group, ...]:
    """The kernels by workload, the heaviest first; those that only mixed precision needs behind all others."""
    by_workload: dict[tuple[bool, Workload], list[Kernel]] = {}
    for kernel in kernels:
        by_workload.setdefault((kernel.mixed, kernel.spec.workload), []).append(kernel)
    cut = [group for members in by_workload.values() for group in _cut(members, SIDE_BY_SIDE)]
    return tuple(sorted(cut, key=lambda group: (group[0].mixed, -sum(kernel.weight_s for kernel in group))))


def next_step(groups: Sequence[Group], ledger: Ledger, pace: Pace, left_s: float, budget_s: float) -> Step | None:
    """What to measure now; None if nothing is left to do, or no time for it.

    left_s : until the run must have ended, ``budget_s`` at its beginning; infinite where there is no budget.
    """
    for group in groups:
        wanted = [(kernel, first) for kernel in group for first in [ledger.first_of(kernel)] if first is not None]
        if wanted:
            return _affordable(Phase.FIRST, wanted, pace, left_s)
    screen_s = left_s - min(RESERVE * budget_s, _last_phase_s(groups, pace))
    step = _affordable(Phase.SCREEN, next(_screenings(groups, ledger), ()), pace, screen_s)
    if step is not None:
        return step
    lasts = (_last(group, ledger, pace, left_s) for group in groups)
    return next((last for last in lasts if last is not None), None)


def finished(kernels: Iterable[Kernel], ledger: Ledger) -> bool:
    """Whether nothing is left to do, however much time there were."""
    known = ((kernel, ledger.of(kernel.spec)) for kernel in kernels)
    return all(not k.missing_finals and all(map(k.tried, kernel.candidates)) for kernel, k in known)


def _screenings(groups: Sequence[Group], ledger: Ledger) -> Iterator[Sequence[tuple[Kernel, Candidate]]]:
    """All that is untried: the second candidates of all groups, then the third, ..."""
    for rank in range(1, max((len(kernel.candidates) for group in groups for kernel in group), default=0)):
        for group in groups:
            ranked = [(kernel, kernel.candidates[rank]) for kernel in group if rank < len(kernel.candidates)]
            wanted = [(kernel, c) for kernel, c in ranked if not ledger.of(kernel.spec).tried(c)]
            if wanted:
                yield wanted


def _last(group: Group, ledger: Ledger, pace: Pace, left_s: float) -> Step | None:
    """The finalists of the first kernels that lack finals, all of a kernel or none."""
    wanted: list[tuple[Kernel, Candidate]] = []
    kernels = 0
    for kernel in group:
        configs = ledger.of(kernel.spec).missing_finals
        by_config: Mapping[str, Candidate] = {candidate.config: candidate for candidate in kernel.candidates}
        own = [(kernel, by_config[config]) for config in configs]
        if own and kernels < LAST_SIDE_BY_SIDE and (len(wanted) + len(own)) * pace.final_s <= left_s:
            wanted += own
            kernels += 1
    return Step(Phase.LAST, tuple(wanted)) if wanted else None


def _affordable(phase: Phase, wanted: Sequence[tuple[Kernel, Candidate]], pace: Pace, left_s: float) -> Step | None:
    """As many of them as there is time for."""
    count = len(wanted)
    while count and count * pace.of(phase) > left_s:
        count -= 1
    return Step(phase, tuple(wanted[:count])) if count else None


def _last_phase_s(groups: Sequence[Group], pace: Pace) -> float:
    """At most: a kernel's finalists, and the best of the first phase beside them."""
    return pace.final_s * sum(min(len(kernel.candidates), FINALISTS + 1) for group in groups for kernel in group)


def _cut(members: Sequence[Kernel], size: int) -> Iterator[Group]:
    for start in range(0, len(members), size):
        yield tuple(members[start : start + size])
