"""The solver against trying all assignments."""

from __future__ import annotations

import numpy as np
import pytest

from profiler.allocation.milp import Outcome
from profiler.allocation.problem import (
    Quantity,
    sensitivity,
    total,
    violations,
)
from profiler.allocation.solve import Solver, holds
from tests.allocation.random_problems import assignments, best, random_limits, random_problem

_BLOCKS, _PROBLEMS_OF_A_BLOCK = 10, 300


@pytest.mark.parametrize("block", range(_BLOCKS))
def test_random_problems_have_the_optimum_of_brute_force(block: int) -> None:
    generator = np.random.default_rng(block)
    solved = infeasible = 0
    for _ in range(_PROBLEMS_OF_A_BLOCK):
        problem = random_problem(generator)
        limits = random_limits(generator, problem)
        expected, solution = best(problem, limits), Solver(problem).solve(limits)
        if expected is None:
            assert solution is None, (problem, limits)
            infeasible += 1
            continue
        assert solution is not None, (problem, limits, expected)
        solved += 1
        assert solution.sensitivity == pytest.approx(expected, rel=1e-9, abs=1e-9), (problem, limits)
        assert solution.outcome is Outcome.OPTIMAL
        assert solution.gap == 0
        assert not violations(problem, solution.assignment)
        assert solution.sensitivity == sensitivity(problem, solution.assignment.levels)
        for limit in limits:
            assert holds(total(problem, solution.assignment, limit.quantity), limit.most)
    assert solved > _PROBLEMS_OF_A_BLOCK // 2
    assert infeasible > 10


def test_least_of_a_quantity_is_that_of_brute_force() -> None:
    generator = np.random.default_rng(99)
    for _ in range(150):
        problem = random_problem(generator, most_choices=5)
        limits = random_limits(generator, problem)
        for quantity in Quantity:
            within = [
                total(problem, assignment, quantity)
                for assignment in assignments(problem)
                if all(holds(total(problem, assignment, limit.quantity), limit.most) for limit in limits)
            ]
            found = Solver(problem).least(quantity, limits)
            if not within:
                assert found is None
                continue
            assert found is not None
            assert total(problem, found, quantity) == pytest.approx(min(within), rel=1e-8, abs=1e-8)
