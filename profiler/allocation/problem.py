"""An allocation problem: choices of a level each, what they cost, and how they hang together. No network, no device.

A *level* is an index into ``precisions``, which stand from the widest to the narrowest. A *choice* takes exactly one
of the levels that it allows; its sensitivity is the objective. Costs are additive quantities (latency, size, ...):
those of a choice, and those of *tables*, which say what a unit costs given the levels of all choices that it touches,
by one of several *options* (a convolution with its addition fused or apart). A *sharing* is one tensor with several
readers, each with a choice of its own: where one differs from the tensor, the copy of that level is paid for once;
levels that store a tensor alike (its types are the same) share that copy, or need none. What is no sum, the peak of the
live activations, is a maximum over *moments*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from profiler.errors import ProfilerError


class InvalidProblem(ProfilerError):
    """An allocation problem whose parts contradict each other."""


class Quantity(str, Enum):
    """What can be limited. All but ``memory`` are sums."""

    LATENCY = "latency"
    SIZE = "size"
    BOPS = "bops"
    ENERGY = "energy"
    MEMORY = "memory"


SUMS = (Quantity.LATENCY, Quantity.SIZE, Quantity.BOPS, Quantity.ENERGY)

_MOST = 1e100
"""Larger numbers may not be summed."""

Costs = Mapping[Quantity, float]
"""In the unit of the problem's limits; what is not listed is zero."""


@dataclass(frozen=True)
class Choice:
    """``allowed`` levels, in ascending order; ``sensitivity`` and ``costs`` are by level, for all precisions (what is
    not allowed is not read). ``is_layer`` is false where only the storage of a tensor is chosen."""

    name: str
    allowed: tuple[int, ...]
    sensitivity: tuple[float, ...]
    costs: tuple[Costs, ...] = ()
    is_layer: bool = True


@dataclass(frozen=True)
class Option:
    """One way of doing a unit: the levels of the table's choices that it is for, and what it costs."""

    levels: tuple[int, ...]
    costs: Costs


@dataclass(frozen=True)
class Table:
    """``choices`` are indices. Levels that no option is for are impossible together."""

    name: str
    choices: tuple[int, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Sharing:
    """A tensor's choice, its readers' choices, and what a copy costs by (level of the tensor, level of the copy).
    Pairs that are not listed are impossible; a reader at the tensor's own level needs no copy. ``alike`` has, by level,
    the first level of the same storage, which stands for all of those in the pairs; empty where all differ."""

    name: str
    tensor: int
    readers: tuple[int, ...]
    copies: Mapping[tuple[int, int], Costs]
    alike: tuple[int, ...] = ()

    def pair(self, stored: int, wanted: int) -> tuple[int, int] | None:
        """The copy that a reader at level ``wanted`` needs; None where it needs none."""
        found = (self.alike[stored], self.alike[wanted]) if self.alike else (stored, wanted)
        return None if found[0] == found[1] else found


@dataclass(frozen=True)
class NotNarrower:
    """The level of ``choice`` is at most that of ``than``."""

    choice: int
    than: int


@dataclass(frozen=True)
class Moment:
    """What is alive at one time, in bytes: ``choices`` by level, ``options`` of tables by option, ``copies`` of
    sharings by pair."""

    name: str
    choices: tuple[tuple[int, tuple[float, ...]], ...] = ()
    options: tuple[tuple[int, tuple[float, ...]], ...] = ()
    copies: tuple[tuple[int, Mapping[tuple[int, int], float]], ...] = ()


@dataclass(frozen=True)
class Problem:
    """Checks itself: raises `InvalidProblem` naming the part that is wrong."""

    precisions: tuple[str, ...]
    choices: tuple[Choice, ...]
    tables: tuple[Table, ...] = ()
    sharings: tuple[Sharing, ...] = ()
    not_narrower: tuple[NotNarrower, ...] = ()
    moments: tuple[Moment, ...] = ()

    def __post_init__(self) -> None:
        if not self.choices:
            raise InvalidProblem("there is nothing to choose: the problem has no layer")
        levels = len(self.precisions)
        for choice in self.choices:
            _check_choice(choice, levels)
        for table in self.tables:
            self._check_table(table)
        for sharing in self.sharings:
            if sharing.alike and (
                len(sharing.alike) != levels
                or any(
                    not 0 <= first <= level or sharing.alike[first] != first
                    for level, first in enumerate(sharing.alike)
                )
            ):
                raise InvalidProblem(f"'{sharing.name}': {sharing.alike} are not first levels of {levels} precisions")
            for pair, costs in sharing.copies.items():
                if pair[0] == pair[1]:
                    raise InvalidProblem(f"'{sharing.name}': a copy into its own precision")
                if sharing.pair(*pair) != pair:
                    raise InvalidProblem(f"'{sharing.name}': a copy between levels that others stand for")
                _check_costs(sharing.name, costs)

    def _check_table(self, table: Table) -> None:
        if len(set(table.choices)) < len(table.choices):
            raise InvalidProblem(f"'{table.name}': a choice is listed twice")
        for option in table.options:
            if len(option.levels) != len(table.choices):
                raise InvalidProblem(f"'{table.name}': {len(option.levels)} levels for {len(table.choices)} choices")
            _check_costs(table.name, option.costs)


def _check_choice(choice: Choice, levels: int) -> None:
    if not choice.allowed:
        raise InvalidProblem(f"'{choice.name}': no precision is allowed")
    if list(choice.allowed) != sorted(set(choice.allowed)) or not 0 <= choice.allowed[0] <= choice.allowed[-1] < levels:
        raise InvalidProblem(f"'{choice.name}': {choice.allowed} are not levels of {levels} precisions")
    if len(choice.sensitivity) != levels or len(choice.costs) not in (0, levels):
        raise InvalidProblem(f"'{choice.name}': sensitivities and costs are by precision")
    for level in choice.allowed:
        _check_number(f"'{choice.name}': sensitivity", choice.sensitivity[level])
        if choice.costs:
            _check_costs(choice.name, choice.costs[level])


def _check_costs(name: str, costs: Costs) -> None:
    for quantity, value in costs.items():
        if quantity not in SUMS:
            raise InvalidProblem(f"'{name}': {quantity.value} is no sum of costs")
        _check_number(f"'{name}': {quantity.value}", value)


def _check_number(what: str, value: float) -> None:
    if not 0 <= value <= _MOST:
        raise InvalidProblem(f"{what} is {value}, not a number from 0 to {_MOST:g}")


@dataclass(frozen=True)
class Limit:
    """An upper end of a quantity."""

    quantity: Quantity
    most: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.most):
            raise InvalidProblem(f"the limit of {self.quantity.value} is {self.most}, not a finite number")


