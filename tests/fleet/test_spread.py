"""How far cards differ, on records that are made up: ratios worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.fleet.spread import spread_of

LATENCIES_S = st.dictionaries(
    st.sampled_from("ABCDE"),
    st.dictionaries(st.sampled_from("klmn"), st.floats(1e-6, 1.0), min_size=1),
    min_size=2,
)


def test_by_hand() -> None:
    spread = spread_of(
        "Tesla T4",
        {
            "A": {"conv": 1.0e-3, "dense": 2.0e-5, "add": 1.0e-5},
            "B": {"conv": 1.1e-3, "dense": 2.0e-5, "add": 0.8e-5},
            "C": {"conv": 0.9e-3, "dense": 2.4e-5, "add": 1.2e-5},
        },
    )
    assert spread is not None
    # Medians of the three cards: 1.0e-3, 2.0e-5, 1.0e-5.
    a, b, c = spread.cards
    assert (a.card, a.median, a.low, a.high, a.kernels) == ("A", 1, 1, 1, 3)
    assert (b.median, b.low, b.high) == pytest.approx((1.0, 0.8, 1.1))
    assert (c.median, c.low, c.high) == pytest.approx((1.2, 0.9, 1.2))
    assert (spread.low, spread.high) == pytest.approx((1.0, 1.2))
    assert (spread.kernel_low, spread.kernel_high) == pytest.approx((0.8, 1.2))
    assert spread.text == (
        "spread between 3 cards (Tesla T4), 3 reference kernels: a card's median latency is 1.000 to 1.200 of the "
        "typical card's, a single kernel's 0.800 to 1.200"
    )


def test_what_only_one_card_has_says_nothing() -> None:
    spread = spread_of("x", {"A": {"k": 1.0, "only": 5.0}, "B": {"k": 3.0}, "C": {"other": 1.0}})
    assert spread is not None
    assert spread.kernels == ("k",)
    assert [(card.card, card.median) for card in spread.cards] == [("A", 0.5), ("B", 1.5)]


@pytest.mark.parametrize(
    "latencies_s", [{}, {"A": {"k": 1.0}}, {"A": {"k": 1.0}, "B": {}}, {"A": {"k": 1.0}, "B": {"l": 1}}]
)
def test_nothing_to_compare(latencies_s: dict[str, dict[str, float]]) -> None:
    assert spread_of("x", latencies_s) is None


@given(LATENCIES_S, st.sampled_from([2.0**-3, 2.0**5]))
def test_it_is_about_ratios(latencies_s: dict[str, dict[str, float]], factor: float) -> None:
    """All cards slower alike: the same spread. And no card is outside of its own range."""
    spread = spread_of("x", latencies_s)
    scaled = spread_of("x", {c: {k: s * factor for k, s in m.items()} for c, m in latencies_s.items()})
    assert (spread is None) == (scaled is None)
    if spread is None or scaled is None:
        return
    assert spread.cards == scaled.cards, "powers of two change no digit"
    for card in spread.cards:
        assert card.low <= card.median <= card.high
    assert spread.kernel_low <= 1 <= spread.kernel_high
