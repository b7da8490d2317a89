"""Fewer of many, from one end to the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def evenly(items: Sequence[ItemT], count: int) -> list[ItemT]:
    """At most ``count`` of them in their order, evenly from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(place * (len(items) - 1) / max(1, count - 1))] for place in range(count)]
