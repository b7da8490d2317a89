"""The regression against its definition, and what the parts of the covariance mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.predictor.configs.gaussian_process import ConfigProcess, ConfigRows, Covariance

COVARIANCE = Covariance(0.4, 0.15, 0.35, 0.25, 0.3, shape_scale=3.0, schedule_scale=2.5)


def rows(seed: int, count: int, machines: int = 2) -> ConfigRows:
    """Synthetic features: 3 of the schedule, 2 of the shape."""
    random = np.random.default_rng(seed)
    return ConfigRows(
        random.normal(0, 2, (count, 3)), random.normal(0, 2, (count, 2)), random.integers(0, machines, count)
    )


def covariance_by_hand(a: ConfigRows, b: ConfigRows) -> np.ndarray:
    """Entry by entry, from the definition."""
    c = COVARIANCE

    def like(x: np.ndarray, y: np.ndarray, scale: float) -> float:
        return float(np.exp(-((x - y) ** 2).sum() / (2 * scale**2)))

    found = np.zeros((len(a.machine), len(b.machine)))
    for i, j in np.ndindex(found.shape):
        schedule = like(a.schedule[i], b.schedule[j], c.schedule_scale)
        shape = like(a.shape[i], b.shape[j], c.shape_scale)
        found[i, j] = c.level**2 + c.kernel_level**2 * shape + (c.schedule**2 + c.interaction**2 * shape) * schedule
        found[i, j] += c.machine_level**2 * float(a.machine[i] == b.machine[j])
    return found


def by_hand(
    known: ConfigRows, values: np.ndarray, noise: np.ndarray, asked: ConfigRows
) -> tuple[np.ndarray, np.ndarray]:
    """Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), equations 2.25 and 2.26."""
    inverse = np.linalg.inv(covariance_by_hand(known, known) + np.diag(noise**2))
    shared = covariance_by_hand(known, asked)
    variance = np.diag(covariance_by_hand(asked, asked) - shared.T @ inverse @ shared)
    return shared.T @ inverse @ values, np.sqrt(np.maximum(variance, 0))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 20))
def test_it_is_the_posterior_of_the_definition(seed: int, known: int, asked: int) -> None:
    random = np.random.default_rng(seed)
    values, noise = random.normal(0, 0.5, known), random.uniform(0.03, 0.2, known)
    learned, questions = rows(seed, known), rows(seed + 1, asked)
    mean, deviation = ConfigProcess(COVARIANCE, learned, values, noise).predict(questions)
    expected_mean, expected_deviation = by_hand(learned, values, noise, questions)
    assert mean == pytest.approx(expected_mean, abs=1e-6)
    assert deviation == pytest.approx(expected_deviation, abs=1e-5)


def test_far_from_everything_only_the_levels_are_known() -> None:
    """Two rows of one value: the levels take the share of it that their variances have."""
    at = np.zeros((1, 1))
    known = ConfigRows(at, at, np.array([0]))
    process = ConfigProcess(COVARIANCE, known, np.array([1.0]), np.array([1e-6]))
    whole = COVARIANCE.deviation**2
    far = np.full((1, 1), 1e3)
    here, elsewhere = (float(process.predict(ConfigRows(far, far, np.array([m])))[0][0]) for m in (0, 1))
    assert here == pytest.approx((0.4**2 + 0.15**2) / whole, rel=1e-4)
    assert elsewhere == pytest.approx(0.4**2 / whole, rel=1e-4)
    assert process.predict(known)[0] == pytest.approx([1.0], abs=1e-4)
    assert process.predict(known)[1] == pytest.approx([0.0], abs=1e-4)
