"""What windows of work took: raw joules, and what follows from them.

A window is several seconds of a device that does one thing after the other. How it is taken is in `measure.energy`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.record.checks import require_count, require_number, require_text

ENERGY_TELLING = 0.02
"""Counter and integrated power differ: by more than this share, that is worth a note."""


@dataclass(frozen=True)
class EnergyWindow:
    """``runs`` in ``duration_s``, with the joules of the counter and of the integrated power; None is what the device
    did not tell."""

    runs: int
    duration_s: float
    counted_j: float | None
    integrated_j: float | None

    def __post_init__(self) -> None:
        require_count("runs", self.runs, least=1)
        for name in ("duration_s", "counted_j", "integrated_j"):
            value = getattr(self, name)
            if value is not None or name == "duration_s":
                require_number(name, value)
                if not value:
                    raise ValueError(f"{name} is 0: nothing takes no time and no energy")


def told(windows: Sequence[EnergyWindow]) -> bool:
    """Whether all of them have joules of the same origin."""
    return any(all(getattr(w, name) is not None for w in windows) for name in ("counted_j", "integrated_j"))


@dataclass(frozen=True)
class Energy:
    """What windows of work took. Idle powers are None where the device tells no power, and no energy either.

    ``counter`` is what told the joules, e.g. ``NVML`` or ``RAPL package-0``.
    """

    windows: tuple[EnergyWindow, ...]
    idle_before_w: float | None
    idle_after_w: float | None
    notes: tuple[str, ...] = ()
    counter: str = ""

    def __post_init__(self) -> None:
        if not self.windows or not all(isinstance(window, EnergyWindow) for window in self.windows):
            raise ValueError("an energy has windows")
        if not told(self.windows):
            raise ValueError("neither the counter nor the power showed the energy of all windows")
        for name in ("idle_before_w", "idle_after_w"):
            if getattr(self, name) is not None:
                require_number(name, getattr(self, name))
        if not isinstance(self.notes, tuple) or not all(isinstance(note, str) for note in self.notes):
            raise ValueError("the notes are no texts")
        require_text("counter", self.counter)

    @property
    def counted_j_per_run(self) -> float | None:
        """By the counter; the median of the windows."""
        return self._median([_per_run(window, window.counted_j) for window in self.windows])

    @property
    def integrated_j_per_run(self) -> float | None:
        """By the power; the median of the windows."""
        return self._median([_per_run(window, window.integrated_j) for window in self.windows])

    @property
    def j_per_run(self) -> float:
        """By the counter, or by the power where there is no counter."""
        found = self.integrated_j_per_run if self.counted_j_per_run is None else self.counted_j_per_run
        assert found is not None, "an energy has one or the other"
        return found

    @property
    def sensed_apart(self) -> float | None:
        """By which share the integrated power is above the counter, in the window in which they differ most; None where
        there is only one of them."""
        shares = [
            window.integrated_j / window.counted_j - 1
            for window in self.windows
            if window.integrated_j is not None and window.counted_j is not None
        ]
        return max(shares, key=abs, default=None)

    @property
    def idle_w(self) -> float | None:
        """The mean of before and after."""
        known = [power_w for power_w in (self.idle_before_w, self.idle_after_w) if power_w is not None]
        return statistics.fmean(known) if known else None

    @property
    def above_idle_j_per_run(self) -> float | None:
        """Without what the device would have drawn idle in that time."""
        if self.idle_w is None:
            return None
        run_s = statistics.median(window.duration_s / window.runs for window in self.windows)
        return self.j_per_run - self.idle_w * run_s

    @staticmethod
    def _median(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known and len(known) == len(values) else None


def _per_run(window: EnergyWindow, joules: float | None) -> float | None:
    return None if joules is None else joules / window.runs
