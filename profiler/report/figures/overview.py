"""How much faster each layer is in each of several precisions: a group of bars per layer, in the network's order."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from profiler.report.content.overview import TOTAL, Overview
from profiler.report.figures.style import (
    INNER_PT,
    POINT_IN,
    SMALL_PT,
    TINY_PT,
    WIDTH_IN,
    Style,
    fit_layer,
    legend_columns,
    log_axis,
    new_canvas,
    width_of,
)
from profiler.report.figures.theme import Theme
from profiler.verdict import Ratio

_BAR_IN, _GAP_IN = 0.085, 0.09
_ABOVE_IN, _BELOW_IN, _MARGIN_IN = 0.5, 0.5, 0.1
_NAMES_PT = 132.0
_AROUND = 1.06
_MISSING = "no row"


def draw(overview: Overview, theme: Theme) -> Figure:
    """The height grows with the layers and the precisions. A bar starts at 1, where nothing is gained; its whisker is
    the 95% interval."""
    names = [*overview.layers, TOTAL]
    rows = [*(overview.ratios(place) for place in range(len(overview.layers))), overview.totals]
    group_in = len(overview.narrow) * _BAR_IN + _GAP_IN
    height = _ABOVE_IN + group_in * len(rows) + _BELOW_IN
    labels = [fit_layer(name, _NAMES_PT, SMALL_PT) for name in names]
    left = _MARGIN_IN + (max(width_of(label, SMALL_PT) for label in labels) + 8) * POINT_IN
    figure = new_canvas(height)
    inner = (
        left / WIDTH_IN,
        _BELOW_IN / height,
        1 - (left + 2 * _MARGIN_IN) / WIDTH_IN,
        1 - (_ABOVE_IN + _BELOW_IN) / height,
    )
    axes = figure.add_axes(inner)
    axes.set_ylim(group_in * len(rows), 0)
    axes.set_yticks([group_in * (row + 0.5) for row in range(len(rows))], labels=labels, size=SMALL_PT)
    axes.tick_params(axis="y", length=0)
    axes.axhline(group_in * (len(rows) - 1), color=theme.axes, linewidth=0.8)
    _scale(axes, overview, rows)
    looks = theme.precisions_of(overview.narrow)
    for row, ratios in enumerate(rows):
        for place, (ratio, look) in enumerate(zip(ratios, looks, strict=True)):
            middle = group_in * row + _GAP_IN / 2 + _BAR_IN * (place + 0.5)
            _bar(axes, ratio, middle, look.color, theme)
    axes.axvline(1, color=theme.muted, linewidth=1.0, zorder=3)
    keys = [Patch(facecolor=look.color, label=name) for name, look in zip(overview.narrow, looks, strict=True)]
    columns = legend_columns(list(overview.narrow), INNER_PT, 32)
    place_of: Style = {"loc": "upper left", "bbox_to_anchor": (_MARGIN_IN / WIDTH_IN, 1 - 0.08 / height)}
    figure.legend(handles=keys, ncols=columns, handlelength=1.5, **place_of)
    return figure


def _bar(axes: Axes, ratio: Ratio | None, middle: float, color: str, theme: Theme) -> None:
    if ratio is None:
        place: Style = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(_MISSING, (1, middle), size=TINY_PT, color=theme.muted, **place)
        return
    axes.barh(middle, ratio.value - 1, left=1, height=0.85 * _BAR_IN, color=color, linewidth=0, zorder=2)
    axes.hlines(middle, ratio.low, ratio.high, color=theme.text, linewidth=0.7, zorder=2.5)


def _scale(axes: Axes, overview: Overview, rows: list[tuple[Ratio | None, ...]]) -> None:
    """From the values; an interval may end beyond them, but not press them together."""
    found = [ratio for ratios in rows for ratio in ratios if ratio is not None]
    low, high = min([1.0, *(r.value for r in found)]), max([1.0, *(r.value for r in found)])
    low, high = max(min([low, *(r.low for r in found)]), low / 2), min(max([high, *(r.high for r in found)]), high * 2)
    log_axis(axes.xaxis, min(0.8, low / _AROUND), max(1.25, high * _AROUND))
    axes.set_xlabel(f"speedup: {overview.wide} time / time in that precision (log scale)")
