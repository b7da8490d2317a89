"""Which of two measurements of one thing is the later one, as far as clocks can be believed."""

from __future__ import annotations

AHEAD_S = 86_400.0
"""A measurement that is dated so far ahead, in seconds, was dated by a clock that was wrong: a day, since clocks of
machines differ, and time zones are mistaken."""


def is_ahead(measured_at: float, now: float) -> bool:
    """Whether the date lies too far in the future. Both are Unix time in seconds."""
    return measured_at > now + AHEAD_S


def age_rank(measured_at: float, now: float) -> tuple[bool, float]:
    """Orders measurements: the largest counts. Dates in the future are behind all others; of these, too, the later one
    counts, so that the order is whole."""
    return not is_ahead(measured_at, now), measured_at
