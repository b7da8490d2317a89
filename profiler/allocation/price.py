"""What a kernel costs, and where that is known from."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.lut.schema import Source


@dataclass(frozen=True)
class Price:
    """Seconds (and joules, where they were measured) of one launch.

    ``bound_s`` is what counts against a limit: the latency itself, or for a prediction the end that it keeps below with
    the confidence that was asked for. ``low_s`` to ``high_s`` is the interval of the latency; a point where none is
    known.
    """

    latency_s: float
    bound_s: float
    source: Source
    low_s: float
    high_s: float
    energy_j: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.low_s <= self.latency_s <= self.high_s < float("inf") or not self.latency_s <= self.bound_s:
            raise ValueError(f"not the price of a kernel: {self}")
