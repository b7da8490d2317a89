"""Explanations against all assignments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from profiler.allocation.explain import Binding, Change, Step, bindings, changes, unmet
from profiler.allocation.problem import Assignment, Choice, Limit, Problem, Quantity, sensitivity, total
from profiler.allocation.solve import Solution, Solver, holds
from tests.allocation.random_problems import assignments, random_limits, random_problem

_SAME = 1e-7
_PROBLEMS = 400


def _less(a: float, b: float) -> bool:
    """By more than can be told apart."""
    return a < b - _SAME * max(1.0, abs(b))


class Possible:
    """All assignments of a problem, with what they take."""

    def __init__(self, problem: Problem) -> None:
        self.harm = []
        self.taken: dict[Quantity, list[float]] = {quantity: [] for quantity in Quantity}
        for assignment in assignments(problem):
            self.harm.append(sensitivity(problem, assignment.levels))
            for quantity in Quantity:
                self.taken[quantity].append(total(problem, assignment, quantity))

    def within(self, limits: Sequence[Limit]) -> list[int]:
        """Indices of those that limits leave."""
        return [
            index
            for index in range(len(self.harm))
            if all(holds(self.taken[limit.quantity][index], limit.most) for limit in limits)
        ]

    def least(self, quantity: Quantity, limits: Sequence[Limit]) -> float | None:
        return min((self.taken[quantity][index] for index in self.within(limits)), default=None)

    def best(self, limits: Sequence[Limit], only: Callable[[int], bool] = lambda _: True) -> float | None:
        return min((self.harm[index] for index in self.within(limits) if only(index)), default=None)


def _others(limits: Sequence[Limit], limit: Limit) -> list[Limit]:
    return [other for other in limits if other.quantity is not limit.quantity]


def test_unmet_limits_are_told_with_the_least_that_is_possible() -> None:
    generator = np.random.default_rng(3)
    alone = together = structural = 0
    for _ in range(_PROBLEMS):
        problem = random_problem(generator, most_choices=4)
        possible = Possible(problem)
        limits = random_limits(generator, problem) if possible.harm else (Limit(Quantity.SIZE, 1e9),)
        if possible.within(limits):
            continue
        found = unmet(Solver(problem), limits)
        if not possible.harm:
            structural += 1
            assert found == ()
            continue
        least = {limit: possible.least(limit.quantity, ()) for limit in limits}
        hopeless = {
            limit: value for limit, value in least.items() if value is not None and not holds(value, limit.most)
        }
        if hopeless:
            alone += 1
            assert {u.limit for u in found} == set(hopeless)
            assert not any(u.with_others for u in found)
            assert {u.limit: u.least for u in found} == {k: pytest.approx(v, rel=1e-7) for k, v in hopeless.items()}
            continue
        together += 1
        rest = {limit: possible.least(limit.quantity, _others(limits, limit)) for limit in limits}
        reachable = {limit: value for limit, value in rest.items() if value is not None}
        assert {u.limit: u.least for u in found} == {k: pytest.approx(v, rel=1e-7) for k, v in reachable.items()}
        assert all(u.with_others for u in found)
        assert all(not holds(u.least, u.limit.most) for u in found)
    assert alone > 10
    assert together > 5
    assert structural > 1


def test_bindings_and_steps_are_those_of_brute_force() -> None:
    generator = np.random.default_rng(4)
    binding = slack = tightened = last = 0
    for _ in range(_PROBLEMS):
        problem = random_problem(generator, most_choices=4)
        limits = random_limits(generator, problem)
        solver = Solver(problem)
        solution = solver.solve(limits)
        if solution is None or not limits:
            continue
        possible = Possible(problem)
        found = bindings(solver, limits, solution)
        assert [b.limit for b in found] == list(limits)
        for b in found:
            assert b.reached == solution.totals[b.limit.quantity]
            _check_looser(possible, solution, b, _others(limits, b.limit))
            _check_tighter(possible, solution, b, _others(limits, b.limit))
            binding += b.binds
            slack += not b.binds
            tightened += b.tighter is not None
            last += b.tighter is None
            for step in (b.looser, b.tighter):
                assert step is None or all(change.before != change.after for change in step.changes)
    assert min(binding, slack, tightened, last) > 20, (binding, slack, tightened, last)


def _check_looser(possible: Possible, solution: Solution, b: Binding, others: Sequence[Limit]) -> None:
    """A limit binds if and only if without it something better is possible; the next better one takes least more."""
    quantity = b.limit.quantity
    better = [index for index in possible.within(others) if _less(possible.harm[index], solution.sensitivity)]
    assert b.binds == bool(better)
    if b.looser is None:
        return
    least = min(possible.taken[quantity][index] for index in better)
    best = possible.best([*others, Limit(quantity, least + _SAME * max(1.0, least))])
    assert best is not None
    assert b.reached + b.looser.taken == pytest.approx(least, rel=_SAME, abs=_SAME)
    assert solution.sensitivity + b.looser.sensitivity == pytest.approx(best, rel=_SAME, abs=_SAME)
    assert b.looser.sensitivity < 0 < b.looser.taken
    assert not holds(b.reached + b.looser.taken, b.limit.most)


def _check_tighter(possible: Possible, solution: Solution, b: Binding, others: Sequence[Limit]) -> None:
    """To the best one that takes less."""
    taken = possible.taken[b.limit.quantity]
    best = possible.best(others, lambda index: _less(taken[index], b.reached))
    if b.tighter is None:
        assert best is None
        return
    assert best is not None
    assert solution.sensitivity + b.tighter.sensitivity == pytest.approx(best, rel=_SAME, abs=_SAME)
    assert b.tighter.taken < 0
    assert b.tighter.sensitivity >= -_SAME * max(1.0, solution.sensitivity)


def _layers(*sensitivities: tuple[float, float]) -> Problem:
    """INT8 takes 2 ms, INT4 1 ms."""
    costs = ({Quantity.LATENCY: 2.0}, {Quantity.LATENCY: 1.0})
    choices = [Choice(f"l{index}", (0, 1), values, costs) for index, values in enumerate(sensitivities)]
    return Problem(("int8", "int4"), (*choices, Choice("tensor", (0, 1), (0.0, 0.0), is_layer=False)))


def test_a_step_names_the_layers_that_change_and_its_price() -> None:
    """INT4 harms by 1, 2 and 4; five milliseconds leave room for two layers in INT8."""
    problem = _layers((0, 1), (0, 2), (0, 4))
    solver = Solver(problem)
    limit = Limit(Quantity.LATENCY, 5.0)
    solution = solver.solve([limit])
    assert solution is not None
    (found,) = bindings(solver, [limit], solution)
    assert found.looser == Step(1.0, -1.0, (Change("l0", "int4", "int8"),))
    assert found.looser.price == 1.0
    assert found.tighter is not None
    assert found.tighter == Step(-1.0, 2.0, (Change("l1", "int8", "int4"),))
    assert found.tighter.price == 2.0


def test_changes_leave_out_how_tensors_are_stored() -> None:
    problem = _layers((0, 1), (0, 2))
    before, after = Assignment((0, 1, 0)), Assignment((1, 1, 1))
    assert changes(problem, before, after) == (Change("l0", "int8", "int4"),)
    assert changes(problem, before, before) == ()


def test_a_step_that_takes_nothing_more_has_no_finite_price() -> None:
    assert Step(0.0, -1.0, ()).price == float("inf")
    assert Step(-2.0, 1.0, ()).price == 0.5
