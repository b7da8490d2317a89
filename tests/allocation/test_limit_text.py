"""Limits as they are typed, and amounts as they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.allocation.limit_text import LimitText, amount_text, parse_limit, parse_named_limit
from profiler.allocation.problem import Quantity
from profiler.allocation.solve import holds
from profiler.errors import ProfilerError


@pytest.mark.parametrize(
    ("quantity", "text", "amount"),
    [
        (Quantity.LATENCY, "3.2ms", 3.2e-3),
        (Quantity.LATENCY, " 3.2 ms ", 3.2e-3),
        (Quantity.LATENCY, "2s", 2.0),
        (Quantity.LATENCY, "450us", 450e-6),
        (Quantity.LATENCY, "12ns", 12e-9),
        (Quantity.LATENCY, "1e-3s", 1e-3),
        (Quantity.LATENCY, "0ms", 0.0),
        (Quantity.SIZE, "8MB", 8e6),
        (Quantity.SIZE, "8MiB", 8 * 2**20),
        (Quantity.SIZE, "512KiB", 2**19),
        (Quantity.SIZE, "1.5GiB", 1.5 * 2**30),
        (Quantity.SIZE, "900B", 900.0),
        (Quantity.SIZE, "3kB", 3e3),
        (Quantity.MEMORY, "2MiB", 2.0 * 2**20),
        (Quantity.BOPS, "70G", 70e9),
        (Quantity.BOPS, "1.2T", 1.2e12),
        (Quantity.BOPS, "5M", 5e6),
        (Quantity.ENERGY, "30mJ", 30e-3),
        (Quantity.ENERGY, "2J", 2.0),
        (Quantity.ENERGY, "7uJ", 7e-6),
    ],
)
def test_amounts(quantity: Quantity, text: str, amount: float) -> None:
    found = parse_limit(quantity, text)
    assert (found.quantity, found.fraction) == (quantity, None)
    assert found.amount == pytest.approx(amount, rel=1e-15)


@pytest.mark.parametrize("text", ["0", "0.5", "1", "1.0", ".25", "5e-1", " 0.75 "])
@pytest.mark.parametrize("quantity", list(Quantity))
def test_numbers_without_unit_are_fractions(quantity: Quantity, text: str) -> None:
    assert parse_limit(quantity, text) == LimitText(quantity, fraction=float(text))


@pytest.mark.parametrize(
    ("quantity", "text", "part"),
    [
        (Quantity.LATENCY, "", "say a fraction"),
        (Quantity.LATENCY, "fast", "say a fraction"),
        (Quantity.LATENCY, "nan", "say a fraction"),
        (Quantity.LATENCY, "inf", "say a fraction"),
        (Quantity.LATENCY, "1e400ms", "say a fraction"),
        (Quantity.LATENCY, "1.2.3ms", "say a fraction"),
        (Quantity.LATENCY, "3,2ms", "say a fraction"),
        (Quantity.LATENCY, "3 ms or so", "say a fraction"),
        (Quantity.LATENCY, "50%", "say a fraction"),
        (Quantity.LATENCY, "1.5", "a number without unit is a fraction"),
        (Quantity.LATENCY, "-0.1", "a number without unit is a fraction"),
        (Quantity.LATENCY, "-1ms", "below zero"),
        (Quantity.LATENCY, "3MB", "unknown unit 'MB'; say a fraction from 0 to 1, or an amount in s, ms, us, ns"),
        (Quantity.LATENCY, "3MS", "unknown unit 'MS'"),
        (Quantity.SIZE, "8ms", "unknown unit 'ms'"),
        (Quantity.SIZE, "8mB", "unknown unit 'mB'"),
        (Quantity.BOPS, "8GB", "unknown unit 'GB'"),
        (Quantity.ENERGY, "3W", "unknown unit 'W'"),
    ],
)
def test_what_is_no_limit_is_refused(quantity: Quantity, text: str, part: str) -> None:
    with pytest.raises(ProfilerError) as error:
        parse_limit(quantity, text)
    assert f"the limit of {quantity.value} is " in str(error.value)
    assert part in str(error.value)


def test_names() -> None:
    assert parse_named_limit("latency=0.5") == LimitText(Quantity.LATENCY, fraction=0.5)
    assert parse_named_limit(" size = 8MB") == LimitText(Quantity.SIZE, amount=8e6)
    for quantity in Quantity:
        assert parse_named_limit(f"{quantity.value}=1").quantity is quantity


@pytest.mark.parametrize("text", ["", "0.5", "latency", "latency:0.5", "speed=0.5", "=0.5", "LATENCY=0.5"])
def test_limits_of_nothing_known_are_refused(text: str) -> None:
    with pytest.raises(ProfilerError, match="write NAME=VALUE, with latency, size, bops, energy, memory"):
        parse_named_limit(text)


def test_a_limit_is_a_fraction_or_an_amount() -> None:
    with pytest.raises(ValueError, match="either"):
        LimitText(Quantity.SIZE)
    with pytest.raises(ValueError, match="either"):
        LimitText(Quantity.SIZE, fraction=0.5, amount=1.0)


@pytest.mark.parametrize(
    ("quantity", "amount", "text"),
    [
        (Quantity.LATENCY, 3.2e-3, "3.2 ms"),
        (Quantity.LATENCY, 1.0, "1 s"),
        (Quantity.LATENCY, 0.7e-3, "700 us"),
        (Quantity.LATENCY, 3.141592e-3, "3.1416 ms"),
        (Quantity.LATENCY, 3.141511e-3, "3.1416 ms"),  # to the nearest it would be 3.1415: less than the amount
        (Quantity.LATENCY, 9.999991e-3, "10 ms"),
        (Quantity.LATENCY, 0.0, "0 ns"),
        (Quantity.LATENCY, 2e-10, "0.2 ns"),
        (Quantity.SIZE, 11_678_912.0, "11.679 MB"),
        (Quantity.SIZE, 12.0, "12 B"),
        (Quantity.BOPS, 34.2e9, "34.2 G"),
        (Quantity.BOPS, 120.0, "0.12 k"),
        (Quantity.ENERGY, 0.25, "250 mJ"),
        (Quantity.LATENCY, -3.141592e-3, "-3.1415 ms"),
    ],
)
def test_shown_amounts(quantity: Quantity, amount: float, text: str) -> None:
    assert amount_text(quantity, amount) == text


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(list(Quantity)), st.floats(1e-12, 1e18))
def test_what_is_shown_and_typed_again_holds(quantity: Quantity, amount: float) -> None:
    typed = parse_limit(quantity, amount_text(quantity, amount)).amount
    assert typed is not None
    assert holds(amount, typed)
    assert typed == pytest.approx(amount, rel=1.1e-4)
