"""The scale of least squared error, against three oracles: every assignment of small arrays, published optima, and the
integral of the density's distortion."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, optimize, stats

from profiler.sensitivity import clipping
from profiler.sensitivity.clipping import optimal_scales, squared_errors

Reals = np.ndarray[Any, np.dtype[np.float64]]

SMALL = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 5)),
    elements=st.floats(0, 1).map(lambda x: x if x > 1e-3 else 0.0) | st.sampled_from([0.0, 1 / 3, 0.5, 1.0]),
)


def least_error(magnitudes: Reals, top: int) -> float:
    """Of one channel, by trying all assignments of levels: each has its best scale in closed form."""
    best = float(magnitudes @ magnitudes)
    for levels in product(range(top + 1), repeat=len(magnitudes)):
        q = np.array(levels, dtype=np.float64)
        if q.any():
            rest = magnitudes - (magnitudes @ q) / (q @ q) * q
            best = min(best, float(rest @ rest))
    return best


@given(SMALL, st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_no_assignment_is_better(a: Reals, top: int) -> None:
    found = squared_errors(a, optimal_scales(a, top), top)
    exact = [least_error(channel, top) for channel in a]
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-18)


def scanned(a: Reals, top: int) -> float:
    """Of one channel: the least error between any two neighbouring points at which a level changes."""
    points = np.unique([w / (k - 0.5) for w in a for k in range(1, top + 1)])
    scales = np.concatenate([[points[0] / 2], (points[1:] + points[:-1]) / 2, points[-1:]])
    q = np.minimum(np.rint(a / scales[:, None]), top)
    norms = np.einsum("ij,ij->i", q, q)
    best = np.divide(q @ a, norms, out=np.zeros(len(q)), where=norms > 0)
    rest = a - best[:, None] * q
    return float(np.einsum("ij,ij->i", rest, rest).min())


@given(
    hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(1e-3, 1)),
    st.sampled_from([1, 3, 7, 15, 31, 63, 127]),
)
@settings(deadline=None)
def test_no_scale_is_better(a: Reals, top: int) -> None:
    found = squared_errors(a[None], optimal_scales(a[None], top), top)[0]
    assert found == pytest.approx(scanned(a, top), rel=1e-6, abs=1e-18)


@pytest.mark.parametrize("top", [7, 127])
@pytest.mark.parametrize("kind", ["normal", "heavy", "flat"])
def test_what_the_grid_leaves_out_holds_nothing_better(top: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    draw: Callable[..., Reals] = {
        "normal": rng.standard_normal,
        "heavy": lambda size: rng.standard_t(3, size=size),
        "flat": rng.random,
    }[kind]
    for width in (150, 600):
        a = np.abs(draw(size=(24, width)))
        a /= a.max(axis=1, keepdims=True)
        with monkeypatch.context() as patch:
            patch.setattr(clipping, "_is_small", lambda weights, top: True)
            exact = squared_errors(a, optimal_scales(a, top), top)
        with monkeypatch.context() as patch:
            patch.setattr(clipping, "_is_small", lambda weights, top: False)
            found = squared_errors(a, optimal_scales(a, top), top)
        assert found == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("weights", [40, 4000])
@pytest.mark.parametrize(("own", "top"), [(3, 7), (7, 7), (7, 127), (40, 127), (80, 127), (100, 127), (127, 127)])
def test_weights_that_lie_on_a_grid_lose_nothing(weights: int, own: int, top: int) -> None:
    """Of a model that was trained with quantization, with its own largest level."""
    levels = np.abs(np.random.default_rng(4).integers(-own, own + 1, (6, weights)))
    levels[:, 0] = own
    a = levels * 0.37 / (own * 0.37)
    assert squared_errors(a, optimal_scales(a, top), top).max() < 1e-20


def test_zeros_have_no_scale() -> None:
    a = np.array([[0.0, 0.0], [0.0, 1.0]])
    assert optimal_scales(a, 7)[0] == 0
    assert squared_errors(a, optimal_scales(a, 7), 7).tolist() == [0.0, 0.0]


def test_an_outlier_is_clipped_where_that_pays() -> None:
    a = np.abs(np.random.default_rng(5).standard_normal((1, 4000)))
    a[0, 0] = 12.0
    assert optimal_scales(a / 12, 7)[0] * 12 < 0.5  # max-abs: 1.71; without the outlier: 0.335 (Max: 15 levels, 0.3534)


# Densities. Ours are quantizers of 2**bits - 1 levels with a level at zero.

MAX_1960 = {2: (1.224, 0.1902), 3: (0.6508, 0.04686), 4: (0.3534, 0.01289)}
"""Step and distortion for the unit Gaussian: J. Max, IRE Trans. Inf. Theory 6 (1960), Table II, 3, 7 and 15 levels."""

ACIQ_2018 = {2: 2.83, 3: 3.89, 4: 5.03}
"""Range of least error in units of the Laplace density's b: Banner et al., arXiv 1810.05723."""


