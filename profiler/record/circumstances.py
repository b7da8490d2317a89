"""What the user chose about a measurement, and what changed by the minute."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

from profiler.record.checks import LARGEST, require_count, require_number


class CacheMode(str, Enum):
    """State of the caches ahead of each timed launch.

    ``network``: weights evicted, the input as the previous layer left it; ``cold``: everything evicted; ``hot``:
    everything as the last launch left it.
    """

    NETWORK = "network"
    COLD = "cold"
    HOT = "hot"


@dataclass(frozen=True)
class Conditions:
    """What the user chose about the measurement; part of a LUT row's key."""

    threads: int = 1
    cache_mode: CacheMode = CacheMode.NETWORK

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache_mode", CacheMode(self.cache_mode))
        require_count("threads", self.threads, least=1)

    def describe(self, threads: bool = True) -> str:
        """For people; without the threads where the device has none to choose."""
        counted = f"{self.threads} thread{'s' if self.threads > 1 else ''}, " if threads else ""
        return f"{counted}cache mode {self.cache_mode.value}"


@dataclass(frozen=True)
class Circumstances:
    """What changes by the minute. None is "could not be read"; ``notes`` say why, or what should raise doubt.

    ``power_w`` is the card's draw, ``floor_s`` what an empty kernel takes in the same timed window.
    """

    sm_clock_mhz_low: float | None = None
    sm_clock_mhz_high: float | None = None
    temperature_c: float | None = None
    load_average: float | None = None
    power_capped_fraction: float | None = None
    power_w: float | None = None
    floor_s: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "notes"):
            if value is not None:
                require_number(name, value, least=-LARGEST if name == "temperature_c" else 0)
        low, high, capped = self.sm_clock_mhz_low, self.sm_clock_mhz_high, self.power_capped_fraction
        if low is not None and high is not None and low > high:
            raise ValueError("sm_clock_mhz_low is above sm_clock_mhz_high")
        if capped is not None and capped > 1:
            raise ValueError("power_capped_fraction is above 1")
        if not isinstance(self.notes, tuple) or not all(isinstance(note, str) for note in self.notes):
            raise ValueError("the notes are no texts")
