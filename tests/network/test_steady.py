"""Windows of steady state, with a device, a clock and work that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from profiler.measure import energy
from profiler.network.steady import ENERGY_RULE, STEADY_RULE, SteadyRule, SteadyWindow, steady_window
from tests.measure.test_energy import BUSY_W, RUN_S, Device, sampled


@pytest.fixture(autouse=True)
def _no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is the device's own, so its power is sampled in it."""
    monkeypatch.setattr(energy, "sampled_meanwhile", sampled)


def window_of(device: Device, rule: SteadyRule, counter: Any) -> SteadyWindow:
    return steady_window(device.work, rule, counter, device.clock, device.sleep)


def test_what_settles_does_not_count_and_nothing_rests() -> None:
    device = Device()
    found = window_of(device, STEADY_RULE, None)
    assert device.log == ["work 1", "work 3"]
    assert (found.window.runs, found.window.duration_s) == (301, pytest.approx(301 * RUN_S))
    assert (found.window.counted_j, found.window.integrated_j, found.no_energy, found.notes) == (None, None, "", ())


def test_with_a_counter_the_same_window_has_joules() -> None:
    device = Device()
    found = window_of(device, ENERGY_RULE, device)
    assert device.log == ["work 2", "work 5"], "and no idle power is looked at"
    assert found.window.runs == 501
    assert found.window.counted_j == pytest.approx(BUSY_W * found.window.duration_s)
    assert found.window.integrated_j == pytest.approx(BUSY_W * found.window.duration_s, rel=0.01)
    assert found.no_energy == ""


def test_a_device_that_tells_nothing_is_timed_all_the_same() -> None:
    device = Device(counts=False, tells=False)
    found = window_of(device, SteadyRule(3.0, 1.0), device)
    assert device.log == ["work 1", "work 3"]
    assert found.window.runs == 301
    assert found.no_energy == "energy counter: Not Supported; power: no"


def test_without_settling() -> None:
    device = Device()
    window_of(device, SteadyRule(3.0, 0.0), None)
    assert device.log == ["work 3"]


@pytest.mark.parametrize("bad", [{"window_s": 0.0}, {"window_s": -1.0}, {"settle_s": -1.0}])
def test_rules_that_are_none(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        SteadyRule(**bad)
