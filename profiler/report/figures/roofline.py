"""The roofline of a device with the kernels of a network under it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, degrees, hypot

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from profiler.report.content.roofline import Roofline, RooflinePoint
from profiler.report.figures.labels import Box, around, beside, spread
from profiler.report.figures.style import (
    INNER_PT,
    SMALL_PT,
    TINY_PT,
    Style,
    fit,
    fit_layer,
    legend_columns,
    log_axis,
    new_figure,
    number,
    point_of,
    width_of,
    wrap,
)
from profiler.report.figures.theme import Look, Theme

_HEIGHT_IN = 5.0
_NAMED = 6
"""Places that are named: those where most of the time goes; the lowest one too."""
_NAME_PT, _LAYER_PT = 125.0, 100.0
_SIZES = ((0.0, 4.0), (0.01, 5.5), (0.03, 7.5), (0.08, 10.0), (0.2, 13.0))
"""Shares of the time from which on a marker is so wide, in points."""
_MOST_PAIRS = 40
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1.0, ""))


@dataclass(frozen=True)
class _Spot:
    """What lies in one place: layers of one shape, that were measured once. ``share`` is of the time of all kernels in
    this precision."""

    precision: str
    layers: tuple[str, ...]
    ops_per_byte: float
    ops_per_s: float
    share: float

    @property
    def name(self) -> str:
        more = len(self.layers) - 1
        return f"{fit_layer(self.layers[0], _LAYER_PT, TINY_PT)}{f' and {more} more' if more else ''}"

    @property
    def size(self) -> float:
        return max(size for least, size in _SIZES if self.share >= least)


def draw(roofline: Roofline, theme: Theme) -> Figure:
    """The size of a marker tells the share of the time."""
    figure = new_figure(_HEIGHT_IN)
    axes = figure.subplots()
    precisions = list(dict.fromkeys([*(r.precision for r in roofline.roofs), *(p.precision for p in roofline.points)]))
    looks = dict(zip(precisions, theme.precisions_of(precisions), strict=True))
    spots = _spots(roofline.points)
    rates = [spot.ops_per_s for spot in spots] + [roof.ops_per_s for roof in roofline.roofs]
    factor, prefix = next((f, p) for f, p in _PREFIXES if max(rates) >= f or f == 1.0)
    _limits(axes, roofline, rates, factor)
    axes.grid()
    _roofs(axes, roofline, looks, factor)
    _marks(axes, spots, looks, theme, factor)
    axes.set_xlabel("operations per byte moved (log scale)")
    axes.set_ylabel(f"operations per second ({_unit(prefix)}, log scale)")
    shown = {spot.precision for spot in spots}
    _legend(figure, {name: look for name, look in looks.items() if name in shown}, theme)
    figure.supxlabel(_origins(roofline), x=0.01, ha="left", size=TINY_PT, color=theme.muted, linespacing=1.25)
    figure.draw_without_rendering()  # from here on it is known where everything lies
    marks = [around(*point_of(axes, s.ops_per_byte, s.ops_per_s / factor), s.size / 2 + 0.5) for s in spots]
    texts = _label_roofs(axes, roofline, factor, prefix)
    texts += _label_memory(axes, roofline, factor, [*texts, *marks])
    _label_spots(axes, spots, factor, theme, texts, [*marks, *_drawn_roofs(axes, roofline, factor)])
    return figure


def _spots(points: Sequence[RooflinePoint]) -> list[_Spot]:
    """In the network's order."""
    totals: dict[str, float] = {}
    places: dict[tuple[str, float, float, float], list[RooflinePoint]] = {}
    for point in points:
        totals[point.precision] = totals.get(point.precision, 0.0) + point.latency_s
        place = (point.precision, point.ops, point.moved_bytes, point.latency_s)
        places.setdefault(place, []).append(point)
    return [
        _Spot(
            precision=found[0].precision,
            layers=tuple(point.layer for point in found),
            ops_per_byte=found[0].ops_per_byte,
            ops_per_s=found[0].ops_per_s,
            share=sum(point.latency_s for point in found) / totals[found[0].precision],
        )
        for found in places.values()
    ]


def _limits(axes: Axes, roofline: Roofline, rates: Sequence[float], factor: float) -> None:
    intensities = [point.ops_per_byte for point in roofline.points]
    intensities += [roof.ops_per_s / roofline.bytes_per_s for roof in roofline.roofs]
    for axis, values, least in ((axes.xaxis, intensities, 2.5), (axes.yaxis, [rate / factor for rate in rates], 2.0)):
        around = max(least, (max(values) / min(values)) ** 0.05)
        log_axis(axis, min(values) / around, max(values) * around)


