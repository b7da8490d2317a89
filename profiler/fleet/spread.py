"""How far the cards of one model differ: what a user of another card of that model must expect. Nothing of Dask.

The same few kernels, byte for byte the same, are measured on every card. What counts is the ratio of a card's latency
to the median of all cards, kernel by kernel; a card's figure is the median of its ratios, with their range.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

FOLDER = "spread"
"""Of the journals of these kernels, beside those of the networks' kernels."""


@dataclass(frozen=True)
class CardRatio:
    """A card against the typical one: above 1 is slower. ``kernels`` were measured on it and on another card."""

    card: str
    median: float
    low: float
    high: float
    kernels: int


@dataclass(frozen=True)
class Spread:
    """Of the cards of one model. ``low`` and ``high`` are the least and the largest of the cards' median ratios,
    ``kernel_low`` and ``kernel_high`` those of all single ratios; ``kernels`` are the names of what was measured."""

    model: str
    cards: tuple[CardRatio, ...]
    kernels: tuple[str, ...]

    @property
    def low(self) -> float:
        return min(card.median for card in self.cards)

    @property
    def high(self) -> float:
        return max(card.median for card in self.cards)

    @property
    def kernel_low(self) -> float:
        return min(card.low for card in self.cards)

    @property
    def kernel_high(self) -> float:
        return max(card.high for card in self.cards)

    @property
    def text(self) -> str:
        """One line for people."""
        return (
            f"spread between {len(self.cards)} cards ({self.model}), {len(self.kernels)} reference kernels: "
            f"a card's median latency is {self.low:.3f} to {self.high:.3f} of the typical card's, "
            f"a single kernel's {self.kernel_low:.3f} to {self.kernel_high:.3f}"
        )


def spread_of(model: str, latencies_s: Mapping[str, Mapping[str, float]]) -> Spread | None:
    """``latencies_s`` : seconds by card and name of the kernel; the cards come out in order. None if no kernel was
    measured on two cards.

    A kernel that was measured on one card alone says nothing, and a card of which nothing else is known is left out.
    """
    names = dict.fromkeys(name for measured in latencies_s.values() for name in measured)
    typical_s = {
        name: statistics.median(found)
        for name in names
        if len(found := [measured[name] for measured in latencies_s.values() if name in measured]) > 1
    }
    cards = []
    for card, measured in sorted(latencies_s.items()):
        ratios = [measured[name] / typical_s[name] for name in typical_s if name in measured]
        if ratios:
            cards.append(CardRatio(card, statistics.median(ratios), min(ratios), max(ratios), len(ratios)))
    return Spread(model, tuple(cards), tuple(typical_s)) if len(cards) > 1 else None
