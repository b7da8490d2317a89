"""Squared perturbations: by hand, against plain Python, and what every quantizer of this kind obeys."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from profiler.errors import ProfilerError
from profiler.sensitivity.perturbation import (
    Clipping,
    channel_scales,
    perturbation_sensitivity,
    quantized,
    squared_perturbation,
)
from profiler.workload import INT4, INT8

WEIGHTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 6)),
    elements=st.floats(-100, 100).map(lambda x: x if abs(x) > 1e-6 else 0.0),
)
BITS = st.integers(2, 8)


unhurried = settings(deadline=None)


def in_plain_python(weight: np.ndarray[Any, Any], bits: int) -> float:
    """Max-abs, weight by weight; Python's round goes half to even too."""
    top, total = 2 ** (bits - 1) - 1, 0.0
    for channel in weight.reshape(len(weight), -1):
        scale = max(abs(float(w)) for w in channel) / top
        for w in map(float, channel):
            level = max(-top, min(top, round(w / scale))) if scale else 0
            total += (level * scale - w) ** 2
    return total


def test_by_hand() -> None:
    weight = np.array([[7.0, 0.5, 1.5, -2.5], [-14.0, 1.0, 3.0, 2.0]])
    scales = channel_scales(weight, 4, Clipping.MAX_ABS)
    assert scales.tolist() == [1.0, 2.0]
    assert quantized(weight, scales, 4).tolist() == [[7, 0, 2, -2], [-7, 0, 2, 1]]  # halves to even
    assert squared_perturbation(weight, 4, Clipping.MAX_ABS) == pytest.approx(0.25 * 3 + 1 + 1)
    assert quantized([[100.0, -100.0]], [1.0], 4).tolist() == [[7, -7]]  # symmetric: never -8


def test_optimal_clipping_by_hand() -> None:
    """Two bits, levels -s, 0, s: the scale is the mean magnitude of what is not rounded to zero."""
    weight = np.array([[1.0, -0.8, 0.1], [3.0, 3.0, 3.0]])
    assert channel_scales(weight, 2, Clipping.MSE) == pytest.approx([0.9, 3.0])
    assert squared_perturbation(weight, 2, Clipping.MSE) == pytest.approx(0.1**2 * 3)
    assert squared_perturbation(weight, 2, Clipping.MAX_ABS) == pytest.approx(0.2**2 + 0.1**2)


@given(WEIGHTS, BITS)
@unhurried
def test_max_abs_is_that_of_plain_python(weight: np.ndarray[Any, Any], bits: int) -> None:
    exact = in_plain_python(weight, bits)
    assert squared_perturbation(weight, bits, Clipping.MAX_ABS) == pytest.approx(exact, rel=1e-9, abs=1e-20)


@given(WEIGHTS, BITS, st.sampled_from(Clipping))
@unhurried
def test_the_error_is_that_of_the_integers(weight: np.ndarray[Any, Any], bits: int, clipping: Clipping) -> None:
    scales = channel_scales(weight, bits, clipping)
    levels = quantized(weight, scales, bits)
    assert abs(levels.astype(int)).max() <= 2 ** (bits - 1) - 1
    error = float(np.square(levels * scales[:, None] - weight).sum())
    assert squared_perturbation(weight, bits, clipping) == pytest.approx(error, rel=1e-9, abs=1e-20)


@given(WEIGHTS, BITS)
@unhurried
def test_optimal_clipping_is_never_worse(weight: np.ndarray[Any, Any], bits: int) -> None:
    best = squared_perturbation(weight, bits, Clipping.MSE)
    assert best <= squared_perturbation(weight, bits, Clipping.MAX_ABS) * (1 + 1e-12)
    assert best <= float(np.square(weight).sum()) * (1 + 1e-12)


@given(WEIGHTS, BITS, st.sampled_from(Clipping), st.sampled_from([0.125, 4.0]))
@unhurried
def test_it_scales_with_the_weights_and_has_no_sign(
    weight: np.ndarray[Any, Any], bits: int, clipping: Clipping, factor: float
) -> None:
    error = squared_perturbation(weight, bits, clipping)
    assert squared_perturbation(weight * factor, bits, clipping) == pytest.approx(error * factor**2, rel=1e-12)
    assert squared_perturbation(-weight[:, ::-1], bits, clipping) == pytest.approx(error, rel=1e-9, abs=1e-20)


