"""The knee of curves that are known: where it is, and when there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.throughput.knee import Knee, KneeKind, find_knee
from profiler.verdict import Span

BATCHES = (1, 2, 4, 8, 16, 32, 64)


def spans(images_per_s: dict[int, float], halfwidth: float = 0.001) -> dict[int, Span]:
    """Of whole batches, from the throughput of each."""
    found = {}
    for batch, rate in images_per_s.items():
        latency_s = batch / rate
        found[batch] = Span(latency_s, latency_s * (1 - halfwidth), latency_s * (1 + halfwidth))
    return found


def saturating(half: float, best: float = 1000.0) -> dict[int, float]:
    """Hockney's law: a fixed cost for each batch, half of the best throughput at ``half`` images."""
    return {batch: best * batch / (batch + half) for batch in BATCHES}


@pytest.mark.parametrize("half", [0.2, 0.5, 1.0, 2.0])
def test_of_a_fixed_cost_it_is_where_arithmetic_has_it(half: float) -> None:
    rates = saturating(half)
    expected = next(batch for batch in BATCHES if rates[batch] >= 0.95 * rates[64])
    found = find_knee(spans(rates))
    assert (found.kind, found.batch, found.best) == (KneeKind.FOUND, expected, 64)
    assert f"knee at batch {expected}" in found.text
    assert found.short == f"knee {expected}"


def test_a_flat_curve_has_none() -> None:
    found = find_knee(spans({1: 260, 2: 262, 4: 265, 8: 266}))
    assert (found.kind, found.batch, found.batches, found.best) == (KneeKind.FLAT, None, (1,), 8)
    assert "no knee in the range: batch 1, the smallest, already reaches 95%" in found.text
    falling = find_knee(spans({1: 300, 8: 200}))
    assert (falling.kind, falling.best) == (KneeKind.FLAT, 1)
    assert falling.text == "no knee in the range: batch 1, the smallest, is the best"


def test_a_curve_that_still_rises_has_none() -> None:
    found = find_knee(spans({batch: 100.0 * batch for batch in BATCHES}))
    assert (found.kind, found.batch, found.best) == (KneeKind.RISING, None, 64)
    assert "it may rise further" in found.text


def test_a_curve_that_falls_again_is_judged_by_its_top() -> None:
    """Caches end: the largest batch is not the best one."""
    found = find_knee(spans({1: 100, 2: 180, 4: 196, 8: 200, 16: 150}))
    assert (found.kind, found.batch, found.best) == (KneeKind.FOUND, 4, 8)


def test_noise_that_hides_it_is_told() -> None:
    """Batch 2 reaches 94 to 96%: nobody knows."""
    rates = {1: 50.0, 2: 95.0, 4: 99.0, 8: 100.0}
    found = find_knee(spans(rates, 0.01))
    assert (found.kind, found.batch, found.batches) == (KneeKind.AMBIGUOUS, None, (2, 4))
    assert found.text == "the knee is ambiguous: batch 2 or 4, by the intervals"
    wide = find_knee(spans(rates, 0.5))
    assert wide.batches == (1, 2, 4, 8)


def single(images_per_s: dict[int, float]) -> dict[int, Span]:
    """Of one window each."""
    return {b: Span(b / rate, b / rate, b / rate, known=False) for b, rate in images_per_s.items()}


def test_single_windows_leave_a_doubt() -> None:
    """One at 96% of the best may be at 91%: 1.96 * sqrt(2) * 2% either way is 5.7%."""
    found = find_knee(single({1: 50.0, 2: 96.0, 4: 99.0, 8: 100.0}))
    assert (found.kind, found.batches) == (KneeKind.AMBIGUOUS, (2, 4, 8))
    assert found.text.endswith("(single windows have no interval; a noise of 2% is assumed)")
    clear = find_knee(single({1: 50.0, 2: 85.0, 4: 101.0, 8: 100.0}))
    assert (clear.kind, clear.batch) == (KneeKind.FOUND, 4)
    assert "is assumed" in clear.text
    flat = find_knee(single({1: 100.0, 8: 101.0}))
    assert (flat.kind, flat.batches) == (KneeKind.AMBIGUOUS, (1, 8)), "99% of the best may be 94%"
    assert "is assumed" not in find_knee(spans({1: 50.0, 2: 96.0, 4: 100.0})).text


def test_one_window_among_many() -> None:
    mixed = spans({1: 50.0, 4: 100.0}) | single({2: 96.0})
    assert find_knee(mixed).batches == (2, 4)
    assert find_knee(spans({1: 50.0, 2: 96.0, 4: 100.0})).batches == (2,)


def test_one_batch_has_none() -> None:
    assert find_knee(spans({8: 100.0})) == Knee(KneeKind.SINGLE, (8,), 8)


def test_what_is_no_curve() -> None:
    with pytest.raises(ValueError, match="takes a batch"):
        find_knee({})
    with pytest.raises(ValueError, match="between 0 and 1"):
        find_knee(spans({1: 1.0}), share=1.0)


@given(
    st.dictionaries(st.integers(1, 4096), st.floats(1, 1e4), min_size=1, max_size=9),
    st.floats(1e-6, 0.2),
    st.floats(0.5, 0.99),
)
def test_what_is_called_a_knee_is_one(rates: dict[int, float], halfwidth: float, share: float) -> None:
    """By the definition, from the throughputs themselves; and in any order of the batches."""
    found = find_knee(spans(rates, halfwidth), share)
    assert found == find_knee(spans(dict(reversed(rates.items())), halfwidth), share)
    best = max(rates.values())
    assert rates[found.best] == pytest.approx(best)
    assert set(found.batches) <= set(rates)
    assert found.text
    if found.batch is None:
        return
    assert min(rates) < found.batch < max(rates)
    assert rates[found.batch] >= share * best * (1 - 1e-9)
    assert all(rate < share * best for batch, rate in rates.items() if batch < found.batch)


def test_batches_that_bring_nothing_do_not_move_it() -> None:
    """As they would a knee that is told by the shape of the curve over the range at hand."""
    rates = {1: 60.0, 2: 80.0, 4: 97.0, 8: 100.0}
    assert find_knee(spans(rates)).batch == 4
    assert find_knee(spans(rates | {16: 100.0, 32: 99.0, 4096: 99.5})).batch == 4
