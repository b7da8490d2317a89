"""The peer of the allocation bench solves the same problems, or the comparison means nothing."""

from __future__ import annotations

import pytest

from bench.allocation import Timed, comparison, instance, ours, peer, summary
from profiler.allocation.problem import Quantity
from tests.allocation.random_problems import best


@pytest.mark.parametrize("seed", [0])
def test_ours_and_the_peer_have_the_optimum_of_brute_force(seed: int) -> None:
    """Seven layers and one shared tensor."""
    problem, limits = instance(7, seed)
    assert len(problem.sharings) == 1
    assert [limit.quantity for limit in limits] == [q for q in Quantity if q is not Quantity.MEMORY]
    expected = best(problem, limits)
    assert expected is not None
    assert ours(problem, limits).objective == pytest.approx(expected, rel=1e-9)
    assert peer(problem, limits).objective == pytest.approx(expected, rel=1e-6)


def test_two_optima_are_no_comparison() -> None:
    assert "same optimum" in comparison(Timed(1.0, 1.0), Timed(1.0, 8.0))
    assert "(8 x)" in comparison(Timed(1.0, 1.0), Timed(1.0, 8.0))
    assert "not finished" in comparison(Timed(1.0, 1.0), Timed(None, 30.0))
    with pytest.raises(AssertionError, match="two optima"):
        comparison(Timed(1.0, 1.0), Timed(1.1, 1.0))


def test_what_is_not_proven_is_not_within_the_goal() -> None:
    text = summary(200, [Timed(1.0, 0.2), Timed(None, 0.4), Timed(1.0, 1.2)], 1.0)
    assert "min 0.20, median 0.40, max 1.20 s; 1 of 3 below 1 s" in text