def _roofs(axes: Axes, roofline: Roofline, looks: Mapping[str, Look], factor: float) -> None:
    """What memory allows up to the last knee; from its knee on what a precision allows."""
    left, right = axes.get_xlim()
    knees = [roof.ops_per_s / roofline.bytes_per_s for roof in roofline.roofs]
    slope = [left, max(knees)]
    axes.plot(
        slope, [x * roofline.bytes_per_s / factor for x in slope], color=axes.xaxis.label.get_color(), label="memory"
    )
    for roof, knee in zip(roofline.roofs, knees, strict=True):
        look, height = looks[roof.precision], roof.ops_per_s / factor
        line: Style = {"color": look.color, "linestyle": look.line, "linewidth": 1.8}
        axes.plot([knee, right], [height, height], label=f"roof {roof.precision}", **line)


def _marks(axes: Axes, spots: Sequence[_Spot], looks: Mapping[str, Look], theme: Theme, factor: float) -> None:
    """Large ones below. A line joins the precisions of a layer, where that can be followed."""
    if len(spots) <= _MOST_PAIRS:
        for pair in _pairs(spots):
            ends = [spot.ops_per_byte for spot in pair], [spot.ops_per_s / factor for spot in pair]
            axes.plot(*ends, color=theme.axes, linewidth=0.6, alpha=0.7, zorder=1.8, label="pair")
    for _, size in reversed(_SIZES):
        for precision, look in looks.items():
            chosen = [spot for spot in spots if spot.precision == precision and spot.size == size]
            if chosen:
                axes.plot(
                    [spot.ops_per_byte for spot in chosen], [spot.ops_per_s / factor for spot in chosen], look.marker,
                    color=look.color, markersize=size, markeredgecolor=theme.background, markeredgewidth=0.7,
                    label=precision, zorder=2.5 - size / 100,
                )  # fmt: skip


def _pairs(spots: Sequence[_Spot]) -> Iterator[list[_Spot]]:
    by_layers: dict[tuple[str, ...], list[_Spot]] = {}
    for spot in spots:
        by_layers.setdefault(spot.layers, []).append(spot)
    return (pair for pair in by_layers.values() if len(pair) > 1)


def _legend(figure: Figure, looks: Mapping[str, Look], theme: Theme) -> None:
    marks = [
        Line2D(
            [], [], linestyle="none", marker=look.marker, color=look.color, markersize=7, label=fit(name, 90, SMALL_PT)
        )
        for name, look in looks.items()
    ]
    for least, size in _SIZES[1:]:
        name = f"{100 * least:.0f}%" + (" of the time or more" if size == _SIZES[-1][1] else "")
        marks.append(Line2D([], [], linestyle="none", marker="o", color=theme.axes, markersize=size, label=name))
    columns = legend_columns([str(mark.get_label()) for mark in marks], INNER_PT, 32)
    figure.legend(handles=marks, loc="outside upper left", ncols=columns, handlelength=1.1, borderaxespad=0.4)


def _origins(roofline: Roofline) -> str:
    by_origin: dict[str, list[str]] = {}
    for roof in roofline.roofs:
        by_origin.setdefault(roof.origin, []).append(roof.precision)
    parts = [f"{' and '.join(names)} roof: {origin}" for origin, names in by_origin.items()]
    parts.append(f"{roofline.memory_name}: {roofline.memory_origin}")
    return "\n".join(wrap(part, INNER_PT, TINY_PT, 2) for part in parts)


def _drawn_roofs(axes: Axes, roofline: Roofline, factor: float) -> Iterator[Box]:
    """What their lines take."""
    left, right = axes.get_xlim()
    for roof in roofline.roofs:
        corners = [left, max(left, roof.ops_per_s / roofline.bytes_per_s), right]
        heights = [min(x * roofline.bytes_per_s, roof.ops_per_s) / factor for x in corners]
        ends = [point_of(axes, x, height) for x, height in zip(corners, heights, strict=True)]
        for (x0, y0), (x1, y1) in pairwise(ends):
            steps = max(1, int(hypot(x1 - x0, y1 - y0) / 3))
            yield from (
                around(x0 + (x1 - x0) * at / steps, y0 + (y1 - y0) * at / steps, 2.0) for at in range(steps + 1)
            )


