"""The Pareto front of sensitivity against one quantity: all points that no other one beats in both.

By the epsilon-constraint method: the best sensitivity within a limit is a point, the next limit lies just below what it
takes. That finds supported points and those between them alike. Source: Haimes, Lasdon, Wismer, On a bicriterion
formulation of the problems of integrated system identification and system optimization, IEEE Trans. SMC 1, 1971.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from profiler.allocation.milp import Outcome
from profiler.allocation.problem import Limit, Quantity
from profiler.allocation.solve import OutOfTimeError, Solution, Solver


@dataclass(frozen=True)
class Front:
    """``points`` from the one that takes most (and is least sensitive) to the one that takes least. ``exact``: all
    points there are, told apart by one part in 10^6 of the quantity; else those of the limits that were
    tried, or as far as the time limit let it come (``complete`` is then false)."""

    quantity: Quantity
    points: tuple[Solution, ...]
    exact: bool
    complete: bool = True


def front(solver: Solver, quantity: Quantity, limits: Sequence[Limit], steps: int | None = None) -> Front:
    """All points within the limits (of which one may be of the quantity itself), or those of ``steps`` limits that are
    spread evenly from the least that is possible to what the best point takes. Empty where nothing is feasible."""
    found: list[Solution] = []
    complete = True
    try:
        for point in _all(solver, quantity, limits) if steps is None else _some(solver, quantity, limits, steps):
            complete = complete and point.outcome is Outcome.OPTIMAL
            if found and not point.sensitivity > found[-1].sensitivity:
                found.pop()  # as good, for less
            if not found or point.totals[quantity] < found[-1].totals[quantity]:
                found.append(point)
    except OutOfTimeError:
        complete = False
    return Front(quantity, tuple(found), exact=steps is None and complete, complete=complete)


def _all(solver: Solver, quantity: Quantity, limits: Sequence[Limit]) -> Iterator[Solution]:
    kept = [limit for limit in limits if limit.quantity is not quantity]
    point = solver.solve(limits)
    while point is not None:
        yield point
        point = solver.solve_below(quantity, point.totals[quantity], kept)


def _some(solver: Solver, quantity: Quantity, limits: Sequence[Limit], steps: int) -> Iterator[Solution]:
    kept = [limit for limit in limits if limit.quantity is not quantity]
    best = solver.solve(limits)
    least = solver.least(quantity, limits)
    if best is None or least is None:
        return
    yield best
    high, low = best.totals[quantity], solver.total(least, quantity)
    for step in range(1, steps):
        point = solver.solve([*kept, Limit(quantity, high + (low - high) * step / (steps - 1))])
        if point is not None:
            yield point
