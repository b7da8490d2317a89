"""Conformal quantiles against their definition, and what they promise against simulated workloads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.predictor.conformal import binomial_interval, grouped_quantile, quantile

scores = st.floats(0, 100)
groups = st.lists(st.lists(scores, min_size=1, max_size=5), min_size=1, max_size=30)


@given(groups, st.floats(0.05, 0.95))
def test_the_least_score_that_enough_of_the_weight_reaches(found: list[list[float]], confidence: float) -> None:
    def weight_up_to(score: float) -> float:
        return sum(sum(s <= score for s in group) / len(group) for group in found) / (len(found) + 1)

    reached = grouped_quantile(found, confidence)
    everything = sorted({s for group in found for s in group})
    enough = [s for s in everything if weight_up_to(s) >= confidence - 1e-9]
    assert reached == (enough[0] if enough else math.inf)


@given(st.lists(scores, min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_workloads_of_one_kernel_are_plain_scores(found: list[float], confidence: float) -> None:
    assert grouped_quantile([[s] for s in found], confidence) == quantile(found, confidence)


def test_ranks_by_hand() -> None:
    nineteen = [float(s) for s in range(1, 20)]
    assert quantile(nineteen, 0.9) == 18  # the ceil(20 * 0.9)-th
    assert quantile(nineteen, 0.95) == 19
    assert quantile(nineteen, 0.96) == math.inf
    assert grouped_quantile([nineteen], 0.5) == 19  # one workload has half of the weight, the unseen one the other


def test_too_few_workloads_have_no_interval() -> None:
    assert grouped_quantile([[1.0, 2.0, 3.0]] * 8, 0.9) == math.inf
    assert grouped_quantile([[1.0, 2.0, 3.0]] * 9, 0.9) == 3.0


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_coverage_of_a_workload_that_was_not_seen(confidence: float) -> None:
    """Errors shared within a workload, of which plain scores would make too much."""
    generator = np.random.default_rng(7)
    covered, rounds = 0, 2000
    for _ in range(rounds):
        level = generator.exponential(size=(31, 1))
        errors = level * generator.uniform(0.5, 1, size=(31, 4))
        covered += bool(errors[30, generator.integers(4)] <= grouped_quantile(errors[:30].tolist(), confidence))
    low, high = binomial_interval(covered, rounds, 0.999)
    assert low <= confidence + 1 / 31
    assert high >= confidence


def test_a_confidence_lies_between_0_and_1() -> None:
    for confidence in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="confidence"):
            grouped_quantile([[1.0]], confidence)
        with pytest.raises(ValueError, match="confidence"):
            quantile([1.0], confidence)


def test_binomial_intervals_as_published() -> None:
    """Clopper and Pearson's 95% limits, as tables have them."""
    assert binomial_interval(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    assert binomial_interval(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert binomial_interval(90, 100) == pytest.approx((0.8238, 0.9510), abs=1e-4)
