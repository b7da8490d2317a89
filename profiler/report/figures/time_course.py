"""Where the time of a network goes: its course over the layers, and the shares of the kinds of kernel."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation

from profiler.report.content.time_course import Course, TimeCourses, Work
from profiler.report.figures.labels import spread
from profiler.report.figures.style import (
    INNER_PT,
    POINT_IN,
    SMALL_PT,
    TINY_PT,
    Style,
    duration_unit,
    fit,
    fit_layer,
    ink_on,
    legend_columns,
    new_figure,
    pixels_per_point,
    width_of,
    wrap,
)
from profiler.report.figures.theme import Look, Theme
from profiler.units import format_duration

_MOST_NAMES = 40
_LAYER_PT, _COURSE_PT = 120.0, 90.0
"""The most that a layer's and a network's name may take."""
_COURSE_IN, _BAR_IN = 2.4, 0.34
_VISIBLE = 0.005
"""A part of a bar that can be seen, of the longest bar."""
_BESIDE_PT, _LED_PT = 7.0, 20.0
"""How far behind the end of a line its label stands, and where a line leads to it."""
_LEADS_PT = 3.0
"""What a label is moved at least for a line to lead to it."""
_KEYS_PT = 330.0


def draw(courses: TimeCourses, theme: Theme) -> Figure:
    """Courses above, shares below."""
    layers = [fit_layer(name, _LAYER_PT, TINY_PT) for name in courses.layers]
    longest_in = max((width_of(name, TINY_PT) for name in layers), default=0.0) * POINT_IN
    bars_in = 0.2 + _BAR_IN * max(1, len(courses.courses))
    looks = _looks(courses, theme)
    keys = _keys(courses, looks)
    columns = legend_columns([str(key.get_label()) for key in keys], _KEYS_PT, 42)
    keys_in = 0.05 + 0.18 * -(-len(keys) // columns)
    small = _invisible(courses)
    figure = new_figure(keys_in + _COURSE_IN + longest_in + bars_in + 1.15 + (0.2 if small else 0))
    upper, lower = figure.subplots(2, 1, height_ratios=(_COURSE_IN, bars_in))
    scale = duration_unit(max([0.0, *(course.total_s for course in courses.courses)]))
    ends = _cumulative(upper, courses, layers, looks, scale)
    place: Style = {"loc": "lower left", "bbox_to_anchor": (0, 1.02), "ncols": columns}
    upper.legend(handles=keys, handlelength=2.6, **place)
    parts = _shares(lower, courses, theme, scale)
    if small:
        said = f"{', '.join(work.value for work in small)}: below {100 * _VISIBLE:g}% of the longest bar"
        said = wrap(said, INNER_PT, TINY_PT, 2)
        figure.supxlabel(said, x=0.01, ha="left", size=TINY_PT, color=theme.muted)
    figure.draw_without_rendering()  # from here on it is known where lines end and how wide parts are
    _part(upper, ends, theme)
    _name(lower, parts)
    return figure


def _looks(courses: TimeCourses, theme: Theme) -> tuple[Look, ...]:
    """A network that is not named for a precision is a mixed one."""
    known = {name for name, _ in theme.precisions}
    names = [_lines(course, courses)[0].upper() for course in courses.courses]
    mixed = next((name for name in names if name not in known), None)
    return theme.precisions_of(["mixed" if name == mixed else name for name in names])


def _keys(courses: TimeCourses, looks: Sequence[Look]) -> list[Line2D]:
    """What the lines are like, so that one can be told where it lies on another."""
    return [
        Line2D(
            [], [], color=look.color, linestyle=look.line, linewidth=1.8, marker=look.marker, markersize=4.5,
            label=fit(_lines(course, courses)[0], _COURSE_PT, SMALL_PT),
        )
        for course, look in zip(courses.courses, looks, strict=True)
    ]  # fmt: skip


def _invisible(courses: TimeCourses) -> list[Work]:
    """Kinds of which no bar shows anything."""
    longest_s = max([0.0, *(course.total_s for course in courses.courses)])
    most = {work: max([0.0, *(course.of(work) for course in courses.courses)]) for work in Work}
    return [work for work, most_s in most.items() if 0 < most_s < _VISIBLE * longest_s]


def _lines(course: Course, courses: TimeCourses) -> list[str]:
    """The name of a network, and below it how much of it there is, if not all."""
    name, part, rest = course.name.partition(" (")
    count = len(courses.layers)
    without = f"({count - len(course.unpriced)} of {count} layers)"
    return [name, f"({rest}"] if part else [name, without] if course.unpriced else [name]


def _cumulative(
    axes: Axes, courses: TimeCourses, layers: list[str], looks: Sequence[Look], scale: tuple[float, str]
) -> list[Annotation]:
    """A step above each layer's name, as high as the layer takes. Returns the labels at the ends of the lines."""
    factor, unit = scale
    count = len(courses.layers)
    labels = []
    edges = [0.0, *(place + 0.5 for place in range(count)), count]
    axes.grid(axis="y")
    for course, look in zip(courses.courses, looks, strict=True):
        ends = [0.0, *(end / factor for end in course.until(count))]
        line: Style = {"color": look.color, "linestyle": look.line, "linewidth": 1.8}
        axes.plot(edges, [*ends, ends[-1]], drawstyle="steps-post", label=course.name, **line)
        name, *rest = _lines(course, courses)
        taken = format_duration(course.total_s)
        name = fit(name, _COURSE_PT - width_of(f": {taken}", SMALL_PT), SMALL_PT)
        text = "\n".join([f"{name}: {taken}", *(fit(line, _COURSE_PT, SMALL_PT) for line in rest)])
        place: Style = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "annotation_clip": False}
        labels.append(
            axes.annotate(text, (1, ends[-1]), (_LED_PT, 0), va="center", size=SMALL_PT, linespacing=1.1, **place)
        )
        axes.plot([count], ends[-1:], look.marker, color=look.color, markersize=4.5, clip_on=False)
    axes.set(xlim=(0, max(1, count)), ylim=(0, None if any(c.total_s for c in courses.courses) else 1))
    shown = _named(courses)
    axes.set_xticks([place + 0.5 for place in shown], [layers[place] for place in shown], rotation=90, size=TINY_PT)
    axes.tick_params(axis="x", length=2.5)
    axes.set_ylabel(f"time from the start ({unit})")
    return labels


