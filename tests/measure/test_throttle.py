"""Waits and rests, with a card, a clock and a sleep that are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.devices.protocol import KernelFailure, Throttling
from profiler.measure.throttle import (
    CALL_WAITS_S,
    KERNEL_WAITS_S,
    LONGEST_REST_S,
    LONGEST_WAIT_S,
    MOST_REST,
    Batch,
    Patience,
    Spacing,
    Throttle,
)
from profiler.record import FailureKind

FINE = Throttling()
CAPPED = Throttling(power_capped=True)
HOT = Throttling("SwThermalSlowdown")


@dataclass
class Card:
    """A device of which only `throttling` is asked. ``told`` is what it answers, one for each timed batch."""

    told: Iterator[Throttling | None]
    batch_s: float = 0.01
    now_s: float = 0.0
    batches: int = 0
    slept_s: list[float] = field(default_factory=list)

    def throttling(self) -> Throttling | None:
        return next(self.told)

    def time(self) -> tuple[float, ...]:
        self.batches += 1
        self.now_s += self.batch_s
        return (self.batch_s,)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept_s.append(seconds)
        self.now_s += seconds


def throttle(card: Any, sustained: bool = False) -> Throttle:
    return Throttle(card, sustained, lambda: card.now_s, card.sleep)


def after(*told: Throttling | None, then: Iterable[Throttling | None]) -> Iterator[Throttling | None]:
    return chain(told, then)


def failure(call: Callable[[], Any]) -> KernelFailure:
    with pytest.raises(KernelFailure) as caught:
        call()
    assert "\n" not in caught.value.message
    return caught.value


def test_a_device_that_cannot_tell_is_left_alone() -> None:
    card = Card(repeat(None))
    assert throttle(card).take(card.time, Patience(KERNEL_WAITS_S)) == Batch((0.01,), 0.01, None, 0)
    assert (card.batches, card.slept_s) == (1, [])


def test_a_cool_card_below_its_cap_is_left_alone() -> None:
    card = Card(repeat(FINE))
    taker, patience = throttle(card), Patience(KERNEL_WAITS_S)
    for _ in range(100):
        assert taker.take(card.time, patience) == Batch((0.01,), pytest.approx(0.01), False, 0)
    assert card.slept_s == []


def test_slowdown_that_ends() -> None:
    """Discarded, waited with doubling, an uncounted batch after each wait; the next slowdown begins anew."""
    card = Card(after(HOT, HOT, HOT, FINE, HOT, FINE, then=repeat(FINE)))
    taker, patience = throttle(card), Patience(KERNEL_WAITS_S)
    assert taker.take(card.time, patience).discarded == 3
    assert card.slept_s == [0.5, 1.0, 2.0]
    assert card.batches == 1 + 3 * 2
    assert taker.take(card.time, patience).discarded == 1
    assert card.slept_s == [0.5, 1.0, 2.0, 0.5]
    assert patience.waited_s == 4.0


def test_slowdown_that_never_ends() -> None:
    card = Card(repeat(HOT))
    taker = throttle(card)
    found = failure(lambda: taker.take(card.time, Patience(KERNEL_WAITS_S)))
    assert found.kind is FailureKind.UNSTABLE
    assert "SwThermalSlowdown" in found.message
    assert "60 s" in found.message
    assert "cooling" in found.message
    assert sum(card.slept_s) == KERNEL_WAITS_S
    assert max(card.slept_s) <= LONGEST_WAIT_S


def test_all_kernels_of_a_call_share_a_bound() -> None:
    """The first kernels use it up; the others fail at once, with a batch each."""
    card = Card(repeat(HOT))
    taker = throttle(card)
    for _ in range(20):
        assert failure(lambda: taker.take(card.time, Patience(KERNEL_WAITS_S))).kind is FailureKind.UNSTABLE
    assert sum(card.slept_s) == CALL_WAITS_S
    assert card.batches < 100
    assert "measured together" in failure(lambda: taker.take(card.time, Patience(KERNEL_WAITS_S))).message


def test_failures_of_the_kernel_pass() -> None:
    card = Card(repeat(FINE))

    def crash() -> tuple[float, ...]:
        raise KernelFailure(FailureKind.CRASH, "gone")

    assert failure(lambda: throttle(card).take(crash, Patience(KERNEL_WAITS_S))).kind is FailureKind.CRASH


def test_rests_grow_under_the_cap_and_shrink_slowly() -> None:
    card = Card(after(*[CAPPED] * 6, then=repeat(FINE)))
    taker, patience = throttle(card), Patience(KERNEL_WAITS_S)
    assert [taker.take(card.time, patience).power_capped for _ in range(6)] == [True] * 6
    assert card.slept_s == pytest.approx([0.0025, 0.005, 0.01, 0.02, 0.04, 0.04])
    for _ in range(100):
        assert taker.take(card.time, patience).power_capped is False
    shrinking = card.slept_s[6:]
    assert shrinking == sorted(shrinking, reverse=True)
    assert shrinking[0] == pytest.approx(0.036)
    assert 20 < len(shrinking) < 60, "slowly, and then not at all"


def test_sustained_takes_no_rests_but_waits_for_heat() -> None:
    card = Card(after(*[CAPPED] * 10, HOT, then=repeat(CAPPED)))
    taker, patience = throttle(card, sustained=True), Patience(KERNEL_WAITS_S)
    taken = [taker.take(card.time, patience) for _ in range(11)]
    assert all(batch.power_capped for batch in taken)
    assert card.slept_s == [0.5]


def test_a_long_batch_has_a_bounded_rest() -> None:
    spacing = Spacing()
    assert max(spacing.rest_s(True, 10.0) for _ in range(10)) == LONGEST_REST_S


def test_slowdown_under_the_power_cap() -> None:
    """It is a slowdown first; the batch that counts is capped."""
    card = Card(iter([Throttling("HwThermalSlowdown", power_capped=True), CAPPED]))
    assert throttle(card).take(card.time, Patience(KERNEL_WAITS_S)) == Batch((0.01,), pytest.approx(0.01), True, 1)


@given(st.lists(st.booleans(), max_size=200), st.floats(1e-6, 10.0))
def test_rests_are_bounded_by_the_time_of_the_batches(capped: list[bool], batch_s: float) -> None:
    spacing = Spacing()
    rests = [spacing.rest_s(state, batch_s) for state in capped]
    assert all(0 <= rest <= LONGEST_REST_S for rest in rests)
    assert sum(rests) <= MOST_REST * batch_s * len(capped) * (1 + 1e-9)
    assert all(rest > 0 for rest, state in zip(rests, capped, strict=True) if state)
    assert not any(rests[: capped.index(True) if True in capped else None])


@given(st.lists(st.sampled_from([FINE, CAPPED, HOT]), max_size=300))
def test_every_story_of_a_card_ends(story: list[Throttling]) -> None:
    """Twenty batches of one kernel, on a card that then stays as it was last: all are taken, or one failure ends it."""
    last = story[-1] if story else FINE
    card = Card(chain(story, repeat(last)))
    taker, patience = throttle(card), Patience(KERNEL_WAITS_S)
    taken: list[Batch] = []
    with suppress(KernelFailure):
        for _ in range(20):
            taken.append(taker.take(card.time, patience))
    assert len(taken) == 20 or patience.waited_s == KERNEL_WAITS_S
    waits = [slept for slept in card.slept_s if slept >= 0.5]
    assert sum(waits) <= KERNEL_WAITS_S
    assert sum(card.slept_s) <= KERNEL_WAITS_S + MOST_REST * 0.01 * len(taken) + 1e-9
    answered = story + [last] * (len(taken) + sum(batch.discarded for batch in taken))
    heard = answered[: len(taken) + sum(batch.discarded for batch in taken)]
    assert sum(batch.discarded for batch in taken) == heard.count(HOT)
    assert [batch.power_capped for batch in taken] == [told is CAPPED for told in heard if told is not HOT]