@dataclass(frozen=True)
class Assignment:
    """A level for each choice and an option (its index) for each table. `total` says what follows from it."""

    levels: tuple[int, ...]
    options: tuple[int, ...] = field(default=())


def copies(problem: Problem, levels: Sequence[int]) -> tuple[tuple[int, tuple[int, int]], ...]:
    """The copies that these levels need: index of the sharing and pair of levels, each once."""
    found = []
    for index, sharing in enumerate(problem.sharings):
        stored = levels[sharing.tensor]
        wanted = dict.fromkeys(sharing.pair(stored, levels[reader]) for reader in sharing.readers)
        found += [(index, pair) for pair in wanted if pair is not None]
    return tuple(found)


def sensitivity(problem: Problem, levels: Sequence[int]) -> float:
    """The objective, rounded once."""
    return math.fsum(choice.sensitivity[level] for choice, level in zip(problem.choices, levels, strict=True))


def total(problem: Problem, assignment: Assignment, quantity: Quantity) -> float:
    """What an assignment takes of a quantity, rounded once."""
    return peak(problem, assignment) if quantity is Quantity.MEMORY else _sum(problem, assignment, quantity)


def _sum(problem: Problem, assignment: Assignment, quantity: Quantity) -> float:
    def parts() -> Iterable[float]:
        for choice, level in zip(problem.choices, assignment.levels, strict=True):
            if choice.costs:
                yield choice.costs[level].get(quantity, 0.0)
        for table, option in zip(problem.tables, assignment.options, strict=True):
            yield table.options[option].costs.get(quantity, 0.0)
        for index, pair in copies(problem, assignment.levels):
            yield problem.sharings[index].copies[pair].get(quantity, 0.0)

    return math.fsum(parts())


def peak(problem: Problem, assignment: Assignment) -> float:
    """Bytes of activations at the worst moment; zero where the problem has no moments."""
    made = set(copies(problem, assignment.levels))
    return max((_alive(moment, assignment, made) for moment in problem.moments), default=0.0)


def _alive(moment: Moment, assignment: Assignment, made: set[tuple[int, tuple[int, int]]]) -> float:
    return math.fsum(
        (
            *(sizes[assignment.levels[choice]] for choice, sizes in moment.choices),
            *(sizes[assignment.options[table]] for table, sizes in moment.options),
            *(size for index, sizes in moment.copies for pair, size in sizes.items() if (index, pair) in made),
        )
    )


def violations(problem: Problem, assignment: Assignment) -> tuple[str, ...]:
    """What an assignment contradicts in the structure of the problem, limits left aside; for tests and checks."""
    found = []
    for choice, level in zip(problem.choices, assignment.levels, strict=True):
        if level not in choice.allowed:
            found.append(f"'{choice.name}' may not be {problem.precisions[level]}")
    for table, option in zip(problem.tables, assignment.options, strict=True):
        if table.options[option].levels != tuple(assignment.levels[choice] for choice in table.choices):
            found.append(f"'{table.name}': the option is for other precisions")
    for index, pair in copies(problem, assignment.levels):
        if pair not in problem.sharings[index].copies:
            found.append(f"'{problem.sharings[index].name}': no copy from {pair[0]} to {pair[1]}")
    for rule in problem.not_narrower:
        if assignment.levels[rule.choice] > assignment.levels[rule.than]:
            found.append(f"'{problem.choices[rule.choice].name}' is too narrow")
    return tuple(found)
