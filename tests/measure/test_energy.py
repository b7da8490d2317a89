"""Energy windows, with a device, a clock and work that are made up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import DeviceError
from profiler.measure.energy import (
    ENERGY_RULE,
    EnergyRule,
    NoEnergy,
    Sample,
    integrated_j,
    measured_energy,
    sampled_meanwhile,
)
from profiler.record import Energy

RUN_S = 0.01
IDLE_W, BUSY_W = 10.0, 70.0


class Device:
    """Draws `IDLE_W`, and `BUSY_W` while it works; its counter counts that, in whole millijoules. Time is its own.

    sensed : how the sensor is off. counts, tells : whether there are counter and sensor. after_w : idle, once it has
    worked.
    """

    def __init__(self, sensed: float = 1.0, counts: bool = True, tells: bool = True, after_w: float = IDLE_W) -> None:
        self.now_s = 100.0
        self.joules = 5000.0
        self.log: list[str] = []
        self._sensed, self._counts, self._tells, self._after_w = sensed, counts, tells, after_w
        self._idle_w, self._power_w = IDLE_W, IDLE_W

    name = "made up"

    @property
    def refusals(self) -> tuple[str, ...]:
        found = (() if self._counts else ("energy counter: Not Supported",)) + (() if self._tells else ("power: no",))
        return found

    def read_j(self) -> float | None:
        return round(self.joules, 3) if self._counts else None

    def power_w(self) -> float | None:
        return self._power_w * self._sensed if self._tells else None

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self._pass(seconds, self._idle_w)
        self.log.append(f"sleep {seconds:g}")

    def work(self, seconds: float) -> int:
        """Whole runs, the last of which ends a little late."""
        runs = int(seconds / RUN_S) + 1
        self._pass(runs * RUN_S, BUSY_W)
        self._idle_w = self._after_w
        self.log.append(f"work {seconds:g}")
        return runs

    def _pass(self, seconds: float, power_w: float) -> None:
        self._power_w = power_w
        self.now_s += seconds
        self.joules += seconds * power_w


def sampled(counter: Any, during: Callable[[], None], every_s: float, clock: Callable[[], float]) -> tuple[Sample, ...]:
    """As from a thread: the power is that of what goes on."""
    begin_s = clock()
    during()
    power_w = counter.power_w()
    steps = int((clock() - begin_s) / every_s)
    return () if power_w is None else tuple((begin_s + i * every_s, power_w) for i in range(1, steps))


def energy_of(device: Device, rule: EnergyRule = ENERGY_RULE) -> Energy:
    found = measured_energy(device, device.work, rule, device.clock, device.sleep, sampled)
    assert isinstance(found, Energy)
    return found


def test_windows_are_as_they_are_drawn() -> None:
    device = Device()
    energy = energy_of(device)
    assert device.log == ["sleep 2", "sleep 2", *["work 2", "work 5"] * 3, "sleep 2", "sleep 2"]
    assert [window.runs for window in energy.windows] == [501] * 3
    assert [window.duration_s for window in energy.windows] == pytest.approx([5.01] * 3)


def test_both_ways_agree_on_a_device_that_is_right() -> None:
    energy = energy_of(Device(after_w=20.0))
    assert energy.counted_j_per_run == pytest.approx(BUSY_W * RUN_S, rel=1e-4)
    assert energy.integrated_j_per_run == pytest.approx(BUSY_W * RUN_S)
    assert energy.j_per_run == energy.counted_j_per_run
    assert (energy.idle_before_w, energy.idle_after_w, energy.idle_w) == pytest.approx((10, 20, 15))
    assert energy.above_idle_j_per_run == pytest.approx((BUSY_W - 15) * RUN_S, rel=1e-4)
    assert energy.notes == ()


@pytest.mark.parametrize(("sensed", "note"), [(1.019, None), (0.981, None), (1.03, "+3.0%"), (0.95, "-5.0%")])
def test_a_difference_is_worth_a_note(sensed: float, note: str | None) -> None:
    energy = energy_of(Device(sensed=sensed))
    assert energy.j_per_run == pytest.approx(BUSY_W * RUN_S, rel=1e-4), "the counter is believed"
    assert energy.integrated_j_per_run == pytest.approx(BUSY_W * RUN_S * sensed)
    expected = () if note is None else (f"the integrated power differs from the energy counter by up to {note}",)
    assert energy.notes == expected


def test_a_device_that_counts_no_energy() -> None:
    energy = energy_of(Device(sensed=1.5, counts=False))
    assert energy.counted_j_per_run is None
    assert energy.j_per_run == energy.integrated_j_per_run == pytest.approx(1.5 * BUSY_W * RUN_S)
    assert energy.notes == (
        "not readable: energy counter: Not Supported",
        "the energy is the integral of the power alone: the device counted none",
    )


def test_a_counter_that_stands_still_counts_nothing() -> None:
    class Still(Device):
        def read_j(self) -> float | None:
            return 7.0

    energy = energy_of(Still())
    assert energy.counted_j_per_run is None
    assert energy.j_per_run == pytest.approx(BUSY_W * RUN_S)


def test_a_device_that_tells_no_power() -> None:
    """Its counter then says what it draws idle."""
    energy = energy_of(Device(tells=False))
    assert energy.integrated_j_per_run is None
    assert energy.j_per_run == pytest.approx(BUSY_W * RUN_S, rel=1e-4)
    assert energy.idle_w == pytest.approx(10, rel=1e-3)
    assert energy.notes == ("not readable: power: no", "the energy is the counter's alone: the device told no power")


def test_a_device_that_tells_nothing() -> None:
    device = Device(counts=False, tells=False)
    found = measured_energy(device, device.work, ENERGY_RULE, device.clock, device.sleep, sampled)
    assert found == NoEnergy("energy counter: Not Supported; power: no")
    assert device.log == [], "nothing was run for it"


def test_a_window_that_shows_nothing() -> None:
    """Neither in the counter nor in a sample: no number is made up of it."""

    class Still(Device):
        def read_j(self) -> float | None:
            return 7.0

    def blind(_: Any, during: Callable[[], None], *__: object) -> tuple[Sample, ...]:
        during()
        return ()

    device = Still()
    found = measured_energy(device, device.work, ENERGY_RULE, device.clock, device.sleep, blind)
    assert isinstance(found, NoEnergy)
    assert "showed anything of the work" in found.reason


def test_no_idle_power_was_asked_for() -> None:
    energy = energy_of(Device(), replace(ENERGY_RULE, idle_s=0.0))
    assert (energy.idle_before_w, energy.idle_w, energy.above_idle_j_per_run) == (None, None, None)


@pytest.mark.parametrize("bad", [{"windows": 0}, {"window_s": 0.0}, {"settle_s": -1.0}, {"sample_every_s": 0.0}])
def test_rules_that_are_none(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"window|settle_s|sample"):
        replace(ENERGY_RULE, **bad)


@given(
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=20, unique=True),
    st.floats(-5.0, 5.0),
    st.floats(0.0, 300.0),
)
def test_trapezoids_are_exact_for_a_straight_line(times_s: list[float], slope: float, offset_w: float) -> None:
    """Between the first and the last sample; beyond them the power stays as it is."""
    ordered = sorted(times_s)
    samples = [(at_s, offset_w + slope * at_s) for at_s in ordered]
    first, last = samples[0], samples[-1]
    found = integrated_j(samples, -1.0, 11.0)
    expected = (first[0] + 1) * first[1] + (last[0] - first[0]) * (first[1] + last[1]) / 2 + (11 - last[0]) * last[1]
    assert found == pytest.approx(expected, abs=1e-6)


def test_samples_of_another_time_do_not_count() -> None:
    samples = [(0.0, 1000.0), (1.0, 50.0), (2.0, 50.0), (3.0, 1000.0)]
    assert integrated_j(samples, 0.5, 2.5) == pytest.approx(100)
    assert integrated_j(samples, 4.0, 5.0) is None


class Sensor:
    """Says how often it was asked."""

    name = "sensor"
    refusals = ()

    def __init__(self, fails_at: int | None = None) -> None:
        self.asked = 0
        self.often = threading.Event()
        self._fails_at = fails_at

    def read_j(self) -> float | None:
        return None

    def power_w(self) -> float | None:
        self.asked += 1
        if self.asked == self._fails_at:
            self.often.set()
            raise DeviceError("the GPU does not answer any more")
        if self.asked == 5:
            self.often.set()
        return 10.0 * self.asked


def test_a_thread_samples_while_work_goes_on() -> None:
    sensor, ticks = Sensor(), iter(range(10**6))
    samples = sampled_meanwhile(sensor, lambda: bool(sensor.often.wait(30)) or None, 0.001, lambda: float(next(ticks)))
    assert len(samples) == sensor.asked >= 5
    assert [power_w for _, power_w in samples] == [10.0 * (i + 1) for i in range(len(samples))]
    assert sorted(samples) == list(samples)


def test_what_goes_wrong_in_the_thread_is_raised_here() -> None:
    sensor = Sensor(fails_at=2)
    with pytest.raises(DeviceError, match="does not answer"):
        sampled_meanwhile(sensor, lambda: bool(sensor.often.wait(30)) or None, 0.001, lambda: 0.0)


def test_the_thread_ends_with_the_work() -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        sampled_meanwhile(Sensor(), fail, 0.001, lambda: 0.0)
    assert threading.active_count() == before
