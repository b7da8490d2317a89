"""Pareto fronts against those of all assignments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bench.allocation_problems import residual_problem
from profiler.allocation.milp import Outcome
from profiler.allocation.pareto import front
from profiler.allocation.problem import Limit, Problem, Quantity, sensitivity, total, violations
from profiler.allocation.solve import Solution, Solver, holds
from tests.allocation.random_problems import assignments, random_limits, random_problem

_PROBLEMS = 120
Point = tuple[float, float]
"""Quantity, sensitivity."""


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-7 * max(1.0, abs(a), abs(b))


def _possible(problem: Problem, quantity: Quantity, limits: Sequence[Limit]) -> list[Point]:
    return [
        (total(problem, assignment, quantity), sensitivity(problem, assignment.levels))
        for assignment in assignments(problem)
        if all(holds(total(problem, assignment, limit.quantity), limit.most) for limit in limits)
    ]


def _front(points: Sequence[Point]) -> list[Point]:
    """Those that no other one equals or beats in both, from the one that takes most."""
    found: list[Point] = []
    for taken, harm in sorted(points):
        if not found or (harm < found[-1][1] and not _near(harm, found[-1][1])):
            found.append((taken, harm))
    return found[::-1]


def _points(solutions: Sequence[Solution], quantity: Quantity) -> list[Point]:
    return [(solution.totals[quantity], solution.sensitivity) for solution in solutions]


@pytest.mark.parametrize("quantity", list(Quantity))
def test_fronts_are_those_of_brute_force(quantity: Quantity) -> None:
    generator = np.random.default_rng(7)
    several = empty = 0
    for number in range(_PROBLEMS):
        problem = random_problem(generator, most_choices=5)
        limits = random_limits(generator, problem) if number % 3 == 0 else ()
        expected = _front(_possible(problem, quantity, limits))
        found = front(Solver(problem), quantity, limits)
        assert (found.exact, found.complete, found.quantity) == (True, True, quantity)
        points = _points(found.points, quantity)
        assert len(points) == len(expected), (problem, limits, points, expected)
        for (taken, harm), (least, best) in zip(points, expected, strict=True):
            assert _near(taken, least), (problem, limits, points, expected)
            assert _near(harm, best), (problem, limits, points, expected)
        for solution in found.points:
            assert not violations(problem, solution.assignment)
            assert solution.totals[quantity] == total(problem, solution.assignment, quantity)
            assert all(holds(total(problem, solution.assignment, limit.quantity), limit.most) for limit in limits)
        several += len(expected) > 2
        empty += not expected
    assert several > 8
    assert empty > 1


@pytest.mark.parametrize("steps", [2, 5])
def test_a_number_of_limits_gives_that_many_points_at_most(steps: int) -> None:
    """Each is the best within what it takes; the first and the last one are the ends of the exact front."""
    generator = np.random.default_rng(steps)
    fewer = 0
    for number in range(_PROBLEMS):
        quantity = list(Quantity)[number % len(Quantity)]
        problem = random_problem(generator, most_choices=5)
        limits = random_limits(generator, problem) if number % 3 == 0 else ()
        possible = _possible(problem, quantity, limits)
        expected = _front(possible)
        found = front(Solver(problem), quantity, limits, steps)
        assert (found.exact, found.complete) == (False, True)
        points = _points(found.points, quantity)
        assert len(points) <= steps
        if not expected:
            assert not points
            continue
        for taken, harm in points:
            best = min(h for t, h in possible if t <= taken or _near(t, taken))
            assert _near(harm, best), (problem, limits, points, expected)
        assert _near(points[0][1], expected[0][1])
        assert _near(points[-1][0], expected[-1][0])
        assert points == sorted(set(points), reverse=True)
        assert [harm for _, harm in points] == sorted(harm for _, harm in points)
        fewer += len(points) < len(expected)
    assert fewer > 2


def test_a_time_limit_ends_a_front_and_says_so() -> None:
    problem = residual_problem(60, seed=0)
    found = front(Solver(problem, time_limit_s=1.5), Quantity.LATENCY, ())
    assert (found.exact, found.complete) == (False, False)
    points = _points(found.points, Quantity.LATENCY)
    assert points, "the widest network is found at once"
    assert points == sorted(points, reverse=True)
    assert points[0][1] == pytest.approx(sensitivity(problem, [0] * len(problem.choices)))
    assert all(solution.outcome in (Outcome.OPTIMAL, Outcome.TIME_LIMIT) for solution in found.points)
