"""Sensitivities that differ by many decades: a layer that must not be narrowed is often given a huge one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from profiler.allocation.problem import Choice, Problem
from profiler.allocation.solve import Solver
from tests.allocation.random_problems import best, random_limits, random_problem


def _wide(problem: Problem, generator: np.random.Generator) -> Problem:
    def choice(old: Choice) -> Choice:
        values = (0.0 if generator.random() < 0.2 else float(10 ** generator.uniform(-14, 14)) for _ in old.sensitivity)
        return replace(old, sensitivity=tuple(values))

    return replace(problem, choices=tuple(map(choice, problem.choices)))


def test_the_optimum_is_told_from_its_neighbours_at_every_scale() -> None:
    generator = np.random.default_rng(7)
    solved = 0
    for _ in range(400):
        problem = _wide(random_problem(generator), generator)
        limits = random_limits(generator, problem)
        expected, solution = best(problem, limits), Solver(problem).solve(limits)
        assert (expected is None) == (solution is None)
        if expected is not None and solution is not None:
            solved += 1
            assert solution.sensitivity == pytest.approx(expected, rel=1e-7, abs=0)
    assert solved > 200
