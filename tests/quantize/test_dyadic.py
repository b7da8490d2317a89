"""Dyadic requantization against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from profiler.quantize.dyadic import dyadic, requantize

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
MULTIPLIER_MAX = 2**31 - 1


def round_half_away(value: Fraction) -> int:
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


@settings(max_examples=500)
@given(
    x=st.integers(INT32_MIN, INT32_MAX) | st.integers(-64, 64),
    multiplier=st.integers(0, MULTIPLIER_MAX) | st.integers(0, 31).map(lambda k: min(2**k, MULTIPLIER_MAX)),
    shift=st.integers(1, 62),
)
@example(INT32_MIN, MULTIPLIER_MAX, 1)
@example(INT32_MIN, MULTIPLIER_MAX, 62)
@example(INT32_MAX, MULTIPLIER_MAX, 1)
@example(INT32_MAX, MULTIPLIER_MAX, 62)
@example(INT32_MIN, 0, 62)
@example(-(2**31), 2**30, 62)
def test_equals_exact_rational_arithmetic(x: int, multiplier: int, shift: int) -> None:
    assert int(requantize(x, multiplier, shift)) == round_half_away(Fraction(x * multiplier, 2**shift))


@pytest.mark.parametrize(
    ("x", "rounded"), [(1, 1), (-1, -1), (3, 2), (-3, -2), (5, 3), (-5, -3), (0, 0), (2, 1), (-2, -1)]
)
@pytest.mark.parametrize("shift", [1, 2, 31])
def test_halves_go_away_from_zero(x: int, rounded: int, shift: int) -> None:
    assert int(requantize(x, 2 ** (shift - 1), shift)) == rounded


@pytest.mark.parametrize("sign", [1, -1])
def test_neighbours_of_a_half_at_the_largest_shift(sign: int) -> None:
    # 2**31 * 2**30 / 2**62 is a half; the largest multiplier below 2**31 with x = 2**30 lies just under it.
    assert int(requantize(-(2**31), 2**30, 62)) == -1
    assert int(requantize(sign * 2**30, 2**31 - 1, 62)) == 0
    assert int(requantize(sign * (2**30 + 1), 2**31 - 1, 62)) == sign


def test_arrays_broadcast_against_each_other() -> None:
    x = np.arange(-6, 6, dtype=np.int8).reshape(2, 3, 2)
    multipliers, shifts = np.array([3, 5], np.int32), np.array([1, 2], np.int32)
    got = requantize(x, multipliers, shifts)
    assert got.shape == x.shape
    assert got.dtype == np.int64
    for index in np.ndindex(*x.shape):
        channel = index[-1]
        exact = Fraction(int(x[index]) * int(multipliers[channel]), 2 ** int(shifts[channel]))
        assert got[index] == round_half_away(exact)
    assert requantize(7, 3, np.array([1, 2, 3])).tolist() == [11, 5, 3]
    assert requantize(np.zeros((0, 2), np.int32), multipliers, shifts).shape == (0, 2)


def test_arguments_are_left_alone() -> None:
    x = np.arange(4, dtype=np.int64)
    requantize(x, np.full(4, 7), np.full(4, 2))
    assert x.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shift", [0, 63, -1, 64])
def test_refuses_a_shift_out_of_range(shift: int) -> None:
    with pytest.raises(ValueError, match=r"shift must lie in \[1, 62\]"):
        requantize(1, 1, shift)


@pytest.mark.parametrize("multiplier", [-1, 2**31])
def test_refuses_a_multiplier_out_of_range(multiplier: int) -> None:
    with pytest.raises(ValueError, match="multiplier must lie in"):
        requantize(1, [0, multiplier], 1)


@pytest.mark.parametrize("x", [2**31, -(2**31) - 1])
def test_refuses_what_is_not_int32(x: int) -> None:
    with pytest.raises(ValueError, match="x must lie in"):
        requantize(x, 1, 1)


def test_refuses_floats() -> None:
    with pytest.raises(TypeError, match="x must be integers"):
        requantize(1.0, 1, 1)


@settings(max_examples=300)
@given(st.floats(2.0**-32, 2.0**29))
@example(1.0)
@example(0.5)
@example(2.0**-32)
@example(math.nextafter(1.0, 0.0))  # the multiplier rounds up to 2**31
@example(math.nextafter(0.25, 0.0))
def test_multiplier_has_all_of_its_bits_and_is_the_nearest(scale: float) -> None:
    multiplier, shift = dyadic(scale)
    assert 2**30 <= multiplier < 2**31
    assert 1 <= shift <= 62
    error = abs(Fraction(multiplier, 2**shift) - Fraction(scale))
    assert error <= Fraction(scale) / 2**31
    for neighbour in (multiplier - 1, multiplier + 1):
        assert error <= abs(Fraction(neighbour, 2**shift) - Fraction(scale))


@settings(max_examples=100)
@given(st.floats(5e-324, 2.0**-32))
def test_small_scales_keep_the_largest_shift(scale: float) -> None:
    multiplier, shift = dyadic(scale)
    assert shift == 62 or multiplier == 2**30
    assert abs(Fraction(multiplier, 2**shift) - Fraction(scale)) <= Fraction(1, 2**63)


@pytest.mark.parametrize(("scale", "pair"), [(1.0, (2**30, 30)), (0.75, (3 * 2**29, 31)), (2.0**29, (2**30, 1))])
def test_exact_scales(scale: float, pair: tuple[int, int]) -> None:
    assert dyadic(scale) == pair


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan, 2.0**30, 1e300])
def test_refuses_scales_without_a_dyadic_number(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        dyadic(scale)


@settings(max_examples=300)
@given(st.floats(5e-324, 2.0**29))
@example(math.nextafter(2.0**-63, 0.0))  # just under a half of the least step
@example(2.0**-63)
@example(3 * 2.0**-63)
@example((2**31 - 1) * 2.0**-40 + 2.0**-41)
def test_halves_of_a_multiplier_go_up(scale: float) -> None:
    multiplier, shift = dyadic(scale)
    nearest = math.floor(Fraction(scale) * 2**shift + Fraction(1, 2))
    assert multiplier == nearest
