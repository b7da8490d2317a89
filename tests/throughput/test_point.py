"""What follows from windows, by arithmetic of its own; and what is refused."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import pytest

from profiler.throughput.point import Window
from tests.throughput.examples import point, windows


def test_rates_are_medians_of_windows() -> None:
    """Six windows: the ends of the 95% interval are the extremes."""
    runs, seconds = [100, 101, 99, 100, 102, 98], [2.0, 2.1, 1.9, 2.0, 2.2, 2.0]
    found = point(8, windows=tuple(map(Window, runs, seconds)))
    per_run_s = sorted(s / r for s, r in zip(seconds, runs, strict=True))
    middle = (per_run_s[2] + per_run_s[3]) / 2
    assert found.latency.latency_s == pytest.approx(middle)
    assert (found.latency.low_s, found.latency.high_s) == (per_run_s[0], per_run_s[-1])
    assert found.images_per_s == pytest.approx(8 / middle)
    assert (found.j_per_image, found.images_per_j, found.power_w) == (None, None, None)


def test_joules_are_the_counters_else_the_powers() -> None:
    both = point(4, windows=tuple(Window(10, 1.0, j, 99.0) for j in (20.0, 24.0, 22.0)))
    assert both.j_per_image == pytest.approx(22 / 40)
    assert both.images_per_j == pytest.approx(40 / 22)
    assert both.power_w == pytest.approx(22.0)  # 22 J in a second
    sensed = point(4, windows=tuple(Window(10, 1.0, None, j) for j in (20.0, 24.0, 22.0)))
    assert sensed.j_per_image == both.j_per_image
    lost = point(4, windows=(*both.windows, Window(10, 1.0)))
    assert lost.j_per_image is None, "a window without joules is not passed over"


def test_power_is_that_of_the_device() -> None:
    """At 70 W whatever the batch."""
    for batch in (1, 16):
        seconds = [0.5, 0.52, 0.49]
        found = point(batch, windows=tuple(Window(7, s, 70 * s) for s in seconds))
        assert found.power_w == pytest.approx(70)
        assert found.images_per_j == pytest.approx(7 * batch / (70 * statistics.median(seconds)))


def test_one_window_has_no_interval() -> None:
    assert not point(windows=windows(0.1)[:1]).latency.known
    assert point(windows=windows(0.1)[:2]).latency.known


@pytest.mark.parametrize(
    "bad",
    [
        {"batch": 0},
        {"batch": 4097},
        {"windows": ()},
        {"network": ""},
        {"configuration": ""},
        {"run_id": ""},
        {"network_digest": "0123ABCD"},
        {"bits_digest": "0123"},
        {"by_default": -1},
        {"measured_at": -1.0},
        {"lut_sum_s": 0.0},
        {"network": "two\nlines"},
        {"notes": ("a\x1b[31mb",)},
    ],
    ids=lambda bad: next(iter(bad)),
)
def test_points_that_are_none(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        point(**bad)


@pytest.mark.parametrize("bad", [{"runs": 0}, {"duration_s": 0.0}, {"counted_j": 0.0}, {"integrated_j": -1.0}])
def test_windows_that_are_none(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="which cannot be"):
        replace(Window(1, 1.0, 1.0, 1.0), **bad)
