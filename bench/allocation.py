"""Bit allocation: seconds to the proven optimum on random problems of the size of large networks, beside a peer.

Goals: below one second for 200 layers, below 30 s for 1,000, with 4 precisions, conversion costs and four limits.
The peer is the same problem as a textbook's MILP in SciPy, in the same run, ours and its in turns. And the exact Pareto
front of the one problem that is published, ResNet18 of HAWQ-V3.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console

from bench.allocation_peer import solve_plainly
from bench.allocation_problems import BITS, LIMITED, residual_problem
from profiler.allocation.milp import Outcome
from profiler.allocation.pareto import front
from profiler.allocation.problem import Assignment, Limit, Problem, Quantity, total
from profiler.allocation.problem_file import read_problem
from profiler.allocation.solve import Solver

PUBLISHED = Path(__file__).parents[1] / "tests" / "data" / "hawqv3_resnet18_ilp.json"
FRACTION = 0.5
_LARGE = ((200, 20, 1.0), (1000, 3, 30.0))
"""Layers, seeds, goal in seconds."""
_PEER_LAYERS, _PEER_SEEDS, _PEER_LIMIT_S = 200, 5, 30.0
_SAME = 1e-6
"""Of the objective: the peer's limits hold to a millionth, so it may find a little less."""


@dataclass(frozen=True)
class Timed:
    """``objective`` is None where no proven optimum was found."""

    objective: float | None
    seconds: float


def bench_allocation() -> None:
    """Print the times, the comparison and the front."""
    console = Console(width=170, highlight=False)
    for layers, seeds, goal_s in _LARGE:
        found = [ours(*instance(layers, seed)) for seed in range(seeds)]
        console.print(summary(layers, found, goal_s))
    console.print(f"SciPy's milp on the textbook's model, at most {_PEER_LIMIT_S:g} s:")
    for seed in range(_PEER_SEEDS):
        problem, limits = instance(_PEER_LAYERS, seed)
        console.print(f"  seed {seed}: {comparison(ours(problem, limits), peer(problem, limits))}")
    console.print(published_front())


def instance(layers: int, seed: int) -> tuple[Problem, tuple[Limit, ...]]:
    """A problem, and a limit for each quantity halfway between the narrowest and the widest network."""
    problem = residual_problem(layers, seed)
    wide, narrow = (_uniform(problem, level) for level in (0, len(BITS) - 1))
    ends = ((quantity, total(problem, narrow, quantity), total(problem, wide, quantity)) for quantity in LIMITED)
    return problem, tuple(Limit(quantity, low + FRACTION * (high - low)) for quantity, low, high in ends)


def _uniform(problem: Problem, level: int) -> Assignment:
    """One level for all layers and tensors."""
    options = tuple(
        next(index for index, option in enumerate(table.options) if set(option.levels) == {level})
        for table in problem.tables
    )
    return Assignment((level,) * len(problem.choices), options)


def ours(problem: Problem, limits: Sequence[Limit]) -> Timed:
    """With the time that it takes to make a program of the problem."""
    began = time.perf_counter()
    solution = Solver(problem).solve(limits)
    seconds = time.perf_counter() - began
    proven = solution is not None and solution.outcome is Outcome.OPTIMAL and solution.gap == 0
    return Timed(solution.sensitivity if proven and solution is not None else None, seconds)


def peer(problem: Problem, limits: Sequence[Limit]) -> Timed:
    """Likewise."""
    began = time.perf_counter()
    answer = solve_plainly(problem, limits, _PEER_LIMIT_S)
    return Timed(answer.objective, time.perf_counter() - began)


def summary(layers: int, found: Sequence[Timed], goal_s: float) -> str:
    """Minimum, median and maximum, and how many are within the goal."""
    seconds = sorted(timed.seconds for timed in found)
    within = sum(timed.seconds < goal_s and timed.objective is not None for timed in found)
    return (
        f"{layers} layers, {len(BITS)} precisions, {len(LIMITED)} limits at {FRACTION:g}, gap 0, {len(found)} seeds: "
        f"min {seconds[0]:.2f}, median {median(seconds):.2f}, max {seconds[-1]:.2f} s; "
        f"{within} of {len(found)} below {goal_s:g} s"
    )


def comparison(mine: Timed, other: Timed) -> str:
    """Raises `AssertionError` where both are proven and differ."""
    if other.objective is None or mine.objective is None:
        how = "not finished"
    else:
        difference = abs(mine.objective - other.objective) / mine.objective
        if difference > _SAME:
            raise AssertionError(f"two optima: ours {mine.objective!r}, the peer's {other.objective!r}")
        how = f"same optimum (to {difference:.0e})"
    return f"ours {mine.seconds:.2f} s, peer {other.seconds:.1f} s ({other.seconds / mine.seconds:.0f} x): {how}"


def published_front() -> str:
    """Of sensitivity against latency."""
    problem = read_problem(PUBLISHED).problem
    began = time.perf_counter()
    found = front(Solver(problem), Quantity.LATENCY, ())
    seconds = time.perf_counter() - began
    kind = "exact" if found.exact else "incomplete"
    return (
        f"published ResNet18, front of sensitivity against latency: {len(found.points)} points, {kind}, {seconds:.2f} s"
    )
