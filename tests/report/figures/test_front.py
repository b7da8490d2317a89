"""The figure of a Pareto front says what its content says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from profiler.report.content.front import FigurePoint, FrontFigure
from profiler.report.figures.theme import LIGHT
from tests.report.figures import contents
from tests.report.figures.drawn import draw, legend_texts, lines, names_beside, written


@pytest.fixture(scope="module")
def usual() -> FrontFigure:
    return contents.front()


def test_points_and_the_chosen_one(usual: FrontFigure) -> None:
    axes = draw("front", usual).axes[0]
    by_amount = sorted(usual.points, key=lambda point: point.amount)
    (points,), (chosen,) = lines(axes, "front"), lines(axes, "chosen")
    assert list(points.get_xdata()) == [point.amount for point in by_amount]
    assert list(points.get_ydata()) == [point.sensitivity for point in by_amount]
    assert usual.chosen is not None
    assert (chosen.get_xdata()[0], chosen.get_ydata()[0]) == (usual.chosen.amount, usual.chosen.sensitivity)
    assert axes.get_xlabel() == "latency (ms)"
    assert axes.get_ylabel() == "total sensitivity"


def test_every_cell_has_the_colour_of_its_precision(usual: FrontFigure) -> None:
    """Asked of the drawn paths at the middle of each cell."""
    figure = draw("front", usual)
    axes = figure.axes[1]
    by_amount = sorted(usual.points, key=lambda point: point.amount)
    colors = dict(zip(("int8", "int4"), LIGHT.precisions_of(("int8", "int4")), strict=True))
    paths = {str(patch.get_label()): patch.get_path() for patch in axes.patches if not isinstance(patch, Rectangle)}
    assert set(paths) == set(colors)
    for column, point in enumerate(by_amount):
        for row, precision in enumerate(point.precisions):
            inside = {name for name, path in paths.items() if path.contains_point((column + 0.5, row + 0.5))}
            assert inside == {precision}
    assert names_beside(axes) == list(usual.layers)
    assert axes.yaxis_inverted()


def test_the_chosen_column_is_framed(usual: FrontFigure) -> None:
    frames = [patch for patch in draw("front", usual).axes[1].patches if isinstance(patch, Rectangle)]
    by_amount = sorted(usual.points, key=lambda point: point.amount)
    assert [frame.get_x() for frame in frames] == [by_amount.index(usual.chosen)]  # type: ignore[arg-type]
    none = replace(usual, chosen=None)
    assert not [patch for patch in draw("front", none).axes[1].patches if isinstance(patch, Rectangle)]


def test_points_lead_to_their_columns(usual: FrontFigure) -> None:
    figure = draw("front", usual)
    upper, lower = figure.axes
    (joins,) = (artist for artist in figure.artists if isinstance(artist, Line2D))
    across = list(joins.get_xdata())
    by_amount = sorted(usual.points, key=lambda point: point.amount)
    for column, point in enumerate(by_amount):
        start = figure.transFigure.transform((across[3 * column], 0))[0]
        end = figure.transFigure.transform((across[3 * column + 1], 0))[0]
        assert start == pytest.approx(upper.transData.transform((point.amount, 0))[0])
        assert end == pytest.approx(lower.transData.transform((column + 0.5, 0))[0])


def test_levels_are_marked_and_named(usual: FrontFigure) -> None:
    figure = draw("front", usual)
    axes = figure.axes[0]
    assert [line.get_xdata()[0] for line in lines(axes, "_level")] == [amount for _, amount in usual.levels]
    for name, amount in usual.levels:
        line = axes.transData.transform((amount, 0))[0]
        boxes = [text.box for text in written(figure) if text.text == name]
        assert any(box.x0 - 6 <= line <= box.x1 + 6 for box in boxes)


def test_levels_in_one_place_are_named_together(usual: FrontFigure) -> None:
    levels = tuple((name, 1.3 + 1e-4 * at) for at, (name, _) in enumerate(usual.levels))
    figure = draw("front", replace(usual, levels=levels))
    assert "all INT4 to all INT8" in [text.text for text in written(figure)]
    assert len(lines(figure.axes[0], "_level")) == 5


def test_labels_of_near_levels_stand_in_rows(usual: FrontFigure) -> None:
    levels = tuple((f"a level of some length {at}", 1.3 + 0.03 * at) for at in range(4))
    figure = draw("front", replace(usual, levels=levels))
    heights = {round(text.box.y0) for text in written(figure) if text.text.startswith("a level")}
    assert len(heights) > 1
    lowest = min(heights)
    top = figure.axes[0].transData.transform((0, max(point.sensitivity for point in usual.points)))[1]
    assert lowest > top


def test_the_legend_names_what_is_there(usual: FrontFigure) -> None:
    assert legend_texts(draw("front", usual)) == ["Pareto front, 24 points", "chosen", "INT8", "INT4"]
    assert usual.title not in [text.text for text in written(draw("front", usual))]  # `render` places it


def test_a_chosen_one_beside_the_front_is_marked_without_a_column(usual: FrontFigure) -> None:
    """Also far from all points: the axes reach to it."""
    beside = FigurePoint(0.9, 2.4, usual.points[0].precisions)
    figure = draw("front", replace(usual, chosen=beside))
    upper, lower = figure.axes
    (chosen,) = lines(upper, "chosen")
    assert (chosen.get_xdata()[0], chosen.get_ydata()[0]) == (2.4, 0.9)
    assert upper.get_xlim()[0] < 2.4 < upper.get_xlim()[1]
    assert upper.get_ylim()[0] < 0.9 < upper.get_ylim()[1]
    assert len(lines(upper, "front")[0].get_xdata()) == len(usual.points)
    assert not [patch for patch in lower.patches if isinstance(patch, Rectangle)]
    assert legend_texts(figure) == ["Pareto front, 24 points", "chosen", "INT8", "INT4"]


def test_a_point_of_the_same_bits_elsewhere_is_not_the_chosen_one(usual: FrontFigure) -> None:
    twin = FigurePoint(0.9, 3.0, usual.points[0].precisions)
    figure = draw("front", replace(usual, points=(*usual.points, twin), chosen=twin))
    frames = [patch for patch in figure.axes[1].patches if isinstance(patch, Rectangle)]
    assert [frame.get_x() for frame in frames] == [len(usual.points)]
