"""A network in its steady state: runs go on back to back for seconds, and are counted.

    settle | window          of one network, then of the next one, ... and again
    ~~~~~~~~~~~~~~~ work
             ^      ^ the clock, and where a device counts its energy that counter; its power is sampled in between

The device is never idle within a window: the next run begins where the last one ends, and nothing is read back or
compared. On a GPU runs are graphs, put into the stream some 50 ms ahead. What goes ahead of a window does not count:
clocks have settled then, and caches are as the network itself leaves them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from profiler.devices.protocol import EnergyCounter
from profiler.measure.energy import EnergyRule, measured_energy
from profiler.record import Energy, EnergyWindow, require_number


@dataclass(frozen=True)
class SteadyRule:
    """A window of at least ``window_s``, behind ``settle_s`` of the same work."""

    window_s: float = 3.0
    settle_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("window_s", "settle_s"):
            require_number(name, getattr(self, name), least=0)
        if not self.window_s:
            raise ValueError("a window has a length")


STEADY_RULE = SteadyRule()
ENERGY_RULE = SteadyRule(window_s=5.0, settle_s=2.0)
"""Counters and sensors look a few times a second, and some give the mean of the last one (`measure.energy`)."""


@dataclass(frozen=True)
class SteadyWindow:
    """``window`` has no joules where nobody asked, and where the device does not tell them: ``no_energy`` says why."""

    window: EnergyWindow
    no_energy: str = ""
    notes: tuple[str, ...] = ()


def steady_window(
    work: Callable[[float], int],
    rule: SteadyRule = STEADY_RULE,
    counter: EnergyCounter | None = None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> SteadyWindow:
    """``work`` keeps the device busy for at least so many seconds and says how many runs it did. counter : of that
    device; None is not asked for. clock, sleep : of this process. Whatever ``work`` and the counter raise goes through.
    """
    why = ""
    if counter is not None:
        asked = EnergyRule(window_s=rule.window_s, windows=1, settle_s=rule.settle_s, idle_s=0.0)
        found = measured_energy(counter, work, asked, clock, sleep)
        if isinstance(found, Energy):
            return SteadyWindow(found.windows[0], notes=found.notes)
        why = found.reason
    if rule.settle_s:
        work(rule.settle_s)
    begin_s = clock()
    runs = work(rule.window_s)
    return SteadyWindow(EnergyWindow(runs, clock() - begin_s, None, None), why)
