"""The Pareto front of an allocation: sensitivity against a quantity, and below it the bits of each point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import nan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path

from profiler.report.content.front import FigurePoint, FrontFigure
from profiler.report.figures.style import (
    INNER_PT,
    POINT_IN,
    SMALL_PT,
    TEXT_PT,
    TINY_PT,
    WIDTH_IN,
    Style,
    axes_width_pt,
    fit,
    fit_layer,
    legend_columns,
    new_canvas,
    note,
    plain_ticks,
    width_of,
)
from profiler.report.figures.theme import Theme

_HEAD_IN, _FRONT_IN, _BETWEEN_IN, _FOOT_IN = 0.75, 2.6, 0.42, 0.32
_ROW_IN, _RIGHT_IN, _LABELS_IN = 0.165, 0.15, 0.62
"""``_LABELS_IN`` is what the label and the ticks of the vertical axis take at least."""
_NAME_PT, _LEVEL_PT = 150.0, 150.0
_LEVELS_PT = 10.0
"""What levels are apart at least to have a label each."""
_MOST_JOINED = 60
"""Points, up to which each has a column of its own that can be seen, and is joined to it."""


def draw(front: FrontFigure, theme: Theme) -> Figure:
    """The axis of the quantity lies above, so that lines can lead from the points down to their columns."""
    points = sorted(front.points, key=lambda point: (point.amount, -point.sensitivity))
    names = [fit_layer(name, _NAME_PT, TINY_PT) for name in front.layers]
    left = max([_LABELS_IN, *(0.2 + width_of(name, TINY_PT) * POINT_IN for name in names)])
    bits_in = _ROW_IN * max(1, len(names))
    marks = _marks(points, front, theme) if points else []
    columns = legend_columns([str(mark.get_label()) for mark in marks], INNER_PT, 38)
    head_in = _HEAD_IN + 0.18 * max(0, -(-len(marks) // columns) - 1)
    height = head_in + _FRONT_IN + _BETWEEN_IN + bits_in + _FOOT_IN
    figure = new_canvas(height)
    width = 1 - (left + _RIGHT_IN) / WIDTH_IN
    below = (_FOOT_IN + bits_in + _BETWEEN_IN) / height
    upper = figure.add_axes((left / WIDTH_IN, below, width, _FRONT_IN / height))
    lower = figure.add_axes((left / WIDTH_IN, _FOOT_IN / height, width, bits_in / height))
    if not points:
        note(upper, theme, "no allocation is within the limits")
        lower.set_axis_off()
        return figure
    _front(upper, front, points, theme)
    _bits(lower, points, names, theme)
    place: Style = {"loc": "upper left", "bbox_to_anchor": (0.1 / WIDTH_IN, 1 - 0.05 / height)}
    figure.legend(handles=marks, ncols=columns, handlelength=1.4, **place)
    if len(points) <= _MOST_JOINED:
        _join(figure, upper, lower, points, theme)
    if front.chosen is not None:
        _mark_chosen(lower, points, front.chosen, theme)
    return figure


def _front(axes: Axes, front: FrontFigure, points: Sequence[FigurePoint], theme: Theme) -> None:
    """Between two points the best one within a limit is the cheaper of both: a staircase, not a curve."""
    amounts, values = [point.amount for point in points], [point.sensitivity for point in points]
    marked = [amount for _, amount in front.levels]
    if front.chosen is not None:  # perhaps not one of the points
        marked.append(front.chosen.amount)
        values.append(front.chosen.sensitivity)
    least, most = min(amounts + marked), max(amounts + marked)
    around = 0.03 * (most - least) or 0.05 * abs(most) or 1.0
    axes.set_xlim(least - around, most + around)
    levels = _grouped(axes, front)
    rows = _level_rows(axes, levels)
    spread = max(values) - min(values) or abs(max(values)) or 1.0
    room = 14 * (max(rows, default=-1) + 1) / (_FRONT_IN / POINT_IN)
    low, high = min(values) - 0.06 * spread, max(values) + 0.06 * spread
    axes.set_ylim(low, low + (high - low) / (1 - room))
    values = [point.sensitivity for point in points]
    axes.step(amounts, values, where="post", color=theme.muted, linewidth=0.9, zorder=2, label="_staircase")
    axes.plot(amounts, values, "o", color=theme.text, markersize=4.0, label="front", zorder=3)
    if front.chosen is not None:
        look = theme.accent
        edge: Style = {"markeredgecolor": theme.background, "markeredgewidth": 0.8, "linestyle": "none"}
        chosen = [front.chosen.amount], [front.chosen.sensitivity]
        axes.plot(*chosen, look.marker, color=look.color, markersize=8, zorder=4, label="chosen", **edge)
    _levels(axes, front, levels, rows, theme)
    axes.xaxis.set_ticks_position("top")
    axes.xaxis.set_label_position("top")
    axes.spines["top"].set_visible(True)
    axes.spines["bottom"].set_visible(False)
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set_xlabel(fit(front.axis, 400, TEXT_PT))
    axes.set_ylabel("total sensitivity")


def _grouped(axes: Axes, front: FrontFigure) -> list[tuple[str, float]]:
    """Levels that lie too close to be told apart are labelled together."""
    low, high = axes.get_xlim()
    apart = _LEVELS_PT / (axes_width_pt(axes) / (high - low))
    groups: list[list[tuple[str, float]]] = []
    for level in sorted(front.levels, key=lambda level: level[1]):
        if groups and level[1] - groups[-1][-1][1] < apart:
            groups[-1].append(level)
        else:
            groups.append([level])
    return [
        (group[0][0] if len(group) == 1 else f"{group[0][0]} to {group[-1][0]}", (group[0][1] + group[-1][1]) / 2)
        for group in groups
    ]


def _level_rows(axes: Axes, levels: Sequence[tuple[str, float]]) -> list[int]:
    """In which row below the upper edge each label stands: the first that has room for it."""
    ends: list[float] = []
    rows = []
    for label, amount in levels:
        start, end, _ = _level_place(axes, label, amount)
        row = next((row for row, taken in enumerate(ends) if start > taken + 6), len(ends))
        ends[row : row + 1] = [end]
        rows.append(row)
    return rows


def _level_place(axes: Axes, label: str, amount: float) -> tuple[float, float, str]:
    """Where a label begins and ends, in points from the left edge, and its alignment: in the middle of its line, or
    beside it near an edge."""
    low, high = axes.get_xlim()
    width = axes_width_pt(axes)
    at = (amount - low) / (high - low) * width
    needed = width_of(fit(label, _LEVEL_PT, TINY_PT), TINY_PT) + 6
    if at < needed / 2:
        return at, at + needed, "left"
    if at > width - needed / 2:
        return at - needed, at, "right"
    return at - needed / 2, at + needed / 2, "center"


def _levels(
    axes: Axes, front: FrontFigure, levels: Sequence[tuple[str, float]], rows: Sequence[int], theme: Theme
) -> None:
    """A line each, and the labels of `_grouped`."""
    for _, amount in front.levels:
        axes.axvline(amount, color=theme.muted, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1, label="_level")
    shifts = {"left": 3, "center": 0, "right": -3}
    for (label, amount), row in zip(levels, rows, strict=True):
        side = _level_place(axes, label, amount)[2]
        axes.annotate(
            fit(label, _LEVEL_PT, TINY_PT), (amount, 1), (shifts[side], -4 - 13 * row), va="top", ha=side, size=TINY_PT,
            xycoords=("data", "axes fraction"), textcoords="offset points", color=theme.muted,
            bbox={"facecolor": theme.background, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip


def _bits(axes: Axes, points: Sequence[FigurePoint], names: Sequence[str], theme: Theme) -> None:
    """Layers from top to bottom, points from the fastest on the left to the least sensitive on the right. All cells of
    a precision are one path."""
    precisions = _precisions(points)
    for precision, look in zip(precisions, theme.precisions_of(precisions), strict=True):
        cells = []
        for row in range(len(names)):
            at = 0
            for chosen, run in groupby(point.precisions[row] == precision for point in points):
                count = len(list(run))
                if chosen:
                    cells.append(_cell(at, row, count))
                at += count
        patch = PathPatch(Path.make_compound_path(*cells), facecolor=look.color, linewidth=0, label=precision)
        axes.add_patch(patch)
    if 1 < len(points) <= _MOST_JOINED:
        across = [x for column in range(1, len(points)) for x in (column, column, nan)]
        width = min(1.0, 60 / len(points))
        axes.plot(across, [0, len(names), nan] * (len(points) - 1), color=theme.background, linewidth=width)
    axes.set(xlim=(0, len(points)), ylim=(len(names), 0), xticks=[])
    axes.set_yticks([row + 0.5 for row in range(len(names))], names, size=TINY_PT)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("a column per point of the front", size=SMALL_PT, labelpad=5)


def _cell(column: int, row: int, count: int) -> Path:
    left, right, top, bottom = column, column + count, row + 0.06, row + 0.94
    return Path([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], closed=True)


def _precisions(points: Sequence[FigurePoint]) -> list[str]:
    """Those that occur, those of most layers of the least sensitive point first."""
    return list(dict.fromkeys(name for point in reversed(points) for name in point.precisions))


def _marks(points: Sequence[FigurePoint], front: FrontFigure, theme: Theme) -> list[Line2D | Patch]:
    """Of the legend."""
    count = f"{len(points)} points" if len(points) > 1 else "one point"
    marks: list[Line2D | Patch] = [
        Line2D([], [], color=theme.text, marker="o", markersize=4, linewidth=0.9, label=f"Pareto front, {count}")
    ]
    if front.chosen is not None:
        look = theme.accent
        marks.append(
            Line2D([], [], linestyle="none", marker=look.marker, color=look.color, markersize=7, label="chosen")
        )
    precisions = _precisions(points)
    for name, look in zip(precisions, theme.precisions_of(precisions), strict=True):
        marks.append(Patch(facecolor=look.color, label=fit(name.upper(), 90, SMALL_PT)))
    return marks


def _join(figure: Figure, upper: Axes, lower: Axes, points: Sequence[FigurePoint], theme: Theme) -> None:
    """A thin line from each point down to the middle of its column."""
    into = figure.transFigure.inverted()
    across, up = [], []
    floor = upper.get_ylim()[0]
    for column, point in enumerate(points):
        ends = upper.transData.transform((point.amount, floor)), lower.transData.transform((column + 0.5, 0))
        for x, y in (into.transform(end) for end in ends):
            across.append(float(x))
            up.append(float(y))
        across.append(nan)
        up.append(nan)
    style: Style = {"color": theme.axes, "linewidth": 0.5, "alpha": 0.8}
    figure.add_artist(Line2D(across, up, **style))
    within = [x for point in points for x in (point.amount, point.amount, nan)]
    upper.plot(within, [y for p in points for y in (floor, p.sensitivity, nan)], zorder=1, label="_join", **style)


def _mark_chosen(axes: Axes, points: Sequence[FigurePoint], chosen: FigurePoint, theme: Theme) -> None:
    """Its column, if it has one."""
    for column, point in enumerate(points):
        if point == chosen:
            size = (1, len(chosen.precisions))
            style: Style = {"fill": False, "edgecolor": theme.text, "linewidth": 1.6, "clip_on": False}
            axes.add_patch(Rectangle((column, 0), *size, zorder=4, **style))
