"""How well the rows of a table were measured: a panel for each thing that is known, over the kernels in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import nan
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from profiler.report.content.health import Health, KernelHealth
from profiler.report.figures.style import SMALL_PT, Style, new_figure, note
from profiler.report.figures.theme import Theme

_PANEL_IN, _REPEATS_IN = 1.15, 1.6
_PAUSE_S = 1800.0
"""Between two kernels: from here on they belong to different sessions."""
_BINS = 24

_Panel = tuple[str, Callable[[KernelHealth], float | None]]
_PANELS: tuple[_Panel, ...] = (
    ("interval\n(+/- %)", lambda k: k.halfwidth_percent),
    ("temperature\n(\u00b0C)", lambda k: k.temperature_c),
    ("load\naverage", lambda k: k.load),
    ("power capped\n(% of time)", lambda k: None if not k.power_capped_fraction else 100 * k.power_capped_fraction),
    ("discarded\n(samples)", lambda k: k.discarded or None),
)
"""Without the clock, which is a range. The last two show only what is not zero."""
_LINES = frozenset({"temperature\n(\u00b0C)", "load\naverage"})


def draw(health: Health, theme: Theme) -> Figure:
    """Only panels for which there are data."""
    kernels = health.kernels
    clocks = any(kernel.clock_mhz_low is not None and kernel.clock_mhz_high is not None for kernel in kernels)
    panels = [panel for panel in _PANELS if any(panel[1](kernel) is not None for kernel in kernels)]
    rows = len(panels) + clocks
    repeats = bool(health.repeats_percent)
    figure = new_figure(max(1.0, _PANEL_IN * rows + (0.45 if rows else 0) + (_REPEATS_IN + 0.3) * repeats))
    if not rows and not repeats:
        note(figure.subplots(), theme, "nothing is known of how the rows were measured")
        return figure
    parts = figure.subfigures(2 if rows and repeats else 1, 1, height_ratios=_heights(rows, repeats), squeeze=False)[
        :, 0
    ]
    for part in parts:
        part.set_facecolor("none")
    if rows:
        column = parts[0].subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        if clocks:
            _clock(column[0], kernels, theme)
        for axes, panel in zip(column[clocks:], panels, strict=True):
            _values(axes, kernels, panel, theme)
        for axes in column:
            _pauses(axes, kernels, theme)
        column[-1].set_xlim(0.5, len(kernels) + 0.5)
        column[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9, min_n_ticks=1))
        column[-1].set_xlabel(f"kernels in the order in which they were measured{_duration(kernels)}")
        parts[0].align_ylabels(column)
    if repeats:
        _repeats(parts[-1].subplots(), health.repeats_percent, theme)
    return figure


def _heights(rows: int, repeats: bool) -> tuple[float, ...]:
    panels = _PANEL_IN * rows + 0.45
    return (panels, _REPEATS_IN + 0.3) if rows and repeats else (1.0,)


def _clock(axes: Axes, kernels: Sequence[KernelHealth], theme: Theme) -> None:
    """Ranges as one path; a dot where both ends are one."""
    known = [
        (place, k.clock_mhz_low, k.clock_mhz_high)
        for place, k in enumerate(kernels, start=1)
        if k.clock_mhz_low is not None and k.clock_mhz_high is not None
    ]
    across = [x for place, _, _ in known for x in (place, place, nan)]
    up = [y for _, low, high in known for y in (low, high, nan)]
    width = max(1.0, min(4.0, 300 / len(kernels)))
    axes.plot(across, up, color=theme.main.color, linewidth=width, solid_capstyle="projecting", label="clock")
    still = [(place, low) for place, low, high in known if low == high]
    axes.plot(
        [p for p, _ in still], [low for _, low in still], "s", color=theme.main.color, markersize=width, label="_"
    )
    _room(axes, [low for _, low, _ in known], [high for _, _, high in known])
    axes.set_ylabel("clock\n(MHz)")
    axes.grid(axis="y")


def _values(axes: Axes, kernels: Sequence[KernelHealth], panel: _Panel, theme: Theme) -> None:
    name, value = panel
    known = [(place, found) for place, k in enumerate(kernels, start=1) if (found := value(k)) is not None]
    places, values = [place for place, _ in known], [found for _, found in known]
    if name in _LINES:
        style: Style = {"marker": ".", "markersize": 3, "linewidth": 0.9}
        axes.plot(places, values, color=theme.main.color, label=name, **style)
    else:
        axes.plot(places, values, "o", color=theme.main.color, markersize=3.2, label=name, clip_on=False)
    if name.startswith("temperature"):
        _room(axes, values, values)
    else:
        axes.set_ylim(0, max(values) * 1.15 or 1.0)
    if name.startswith("interval"):
        middle = median(values)
        axes.axhline(middle, color=theme.accent.color, linewidth=1.0, linestyle=(0, (4, 2)))
        place: Style = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate(
            f"dashed: median {middle:.2g}%",
            (1, 1),
            (0, 1),
            ha="right",
            va="bottom",
            size=SMALL_PT,
            color=theme.accent.color,
            **place,
        )
    axes.set_ylabel(name)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=name.startswith("discarded")))
    axes.grid(axis="y")


def _room(axes: Axes, lows: Sequence[float], highs: Sequence[float]) -> None:
    """Not from zero: a change is to be seen, but not one of less than a percent."""
    low, high = min(lows), max(highs)
    around = max(0.08 * (high - low), 0.01 * abs(high), 1e-9)
    axes.set_ylim(low - around, high + around)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))


def _pauses(axes: Axes, kernels: Sequence[KernelHealth], theme: Theme) -> None:
    for place, (before, after) in enumerate(pairwise(kernels), start=1):
        if after.measured_at - before.measured_at > _PAUSE_S:
            axes.axvline(place + 0.5, color=theme.muted, linewidth=0.8, linestyle=(0, (1, 2)), label="_pause")


def _duration(kernels: Sequence[KernelHealth]) -> str:
    pauses = sum(b.measured_at - a.measured_at > _PAUSE_S for a, b in pairwise(kernels))
    return f" (dotted: a pause of more than {_PAUSE_S / 60:.0f} minutes)" if pauses else ""


def _repeats(axes: Axes, repeats: Sequence[float], theme: Theme) -> None:
    bins = min(_BINS, max(1, len(set(repeats))))
    axes.hist(repeats, bins=bins, color=theme.main.color, edgecolor=theme.background, linewidth=0.6, label="repeats")
    if min(repeats) < 0:
        axes.axvline(0, color=theme.muted, linewidth=1.0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.set_ylabel("kernels")
    axes.set_xlabel("difference between two runs of a kernel (% of their mean)")
    axes.set_title(f"{len(repeats):,} kernel{'s' if len(repeats) > 1 else ''} measured twice", size=SMALL_PT)
