"""The energy that work takes, by a device's own counter and by the power that it tells.

    idle: settle, power | settle, window | settle, window | settle, window | idle: settle, power
                          ~~~~~~ work    ~~~~~~ work    ~~~~~~ work

A window is several seconds long, since counters and sensors look a few times a second. The work that is done ahead of
it does not count: sensors that give the mean of the last second then know nothing but work. Around a window the counter
is read; during it power is sampled, and integrated by trapezoids. The two are told side by side.

Idle power is that of a device on which all is loaded and nothing runs. What is above it is told beside the whole, and
never instead of it: a device that waits draws it, one that would do something else does not owe it to this work.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Callable, Tuple, TypeVar

from profiler.devices.protocol import EnergyCounter
from profiler.record import Energy, EnergyWindow, require_count, require_number
from profiler.record.energy import ENERGY_TELLING, told

T = TypeVar("T")

Sample = Tuple[float, float]
"""Seconds of a clock, and watts then."""
During = Callable[[], None]


Sampled = Callable[[EnergyCounter, During, float, Callable[[], float]], Tuple[Sample, ...]]
"""Carries out the second, and samples the power meanwhile, once in so many seconds of that clock."""


@dataclass(frozen=True)
class EnergyRule:
    """``windows`` of at least ``window_s``. ``settle_s`` goes ahead of each, with work, and ahead of looking at the
    idle power for ``idle_s``, without. ``sample_every_s`` is of the power."""

    window_s: float = 5.0
    windows: int = 3
    settle_s: float = 2.0
    idle_s: float = 2.0
    sample_every_s: float = 0.02

    def __post_init__(self) -> None:
        for name in ("window_s", "settle_s", "idle_s", "sample_every_s"):
            require_number(name, getattr(self, name), least=0)
        require_count("windows", self.windows)
        if not (self.windows and self.window_s and self.sample_every_s):
            raise ValueError("an energy needs a window, and samples")

    @property
    def total_s(self) -> float:
        """What all of it takes, without loading."""
        return self.windows * (self.settle_s + self.window_s) + 2 * (self.settle_s + self.idle_s)


ENERGY_RULE = EnergyRule()
"""Half a minute."""


@dataclass(frozen=True)
class NoEnergy:
    """A device that tells neither energy nor power, and why."""

    reason: str


def measured_energy(
    counter: EnergyCounter,
    work: Callable[[float], int],
    rule: EnergyRule = ENERGY_RULE,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    sampled: Sampled | None = None,
) -> Energy | NoEnergy:
    """The energy of ``work``, which keeps the device busy for at least so many seconds and says how many runs it did.

    clock, sleep : of this process. sampled : `sampled_meanwhile` by default. Whatever ``work`` and the counter raise
    goes through.
    """
    why = why_none(counter)
    if why:
        return NoEnergy(why)
    look = _Look(counter, rule.sample_every_s, clock, sampled or sampled_meanwhile)
    idle_before_w = _idle_w(look, rule, sleep)
    windows = []
    for _ in range(rule.windows):
        if rule.settle_s:
            work(rule.settle_s)
        windows.append(EnergyWindow(*look.at(lambda: work(rule.window_s))))
    idle_after_w = _idle_w(look, rule, sleep)
    if not told(windows):
        return NoEnergy("neither the energy counter nor the power of the device showed anything of the work")
    found = Energy(tuple(windows), idle_before_w, idle_after_w, tuple(_notes(windows, counter)), counter.name)
    apart = found.sensed_apart
    if apart is None or abs(apart) <= ENERGY_TELLING:
        return found
    told_apart = f"the integrated power differs from the energy counter by up to {apart:+.1%}"
    return replace(found, notes=(*found.notes, told_apart))


def why_none(counter: EnergyCounter) -> str:
    """Why the device has no energies, on one line; empty where it tells them."""
    if counter.read_j() is not None or counter.power_w() is not None:
        return ""
    return "; ".join(counter.refusals) or "the device tells neither its energy nor its power"


def sampled_meanwhile(
    counter: EnergyCounter, during: During, every_s: float, clock: Callable[[], float]
) -> tuple[Sample, ...]:
    """Samples from a thread, while ``during`` goes on in this one. What the counter raises there is raised here."""
    samples: list[Sample] = []
    failures: list[BaseException] = []
    over = threading.Event()

    def sample() -> None:
        try:
            while True:
                power_w = counter.power_w()
                if power_w is not None:
                    samples.append((clock(), power_w))
                if over.wait(every_s):
                    return
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        during()
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]
    return tuple(samples)


def integrated_j(samples: Sequence[Sample], begin_s: float, end_s: float) -> float | None:
    """Joules between the two times, by trapezoids. Ahead of the first sample the power is taken to be that one's,
    behind the last one the last one's. None without samples.

    samples : in the order of their times.
    """
    inside = [(at_s, power_w) for at_s, power_w in samples if begin_s <= at_s <= end_s]
    if not inside:
        return None
    around = [(begin_s, inside[0][1]), *inside, (end_s, inside[-1][1])]
    return sum((at_s - before_s) * (w + v) / 2 for (before_s, w), (at_s, v) in zip(around, around[1:]))


class _Look:
    """At a device, while something goes on there."""

    def __init__(self, counter: EnergyCounter, every_s: float, clock: Callable[[], float], sampled: Sampled) -> None:
        self._counter, self._every_s, self._clock, self._sampled = counter, every_s, clock, sampled

    def at(self, during: Callable[[], T]) -> tuple[T, float, float | None, float | None]:
        """What came of it, seconds, joules by the counter, joules by the power. A counter that stands still counts
        nothing, and a sensor that says 0 W senses nothing."""
        came: list[T] = []
        begin_s, before_j = self._clock(), self._counter.read_j()
        samples = self._sampled(self._counter, lambda: came.append(during()), self._every_s, self._clock)
        after_j, end_s = self._counter.read_j(), self._clock()
        counted_j = None if before_j is None or after_j is None or after_j <= before_j else after_j - before_j
        return came[0], end_s - begin_s, counted_j, integrated_j(samples, begin_s, end_s) or None


def _idle_w(look: _Look, rule: EnergyRule, sleep: Callable[[float], None]) -> float | None:
    """Mean power of a device that does nothing: a counter says less of so short a time than a sensor."""
    if not rule.idle_s:
        return None
    sleep(rule.settle_s)
    _, duration_s, counted_j, sensed_j = look.at(lambda: sleep(rule.idle_s))
    found_j = counted_j if sensed_j is None else sensed_j
    return None if found_j is None else found_j / duration_s


def _notes(windows: Sequence[EnergyWindow], counter: EnergyCounter) -> list[str]:
    found = [f"not readable: {text}" for text in counter.refusals]
    if any(window.counted_j is None for window in windows):
        found.append("the energy is the integral of the power alone: the device counted none")
    if any(window.integrated_j is None for window in windows):
        found.append("the energy is the counter's alone: the device told no power")
    return found
