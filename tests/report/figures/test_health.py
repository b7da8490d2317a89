"""The figure of how well was measured says what its content says."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import pytest
from matplotlib.axes import Axes

from profiler.report.content.health import Health
from tests.report.figures import contents
from tests.report.figures.drawn import draw, lines, written


def panels(health: Health) -> dict[str, Axes]:
    return {axes.get_ylabel().replace("\n", " "): axes for axes in draw("health", health).axes}


def test_only_what_is_known_has_a_panel() -> None:
    assert list(panels(contents.health(20))) == [
        "clock (MHz)",
        "interval (+/- %)",
        "load average",
        "discarded (samples)",
    ]
    gpu = panels(contents.health(60, gpu=True, repeats=5))
    assert list(gpu) == [
        "clock (MHz)",
        "interval (+/- %)",
        "temperature (\u00b0C)",
        "power capped (% of time)",
        "discarded (samples)",
        "kernels",
    ]
    calm = replace(contents.health(20), kernels=tuple(replace(k, discarded=0) for k in contents.health(20).kernels))
    assert "discarded (samples)" not in panels(calm)


def test_clocks_are_ranges_in_the_order_measured() -> None:
    health = contents.health(12)
    (line,) = lines(panels(health)["clock (MHz)"], "clock")
    across, up = list(line.get_xdata()), list(line.get_ydata())
    assert across[::3] == across[1::3] == list(range(1, 13))
    assert up[::3] == [kernel.clock_mhz_low for kernel in health.kernels]
    assert up[1::3] == [kernel.clock_mhz_high for kernel in health.kernels]
    assert all(map(math.isnan, up[2::3]))


def test_a_clock_that_stands_still_is_seen() -> None:
    axes = panels(contents.health_extremes()["one kernel"])["clock (MHz)"]
    (still,) = lines(axes, "_")
    assert (list(still.get_xdata()), list(still.get_ydata())) == ([1], [1500.0])
    assert still.get_marker() == "s"


def test_values_lie_at_their_kernels() -> None:
    health = contents.health(30, gpu=True)
    found = panels(health)
    for name, values in (
        ("interval (+/- %)", [k.halfwidth_percent for k in health.kernels]),
        ("temperature (\u00b0C)", [k.temperature_c for k in health.kernels]),
    ):
        line = found[name].lines[0]
        assert list(line.get_xdata()) == list(range(1, 31))
        assert list(line.get_ydata()) == values
    capped = found["power capped (% of time)"].lines[0]
    expected = {at: 30.0 for at, k in enumerate(health.kernels, start=1) if k.power_capped_fraction}
    assert dict(zip(capped.get_xdata(), capped.get_ydata(), strict=True)) == pytest.approx(expected)


def test_the_median_interval_is_told() -> None:
    health = contents.health(31)
    middle = median(k.halfwidth_percent for k in health.kernels if k.halfwidth_percent is not None)
    assert f"dashed: median {middle:.2g}%" in [text.text for text in written(draw("health", health))]


def test_pauses_are_marked() -> None:
    health = contents.health(10)
    later = tuple(replace(k, measured_at=k.measured_at + 9e4 * (at > 5)) for at, k in enumerate(health.kernels))
    found = panels(Health(later, ()))
    for axes in found.values():
        assert [list(line.get_xdata()) for line in lines(axes, "_pause")] == [[6.5, 6.5]]
    assert not any(lines(axes, "_pause") for axes in panels(health).values())


def test_repeats_are_counted() -> None:
    health = contents.health(5, repeats=60)
    axes = panels(health)["kernels"]
    assert sum(patch.get_height() for patch in axes.patches) == 60
    assert axes.get_xlabel() == "difference between two runs of a kernel (% of their mean)"
    edges = [patch.get_x() for patch in axes.patches]
    assert min(edges) == pytest.approx(min(health.repeats_percent))
