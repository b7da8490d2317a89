"""How sections put names, dates and half sentences into words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone


def sentence(text: str) -> str:
    """With a capital at its beginning and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}."


def listed(names: Sequence[str], most: int) -> str:
    """``a, b and 3 more``: no more than ``most`` of them by name."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def days_of(times: Iterable[float], unknown: str) -> str:
    """Of Unix times in seconds the days in UTC: ``2026-11-20``, or ``2026-11-20 to 2026-11-21``; ``unknown`` where one
    is no time."""
    times = tuple(times)
    try:
        first, last = (datetime.fromtimestamp(t, timezone.utc).date().isoformat() for t in (min(times), max(times)))
    except (ValueError, OverflowError, OSError):
        return unknown
    return first if first == last else f"{first} to {last}"
