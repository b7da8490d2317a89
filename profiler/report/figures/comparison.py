"""Two tables beside each other as a figure: the ratio of each kernel's latencies, from the slowest to the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import OffsetFrom
from matplotlib.ticker import FixedLocator

from profiler.report.content.comparison import ComparedKernel, Comparison, geometric_mean
from profiler.report.figures.style import POINT_IN, SMALL_PT, TEXT_PT, TINY_PT, WIDTH_IN, fit, log_axis, new_figure
from profiler.report.figures.theme import Look, Theme
from profiler.verdict import Verdict

NAMED = 60
"""Up to so many kernels each has a line with its name; of more only the extreme ones are named."""
EXTREMES = 6
"""That are named at either end."""
_CROWDED = 300
"""Kernels from which on their intervals are one area."""
_ROW_IN, _STRIP_IN, _AROUND_IN = 0.16, 4.0, 1.55
_NAME_PT, _NAME_LINE_PT, _LEADER_PT = 215.0, 11.0, 18.0
_MEAN_LINE = (0.0, (5.0, 3.0))
_STEPS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MOST_TICKS, _NARROW = 8, 3.0
"""Up to such a quotient of its ends an axis has ticks at equal distances."""


def draw(comparison: Comparison, theme: Theme) -> Figure:
    """All kernels in one order; of many there are also the kinds of kernels, above."""
    if len(comparison.kernels) <= NAMED:
        rows_in = max(0.6, _ROW_IN * len(comparison.kernels))
        figure = new_figure(rows_in + _AROUND_IN)
        axes = figure.subplots()
        _name_rows(axes, [kernel.label for kernel in comparison.kernels])
        top = axes
    else:
        groups = comparison.groups
        groups_in = _ROW_IN * (len(groups) + 1)
        figure = new_figure(groups_in + _STRIP_IN + _AROUND_IN + 0.1)
        top, axes = figure.subplots(2, 1, sharex=True, height_ratios=(groups_in, _STRIP_IN))
        _groups(top, comparison, theme)
    _ratios(axes, comparison, theme)
    for each in dict.fromkeys((top, axes)):
        _reference(each, comparison, theme)
    _sides(top, theme)
    axes.set_xlabel("latency in B / latency in A (log scale)")
    width_pt = (WIDTH_IN - 0.3) / POINT_IN
    tables = (("A", comparison.a), ("B", comparison.b))
    titles = (fit(f"{name}  {table.title}", width_pt, TEXT_PT) for name, table in tables)
    figure.suptitle("\n".join(titles), x=0.01, ha="left", fontsize=TEXT_PT)
    _legend(figure, comparison, theme)
    return figure


def _ratios(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """A mark and an interval per kernel, the slowest of B on top."""
    kernels = comparison.kernels
    many, crowded = len(kernels) > NAMED, len(kernels) > _CROWDED
    _scale(axes, comparison)
    axes.set_ylim(len(kernels) - 0.2, -0.8)
    if crowded:
        ends = [k.ratio.low for k in kernels], [k.ratio.high for k in kernels]
        axes.fill_betweenx(range(len(kernels)), *ends, color=theme.axes, alpha=0.35, linewidth=0, zorder=2)
    for verdict in Verdict:
        places = [(row, k.ratio) for row, k in enumerate(kernels) if k.verdict is verdict]
        look = _look(theme, verdict)
        if not crowded:
            lines = [((ratio.low, row), (ratio.high, row)) for row, ratio in places]
            width, strength = (0.6, 0.4) if many else (1.3, 1.0)
            axes.add_collection(LineCollection(lines, colors=look.color, linewidths=width, alpha=strength, zorder=2))
        axes.plot(
            [ratio.value for _, ratio in places], [row for row, _ in places], linestyle="none", marker=look.marker,
            color=look.color, markerfacecolor=look.color if look.filled else theme.background,
            markersize=2.4 if crowded else 3.6 if many else 5.0, markeredgewidth=0.8, zorder=3,
        )  # fmt: skip
    axes.spines["left"].set_visible(False)
    if many:
        axes.set_yticks([])
        _name_extremes(axes, kernels, theme)


def _groups(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """Of each kind of kernels the geometric mean, on a line from the least to the greatest ratio."""
    by_name = {name: [k for k in comparison.kernels if k.group == name] for name in comparison.groups}
    ratios = [[k.ratio.value for k in kernels] for kernels in by_name.values()]
    rows = range(len(ratios))
    axes.hlines(rows, [min(r) for r in ratios], [max(r) for r in ratios], color=theme.axes, linewidth=1.3, zorder=2)
    axes.plot([geometric_mean(r) for r in ratios], rows, "D", color=theme.text, markersize=4.2, zorder=3)
    _name_rows(axes, [f"{name} ({len(kernels)})" for name, kernels in by_name.items()])
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.annotate(
        "kinds of kernels: geometric mean, range", (0.0, 1.0), (-3, 4), xycoords="axes fraction",
        textcoords="offset points", ha="right", va="bottom", size=SMALL_PT, color=theme.muted, annotation_clip=False,
    )  # fmt: skip
    axes.tick_params(axis="x", length=0, labelbottom=False)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [fit(name, _NAME_PT, TINY_PT) for name in names], size=TINY_PT)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", linewidth=0.5)


def _name_extremes(axes: Axes, kernels: tuple[ComparedKernel, ...], theme: Theme) -> None:
    """To the left, as far apart as their lines need, with a leader to the place of each."""
    known = [row for row, kernel in enumerate(kernels) if not kernel.once]
    arrow = {"arrowstyle": "-", "color": theme.axes, "linewidth": 0.6, "relpos": (1, 0.5), "shrinkA": 1.5, "shrinkB": 0}
    for top, rows in ((1.0, known[:EXTREMES]), (0.0, known[EXTREMES:][: -EXTREMES - 1 : -1])):
        corner = OffsetFrom(axes.patch, (0.0, top), unit="points")
        for index, row in enumerate(rows):
            away_pt = (index + 0.5) * _NAME_LINE_PT
            axes.annotate(
                fit(kernels[row].label, _NAME_PT, TINY_PT), (0.0, row), (-_LEADER_PT, away_pt * (1 - 2 * top)),
                xycoords=axes.get_yaxis_transform(), textcoords=corner, ha="right", va="center", size=TINY_PT,
                annotation_clip=False, arrowprops=arrow,
            )  # fmt: skip
    said = f"all {len(kernels)} kernels:\nratio and 95% interval" + (",\nat the ends the extreme ones" if known else "")
    _caption(axes, 0.5, said, theme)


def _caption(axes: Axes, height: float, text: str, theme: Theme) -> None:
    """Left of the axes, where the names stand."""
    axes.annotate(
        text, (0.0, height), (-_LEADER_PT, 0), xycoords="axes fraction", textcoords="offset points", ha="right",
        va="center", size=SMALL_PT, color=theme.muted, annotation_clip=False,
    )  # fmt: skip


def _scale(axes: Axes, comparison: Comparison) -> None:
    """All of the intervals and the margin; round values also where the range is narrow."""
    margin = comparison.margin
    low = min(1 / (1 + margin), *(k.ratio.low for k in comparison.kernels))
    high = max(1 + margin, *(k.ratio.high for k in comparison.kernels))
    room = (high / low) ** 0.03
    low, high = low / room, high * room
    log_axis(axes.xaxis, low, high)
    if high / low < _NARROW:
        choices = ([index * step for index in range(ceil(low / step), floor(high / step) + 1)] for step in _STEPS)
        ticks = next((found for found in choices if len(found) <= _MOST_TICKS), None)
        if ticks is not None:
            axes.xaxis.set_major_locator(FixedLocator([round(tick, 4) for tick in ticks]))


def _reference(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    margin = comparison.margin
    axes.axvspan(1 / (1 + margin), 1 + margin, color=theme.band, linewidth=0, zorder=0)
    axes.axvline(1.0, color=theme.muted, linewidth=1.0, zorder=1.5)
    axes.axvline(comparison.geometric_mean.value, color=theme.text, linewidth=1.1, linestyle=_MEAN_LINE, zorder=1.6)


def _sides(axes: Axes, theme: Theme) -> None:
    for text, shift, side in (("\u2190 B faster", -5, "right"), ("B slower \u2192", 5, "left")):
        axes.annotate(
            text, (1, 1), (shift, 4), xycoords=("data", "axes fraction"), textcoords="offset points", ha=side,
            va="bottom", size=SMALL_PT, color=theme.muted, annotation_clip=False,
        )  # fmt: skip


def _look(theme: Theme, verdict: Verdict) -> Look:
    """Its marker points to where it lies: here slower is to the right."""
    look = theme.verdict(verdict)
    turned = {Verdict.SLOWER: ">", Verdict.FASTER: "<"}
    return replace(look, marker=turned.get(verdict, look.marker))


def _legend(figure: Figure, comparison: Comparison, theme: Theme) -> None:
    marks: list[Line2D | Patch] = []
    for verdict in Verdict:
        look, count = _look(theme, verdict), comparison.count(verdict)
        if count:
            mark = Line2D([], [], linestyle="none", color=look.color, label=f"{verdict.value} ({count})")
            mark.set(marker=look.marker, markerfacecolor=look.face)
            marks.append(mark)
    mean = f"geometric mean {comparison.geometric_mean.value:.3f}"
    marks.append(Line2D([], [], color=theme.text, linewidth=1.1, linestyle=_MEAN_LINE, label=mean))
    marks.append(Patch(facecolor=theme.band, label=f"within the margin of {100 * comparison.margin:.3g}%"))
    columns = len(marks) if len(marks) <= 4 else 3
    figure.legend(handles=marks, loc="outside lower center", ncols=columns, handlelength=1.8)
