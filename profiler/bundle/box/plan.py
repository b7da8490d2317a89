"""What to measure next: a function of what is known and of the time that is left.

    first     FINAL of the first candidate of every kernel that a network runs (of the next one where that failed)
    network   each network once, verified and timed
    first     the same of all other kernels: the LUT is complete
    network   each network again, until it has all of its rounds
    screen    SCREEN of the second candidates, of the third, ...
    last      FINAL of each kernel's fastest three, beside the best so far
    energy    that of each kernel's best, where it is asked for and the device tells it

So a short budget gives what a bundle with networks is made for: their latencies, each beside the sum of its kernels. In
a bundle without networks all kernels come first. Rounds of several networks alternate, in reverse order each time, so
that drift favours none.

Each phase of kernels goes through groups that are measured in turn: of one workload, in all precisions. Heavy groups
come first, so that a short budget covers what matters, and those that only mixed precision needs come last. Of a
limited time a quarter is kept for the last phase. Energies take half a minute each, and get what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Tuple

from profiler.bundle.box.manifest import Candidate, Configuration, Kernel
from profiler.bundle.box.network_record import NetworkFault, NetworkRecord
from profiler.measure.energy import ENERGY_RULE
from profiler.record import FINAL_STAGE, SCREEN_STAGE, EnergyMeasurement, Failure, KernelRecord
from profiler.workload import KernelSpec, Workload

SIDE_BY_SIDE = 8
"""Kernels of a group at most; what a killed run has to measure again."""
FINALISTS = 3
LAST_SIDE_BY_SIDE = 4
"""Kernels whose finalists are measured in turn."""
RESERVE = 0.25
"""Share of the budget that is kept for the last phase, if it can take that long."""
ROUNDS = 5
"""Each network is timed so often."""
_ROUND_S = 3.0
"""Wall time of a round of a small network, loading and verifying it included."""
_ROUND_RUNS = 40
"""Runs that a round of a large network takes, which fills more time than a rule's budget."""

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
    """Seconds of wall time that a candidate takes, in a final measurement and in a screening. ``network`` : by how much
    a round of a network takes longer than it was reckoned with (`round_s`)."""

    final_s: float = 2.0
    screen_s: float = 0.5
    network: float = 1.0

    def of(self, phase: Phase) -> float:
        return self.screen_s if phase is Phase.SCREEN else self.final_s


@dataclass(frozen=True)
class Step:
    """Candidates that are measured in turn."""

    phase: Phase
    candidates: tuple[tuple[Kernel, Candidate], ...]


@dataclass(frozen=True)
class NetworkStep:
    """A round of a network. ``reckoned_s`` is what it was reckoned with, in seconds of wall time."""

    configuration: Configuration
    reckoned_s: float


@dataclass(frozen=True)
class EnergyStep:
    """The energy of a kernel's best candidate."""

    kernel: Kernel
    candidate: Candidate


@dataclass
class Known:
    """What is known of a kernel: by config the time that ranks it (the first that was measured), whether that is final,
    what failed, and whose energy was measured."""

    times_s: dict[str, float] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    metered: set[str] = field(default_factory=set)

    def add(self, record: KernelRecord) -> None:
        if isinstance(record, Failure):
            self.failed[record.config] = record
            return
        if isinstance(record, EnergyMeasurement):
            self.metered.add(record.config)
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
    def wants_energy(self) -> bool:
        """Whether that of the best config is not known."""
        return self.best is not None and self.best not in self.metered

    @property
    def missing_finals(self) -> tuple[str, ...]:
        """Configs among the fastest without a final measurement; with them, to compare, the best that has one."""
        working = [config for config in self.times_s if config not in self.failed]
        fastest = sorted(working, key=lambda config: (self.times_s[config], config))[:FINALISTS]
        missing = tuple(config for config in fastest if config not in self.finals)
        return (self.best, *missing) if missing and self.best is not None else missing


