"""The figure of the roofline says what its content says."""

from __future__ import annotations

from dataclasses import replace
from math import hypot

import pytest
from matplotlib.text import Annotation

from profiler.report.content.roofline import Roofline
from profiler.report.figures.theme import LIGHT
from tests.report.figures import contents
from tests.report.figures.drawn import draw, legend_texts, lines, written


@pytest.fixture(scope="module")
def usual() -> Roofline:
    return contents.roofline()


def test_roofs_lie_at_the_peaks_from_their_knees_on(usual: Roofline) -> None:
    axes = draw("roofline", usual).axes[0]
    for precision, peak, knee in (("INT8", 130.0, 130e12 / 300e9), ("INT4", 260.0, 260e12 / 300e9)):
        (line,) = lines(axes, f"roof {precision}")
        assert list(line.get_ydata()) == pytest.approx([peak, peak])
        assert list(line.get_xdata()) == pytest.approx([knee, axes.get_xlim()[1]])


def test_memory_is_a_slope_to_the_last_knee(usual: Roofline) -> None:
    (line,) = lines(draw("roofline", usual).axes[0], "memory")
    across, up = line.get_xdata(), line.get_ydata()
    assert [y / x for x, y in zip(across, up, strict=True)] == pytest.approx([0.3, 0.3])  # TOPS over ops per byte
    assert across[1] == pytest.approx(260e12 / 300e9)


def test_labels_have_values_and_units(usual: Roofline) -> None:
    figure = draw("roofline", usual)
    texts = [text.text for text in written(figure)]
    assert {"INT8: 130 TOPS", "INT4: 260 TOPS", "memory: 300 GB/s"} <= set(texts)
    assert figure.axes[0].get_xlabel() == "operations per byte moved (log scale)"
    assert figure.axes[0].get_ylabel() == "operations per second (TOPS, log scale)"
    assert any("INT8 and INT4 roof: data sheet" in text for text in texts)


@pytest.mark.parametrize(("peak", "text"), [(1.2e9, "1.2 GOPS"), (4e6, "4 MOPS"), (200.0, "200 op/s")])
def test_rates_have_the_unit_that_fits(peak: float, text: str) -> None:
    slow = contents.roofline_extremes()["one point"]
    slow = replace(
        slow, roofs=(replace(slow.roofs[0], ops_per_s=peak),), points=(replace(slow.points[0], latency_s=1e9),)
    )
    figure = draw("roofline", slow)
    assert f"INT8: {text}" in [found.text for found in written(figure)]
    assert text.split()[1] in figure.axes[0].get_ylabel()


def test_equal_roofs_are_named_together() -> None:
    figure = draw("roofline", contents.roofline_extremes()["equal roofs"])
    assert "INT8 and INT4: 1 TOPS" in [text.text for text in written(figure)]


def test_every_point_is_drawn_where_it_is(usual: Roofline) -> None:
    axes = draw("roofline", usual).axes[0]
    for precision, look in zip(("INT8", "INT4"), LIGHT.precisions_of(("INT8", "INT4")), strict=True):
        found = sorted(
            (float(x), float(y))
            for line in lines(axes, precision)
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        )
        points = [p for p in usual.points if p.precision == precision]
        expected = sorted((p.ops / p.moved_bytes, p.ops / p.latency_s / 1e12) for p in points)
        assert [x for x, _ in found] == pytest.approx([x for x, _ in expected])
        assert [y for _, y in found] == pytest.approx([y for _, y in expected])
        assert {line.get_marker() for line in lines(axes, precision)} == {look.marker}


def test_markers_grow_with_the_share_of_the_time(usual: Roofline) -> None:
    axes = draw("roofline", usual).axes[0]
    points = {(p.ops / p.moved_bytes): p for p in usual.points if p.precision == "INT8"}
    total = sum(p.latency_s for p in points.values())
    sizes = sorted(
        (points[min(points, key=lambda known: abs(known - x))].latency_s / total, line.get_markersize())
        for line in lines(axes, "INT8")
        for x in line.get_xdata()
    )
    assert [size for _, size in sizes] == sorted(size for _, size in sizes)
    assert len({size for _, size in sizes}) > 2
    assert legend_texts(axes.figure) == ["INT8", "INT4", "1%", "3%", "8%", "20% of the time or more"]


def test_the_costliest_layers_are_named(usual: Roofline) -> None:
    names = {text.text for text in written(draw("roofline", usual))} & set(contents.RESNET18)
    costly = sorted(usual.points, key=lambda point: -point.latency_s)
    assert costly[0].layer in names
    assert 4 <= len(names) <= 7
    lowest = min(usual.points, key=lambda point: point.ops / point.latency_s)
    assert names <= {lowest.layer, *(point.layer for point in costly[:16])}


def test_a_lowest_point_with_room_is_named() -> None:
    whole = contents.roofline()
    alone = replace(whole.points[0], layer="alone", ops=1e6, moved_bytes=1e6, latency_s=1e-4)
    figure = draw("roofline", replace(whole, points=(*whole.points, alone)))
    assert "alone" in [text.text for text in written(figure)]


def test_names_stand_close_to_their_points(usual: Roofline) -> None:
    figure = draw("roofline", usual)
    leads = [t for t in figure.axes[0].texts if isinstance(t, Annotation) and t.arrow_patch is not None]
    assert all(hypot(*lead.xyann) < 32 for lead in leads)  # points


def test_the_memory_is_called_what_it_is(usual: Roofline) -> None:
    texts = [text.text for text in written(draw("roofline", replace(usual, memory_name="most bytes moved")))]
    assert "most bytes moved: 300 GB/s" in texts
    assert any("most bytes moved: data sheet" in text for text in texts)


def test_layers_of_one_shape_are_one_point() -> None:
    figure = draw("roofline", contents.roofline_extremes()["all in one place"])
    assert "only and 49 more" in [text.text for text in written(figure)]
    assert [len(line.get_xdata()) for line in lines(figure.axes[0], "INT8")] == [1]