def _label_roofs(axes: Axes, roofline: Roofline, factor: float, prefix: str) -> list[Box]:
    """At the right end, above the line; those of the same height together. Returns what they take."""
    by_height: dict[float, list[str]] = {}
    for roof in roofline.roofs:
        by_height.setdefault(roof.ops_per_s, []).append(roof.precision)
    right = axes.get_xlim()[1]
    heights = [point_of(axes, right, height / factor)[1] for height in by_height]
    moved = spread(heights, SMALL_PT * 1.4)
    taken = []
    for (height, names), at, place in zip(by_height.items(), heights, moved, strict=True):
        rate = f"{number(float(f'{height / factor:.3g}'))} {_unit(prefix)}"
        text = f"{fit(' and '.join(names), _NAME_PT, SMALL_PT)}: {rate}"
        shift = (-2, place - at + 3)
        axes.annotate(text, (right, height / factor), shift, textcoords="offset points", ha="right", size=SMALL_PT)
        end = point_of(axes, right, height / factor)[0]
        taken.append(Box(end - width_of(text, SMALL_PT) - 4, place, end, place + SMALL_PT * 1.4))
    return taken


def _unit(prefix: str) -> str:
    return f"{prefix}OPS" if prefix else "op/s"


def _label_memory(axes: Axes, roofline: Roofline, factor: float, taken: Sequence[Box]) -> list[Box]:
    """Along the slope and above it, where nothing is yet. Returns what it takes."""
    left = max(axes.get_xlim()[0], axes.get_ylim()[0] * factor / roofline.bytes_per_s)
    knee = max(roof.ops_per_s for roof in roofline.roofs) / roofline.bytes_per_s
    (x0, y0), (x1, y1) = (point_of(axes, x, x * roofline.bytes_per_s / factor) for x in (left, knee))
    value, prefix = next((roofline.bytes_per_s / f, p) for f, p in _PREFIXES if roofline.bytes_per_s >= f or f == 1.0)
    rate = f"{number(float(f'{value:.3g}'))} {prefix}B/s"
    length, text = hypot(x1 - x0, y1 - y0), f"{fit(roofline.memory_name, _NAME_PT, SMALL_PT)}: {rate}"
    width = width_of(text, SMALL_PT)
    if width + 10 > length:
        return []
    across, up = (x1 - x0) / length, (y1 - y0) / length

    def boxes(start: float) -> list[Box]:
        x, y = x0 + start * across - 8 * up, y0 + start * up + 8 * across
        return [around(x + 6 * step * across, y + 6 * step * up, SMALL_PT * 0.7) for step in range(int(width / 6) + 1)]

    starts = [part * (length - width) for part in (0.45, 0.3, 0.6, 0.15, 0.8, 0.05, 0.95)]
    start = next((s for s in starts if not any(box.meets(other) for box in boxes(s) for other in taken)), starts[0])
    axes.annotate(
        text, (left, left * roofline.bytes_per_s / factor), (start * across - 8 * up, start * up + 8 * across),
        textcoords="offset points", size=SMALL_PT, rotation=degrees(atan2(up, across)), rotation_mode="anchor",
        ha="left", va="center",
    )  # fmt: skip
    return boxes(start)


def _label_spots(
    axes: Axes, spots: Sequence[_Spot], factor: float, theme: Theme, texts: Sequence[Box], marks: Sequence[Box]
) -> None:
    """One name per layer, at the precision that takes most of its time."""
    named: dict[str, _Spot] = {}
    for spot in sorted(spots, key=lambda spot: -spot.share):
        if len(named) < _NAMED:
            named.setdefault(spot.layers[0], spot)
    lowest = min(spots, key=lambda spot: spot.ops_per_s)
    named.setdefault(lowest.layers[0], lowest)
    chosen = list(named.values())
    places = [point_of(axes, spot.ops_per_byte, spot.ops_per_s / factor) for spot in chosen]
    sizes = [(width_of(spot.name, TINY_PT) + 2, TINY_PT * 1.3) for spot in chosen]
    (left, bottom), (right, top) = (point_of(axes, x, y) for x, y in zip(axes.get_xlim(), axes.get_ylim(), strict=True))
    inside = Box(left + 2, bottom + 2, right - 2, top - 2)
    ground = {"facecolor": theme.background, "edgecolor": "none", "alpha": 0.6, "pad": 0.6}
    boxes = beside(places, sizes, texts, marks, inside, 7.0)
    for spot, (x, y), box in zip(chosen, places, boxes, strict=True):
        if box is None:
            continue
        shift = ((box.left + box.right) / 2 - x, (box.bottom + box.top) / 2 - y)
        at = (spot.ops_per_byte, spot.ops_per_s / factor)
        text: Style = {"ha": "center", "va": "center", "size": TINY_PT, "bbox": ground, "zorder": 4}
        axes.annotate(spot.name, at, shift, textcoords="offset points", **text)
        end_x, end_y = box.nearest(x, y)
        if hypot(end_x - x, end_y - y) > spot.size / 2 + 6:
            arrow = {"arrowstyle": "-", "color": theme.muted, "linewidth": 0.6, "shrinkA": 0, "shrinkB": spot.size / 2}
            axes.annotate("", at, (end_x - x, end_y - y), textcoords="offset points", arrowprops=arrow, zorder=3.5)
