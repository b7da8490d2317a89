"""When enough is enough."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.measure import FINAL, SCREEN, StoppingRule

RULE = StoppingRule(sample_s=0.001, min_samples=6, max_samples=20, target=0.01, budget_s=1.0, least_samples=2)


def test_steady_samples_end_at_the_minimum() -> None:
    assert not RULE.done([1.0] * 5, 0.1)
    assert RULE.done([1.0] * 6, 0.1)


def test_scattered_samples_end_at_the_maximum() -> None:
    scattered = [1.0, 2.0] * 10
    assert not any(RULE.done(scattered[:count], 0.1) for count in range(20))
    assert RULE.done(scattered, 0.1)


def test_a_spent_budget_ends_it_behind_the_least_count() -> None:
    assert not RULE.done([1.0], 5.0)
    assert RULE.done([1.0, 2.0], 5.0)
    assert not RULE.done([1.0, 2.0], 0.9)


@given(
    launch_s=st.floats(1e-9, 10.0),
    overhead=st.floats(1.0, 100.0),
    rule=st.sampled_from([RULE, SCREEN, FINAL]),
)
@settings(max_examples=200)
def test_launches_fill_the_sample_or_the_budget(launch_s: float, overhead: float, rule: StoppingRule) -> None:
    wall_s = launch_s * overhead
    launches = rule.launches(launch_s, wall_s)
    assert launches >= 1
    if launches > 1:
        assert (launches + 1) * wall_s * rule.min_samples <= rule.budget_s * (1 + 1e-9)
    affordable = math.floor(rule.budget_s / rule.min_samples / wall_s) - 2
    assert launches * launch_s >= rule.sample_s * (1 - 1e-9) or launches >= min(affordable, 1)
    assert (launches - 1) * launch_s <= rule.sample_s


def test_presets() -> None:
    """What the issue asks of them."""
    assert 0.02 <= SCREEN.budget_s <= 0.04
    assert 0.3 <= FINAL.budget_s <= 0.6
    assert FINAL.min_samples >= 30
    assert FINAL.least_samples >= 6, "fewer have no 95% interval of the median"
    assert (SCREEN.repeats, FINAL.repeats) == (0, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"least_samples": 0},
        {"least_samples": 7},
        {"max_samples": 5},
        {"sample_s": 0.0},
        {"budget_s": -1.0},
        {"target": -0.1},
        {"repeats": -1},
    ],
)
def test_contradictions_are_refused(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {"sample_s": 1.0, "min_samples": 6, "max_samples": 9, "target": 0.1, "budget_s": 1.0}
    StoppingRule(**good)
    with pytest.raises(ValueError, match="must"):
        StoppingRule(**{**good, **wrong})
