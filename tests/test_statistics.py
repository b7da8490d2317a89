"""The summary of samples against NumPy and SciPy-free arithmetic, and the interval's promise against the binomial."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.statistics import median_interval_ranks, summarize

seconds = st.floats(1e-9, 1e3)


@settings(max_examples=150)
@given(st.lists(seconds, min_size=1, max_size=60))
def test_median_and_quartiles_equal_numpys(samples: list[float]) -> None:
    summary = summarize(samples)
    expected = np.quantile(samples, [0.25, 0.5, 0.75])
    assert np.allclose([summary.q1_s, summary.median_s, summary.q3_s], expected, rtol=1e-12, atol=0)
    assert summary.minimum_s == min(samples)
    assert summary.samples == len(samples)
    assert summary.ci95_low_s <= summary.median_s <= summary.ci95_high_s
    assert summary.ci95_low_s in samples
    assert summary.ci95_high_s in samples


@given(st.lists(seconds, min_size=1, max_size=30), st.randoms())
def test_the_order_of_samples_does_not_matter(samples: list[float], random: object) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert summarize(shuffled) == summarize(samples)


@pytest.mark.parametrize("count", [*range(1, 80), 101, 500, 2001])
def test_the_interval_covers_the_median_with_95_percent_and_is_the_narrowest_that_does(count: int) -> None:
    def coverage(rank: int) -> Fraction:
        """P(X_(rank) <= median <= X_(count - 1 - rank)): binomial(count, 1/2) in rank + 1 .. count - 1 - rank."""
        inside = sum(math.comb(count, k) for k in range(rank + 1, count - rank))
        return Fraction(inside, 2**count)

    low, high = median_interval_ranks(count)
    assert low + high == count - 1
    if count < 6:
        assert low == 0
    else:
        assert coverage(low) >= Fraction(95, 100)
        assert coverage(low + 1) < Fraction(95, 100)


def test_the_interval_of_random_samples_covers_as_often_as_promised() -> None:
    random = np.random.default_rng(0)
    draws = random.exponential(size=(2000, 25))
    hits = sum(s.ci95_low_s <= math.log(2) <= s.ci95_high_s for s in map(summarize, draws.tolist()))
    assert hits / 2000 >= 0.94


@pytest.mark.parametrize("samples", [[], [0.0], [1.0, -1.0], [math.nan], [1.0, math.inf]])
def test_what_is_no_latency_is_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        summarize(samples)


def test_width_and_contamination() -> None:
    clean, dirty = summarize([1.0, 1.0, 1.1]), summarize([1.0, 2.0, 2.0])
    assert clean.relative_halfwidth == pytest.approx(0.05)
    assert not clean.contaminated
    assert dirty.contaminated
