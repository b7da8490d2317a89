"""How the search of schedule configs went: the best so far after each trial, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, inf, isfinite, log10, nan
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from profiler.report.content.tuning import Search, TuningHistory
from profiler.report.figures.labels import Box, around, beside
from profiler.report.figures.style import (
    SMALL_PT,
    TINY_PT,
    Style,
    fit,
    fit_layer,
    new_figure,
    note,
    number,
    pixels_per_point,
    width_of,
)
from profiler.report.figures.theme import Look, Theme

_MAIN_IN, _BAR_IN = 3.5, 0.27
_KIND_PT = 200.0
_MOST_KINDS = 8
_MARKS_PERCENT = (
    1,
    2,
    3,
    5,
    10,
    20,
    30,
    50,
    100,
    200,
    300,
    500,
    1e3,
    2e3,
    5e3,
    *(10.0**power for power in range(4, 16)),
)
"""What may be labelled above the best."""
_LINEAR_PERCENT = 5.0
"""Up to here the scale is linear, above it is logarithmic: most of a search goes on close to its end."""
_NEAR = 1.01
"""Of the best: the search is as good as done."""
_MOST_NAMES, _NAME_PT = 3, 120.0


def draw(history: TuningHistory, theme: Theme) -> Figure:
    """Searches above, failures below."""
    kinds = _kinds(history)
    bars_in = 0.15 + _BAR_IN * max(1, len(kinds))
    figure = new_figure(_MAIN_IN + bars_in + (0.75 if kinds else 0.2))
    upper, lower = figure.subplots(2, 1, height_ratios=(_MAIN_IN, bars_in))
    worked = [search for search in history.searches if any(best is not None for best in search.best_s)]
    legend = _searches(upper, worked, theme) if worked else None
    if legend is None:
        note(upper, theme, "no candidate of any search worked")
    nothing = len(history.searches) - len(worked)
    if nothing and worked:
        upper.set_title(f"without {nothing} of {len(history.searches)} searches that found nothing", size=SMALL_PT)
    if kinds:
        _failures(lower, history, kinds, theme)
    else:
        note(lower, theme, "no candidate failed")
    if legend is not None:
        figure.draw_without_rendering()  # from here on it is known where everything lies
        _name_late(upper, legend, worked, theme)
    return figure


def _searches(axes: Axes, searches: Sequence[Search], theme: Theme) -> Legend:
    """Returns the legend, which lies within the axes."""
    precisions = sorted({search.precision for search in searches}, key=[s.precision for s in searches].index)
    precisions.sort(key=lambda name: (name != "INT8", name != "INT4"))
    trials = max(len(search.best_s) for search in searches)
    worst = max(_percent(ratio) for search in searches for ratio in search.relative if ratio is not None)
    dot = "o" if trials == 1 else ""  # a line of one point would not be seen
    for name, look in zip(precisions, theme.precisions_of(precisions), strict=True):
        mine = [search for search in searches if search.precision == name]
        _thin(axes, mine, look, len(searches))
        count = f"median of {len(mine)} searches" if len(mine) > 1 else "one search"
        label = f"{fit(name, 90, SMALL_PT)}: {count}"
        style: Style = {"color": look.color, "linestyle": look.line, "linewidth": 2.4, "drawstyle": "steps-post"}
        middle = [_percent(ratio) for ratio in _median(mine, trials)]
        axes.plot(range(1, trials + 1), middle, label=label, zorder=3, marker=dot, **style)
    _scales(axes, trials, worst)
    handles, _ = axes.get_legend_handles_labels()
    if len(searches) > len(precisions):
        handles.append(Line2D([], [], color=theme.muted, linewidth=0.6, label="thin: each search"))
    if _late(searches):
        dot_: Style = {"marker": "o", "markersize": 3, "linestyle": "none"}
        handles.append(Line2D([], [], color=theme.muted, label=f"last to come within {_percent(_NEAR):.0f}%", **dot_))
    ground: Style = {"frameon": True, "facecolor": theme.background, "edgecolor": "none", "framealpha": 1.0}
    return axes.legend(handles=handles, loc="upper right", borderaxespad=0.4, handlelength=2.6, **ground)


def _percent(ratio: float) -> float:
    """Above the best."""
    return 100 * (ratio - 1)


def _scales(axes: Axes, trials: int, worst: float) -> None:
    """As high as what the searches show, in percent."""
    top = max(worst * 1.05, 2.0)
    logarithmic = top > _LINEAR_PERCENT
    if logarithmic:
        axes.set_yscale("symlog", linthresh=_LINEAR_PERCENT, linscale=0.9)
        marks = _thinned([mark for mark in _MARKS_PERCENT if mark <= top], top)
    else:
        marks = [mark for mark in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, top) if 0 < mark <= top]
    axes.set_ylim(-0.02 * min(top, _LINEAR_PERCENT), top)
    axes.yaxis.set_major_locator(FixedLocator([0.0, *marks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda percent, _: f"{number(float(f'{percent:.6g}'))}%"))
    beyond = f", log scale above {_LINEAR_PERCENT:g}%" if logarithmic else ""
    axes.set_ylabel(f"above the best found{beyond}")
    step = next((step for step in (1, 2, 4, 5, 8, 10, 20, 25, 50) if trials <= 9 * step), -(-trials // 9))
    axes.xaxis.set_major_locator(FixedLocator([1, *(at for at in range(step, trials + 1, step) if at > 1)]))
    axes.set_xlim(*((1, trials) if trials > 1 else (0.5, 1.5)))
    axes.grid(axis="y")
    axes.set_xlabel("trials done")


def _height(percent: float) -> float:
    """On the scale, as `matplotlib` has it, in units of the linear part."""
    linear = 0.9 / (1 - 1 / 10)
    return (
        percent / _LINEAR_PERCENT * linear if percent <= _LINEAR_PERCENT else linear + log10(percent / _LINEAR_PERCENT)
    )


def _thinned(marks: Sequence[float], top: float) -> list[float]:
    """As far apart as labels must be."""
    kept, last = [], 0.0
    for mark in marks:
        if _height(mark) - _height(last) >= 0.07 * _height(top):
            kept.append(mark)
            last = mark
    return kept


def _thin(axes: Axes, searches: Sequence[Search], look: Look, all_searches: int) -> None:
    """All searches as one path, of which only the corners are kept. What a trial leaves holds until the next."""
    across: list[float] = []
    up: list[float] = []
    for search in searches:
        last = nan
        for trial, ratio in enumerate(search.relative, start=1):
            if ratio is not None and (ratio != last or trial == len(search.best_s)):
                if isfinite(last):
                    across.append(trial)
                    up.append(_percent(last))
                across.append(trial)
                up.append(_percent(ratio))
                last = ratio
        across.append(nan)
        up.append(nan)
    alpha = 0.6 if all_searches <= 20 else 0.35
    axes.plot(across, up, color=look.color, linewidth=0.6, alpha=alpha, label=f"_searches {searches[0].precision}")


def _late(searches: Sequence[Search]) -> list[tuple[Search, int, float]]:
    """The searches that took longest to come near their best: the trial that did it, and the percentage before it."""
    found = []
    for search in searches:
        ratios = search.relative
        near = next(at for at, ratio in enumerate(ratios) if ratio is not None and ratio <= _NEAR)
        before = ratios[near - 1] if near else None
        if before is not None:
            found.append((search, near + 1, _percent(before)))
    found.sort(key=lambda late: (-late[1], -late[2], late[0].kernel))
    return found[:_MOST_NAMES]


def _name_late(axes: Axes, legend: Legend, searches: Sequence[Search], theme: Theme) -> None:
    """At the corners of their lines, where there is room. To be called when everything else has its place."""
    pixels = pixels_per_point(axes)
    late = _late(searches)
    corners = [
        (float(x) / pixels, float(y) / pixels) for x, y in (axes.transData.transform(late_[1:]) for late_ in late)
    ]
    names = [_name(search) for search, _, _ in late]
    area = axes.get_window_extent()
    inside = Box(*(float(end) / pixels for end in (area.x0, area.y0, area.x1, area.y1)))
    texts = [Box(*(float(end) / pixels for end in legend.get_window_extent().extents))]
    floor = Box(inside.left, inside.bottom, inside.right, inside.bottom + 8)
    sizes = [(width_of(name, TINY_PT) + 2, TINY_PT * 1.3) for name in names]
    places = beside(corners, sizes, [*texts, floor], [around(*corner, 1.5) for corner in corners], inside, 5.0)
    ground = {"facecolor": theme.background, "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
    for (_, trial, percent), name, (x, y), box in zip(late, names, corners, places, strict=True):
        axes.plot([trial], [percent], "o", color=theme.muted, markersize=3, label="_late", zorder=3.5)
        if box is None:
            continue
        shift = ((box.left + box.right) / 2 - x, (box.bottom + box.top) / 2 - y)
        text: Style = {
            "ha": "center",
            "va": "center",
            "size": TINY_PT,
            "color": theme.muted,
            "bbox": ground,
            "zorder": 4,
        }
        axes.annotate(name, (trial, percent), shift, textcoords="offset points", **text)
        end_x, end_y = box.nearest(x, y)
        if hypot(end_x - x, end_y - y) > 8:
            arrow = {"arrowstyle": "-", "color": theme.muted, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
            where = (end_x - x, end_y - y)
            axes.annotate("", (trial, percent), where, textcoords="offset points", arrowprops=arrow, zorder=3.5)


def _name(search: Search) -> str:
    names = search.layers or (search.kernel,)
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{fit_layer(names[0], _NAME_PT, TINY_PT)}{more}, {fit(search.precision, 60, TINY_PT)}"


def _median(searches: Sequence[Search], trials: int) -> list[float]:
    """After each trial, in units of the best of each search; nan while half of them have nothing yet. A search that has
    ended stays at its best."""
    middles = []
    for trial in range(trials):
        ratios = []
        for search in searches:
            ratio = search.relative[trial] if trial < len(search.best_s) else 1.0
            ratios.append(inf if ratio is None else ratio)
        middle = median(ratios)
        middles.append(middle if isfinite(middle) else nan)
    return middles


def _kinds(history: TuningHistory) -> list[tuple[str, int]]:
    """The rarest ones together."""
    kinds = [(kind, count) for kind, count in history.failures if count]
    if len(kinds) <= _MOST_KINDS:
        return kinds
    rest = kinds[_MOST_KINDS - 1 :]
    return [*kinds[: _MOST_KINDS - 1], (f"{len(rest)} other kinds", sum(count for _, count in rest))]


def _failures(axes: Axes, history: TuningHistory, kinds: Sequence[tuple[str, int]], theme: Theme) -> None:
    rows, counts = range(len(kinds)), [count for _, count in kinds]
    axes.barh(rows, counts, height=0.62, color=theme.axes, label="failures")
    for row, (kind, count) in zip(rows, kinds, strict=True):
        text = f"{count:,}  {fit(kind, _KIND_PT, SMALL_PT)}"
        axes.annotate(text, (count, row), (5, 0), textcoords="offset points", va="center", size=SMALL_PT)
    axes.set_yticks([])
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.set_xlim(0, max(counts) * 1.9)  # names stand behind the bars
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title(f"failed trials by kind, of {history.trials:,}", size=SMALL_PT)
