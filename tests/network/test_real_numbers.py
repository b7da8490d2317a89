"""Between real numbers and integers, both ways, against exact fractions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.network.integer_network import IntegerNetwork
from profiler.network.real_numbers import quantized_inputs, real_values
from profiler.quantize.scales import activation_scale
from profiler.workload import DType
from tests.network.integer_drafts import Draft

STORED = {DType.INT8: np.int8, DType.UINT8: np.uint8, DType.INT4: np.int8, DType.UINT4: np.uint8}


def network(dtype: DType, scale: float, channels: int = 1) -> IntegerNetwork:
    """Its input v0 has that scale, and is pooled."""
    draft = Draft()
    made = draft.network([draft.max_pool(draft.input(1, 1, channels, dtype), 1)])
    return replace(made, values=(replace(made.values[0], scale=(scale,)), *made.values[1:]))


def logits(scale: tuple[float, ...]) -> IntegerNetwork:
    """Its output v1 has three channels and that scale."""
    draft = Draft()
    made = draft.network([draft.dense(draft.input(1, 1, 3, DType.UINT8), 3)])
    return replace(made, values=(made.values[0], replace(made.values[1], scale=scale)))


@pytest.mark.parametrize("dtype", list(STORED), ids=lambda dtype: dtype.value)
@given(
    value=st.floats(-300, 300, width=32) | st.integers(-600, 600).map(lambda n: n / 8),
    scale=st.sampled_from([0.25, 0.1, 1.0, 3.0, 1e-3]),
)
def test_inputs_are_divided_rounded_and_clamped(dtype: DType, value: float, scale: float) -> None:
    """Halves to even; Python rounds fractions so. The quotient is that of float64, whose error is seen only beside a
    half."""
    exact = Fraction(value) / Fraction(scale)
    found = quantized_inputs(network(dtype, scale), {"v0": np.array(value, np.float32).reshape(1, 1, 1, 1)})["v0"]
    assert found.dtype == STORED[dtype]
    assert found.shape == (1, 1, 1, 1)
    expected = {max(dtype.low, min(dtype.high, round(number))) for number in _around(exact)}
    assert int(found[0, 0, 0, 0]) in expected
    if scale in (0.25, 1.0):
        assert len(expected) == 1


def _around(exact: Fraction) -> list[Fraction]:
    half = exact * 2
    near_half = half.denominator > 1 and abs(half - round(half)) < Fraction(1, 10**9)
    return [exact, exact + Fraction(1, 10**8), exact - Fraction(1, 10**8)] if near_half else [exact]


def test_what_is_infinite_is_the_end_of_the_type() -> None:
    for dtype in STORED:
        x = np.array([np.inf, -np.inf, 1e30], np.float32).reshape(1, 1, 1, 3)
        found = quantized_inputs(network(dtype, 0.5, 3), {"v0": x})["v0"]
        assert found.reshape(-1).tolist() == [dtype.high, dtype.low, dtype.high]


def test_an_input_that_is_missing_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        quantized_inputs(network(DType.INT8, 1.0), {"y": np.zeros((1, 1, 1, 1), np.float32)})


def test_real_values_are_by_channel() -> None:
    integers = np.array([[[[1, -2, 3]], [[4, 5, -6]]]], np.int32)
    whole = logits((0.5, 2.0, 0.25))
    assert real_values(whole, "v1", integers).tolist() == [[[[0.5, -4.0, 0.75]], [[2.0, 10.0, -1.5]]]]
    assert real_values(logits((0.5,)), "v1", integers).tolist() == (integers / 2).tolist()
    assert real_values(whole, "v1", integers.reshape(2, 3)).shape == (2, 3)  # whatever lies ahead of the channels


@given(
    st.sampled_from(list(STORED)), st.floats(0, 1e30, allow_subnormal=False), st.floats(0, 1e30, allow_subnormal=False)
)
def test_scales_hold_their_range(dtype: DType, below: float, above: float) -> None:
    """Both ends become integers of the type, and the far one is its last; zero stays zero."""
    scale = activation_scale(-below, above, dtype)
    ends = [above, -below] if dtype.signed else [above]
    integers = [round(Fraction(end) / Fraction(scale)) for end in ends]
    assert all(-dtype.high <= integer <= dtype.high for integer in integers)
    if any(ends):
        assert max(map(abs, integers)) == dtype.high
    else:
        assert scale == 1.0


@pytest.mark.parametrize(
    ("low", "high"), [(1, 0), (float("nan"), 1), (0, float("nan")), (-float("inf"), 0), (0, float("inf"))]
)
def test_what_is_no_range_has_no_scale(low: float, high: float) -> None:
    for dtype in STORED:
        with pytest.raises(ValueError, match="not a range"):
            activation_scale(low, high, dtype)


def test_what_lies_below_zero_does_not_count_where_nothing_can() -> None:
    assert activation_scale(-100, 51, DType.UINT8) == 51 / 255
    assert activation_scale(-100, 51, DType.INT8) == 100 / 127
    assert activation_scale(-100, -1, DType.UINT4) == 1.0
    assert activation_scale(-5, -1, DType.INT4) == 5 / 7