def quantiles(distribution: Any, count: int = 100_000) -> Reals:
    """Magnitudes at equidistant probabilities: a sample without luck."""
    return np.asarray(distribution.isf((np.arange(count) + 0.5) / count / 2))


def distortion(distribution: Any, step: float, top: int) -> float:
    """Mean squared error of the density, cell by cell."""
    total = 0.0
    for level in range(top + 1):
        edges = [max(0.0, (level - 0.5) * step), (level + 0.5) * step]
        if level == top:
            edges = [edges[0], edges[0] + 3, edges[0] + 12, edges[0] + 60]
        for low, high in pairwise(edges):
            total += integrate.quad(lambda x, at=level * step: (x - at) ** 2 * distribution.pdf(x), low, high)[0]
    return 2 * total


def optimum(distribution: Any, bits: int) -> tuple[float, float]:
    """Step and distortion by numerical integration."""
    top = 2 ** (bits - 1) - 1
    found = optimize.minimize_scalar(
        lambda step: distortion(distribution, step, top), bounds=(0.05, 3), method="bounded", options={"xatol": 1e-6}
    )
    return float(found.x), float(found.fun)


def found_optimum(distribution: Any, bits: int) -> tuple[float, float]:
    a, top = quantiles(distribution)[None], 2 ** (bits - 1) - 1
    largest = a.max()
    scales = optimal_scales(a / largest, top)
    return float(scales[0] * largest), float(squared_errors(a, scales * largest, top)[0] / a.size)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gaussian_weights_have_the_published_optimum(bits: int) -> None:
    step, error = MAX_1960[bits]
    assert optimum(stats.norm, bits) == pytest.approx((step, error), rel=3e-4)  # the table's last digit
    found_step, found_error = found_optimum(stats.norm, bits)
    assert found_error == pytest.approx(error, rel=1e-3)
    assert found_step == pytest.approx(step, rel=5e-3)  # the error is flat there: 0.5% of the step is 1e-5 of it


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_laplace_weights_have_the_optimum_of_the_integral(bits: int) -> None:
    top = 2 ** (bits - 1) - 1
    step, error = optimum(stats.laplace, bits)
    # The integral in closed form: raising the level from k - 1 to k beyond (k - 1/2) s saves 2 s exp(-(k - 1/2) s).
    assert error == pytest.approx(2 - 2 * step * sum(math.exp(-(k - 0.5) * step) for k in range(1, top + 1)), rel=1e-6)
    found_step, found_error = found_optimum(stats.laplace, bits)
    # 100,000 weights reach 11.5 b: what lies beyond has a share of 1e-3 in the error of 5 bits.
    assert found_error == pytest.approx(error, rel=5e-3)
    assert found_step == pytest.approx(step, rel=5e-3)


def test_three_levels_for_laplace_weights_in_closed_form() -> None:
    """2 - 2 s exp(-s / 2) has its least value 2 - 4 / e at s = 2."""
    assert found_optimum(stats.laplace, 2) == pytest.approx((2.0, 2 - 4 / math.e), rel=2e-3)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_laplace_ranges_are_near_the_published_ones(bits: int) -> None:
    """Within 7%: theirs has 2**bits levels, none at zero, and takes the density for constant in each cell, which at two
    bits (cells as wide as 1.5 b) errs the most. Compared are the outer edges of the last cells."""
    top = 2 ** (bits - 1) - 1
    edge = (top + 0.5) * found_optimum(stats.laplace, bits)[0]
    assert edge == pytest.approx(ACIQ_2018[bits], rel=0.07)