def _named(courses: TimeCourses) -> list[int]:
    """The layers whose names are shown: all, or those that take the most time, as far apart as names must be."""
    count = len(courses.layers)
    cost = [0.0] * count
    for course in courses.courses:
        for kernel in course.kernels:
            cost[kernel.place] += kernel.latency_s
    chosen: list[int] = []
    for place in sorted(range(count), key=lambda place: (-cost[place], place)):
        if all(abs(place - other) >= count / _MOST_NAMES for other in chosen):
            chosen.append(place)
    return sorted(chosen)


def _part(axes: Axes, labels: Sequence[Annotation], theme: Theme) -> None:
    """Labels at the ends of lines, moved apart where they would touch, and not above the axes. A line leads to one that
    was moved."""
    pixels = pixels_per_point(axes)
    at = [axes.transData.transform((0, label.xy[1]))[1] / pixels for label in labels]
    lines = max((label.get_text().count("\n") + 1 for label in labels), default=1)
    gap = (1.25 * lines + 0.3) * SMALL_PT
    top = axes.get_window_extent().y1 / pixels
    shifts = [moved - wanted for moved, wanted in zip(spread(at, gap, top), at, strict=True)]
    led = any(abs(shift) > _LEADS_PT for shift in shifts)
    for label, shift in zip(labels, shifts, strict=True):
        label.set_position((_LED_PT if led else _BESIDE_PT, shift))
        if abs(shift) > _LEADS_PT:
            arrow = {"arrowstyle": "-", "color": theme.muted, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
            place: Style = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
            axes.annotate("", label.xy, (_LED_PT - 2, shift), arrowprops=arrow, annotation_clip=False, **place)


def _shares(
    axes: Axes, courses: TimeCourses, theme: Theme, scale: tuple[float, str]
) -> list[tuple[float, float, float, str]]:
    """Stacked bars. Returns the parts that a label may stand in: row, start, width, colour."""
    factor, unit = scale
    rows = range(len(courses.courses))
    starts = [0.0 for _ in rows]
    parts: list[tuple[float, float, float, str]] = []
    legend, small = [], _invisible(courses)
    for work in Work:
        widths = [course.of(work) / factor for course in courses.courses]
        if not any(widths):
            continue
        look, shown = theme.work(work), work not in small
        axes.barh(
            rows, widths, left=starts, height=0.72, color=look.color, hatch=look.hatch, edgecolor=theme.background,
            linewidth=0.8, label=work.value,
        )  # fmt: skip
        if shown:
            legend.append(Patch(facecolor=look.color, hatch=look.hatch, edgecolor=theme.background, label=work.value))
        parts += [(row, start, width, look.color) for row, start, width in zip(rows, starts, widths, strict=True)]
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    for row, end, course in zip(rows, starts, courses.courses, strict=True):
        axes.annotate(
            format_duration(course.total_s), (end, row), (5, 0), textcoords="offset points", va="center", size=SMALL_PT
        )
    names = ["\n".join(fit(line, _COURSE_PT, SMALL_PT) for line in _lines(c, courses)) for c in courses.courses]
    axes.set_yticks(rows, names, linespacing=1.05)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(1, len(courses.courses)) - 0.5, -0.5)
    axes.set_xlim(0, max([*starts, 0.0]) * 1.13 or 1.0)
    axes.set_xlabel(f"time ({unit}), by kind of kernel")
    if legend:
        place: Style = {"loc": "lower left", "bbox_to_anchor": (0, 1.02), "ncols": len(legend)}
        axes.legend(handles=legend, handlelength=1.3, handleheight=0.9, columnspacing=1.1, **place)
    return parts


def _name(axes: Axes, parts: Sequence[tuple[float, float, float, str]]) -> None:
    """The share of each part that it fits in."""
    totals: dict[float, float] = {}
    for row, _, width, _ in parts:
        totals[row] = totals.get(row, 0.0) + width
    pixels = pixels_per_point(axes)
    for row, start, width, color in parts:
        text = f"{100 * width / totals[row]:.0f}%" if width else ""
        left, right = (axes.transData.transform((x, row))[0] / pixels for x in (start, start + width))
        if text and right - left > width_of(text, SMALL_PT) + 6:
            ground = {"facecolor": color, "edgecolor": "none", "pad": 1.0}
            axes.text(
                start + width / 2, row, text, ha="center", va="center", size=SMALL_PT, color=ink_on(color), bbox=ground
            )