@given(WEIGHTS, st.sampled_from(Clipping), st.floats(0.0, 3.0))
@unhurried
def test_one_bit_is_the_sign_and_the_best_scale(
    weight: np.ndarray[Any, Any], clipping: Clipping, factor: float
) -> None:
    scales, levels = channel_scales(weight, 1, clipping), quantized(weight, np.ones(len(weight)), 1)
    assert ((levels == 1) == (weight >= 0)).all()
    assert ((levels == -1) == (weight < 0)).all()
    error = float(np.square(levels * scales[:, None] - weight).sum())
    assert squared_perturbation(weight, 1, clipping) == pytest.approx(error, rel=1e-9, abs=1e-18)
    other = float(np.square(levels * (factor * scales)[:, None] - weight).sum())
    assert error <= other * (1 + 1e-9) + 1e-18


def test_channels_are_quantized_apart() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((5, 3, 3, 4)) * np.array([1e-3, 1, 10, 1e3, 0])[:, None, None, None]
    for clipping in Clipping:
        apart = sum(squared_perturbation(channel[None], 4, clipping) for channel in weight)
        assert squared_perturbation(weight, 4, clipping) == pytest.approx(apart, rel=1e-12)
        assert channel_scales(weight, 4, clipping)[-1] == 0


@pytest.mark.parametrize("clipping", Clipping)
def test_zeros_and_single_weights_are_kept(clipping: Clipping) -> None:
    assert squared_perturbation(np.zeros((3, 4)), 4, clipping) == 0
    assert squared_perturbation(np.array([[3.0], [-0.1], [5e-324]]), 2, clipping) == 0
    assert quantized(np.zeros((1, 2)), [0.0], 4).tolist() == [[0, 0]]


@pytest.mark.parametrize(("bits", "text"), [(0, "1 to 8$"), (9, "1 to 8$")])
def test_other_widths_are_refused(bits: int, text: str) -> None:
    for clipping in Clipping:
        with pytest.raises(ProfilerError, match=text):
            squared_perturbation([[1.0]], bits, clipping)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        ([[1.0, math.nan]], "must be finite"),
        ([[1.0, math.inf]], "must be finite"),
        (np.zeros((2, 0)), "shape"),
        (np.float64(1), "shape"),
        (np.array([[1j]]), "real numbers"),
        (np.array([[True]]), "real numbers"),
    ],
)
def test_other_weights_are_refused(weight: Any, text: str) -> None:
    with pytest.raises(ProfilerError, match=text):
        channel_scales(weight, 4, Clipping.MSE)
    with pytest.raises(ProfilerError, match="layer 'conv': "):
        perturbation_sensitivity({"conv": weight}, (INT4,), Clipping.MAX_ABS)


def test_a_perturbation_beyond_the_floats_is_refused() -> None:
    with pytest.raises(ProfilerError, match="layer 'conv', int4: must be finite"):
        perturbation_sensitivity({"conv": [[1e300, 3e299]]}, (INT4,), Clipping.MSE)


def test_a_table_of_layers() -> None:
    rng = np.random.default_rng(1)
    weights = {"b": rng.standard_normal((8, 3, 3, 4)), "a": rng.standard_normal((10, 8)).astype(np.float32)}
    table = perturbation_sensitivity(weights, (INT8, INT4), Clipping.MSE)
    assert table.method == "squared weight perturbation, MSE-optimal clipping"
    assert table.precisions == ("int8", "int4")
    assert [(layer.name, layer.parameters, layer.trace) for layer in table.layers] == [
        ("b", 288, None),
        ("a", 80, None),
    ]
    assert table.of("a", "int4") == squared_perturbation(weights["a"], 4, Clipping.MSE)
    assert perturbation_sensitivity(weights, (INT4,), Clipping.MAX_ABS).method == "squared weight perturbation, max-abs"


def test_fewer_bits_cost_as_the_square_of_the_step() -> None:
    """Rounding errors are about uniform: s^2 / 12 each."""
    weight = np.random.default_rng(2).standard_normal((16, 2000))
    for bits in (6, 7, 8):
        scales = channel_scales(weight, bits, Clipping.MAX_ABS)
        uniform = float((scales**2).sum()) * 2000 / 12
        assert squared_perturbation(weight, bits, Clipping.MAX_ABS) == pytest.approx(uniform, rel=0.02)
