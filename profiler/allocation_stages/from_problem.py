"""The optimum of an allocation problem that is given as a JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.allocation import explain, pareto
from profiler.allocation.limit_text import LimitText
from profiler.allocation.milp import Outcome
from profiler.allocation.problem import Limit, Quantity, total
from profiler.allocation.problem_file import FileProblem, read_problem
from profiler.allocation.solve import Solution, Solver
from profiler.allocation_stages.limits_missed import missed_text
from profiler.errors import ProfilerError

KNOWN = (Quantity.LATENCY, Quantity.SIZE, Quantity.BOPS)
"""What such a file tells."""


@dataclass(frozen=True)
class ProblemAnswer:
    """``status`` is ``optimal``, ``time_limit`` or ``infeasible``; then ``bits`` is empty and ``reason`` says which
    limit it is. ``bits`` are by layer, ``objective`` is the total sensitivity."""

    network: str
    names: tuple[str, ...]
    bits: tuple[int, ...]
    objective: float
    latency_s: float
    size_bytes: float
    bops: float
    status: str
    gap: float
    bound: float
    limits: tuple[Limit, ...]
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class ProblemFront:
    """Of a problem: the answers from the least to the most sensitive one; see `pareto.Front`."""

    quantity: Quantity
    points: tuple[ProblemAnswer, ...]
    exact: bool
    complete: bool


def solve_file(
    path: Path, limits: Sequence[LimitText], gap: float = 0.0, time_limit_s: float | None = None
) -> ProblemAnswer:
    """Raises `ProfilerError` for a file that is no problem, and for limits of what it does not tell."""
    problem, solver, bounds = _prepared(path, limits, time_limit_s)
    solution = solver.solve(bounds, gap, fall_back=True)
    if solution is not None:
        return _answer(problem, solution, bounds)
    return ProblemAnswer(
        network=problem.network,
        names=problem.names,
        bits=(),
        objective=float("inf"),
        latency_s=float("inf"),
        size_bytes=float("inf"),
        bops=float("inf"),
        status=Outcome.INFEASIBLE.value,
        gap=float("inf"),
        bound=float("inf"),
        limits=tuple(bounds),
        seconds=0.0,
        reason=missed_text(explain.unmet(solver, bounds)),
    )


def front_of_file(
    path: Path,
    limits: Sequence[LimitText],
    quantity: Quantity,
    points: int | None = None,
    time_limit_s: float | None = None,
) -> ProblemFront:
    """The Pareto front of the problem, within the limits of the other quantities. Errors as those of `solve_file`."""
    if quantity not in KNOWN:
        raise ProfilerError(_unknown_text(path, quantity))
    problem, solver, bounds = _prepared(path, limits, time_limit_s)
    others = [limit for limit in bounds if limit.quantity is not quantity]
    found = pareto.front(solver, quantity, others, points)
    answers = tuple(_answer(problem, point, bounds) for point in found.points)
    return ProblemFront(quantity, answers, found.exact, found.complete)


def _prepared(
    path: Path, limits: Sequence[LimitText], time_limit_s: float | None
) -> tuple[FileProblem, Solver, list[Limit]]:
    problem = read_problem(path)
    for limit in limits:
        if limit.quantity not in KNOWN:
            raise ProfilerError(_unknown_text(path, limit.quantity))
    solver = Solver(problem.problem)
    bounds = [_limit(solver, text) for text in limits]
    solver.allow(time_limit_s)
    return problem, solver, bounds


def _limit(solver: Solver, text: LimitText) -> Limit:
    if text.fraction is not None:
        return solver.limit_at(text.quantity, text.fraction)
    assert text.amount is not None
    return Limit(text.quantity, text.amount)


def _unknown_text(path: Path, quantity: Quantity) -> str:
    return f"{path}: the problem says nothing of {quantity.value}; it can be limited in latency, size and bops"


def _answer(problem: FileProblem, solution: Solution, limits: Sequence[Limit]) -> ProblemAnswer:
    taken = {quantity: total(problem.problem, solution.assignment, quantity) for quantity in KNOWN}
    return ProblemAnswer(
        network=problem.network,
        names=problem.names,
        bits=problem.bits_of(solution.assignment.levels),
        objective=solution.sensitivity,
        latency_s=taken[Quantity.LATENCY],
        size_bytes=taken[Quantity.SIZE],
        bops=taken[Quantity.BOPS],
        status=solution.outcome.value,
        gap=solution.gap,
        bound=solution.bound,
        limits=tuple(limits),
        seconds=solution.seconds,
    )
