"""The figure of a comparison: what is drawn where, and that all of it can be read."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from profiler.report.content.comparison import Comparison
from profiler.report.figures import comparison as drawing
from profiler.report.figures import render
from profiler.report.figures.style import settings
from profiler.report.figures.theme import DARK, LIGHT, Theme
from profiler.verdict import Verdict
from tests.report.compared import compared, later, scattered, table

SIZES = (1, 2, 12, 60, 61, 150, 1_000)


@contextmanager
def drawn(comparison: Comparison, theme: Theme = LIGHT) -> Iterator[Figure]:
    with mpl.rc_context(settings(theme)):
        figure = drawing.draw(comparison, theme)
        FigureCanvasAgg(figure).draw()
        yield figure


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """All that is shown, with its place in pixels (without the arrows of annotations)."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [(t, Text.get_window_extent(t, renderer)) for t in found]


def marks(figure: Figure, marker: str) -> list[tuple[float, float]]:
    """Places of the kernels with that marker, in the axes that have them all."""
    lines = [line for line in figure.axes[-1].lines if line.get_marker() == marker]
    return [(float(x), float(y)) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("count", SIZES)
def test_all_text_is_inside_and_apart(count: int, theme: Theme) -> None:
    with drawn(scattered(count, 0.06), theme) as figure:
        width, height = figure.canvas.get_width_height()
        found = texts(figure)
        for text, box in found:
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, f"{text.get_text()!r} ends outside"
        for index, (text, box) in enumerate(found):
            for other, other_box in found[index + 1 :]:
                common = Bbox.intersection(box, other_box)
                apart = common is None or min(common.width, common.height) < 1
                assert apart, f"{text.get_text()!r} lies on {other.get_text()!r}"


@pytest.mark.parametrize("count", [12, 150, 1_000])
def test_each_kernel_has_a_mark_of_its_verdict_at_its_ratio(count: int) -> None:
    comparison = scattered(count, 0.06)
    with drawn(comparison) as figure:
        for verdict, marker in zip(Verdict, "<>so", strict=True):
            expected = [(k.ratio.value, row) for row, k in enumerate(comparison.kernels) if k.verdict is verdict]
            assert marks(figure, marker) == [pytest.approx(place) for place in expected]
            assert expected, f"{verdict.value} does not occur, and this shows nothing"
        low, high = figure.axes[-1].get_xlim()
        assert low < min(k.ratio.low for k in comparison.kernels)
        assert high > max(k.ratio.high for k in comparison.kernels)
        assert figure.axes[-1].get_xscale() == "log"
        top, bottom = figure.axes[-1].get_ylim()[::-1]
        assert top < 0 < count - 1 < bottom, "the slowest is on top"


def test_few_kernels_are_all_named_and_of_many_the_extreme_ones() -> None:
    few, many = scattered(60, 0.06), scattered(150, 0.06)
    with drawn(few) as figure:
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [k.label for k in few.kernels]
    with drawn(many) as figure:
        shown = {text.get_text() for text, _ in texts(figure)}
        named = [row for row, kernel in enumerate(many.kernels) if kernel.label in shown]
        assert named == [*range(6), *range(144, 150)]


def test_names_of_extremes_stand_in_their_order() -> None:
    comparison = scattered(150, 0.06)
    with drawn(comparison) as figure:
        heights = {text.get_text(): box.y1 for text, box in texts(figure)}
        named = [k.label for k in comparison.kernels if k.label in heights]
        assert sorted(named, key=lambda label: -heights[label]) == named


def test_a_measurement_that_was_taken_once_is_no_extreme() -> None:
    rows = table(80)
    with drawn(compared(rows, rows)) as figure:
        shown = " ".join(text.get_text() for text, _ in texts(figure))
        assert "conv 1x1" not in shown
        assert "extreme" not in shown
        assert "same (80)" in shown


def test_the_axis_the_margin_and_the_mean_are_told() -> None:
    rows = table(9)
    comparison = compared(rows, later(rows, lambda i: 1.25 if i % 2 else 0.8), margin=0.25)
    with drawn(comparison) as figure:
        shown = {text.get_text() for text, _ in texts(figure)}
        assert {"latency in B / latency in A (log scale)", "within the margin of 25%"} <= shown
        assert f"geometric mean {(0.8**5 * 1.25**4) ** (1 / 9):.3f}" in shown
        assert {"faster (5)", "slower (4)"} <= shown
        assert not any("ambiguous" in text for text in shown), "none is"
        assert sum(text[:3] in ("A  ", "B  ") for text in " \n".join(shown).split("\n")) == 2


@pytest.mark.parametrize("count", [1, 61])
def test_the_same_bytes_and_sound_files(count: int) -> None:
    comparison = scattered(count, 0.06)
    for form in ("svg", "png", "pdf"):
        assert render(comparison, form) == render(comparison, form)
    root = ElementTree.fromstring(render(comparison, "svg"))
    assert root.tag.endswith("svg")


def test_whatever_a_table_is_called_is_drawn() -> None:
    comparison = scattered(3, 0.06)
    name = "$\\frac{1}{2}$ <b>\n" + "very " * 60 + "long \u4e2d"
    odd = replace(comparison, a=replace(comparison.a, path=name, device_name=name))
    with drawn(odd) as figure:
        width = figure.canvas.get_width_height()[0]
        (title,) = (box for text, box in texts(figure) if text.get_text().startswith("A  "))
        assert title.x1 <= width
    render(odd, "svg")


@pytest.mark.parametrize(
    ("factors", "margin", "noise"),
    [
        ((0.01, 100.0), 0.1, 0.02),
        ((0.01, 1.0), 0.1, 0.02),
        ((0.9, 1.1), 0.1, 0.02),
        ((0.5, 1.4), 0.1, 0.0),
        ((1.0, 1.0), 0.001, 0.0),
        ((3.0, 3.1), 0.1, 0.0),
    ],
)
def test_whatever_the_range_the_axis_can_be_read(factors: tuple[float, float], margin: float, noise: float) -> None:
    rows = table(30, within=1e-5)
    comparison = compared(rows, later(rows, lambda i: factors[i % 2]), noise, margin)
    with drawn(comparison) as figure:
        axes = figure.axes[0]
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert (4 if high / low < 3 else 3) <= len(ticks) <= 9
        assert min(abs(tick - 1) for tick in ticks) < 1e-9, "one is where nothing changes"
        labels = [label.get_text() for label in axes.get_xticklabels() if label.get_text()]
        assert len(set(labels)) == len(labels)
        gaps = [b / a for a, b in pairwise(sorted(ticks))]
        assert max(gaps) < (high / low) ** 0.5, "they cover the axis"
