"""Images a second over batch with the knee marked, and the latency of a batch beside it; below, per watt, and watts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2, nan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from profiler.report.content.throughput import AtBatch, ThroughputCurve, ThroughputCurves
from profiler.report.figures.style import (
    INNER_PT,
    SMALL_PT,
    Style,
    duration_unit,
    fit,
    legend_columns,
    log_axis,
    new_figure,
    note,
    number,
    plain_ticks,
)
from profiler.report.figures.theme import Look, Theme

_ROW_IN, _KEYS_IN = 2.9, 0.2
_NAME_PT = 110.0
_MOST_BATCHES = 9
"""Labels of an axis."""
_AROUND = 1.25


def draw(found: ThroughputCurves, theme: Theme) -> Figure:
    """A curve of sums has hollow marks; a ring in the colour of the text is its knee."""
    looks = theme.precisions_of([curve.kind for curve in found.curves])
    keys = _keys(found.curves, looks, theme)
    columns = legend_columns([str(key.get_label()) for key in keys], INNER_PT, 44)
    rows = 2 if found.has_energy else 1
    figure = new_figure(_ROW_IN * rows + _KEYS_IN * -(-len(keys) // columns))
    grid = figure.subplots(rows, 2, squeeze=False)
    rate, latency = grid[0]
    _plot(rate, found, looks, theme, lambda point: point.images_per_s, _rate_ends)
    _knees(rate, found, theme)
    rate.set_ylabel("images/s")
    _from_zero(rate)
    factor, unit = duration_unit(max((p.latency.latency_s for c in found.curves for p in c.points), default=1.0))
    _plot(
        latency, found, looks, theme, lambda point: point.latency.latency_s / factor, lambda point: _ends(point, factor)
    )
    latency.set_ylabel(f"latency of a batch ({unit}, log scale)")
    _log(latency, [end for curve in found.curves for point in curve.points for end in _ends(point, factor)])
    if rows == 2:
        per_watt, power = grid[1]
        _plot(per_watt, found, looks, theme, lambda point: point.images_per_j)
        per_watt.set_ylabel("images/s per watt")
        _from_zero(per_watt)
        _plot(power, found, looks, theme, lambda point: point.power_w)
        power.set_ylabel("mean power (W)")
        _from_zero(power)
    for axes in grid.flat:
        _batches(axes, found)
    if not found.curves:
        note(rate, theme, "no throughput is known")
    if keys:
        place: Style = {"loc": "outside upper left", "borderaxespad": 0.3, "handlelength": 2.6}
        figure.legend(handles=keys, ncols=columns, **place)
    return figure


def _plot(
    axes: Axes,
    found: ThroughputCurves,
    looks: Sequence[Look],
    theme: Theme,
    value: Callable[[AtBatch], float | None],
    ends: Callable[[AtBatch], tuple[float, float]] | None = None,
) -> None:
    axes.grid(axis="y")
    for curve, look in zip(found.curves, looks, strict=True):
        known = [(point, y) for point in curve.points if (y := value(point)) is not None]
        if not known:
            continue
        face = look.color if curve.end_to_end else theme.background
        style: Style = {"color": look.color, "linestyle": look.line, "marker": look.marker, "markerfacecolor": face}
        axes.plot([point.batch for point, _ in known], [y for _, y in known], label=curve.name, zorder=2, **style)
        if ends is not None:
            across = [x for point, _ in known for x in (point.batch, point.batch, nan)]
            up = [y for point, _ in known for y in (*ends(point), nan)]
            axes.plot(across, up, color=look.color, linewidth=1.0, label="_intervals", zorder=1.5)


def _rate_ends(point: AtBatch) -> tuple[float, float]:
    return point.low, point.high


def _ends(point: AtBatch, factor: float) -> tuple[float, float]:
    return point.latency.low_s / factor, point.latency.high_s / factor


def _knees(axes: Axes, found: ThroughputCurves, theme: Theme) -> None:
    for curve in found.curves:
        for point in curve.points:
            if point.batch == curve.knee.batch:
                ring: Style = {"markerfacecolor": "none", "markeredgecolor": theme.text, "markeredgewidth": 1.2}
                axes.plot([point.batch], [point.images_per_s], "o", markersize=12, label="_knee", zorder=3, **ring)


def _from_zero(axes: Axes) -> None:
    top = axes.dataLim.y1
    axes.set_ylim(0, 1.1 * top if top > 0 else 1.0)
    plain_ticks(axes.yaxis)


def _log(axes: Axes, ends: Sequence[float]) -> None:
    if ends:
        log_axis(axes.yaxis, min(ends) / _AROUND, max(ends) * _AROUND)


def _batches(axes: Axes, found: ThroughputCurves) -> None:
    """A logarithmic axis with the batches that were measured, as many as there is room for."""
    batches = sorted({point.batch for curve in found.curves for point in curve.points}) or [1]
    axes.set_xscale("log", base=2)
    axes.set_xlim(batches[0] / _AROUND, batches[-1] * _AROUND)
    apart = log2(batches[-1] * _AROUND**2 / batches[0]) / _MOST_BATCHES
    shown: list[int] = []
    for batch in batches:
        if not shown or log2(batch / shown[-1]) >= apart:
            shown.append(batch)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("batch (images, log scale)")


def _keys(curves: Sequence[ThroughputCurve], looks: Sequence[Look], theme: Theme) -> list[Line2D]:
    keys = []
    for curve, look in zip(curves, looks, strict=True):
        face = look.color if curve.end_to_end else theme.background
        name = fit(curve.name, _NAME_PT, SMALL_PT)
        keys.append(
            Line2D(
                [], [], color=look.color, linestyle=look.line, marker=look.marker, markerfacecolor=face,
                label=": ".join(filter(None, (f"{name}, {curve.source}", curve.knee.short))),
            )
        )  # fmt: skip
    if any(curve.knee.batch is not None for curve in curves):
        ring: Style = {"markerfacecolor": "none", "markeredgecolor": theme.text, "markeredgewidth": 1.2}
        share = curves[0].knee.share
        keys.append(
            Line2D([], [], linestyle="none", marker="o", markersize=10, label=f"knee: {share:.0%} of the best", **ring)
        )
    return keys