class Ledger:
    """What is known of each kernel, and of each network."""

    def __init__(self, records: Iterable[KernelRecord] = (), networks: Iterable[NetworkRecord] = ()) -> None:
        self._known: dict[KernelSpec, Known] = {}
        self._rounds: dict[str, int] = {}
        self._faulty: set[str] = set()
        self.add(records)
        for record in networks:
            self.add_network(record)

    def add(self, records: Iterable[KernelRecord]) -> None:
        for record in records:
            self.of(record.spec).add(record)

    def add_network(self, record: NetworkRecord) -> None:
        if isinstance(record, NetworkFault):
            self._faulty.add(record.configuration)
        else:
            self._rounds[record.configuration] = self.rounds(record.configuration) + 1

    def rounds(self, configuration: str) -> int:
        """How often it was timed; as often as it shall be if it failed."""
        return ROUNDS if configuration in self._faulty else self._rounds.get(configuration, 0)

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
    have finals; rounds of networks; energies of those that have a final. Each of all."""

    first: tuple[int, int]
    tried: tuple[int, int]
    settled: tuple[int, int]
    rounds: tuple[int, int] = (0, 0)
    metered: tuple[int, int] = (0, 0)


def progress(agenda: Agenda, ledger: Ledger) -> Progress:
    """How far a run has come."""
    kernels, configurations = agenda.kernels, agenda.configurations
    first = sum(ledger.first_of(kernel) is None for kernel in kernels)
    tried = sum(sum(map(ledger.of(kernel.spec).tried, kernel.candidates)) for kernel in kernels)
    settled = sum(not ledger.of(kernel.spec).missing_finals for kernel in kernels)
    total = len(kernels)
    rounds = (sum(ledger.rounds(c.name) for c in configurations), ROUNDS * len(configurations))
    tries = (tried, sum(len(kernel.candidates) for kernel in kernels))
    able = [ledger.of(kernel.spec) for kernel in kernels if ledger.of(kernel.spec).best is not None]
    metered = (sum(not known.wants_energy for known in able), len(able))
    return Progress((first, total), tries, (settled, total), rounds, metered)


@dataclass(frozen=True)
class Agenda:
    """All that a run has to do. ``ahead`` are the groups with kernels that networks run, ``others`` the rest.
    ``energy``: joules are asked for, and the device tells them."""

    ahead: tuple[Group, ...]
    others: tuple[Group, ...]
    configurations: tuple[Configuration, ...] = ()
    energy: bool = False

    @property
    def groups(self) -> tuple[Group, ...]:
        return (*self.ahead, *self.others)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return tuple(kernel for group in self.groups for kernel in group)


def agenda(kernels: Sequence[Kernel], configurations: Sequence[Configuration] = (), energy: bool = False) -> Agenda:
    """The kernels by workload, the heaviest first; those that only mixed precision needs behind all others, unless a
    network runs them."""
    run = {artifact for configuration in configurations for artifact in configuration.steps}
    needed = {kernel.spec for kernel in kernels if any(c.sha256 in run for c in kernel.candidates)}
    beside = {spec.workload for spec in needed}
    ahead = [k for k in kernels if k.spec in needed or (not k.mixed and k.spec.workload in beside)]
    chosen = {kernel.spec for kernel in ahead}
    return Agenda(
        ahead=groups(replace(kernel, mixed=False) for kernel in ahead),
        others=groups(kernel for kernel in kernels if kernel.spec not in chosen),
        configurations=tuple(configurations),
        energy=energy,
    )


def groups(kernels: Iterable[Kernel]) -> tuple[Group, ...]:
    """The kernels by workload, the heaviest first; those that only mixed precision needs behind all others."""
    by_workload: dict[tuple[bool, Workload], list[Kernel]] = {}
    for kernel in kernels:
        by_workload.setdefault((kernel.mixed, kernel.spec.workload), []).append(kernel)
    cut = [group for members in by_workload.values() for group in _cut(members, SIDE_BY_SIDE)]
    return tuple(sorted(cut, key=lambda group: (group[0].mixed, -sum(kernel.weight_s for kernel in group))))


def next_step(
    agenda: Agenda, ledger: Ledger, pace: Pace, left_s: float, budget_s: float
) -> Step | NetworkStep | EnergyStep | None:
    """What to measure now; None if nothing is left to do, or no time for it.

    left_s : until the run must have ended, ``budget_s`` at its beginning; infinite where there is no budget.
    """
    for some, rounds in ((agenda.ahead, 1), (agenda.others, ROUNDS)):
        wanted = next(_firsts(some, ledger), None)
        if wanted is not None:
            return _affordable(Phase.FIRST, wanted, pace, left_s)
        network = _round(agenda, ledger, pace, left_s, rounds)
        if network is not None:
            return network
    screen_s = left_s - min(RESERVE * budget_s, _last_phase_s(agenda.groups, pace))
    step = _affordable(Phase.SCREEN, next(_screenings(agenda.groups, ledger), ()), pace, screen_s)
    if step is not None:
        return step
    lasts = (_last(group, ledger, pace, left_s) for group in agenda.groups)
    last = next((last for last in lasts if last is not None), None)
    return last or _energy(agenda, ledger, pace, left_s)


def round_s(configuration: Configuration, kernels: Iterable[Kernel], ledger: Ledger) -> float:
    """Seconds of wall time that a round of a network takes, as its kernels were measured, or modelled."""
    seconds = {}
    for kernel in kernels:
        finals = ledger.of(kernel.spec).finals
        seconds.update({c.sha256: finals.get(c.config, c.modelled_s) for c in kernel.candidates})
    return _ROUND_S + _ROUND_RUNS * sum(seconds[artifact] for artifact in configuration.steps)


def finished(agenda: Agenda, ledger: Ledger) -> bool:
    """Whether nothing is left to do, however much time there were."""
    if any(ledger.rounds(configuration.name) < ROUNDS for configuration in agenda.configurations):
        return False
    known = [(kernel, ledger.of(kernel.spec)) for kernel in agenda.kernels]
    if agenda.energy and any(k.wants_energy for _, k in known):
        return False
    return all(not k.missing_finals and all(map(k.tried, kernel.candidates)) for kernel, k in known)


def _firsts(groups: Iterable[Group], ledger: Ledger) -> Iterator[Sequence[tuple[Kernel, Candidate]]]:
    """By group, what lacks a first final."""
    for group in groups:
        wanted = [(kernel, first) for kernel in group for first in [ledger.first_of(kernel)] if first is not None]
        if wanted:
            yield wanted


def _round(agenda: Agenda, ledger: Ledger, pace: Pace, left_s: float, rounds: int) -> NetworkStep | None:
    """Of the network that has the fewest, up to so many, if there is time for it."""
    waiting = [c for c in agenda.configurations if ledger.rounds(c.name) < rounds]
    if not waiting:
        return None
    fewest = min(ledger.rounds(configuration.name) for configuration in waiting)
    own_round = [configuration for configuration in waiting if ledger.rounds(configuration.name) == fewest]
    chosen = own_round[-1] if fewest % 2 else own_round[0]
    kernels = [kernel for group in agenda.ahead for kernel in group]
    reckoned_s = round_s(chosen, kernels, ledger)
    return NetworkStep(chosen, reckoned_s) if reckoned_s * pace.network <= left_s else None


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


def energy_s(pace: Pace) -> float:
    """Seconds of wall time that an energy takes."""
    return ENERGY_RULE.total_s + pace.final_s


def _energy(agenda: Agenda, ledger: Ledger, pace: Pace, left_s: float) -> EnergyStep | None:
    """Of the first kernel whose best candidate is settled, if there is time for it."""
    if not agenda.energy or energy_s(pace) > left_s:
        return None
    for kernel in agenda.kernels:
        known = ledger.of(kernel.spec)
        if known.wants_energy and not known.missing_finals:
            return EnergyStep(kernel, next(c for c in kernel.candidates if c.config == known.best))
    return None


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
