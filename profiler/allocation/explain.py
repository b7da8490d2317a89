"""Why an allocation is as it is: which limit cannot be met, which ones bind, what they cost, what would change next.

All answers come from solving again, none from dual values: prices of integers are steps, not slopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiler.allocation.milp import Outcome
from profiler.allocation.problem import Assignment, Limit, Problem, Quantity
from profiler.allocation.solve import OutOfTimeError, Solution, Solver, holds


@dataclass(frozen=True)
class Unmet:
    """A limit that cannot be met: ``least`` is the least that is possible, alone or (``with_others``) while all others
    hold."""

    limit: Limit
    least: float
    with_others: bool


@dataclass(frozen=True)
class Change:
    """A choice (a layer, tied ones, or the storage of a tensor) that goes from one precision to another."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Step:
    """To the next allocation: how much more of the quantity and of the sensitivity it takes (negative: less)."""

    taken: float
    sensitivity: float
    changes: tuple[Change, ...]

    @property
    def price(self) -> float:
        """Sensitivity per unit of the quantity, in the direction of this step."""
        return abs(self.sensitivity / self.taken) if self.taken else float("inf")


@dataclass(frozen=True)
class Binding:
    """What a limit does. ``looser`` : the step to the next better allocation, None where the limit does not bind;
    ``tighter`` : the step to the best one that takes less, None where there is none."""

    limit: Limit
    reached: float
    looser: Step | None
    tighter: Step | None

    @property
    def binds(self) -> bool:
        return self.looser is not None


def unmet(solver: Solver, limits: Sequence[Limit]) -> tuple[Unmet, ...]:
    """Of limits that cannot be met together: those that cannot be met at all, or else how far each one is from what the
    others leave. Empty where it is not for the limits (the structure alone admits nothing)."""
    alone = [Unmet(limit, least, False) for limit in limits if (least := _least(solver, limit, ())) is not None]
    impossible = tuple(u for u in alone if not holds(u.least, u.limit.most))
    if impossible:
        return impossible
    found = []
    for limit in limits:
        others = [other for other in limits if other is not limit]
        least = _least(solver, limit, others)
        if least is not None:
            found.append(Unmet(limit, least, True))
    return tuple(found)


def _least(solver: Solver, limit: Limit, others: Sequence[Limit]) -> float | None:
    assignment = solver.least(limit.quantity, others)
    return None if assignment is None else solver.total(assignment, limit.quantity)


def bindings(solver: Solver, limits: Sequence[Limit], solution: Solution) -> tuple[Binding, ...]:
    """What each limit does to an optimal solution."""
    found = []
    for limit in limits:
        others = [other for other in limits if other is not limit]
        found.append(
            Binding(
                limit=limit,
                reached=solution.totals[limit.quantity],
                looser=_looser(solver, limit, others, solution),
                tighter=_tighter(solver, limit, others, solution),
            )
        )
    return tuple(found)


def _looser(solver: Solver, limit: Limit, others: Sequence[Limit], solution: Solution) -> Step | None:
    """With the least more of the quantity that makes anything better; among those, to the best."""
    if solution.sensitivity <= 0:
        return None  # nothing is better than no harm at all, whatever the solver's tolerance
    least = solver.least(limit.quantity, others, better_than=solution.sensitivity)
    if least is None:
        return None
    better = _proven(solver.solve([*others, Limit(limit.quantity, solver.total(least, limit.quantity))]))
    return None if better is None else _step(solver.problem, limit.quantity, solution, better)


def _tighter(solver: Solver, limit: Limit, others: Sequence[Limit], solution: Solution) -> Step | None:
    less = _proven(solver.solve_below(limit.quantity, solution.totals[limit.quantity], others))
    return None if less is None else _step(solver.problem, limit.quantity, solution, less)


def _proven(solution: Solution | None) -> Solution | None:
    """What is not the best tells nothing of what would change next."""
    if solution is not None and solution.outcome is not Outcome.OPTIMAL:
        raise OutOfTimeError("there was no time to say what would change next")
    return solution


def _step(problem: Problem, quantity: Quantity, before: Solution, after: Solution) -> Step:
    return Step(
        taken=after.totals[quantity] - before.totals[quantity],
        sensitivity=after.sensitivity - before.sensitivity,
        changes=changes(problem, before.assignment, after.assignment),
    )


def changes(problem: Problem, before: Assignment, after: Assignment) -> tuple[Change, ...]:
    """The layers whose precision differs; how tensors are stored goes with them."""
    return tuple(
        Change(choice.name, problem.precisions[a], problem.precisions[b])
        for choice, a, b in zip(problem.choices, before.levels, after.levels, strict=True)
        if a != b and choice.is_layer
    )
