"""Accuracy against latency: the integer networks as points, the float network as a line."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator

from profiler.report.content.accuracy import Accuracies, IntegerAccuracy
from profiler.report.figures.style import (
    INNER_PT,
    POINT_IN,
    SMALL_PT,
    TEXT_PT,
    TINY_PT,
    WIDTH_IN,
    Style,
    duration_unit,
    fit,
    legend_columns,
    new_canvas,
    note,
    plain_ticks,
    point_of,
    width_of,
)
from profiler.report.figures.theme import Look, Theme
from profiler.verdict import Span

_HEIGHT_IN, _LEFT_IN, _RIGHT_IN, _FOOT_IN, _HEAD_IN = 4.8, 0.72, 0.15, 0.52, 0.62
_NAME_PT = 130.0
_ROW_PT = 27.0
"""Of a label: two lines."""
_MOST_ROWS = 7
_FLOAT_LINE = (0, (7, 2))


def draw(accuracies: Accuracies, theme: Theme) -> Figure:
    """Configurations without a latency are not in the figure."""
    timed = [(found, found.latency) for found in accuracies.configurations if found.latency is not None]
    looks = _looks([found for found, _ in timed], theme)
    marks = _marks(accuracies, looks, theme)
    columns = legend_columns([str(mark.get_label()) for mark in marks], INNER_PT, 38)
    head_in = _HEAD_IN + 0.18 * (-(-len(marks) // columns) - 1)
    height = _HEIGHT_IN + head_in
    figure = new_canvas(height)
    box = (_LEFT_IN / WIDTH_IN, _FOOT_IN / height, 1 - (_LEFT_IN + _RIGHT_IN) / WIDTH_IN)
    axes = figure.add_axes((*box, 1 - (_FOOT_IN + head_in) / height))
    images = accuracies.reference.top1.images
    title = (
        f"{accuracies.network}, {images:,} images, integers only, batch {accuracies.batch}, {accuracies.device_name}"
    )
    where = fit(title, (WIDTH_IN - 0.3) / POINT_IN, TEXT_PT)
    figure.text(0.1 / WIDTH_IN, 1 - 0.08 / height, where, va="top", size=TEXT_PT)
    if not timed:
        note(axes, theme, "no configuration was timed")
        return figure
    _plot(axes, accuracies, timed, looks, theme)
    place: Style = {"loc": "upper left", "bbox_to_anchor": (0.1 / WIDTH_IN, 1 - 0.3 / height)}
    figure.legend(handles=marks, ncols=columns, handlelength=1.8, **place)
    return figure


def _looks(configurations: Sequence[IntegerAccuracy], theme: Theme) -> dict[str, Look]:
    """By kind, in the order of appearance."""
    kinds = list(dict.fromkeys(found.kind for found in configurations))
    return dict(zip(kinds, theme.precisions_of(kinds), strict=True))


def _plot(
    axes: Axes,
    accuracies: Accuracies,
    timed: Sequence[tuple[IntegerAccuracy, Span]],
    looks: dict[str, Look],
    theme: Theme,
) -> None:
    reference = accuracies.reference.top1
    factor, unit = duration_unit(max(latency.latency_s for _, latency in timed))
    ends = [end / factor for _, latency in timed for end in (latency.low_s, latency.high_s)]
    shares = [reference, *(found.top1 for found, _ in timed)]
    lowest, highest = 100 * min(share.low for share in shares), 100 * max(share.high for share in shares)
    side = 0.12 * (max(ends) - min(ends)) or 0.1 * max(ends)
    axes.set_xlim(max(0.0, min(ends) - side), max(ends) + side)
    axes.set_ylim(lowest - 0.06 * (highest - lowest), highest + 0.06 * (highest - lowest))
    axes.grid(axis="y")
    axes.axhspan(100 * reference.low, 100 * reference.high, color=theme.band, linewidth=0, zorder=0.5, label="_float")
    line: Style = {"color": theme.muted, "linewidth": 1.2, "linestyle": _FLOAT_LINE, "zorder": 1.5}
    axes.axhline(100 * reference.value, label="_float", **line)
    for found, latency in timed:
        look = looks[found.kind]
        x, y = latency.latency_s / factor, 100 * found.top1.value
        across = [latency.low_s / factor, latency.high_s / factor, nan, x, x]
        up = [y, y, nan, 100 * found.top1.low, 100 * found.top1.high]
        axes.plot(across, up, color=look.color, linewidth=1.0, zorder=2, label="_intervals")
        edge: Style = {"markeredgecolor": theme.background, "markeredgewidth": 0.8, "linestyle": "none"}
        axes.plot(
            [x], [y], look.marker, color=look.color, markersize=8, zorder=3, clip_on=False, label="_point", **edge
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(7))
    low, high = axes.get_ylim()
    ticks = [tick for tick in MaxNLocator(6).tick_values(low, min(high, 100.0)) if low <= tick <= min(high, 100.0)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.spines["left"].set_bounds(low, min(high, 100.0))
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set_xlabel(f"latency of the network, end to end ({unit})")
    axes.set_ylabel("top-1 accuracy (%)")
    _label(axes, timed, factor, theme)


def _label(axes: Axes, timed: Sequence[tuple[IntegerAccuracy, Span]], factor: float, theme: Theme) -> None:
    """The name of each configuration and what it answers, left of a line that leads down to its bar. Labels stand in
    rows above all bars, one that would lie on the line of another in a row above it."""
    shown = sorted(timed, key=lambda pair: pair[1].latency_s)
    texts = [
        (fit(found.name, _NAME_PT, SMALL_PT), f"{100 * found.top1.value:.2f}%, {found.beside.changed:,} changed")
        for found, _ in shown
    ]
    widths = [max(width_of(name, SMALL_PT), width_of(said, TINY_PT)) + 6 for name, said in texts]
    _make_room_left(axes, shown[0][1].latency_s / factor, widths[0])
    low, high = axes.get_ylim()
    (left, bottom), (_, top) = point_of(axes, axes.get_xlim()[0], low), point_of(axes, 0, high)
    ends = [point_of(axes, latency.latency_s / factor, low)[0] for _, latency in shown]
    spans = [(max(end - width, left + 2), max(end, left + 2 + width)) for end, width in zip(ends, widths, strict=True)]
    rows = _rows(spans)
    room = (min(max(rows) + 1, _MOST_ROWS) * _ROW_PT + 4) / (top - bottom)
    axes.set_ylim(low, low + (high - low) / (1 - room))
    axes.yaxis.label.set_y((1 - room) / 2)
    per_pt = (axes.get_ylim()[1] - low) / (top - bottom)
    for (found, latency), (name, said), row, end, span in zip(shown, texts, rows, ends, spans, strict=True):
        if row >= _MOST_ROWS:  # the table names it
            continue
        x, y = latency.latency_s / factor, high + (row + 1) * _ROW_PT * per_pt
        line: Style = {"color": theme.axes, "linewidth": 0.7, "linestyle": (0, (1, 2)), "zorder": 1}
        axes.plot([x, x], [100 * found.top1.high, y], label="_join", **line)
        place: Style = {"textcoords": "offset points", "ha": "right", "va": "top", "zorder": 4}
        axes.annotate(name, (x, y), (span[1] - end - 4, 0), size=SMALL_PT, **place)
        axes.annotate(said, (x, y), (span[1] - end - 4, -SMALL_PT * 1.25), size=TINY_PT, color=theme.muted, **place)


def _make_room_left(axes: Axes, x: float, width: float) -> None:
    """Of the first point, for its label, where that needs no latency below zero."""
    low, high = axes.get_xlim()
    share = (width + 4) / (point_of(axes, high, 0)[0] - point_of(axes, low, 0)[0])
    axes.set_xlim(max(0.0, min(low, (x - share * high) / (1 - share))), high)


def _rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Of labels from left to right, counted from below: above all that it would meet, or whose line it would cover."""
    rows: list[int] = []
    for start, _ in spans:
        rows.append(1 + max((row for row, (_, end) in zip(rows, spans, strict=False) if end > start), default=-1))
    return rows


def _marks(accuracies: Accuracies, looks: dict[str, Look], theme: Theme) -> list[Line2D | Patch]:
    """Of the legend."""
    reference = accuracies.reference.top1
    line: Style = {"color": theme.muted, "linewidth": 1.2, "linestyle": _FLOAT_LINE}
    marks: list[Line2D | Patch] = [Line2D([], [], label=f"float {100 * reference.value:.1f}%", **line)]
    marks.append(Patch(facecolor=theme.band, label="95% interval (bars: of the others)"))
    for kind, look in looks.items():
        name = "mixed" if kind == "MIXED" else kind
        style: Style = {"marker": look.marker, "color": look.color, "markersize": 7, "linewidth": 1.0}
        marks.append(Line2D([], [], label=fit(name, 90, SMALL_PT), **style))
    return marks
