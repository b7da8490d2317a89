"""The best assignment within limits, checked by its own sums; and the ends between which a fraction of a limit lies."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from profiler.allocation.milp import Outcome, minimize
from profiler.allocation.problem import Assignment, Limit, Problem, Quantity, sensitivity, total
from profiler.allocation.program import Program, Terms
from profiler.errors import ProfilerError

TOLERANCE = 1e-9
"""A limit holds where it is exceeded by no more than this part of it, which is what the solver can tell apart."""
APART = 1e-6
"""Relative distance from which two allocations are told apart: far more than the solver's tolerance, far less than any
measurement is worth."""
_MOST_EXCLUSIONS = 100


@dataclass(frozen=True)
class Solution:
    """An assignment, its sensitivity and what it takes of each quantity.

    ``outcome`` is ``OPTIMAL`` or ``TIME_LIMIT``; no assignment within the limits has a sensitivity below ``bound``.
    """

    assignment: Assignment
    sensitivity: float
    totals: Mapping[Quantity, float]
    outcome: Outcome
    bound: float
    seconds: float

    @property
    def gap(self) -> float:
        """(sensitivity - bound) / sensitivity."""
        return 0.0 if self.sensitivity <= self.bound else (self.sensitivity - self.bound) / self.sensitivity


class OutOfTimeError(ProfilerError):
    """The time limit ended before any assignment was found."""


class NoUniformNetwork(ProfilerError):
    """The network cannot be as narrow, or as wide, as each of its layers may be."""


class Solver:
    """Answers questions about one problem."""

    def __init__(self, problem: Problem, time_limit_s: float | None = None) -> None:
        self.problem = problem
        self._program = Program(problem)
        self._uniform: list[Assignment] = []
        """Those whose ends were asked for: something to fall back on."""
        self.allow(time_limit_s)

    def allow(self, time_limit_s: float | None) -> None:
        """So many seconds, from now on, for all questions but those of the ends; None: no limit."""
        self._deadline = None if time_limit_s is None else time.monotonic() + time_limit_s

    def solve(self, limits: Sequence[Limit], gap: float = 0.0, *, fall_back: bool = False) -> Solution | None:
        """The assignment of least sensitivity; None where nothing is within the limits.

        Among equals the one whose latency is least (size, BOPs, ... where the problem knows no latency), as far as it
        differs in levels that cost the same sensitivity. ``gap`` is how far from the best, relatively, one may be.
        Raises `OutOfTimeError` where there was no time to find any; ``fall_back`` takes a uniform network then, if one
        is within the limits.
        """
        began = time.perf_counter()
        rows = self._rows(limits)
        try:
            answer, bound, outcome = self._minimize(self._program.sensitivity(), rows, limits, gap)
        except OutOfTimeError:
            known = [assignment for assignment in self._uniform if self.within(assignment, limits)]
            if not (known and fall_back):
                raise
            least = min(known, key=lambda assignment: sensitivity(self.problem, assignment.levels))
            return self._solution(least, 0.0, Outcome.TIME_LIMIT, time.perf_counter() - began)
        if answer is None:
            return None
        answer = self._tidied(answer, rows, limits)
        return self._solution(answer, bound, outcome, time.perf_counter() - began)

    def solve_below(self, quantity: Quantity, value: float, limits: Sequence[Limit]) -> Solution | None:
        """The best one that takes less of a quantity than that value, by more than can be told apart."""
        most = value * (1 - APART)
        return self.solve([*limits, Limit(quantity, most)]) if most < value else None

    def least(self, quantity: Quantity, limits: Sequence[Limit], better_than: float | None = None) -> Assignment | None:
        """The assignment that takes least of a quantity, within the limits; ``better_than``: with a lower sensitivity
        than that. None where there is none. Raises `OutOfTimeError`."""
        rows = self._rows(limits)
        if better_than is not None:
            rows.append(_below(self._program.sensitivity(), better_than))
        objective, more = self._expression(quantity)
        answer, _, outcome = self._minimize(objective, [*rows, *more], limits)
        if outcome is Outcome.TIME_LIMIT:
            raise OutOfTimeError(
                f"the time limit ended before the least {quantity.value} was known; raise --time-limit"
            )
        return answer

    def total(self, assignment: Assignment, quantity: Quantity) -> float:
        """What an assignment takes of a quantity."""
        return total(self.problem, assignment, quantity)

    def uniform(self, narrow: bool) -> tuple[int, ...]:
        """The levels of all choices where every layer is as narrow (or as wide) as it may be; those of the storage of
        tensors are whatever goes with it. Raises `NoUniformNetwork` where prices or structure exclude it."""
        answer = minimize(self._program, self._program.distance(narrow), []).assignment
        if answer is None:
            raise NoUniformNetwork("the network cannot run at all: combinations of precisions lack a price")
        apart = [
            choice.name
            for choice, level in zip(self.problem.choices, answer.levels, strict=True)
            if choice.is_layer and level != choice.allowed[-1 if narrow else 0]
        ]
        if apart:
            what = self.problem.precisions[-1 if narrow else 0]
            raise NoUniformNetwork(
                f"the network cannot be all {what} ({len(apart)} choices cannot, that of {apart[0]} among them): "
                "combinations of precisions lack a price"
            )
        return answer.levels

    def end(self, quantity: Quantity, narrow: bool) -> float:
        """The least that the uniform network takes of a quantity. Raises `NoUniformNetwork`."""
        levels = self.uniform(narrow)
        only = [
            (level,) if choice.is_layer else choice.allowed
            for choice, level in zip(self.problem.choices, levels, strict=True)
        ]
        objective, rows = self._expression(quantity)
        answer = minimize(self._program, objective, rows, only=only)
        assert answer.assignment is not None  # the levels are those of an assignment
        self._uniform.append(answer.assignment)
        return total(self.problem, answer.assignment, quantity)

    def limit_at(self, quantity: Quantity, fraction: float) -> Limit:
        """cost(narrowest) + fraction * (cost(widest) - cost(narrowest)), as in HAWQ-V3 (arXiv 2011.10680)."""
        narrow, wide = self.end(quantity, narrow=True), self.end(quantity, narrow=False)
        return Limit(quantity, narrow + fraction * (wide - narrow))

    # -- parts ------------------------------------------------------------------------------------------------------

    def _minimize(
        self, objective: Terms, rows: Sequence[tuple[Terms, float]], limits: Sequence[Limit], gap: float = 0.0
    ) -> tuple[Assignment | None, float, Outcome]:
        """Rounding to integers may leave an assignment just outside of a limit: then it is no answer."""
        excluded: list[Assignment] = []
        while True:
            answer = minimize(self._program, objective, rows, excluded=excluded, gap=gap, time_limit_s=self._left())
            if answer.outcome is Outcome.INFEASIBLE:
                return None, answer.bound, answer.outcome
            if answer.assignment is None:
                raise OutOfTimeError("the time limit ended before an allocation was found; raise --time-limit")
            if self.within(answer.assignment, limits):
                return answer.assignment, answer.bound, answer.outcome
            excluded.append(answer.assignment)
            if len(excluded) > _MOST_EXCLUSIONS:
                raise ProfilerError("the limits cannot be told apart from the costs; change them by one part in 1e6")

    def within(self, assignment: Assignment, limits: Iterable[Limit]) -> bool:
        """Whether all limits hold."""
        return all(holds(total(self.problem, assignment, limit.quantity), limit.most) for limit in limits)

    def _tidied(
        self, assignment: Assignment, rows: Sequence[tuple[Terms, float]], limits: Sequence[Limit]
    ) -> Assignment:
        """The sensitivity says nothing of how tensors are stored, and ties where layers do not matter."""
        only = [
            tuple(other for other in choice.allowed if choice.sensitivity[other] == choice.sensitivity[level])
            for choice, level in zip(self.problem.choices, assignment.levels, strict=True)
        ]
        quantity = next((q for q in Quantity if self._program_has(q)), None)
        if quantity is None:
            return assignment
        objective, more = self._expression(quantity)
        if self._deadline is not None and time.monotonic() > self._deadline:
            return assignment
        answer = minimize(self._program, objective, [*rows, *more], only=only, time_limit_s=self._left())
        found = answer.assignment
        if found is None or not self.within(found, limits):
            return assignment
        better = total(self.problem, found, quantity) < total(self.problem, assignment, quantity)
        return found if better else assignment

    def _program_has(self, quantity: Quantity) -> bool:
        return quantity is not Quantity.MEMORY and bool(self._program.sum_of(quantity))

    def _rows(self, limits: Sequence[Limit]) -> list[tuple[Terms, float]]:
        rows: list[tuple[Terms, float]] = []
        for limit in limits:
            if limit.quantity is Quantity.MEMORY:
                rows += [(terms, limit.most) for terms in self._program.moments() or [{}]]
            else:
                rows.append((self._program.sum_of(limit.quantity), limit.most))
        return rows

    def _expression(self, quantity: Quantity) -> tuple[Terms, list[tuple[Terms, float]]]:
        """The quantity as an objective, with the rows that it takes."""
        if quantity is not Quantity.MEMORY:
            return self._program.sum_of(quantity), []
        return self._program.peak()

    def _solution(self, assignment: Assignment, bound: float, outcome: Outcome, seconds: float) -> Solution:
        found = sensitivity(self.problem, assignment.levels)
        totals = {quantity: total(self.problem, assignment, quantity) for quantity in Quantity}
        if outcome is Outcome.OPTIMAL and found - bound <= APART * found:
            bound = found  # proven, as far as two allocations can be told apart
        return Solution(assignment, found, totals, outcome, min(bound, found), seconds)

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.01, self._deadline - time.monotonic())


def holds(reached: float, most: float) -> bool:
    """Whether a limit holds, up to rounding."""
    return reached <= most + TOLERANCE * abs(most)


def _below(terms: Terms, value: float) -> tuple[Terms, float]:
    """Less than the value by what can be told apart."""
    return terms, value * (1 - APART)
