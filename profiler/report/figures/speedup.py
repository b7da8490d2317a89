"""How much faster each layer is in fewer bits: a row per layer in the network's order, with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from math import log

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator

from profiler.report.content.speedup import LayerSpeedup, Speedups
from profiler.report.figures.style import (
    INNER_PT,
    POINT_IN,
    SMALL_PT,
    TINY_PT,
    WIDTH_IN,
    Style,
    axes_width_pt,
    fit_layer,
    legend_columns,
    log_axis,
    new_canvas,
    number,
    plain,
    width_of,
    wrap,
)
from profiler.report.figures.theme import Look, Theme
from profiler.verdict import Ratio, Verdict

_ROW_IN, _THIN_ROW_IN, _LINE_IN = 0.205, 0.152, 0.14
_MANY = 60
_NAMES_PT, _CAUSES_PT, _FEW_CAUSES_PT = 132.0, 188.0, 120.0
"""The most that names and causes may take of the width; ``_FEW``: where most layers have the one that is said below."""
_GAP_PT = 8.0
_MOST_LINES = 2
_SAID_ONCE = 3
"""Layers with one and the same cause, from which on it is said below instead of beside each, if most have it."""
_UNKNOWN = "not known"
_TICKS = (1, 0.9, 1.1, 2, 0.5, 1.5, 0.7, 0.8, 1.2, 3, 0.3, 1.3, 0.6, 4, 5, 0.2, 1.4, 1.7, 2.5, 7, 10, 0.1, 0.4)
"""What may be labelled, what matters most first."""
_WIDEST = 30.0
"""The largest range of speedups for which those are enough."""


@dataclass(frozen=True)
class _Cause:
    """Of neighbouring rows ``first`` to ``last``, in one or more lines."""

    first: int
    last: int
    text: str


@dataclass(frozen=True)
class _Plan:
    """Sizes in inches; ``tops`` are the upper edges of the rows and, at the end, the lower edge of the last one."""

    tops: tuple[float, ...]
    names: tuple[str, ...]
    name_pt: float
    left: float
    right: float
    causes: tuple[_Cause, ...]
    caption: str

    def middle(self, row: int) -> float:
        return (self.tops[row] + self.tops[row + 1]) / 2


def draw(speedups: Speedups, theme: Theme) -> Figure:
    """The height grows with the layers."""
    plan = _plan(speedups)
    many = len(speedups.layers) > _MANY
    lines = plan.caption.count("\n") + 1 if plan.caption else 0
    keys = _keys(speedups, theme)
    columns = legend_columns([str(key.get_label()) for key in keys], INNER_PT, 32) if keys else 1
    above, below = (
        (0.84 if many else 0.6) + 0.18 * max(0, -(-len(keys) // columns) - 1),
        0.52 + (lines and 0.12 + 0.15 * lines),
    )
    height = above + plan.tops[-1] + _ROW_IN * 1.6 + below
    figure = new_canvas(height)
    inner = (
        plan.left / WIDTH_IN,
        below / height,
        1 - (plan.left + plan.right) / WIDTH_IN,
        1 - (above + below) / height,
    )
    axes = figure.add_axes(inner)
    axes.set_ylim(plan.tops[-1] + _ROW_IN * 1.6, -0.04)
    _rows(axes, speedups, plan, theme)
    _total(axes, speedups, plan, theme)
    _causes(axes, plan, theme)
    _scale(axes, speedups, theme, many)
    place: Style = {"loc": "upper left", "bbox_to_anchor": (0.1 / WIDTH_IN, 1 - 0.08 / height)}
    figure.legend(handles=keys, ncols=columns, handlelength=1.5, **place)
    if plan.caption:
        figure.text(0.1 / WIDTH_IN, 0.08 / height, plan.caption, size=SMALL_PT, color=theme.muted, va="bottom")
    return figure


def _plan(speedups: Speedups) -> _Plan:
    """Where everything goes: the rows are as high as what stands beside them needs."""
    layers = speedups.layers
    many = len(layers) > _MANY
    name_pt, row_in = (TINY_PT, _THIN_ROW_IN) if many else (SMALL_PT, _ROW_IN)
    names = tuple(fit_layer(layer.layer, _NAMES_PT, name_pt) for layer in layers)
    left_pt = max([width_of(name, name_pt) for name in (*names, _total_name(speedups))])
    once = _said_once(speedups)
    heights, causes, widest_pt = [row_in] * len(layers), [], 0.0
    for first, last, text in _runs(speedups, once):
        count = last - first + 1
        lines = max(_MOST_LINES if not many else 1, int(count * row_in / _LINE_IN))
        shown = wrap(text, _FEW_CAUSES_PT if once else _CAUSES_PT, TINY_PT, lines)
        needed = ((shown.count("\n") + 1) * _LINE_IN + _ROW_IN - _LINE_IN) / count if not many else row_in
        heights[first : last + 1] = [max(height, needed) for height in heights[first : last + 1]]
        widest_pt = max([widest_pt, *(width_of(line, TINY_PT) for line in shown.split("\n"))])
        causes.append(_Cause(first, last, shown))
    tops = [0.0]
    for height in heights:
        tops.append(tops[-1] + height)
    return _Plan(
        tops=tuple(tops),
        names=names,
        name_pt=name_pt,
        left=0.1 + (left_pt + _GAP_PT) * POINT_IN,
        right=0.15 + ((widest_pt + 2 * _GAP_PT) * POINT_IN if causes else 0.0),
        causes=tuple(causes),
        caption=_caption(speedups, once),
    )


def _told(speedups: Speedups) -> list[str]:
    """The causes of layers that are compared and not faster."""
    return [layer.cause for layer in speedups.layers if layer.cause and layer.verdict is not None]


def _said_once(speedups: Speedups) -> str:
    """The cause that most of them have, empty if there is none."""
    told = _told(speedups)
    cause, count = Counter(told).most_common(1)[0] if told else ("", 0)
    return cause if count >= _SAID_ONCE and 2 * count > len(told) else ""


def _runs(speedups: Speedups, once: str) -> Iterator[tuple[int, int, str]]:
    """Neighbouring layers with the same cause: the first, the last, the cause. What is missing is said in the row, what
    is said ``once`` below."""

    def cause(indexed: tuple[int, LayerSpeedup]) -> str:
        layer = indexed[1]
        if layer.speedup is None:
            return "" if layer.cause == _missing(speedups, layer) else layer.cause
        return "" if layer.cause == once and layer.verdict is not None else layer.cause

    for text, run in groupby(enumerate(speedups.layers), key=cause):
        rows = [row for row, _ in run]
        if text:
            yield rows[0], rows[-1], text


def _caption(speedups: Speedups, cause: str) -> str:
    if not cause:
        return ""
    told = _told(speedups)
    text = f"All {len(told)} layers that are not faster"
    if len(set(told)) > 1:
        text = "Layers that are not faster, unless said otherwise"
    return wrap(f"{text}: {cause}.", INNER_PT, SMALL_PT, 3)


def _missing(speedups: Speedups, layer: LayerSpeedup) -> str:
    names = [n for n, span in ((speedups.wide, layer.wide), (speedups.narrow, layer.narrow)) if span is None]
    return f"no {' and no '.join(names)} row" if names else "not compared"


def _total_name(speedups: Speedups) -> str:
    count = len(speedups.layers)
    return f"total, {speedups.compared} of {count}" if speedups.compared < count else "total"


def _rows(axes: Axes, speedups: Speedups, plan: _Plan, theme: Theme) -> None:
    layers = speedups.layers
    middles = [plan.middle(row) for row in range(len(layers))]
    axes.set_yticks([*middles], labels=plan.names, size=plan.name_pt)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    priced = [middles[row] for row, layer in enumerate(layers) if layer.speedup is not None]
    axes.hlines(priced, 0, 1, color=theme.grid, linewidth=0.6, transform=axes.get_yaxis_transform(), zorder=0.5)
    axes.axvline(1, color=theme.muted, linewidth=1.0, zorder=1.5)
    for verdict in Verdict:
        look = theme.verdict(verdict)
        rows = [(middle, ratio) for middle, ratio in _of(layers, middles, verdict)]
        _marks(axes, theme, look, rows, verdict.value)
    bare = [(middle, ratio.value) for middle, ratio in _of(layers, middles, None)]
    if bare:
        face: Style = {
            "markerfacecolor": theme.background,
            "markeredgewidth": 1.1,
            "markersize": 5,
            "linestyle": "none",
        }
        across, up = [value for _, value in bare], [middle for middle, _ in bare]
        axes.plot(across, up, "s", color=theme.muted, label=_UNKNOWN, zorder=3, **face)
    for row, layer in enumerate(layers):
        if layer.speedup is None:
            place: Style = {"xy": (1, middles[row]), "xytext": (5, 0), "textcoords": "offset points"}
            text = plain(_missing(speedups, layer))
            axes.annotate(text, va="center", color=theme.muted, size=TINY_PT, zorder=4, **place)


def _of(
    layers: tuple[LayerSpeedup, ...], middles: list[float], verdict: Verdict | None
) -> Iterator[tuple[float, Ratio]]:
    for middle, layer in zip(middles, layers, strict=True):
        if layer.verdict is verdict and layer.speedup is not None:
            yield middle, layer.speedup


def _marks(axes: Axes, theme: Theme, look: Look, rows: list[tuple[float, Ratio]], label: str) -> None:
    """Dots with their intervals, which do not run through an open marker."""
    if not rows:
        return
    heights = [height for height, _ in rows]
    axes.hlines(
        heights, [ratio.low for _, ratio in rows], [ratio.high for _, ratio in rows],
        color=look.color, linewidth=1.3, zorder=2, label=f"95% interval, {label}",
    )  # fmt: skip
    face = look.color if look.filled else theme.background
    axes.plot(
        [ratio.value for _, ratio in rows], heights, look.marker, color=look.color, markerfacecolor=face,
        markeredgewidth=1.3 if not look.filled else 0.5, markersize=5.5, label=label, zorder=3,
    )  # fmt: skip


def _total(axes: Axes, speedups: Speedups, plan: _Plan, theme: Theme) -> None:
    """Below a line; also drawn through all rows, so that it can be compared with each."""
    height = plan.tops[-1] + _ROW_IN * 0.95
    axes.axhline(plan.tops[-1] + _ROW_IN * 0.25, color=theme.axes, linewidth=0.8)
    ticks = [*axes.get_yticks(), height]
    axes.set_yticks(ticks, labels=[*plan.names, _total_name(speedups)], size=plan.name_pt)
    total = speedups.total
    if total is None:
        axes.annotate(
            "no layer has both prices", (1, height), (5, 0), textcoords="offset points", va="center", size=TINY_PT,
            color=theme.muted,
        )  # fmt: skip
        return
    axes.axvline(total.value, color=theme.accent.color, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1.6)
    _marks(axes, theme, theme.accent, [(height, total)], "total")
    axes.annotate(
        f"{total.value:.2f}x", (total.high, height), (6, 0), textcoords="offset points", va="center", size=SMALL_PT,
        color=theme.text,
    )  # fmt: skip


def _causes(axes: Axes, plan: _Plan, theme: Theme) -> None:
    """Right of the axes; a bracket where one holds for several rows."""
    width_pt = (WIDTH_IN - plan.left - plan.right) / POINT_IN
    for cause in plan.causes:
        top, bottom = plan.tops[cause.first], plan.tops[cause.last + 1]
        place: Style = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
        axes.annotate(
            cause.text, (1, (top + bottom) / 2), (2 * _GAP_PT, 0), va="center", size=TINY_PT, color=theme.muted,
            linespacing=1.15, annotation_clip=False, **place,
        )  # fmt: skip
        if cause.last > cause.first:
            at, tip = 1 + 1.5 * _GAP_PT / width_pt, 1 + _GAP_PT / width_pt
            edge = 0.03
            corners = [top + edge, top + edge, bottom - edge, bottom - edge]
            axes.plot(
                [tip, at, at, tip], corners, color=theme.axes, linewidth=0.8, transform=axes.get_yaxis_transform(),
                clip_on=False, solid_joinstyle="miter",
            )  # fmt: skip


def _scale(axes: Axes, speedups: Speedups, theme: Theme, many: bool) -> None:
    """From the values; an interval may end beyond them, but not press them together."""
    ratios = [_drawn(layer.speedup, layer.verdict) for layer in speedups.layers if layer.speedup is not None]
    ratios += [] if speedups.total is None else [speedups.total]
    noise = speedups.noise_ratio or 1.0
    low, high = min([1.0, *(r.value for r in ratios)]), max([1.0, *(r.value for r in ratios)])
    low = max(min([low, 1 / noise, *(r.low for r in ratios)]), low / 2)
    high = min(max([high, noise, *(r.high for r in ratios)]), high * 2)
    around = max((high / low) ** 0.06, 1.02)
    low, high = min(low / around, 0.8), max(high * around, 1.25)
    log_axis(axes.xaxis, low, high)
    if high / low <= _WIDEST:
        axes.xaxis.set_major_locator(FixedLocator(_ticks(low, high, axes_width_pt(axes))))
    if noise > 1:
        axes.axvspan(1 / noise, noise, color=theme.band, zorder=0, linewidth=0)
    axes.set_xlabel(f"speedup: {speedups.wide} time / {speedups.narrow} time (log scale)")
    if many:
        axes.tick_params(axis="x", labeltop=True, top=True)
    slower, faster = f"\u2190 {speedups.narrow} slower", f"{speedups.narrow} faster \u2192"
    place: Style = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "annotation_clip": False}
    for text, shift, side in ((slower, -5, "right"), (faster, 5, "left")):
        axes.annotate(
            text, (1, 1), (shift, 18 if many else 4), ha=side, va="bottom", size=SMALL_PT, color=theme.muted, **place,
        )  # fmt: skip


def _drawn(speedup: Ratio, verdict: Verdict | None) -> Ratio:
    """What is drawn of it: no interval without a verdict."""
    return speedup if verdict is not None else Ratio(speedup.value, speedup.value, speedup.value)


def _ticks(low: float, high: float, width_pt: float) -> list[float]:
    """Of `_TICKS` those that have room on a logarithmic axis."""
    kept: list[float] = []
    for tick in _TICKS:
        needed = [(width_of(number(tick), SMALL_PT) + width_of(number(other), SMALL_PT)) / 2 + 5 for other in kept]
        apart = [abs(log(tick / other)) / log(high / low) * width_pt for other in kept]
        if low <= tick <= high and all(a >= b for a, b in zip(apart, needed, strict=True)):
            kept.append(tick)
    return sorted(kept)


def _keys(speedups: Speedups, theme: Theme) -> list[Line2D | Patch]:
    """Of the legend; last the layers without a verdict, of which perhaps none has a mark."""
    marks: list[Line2D | Patch] = []
    for verdict in Verdict:
        look, count = theme.verdict(verdict), speedups.count(verdict)
        if count:
            face: Style = {"markerfacecolor": look.face, "markeredgewidth": 1.2}
            name = f"{verdict.value} ({count})"
            marks.append(Line2D([], [], color=look.color, marker=look.marker, linewidth=1.3, label=name, **face))
    if speedups.noise_ratio is not None and speedups.noise_ratio > 1:
        percent = 100 * (speedups.noise_ratio - 1)
        marks.append(Patch(facecolor=theme.band, label=f"noise between runs, {percent:.2g}%"))
    unknown = speedups.count(None)
    if unknown:
        drawn = any(layer.speedup is not None and layer.verdict is None for layer in speedups.layers)
        square: Style = {"marker": "s" if drawn else "", "markerfacecolor": "none", "linestyle": "none"}
        marks.append(Line2D([], [], color=theme.muted, label=f"{_UNKNOWN} ({unknown})", **square))
    return marks
