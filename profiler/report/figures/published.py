"""What others published beside what this table says of the same work."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from profiler.report.content.published import BesideLayer, Published
from profiler.report.figures.style import (
    SMALL_PT,
    TINY_PT,
    Style,
    duration_unit,
    fit,
    fit_layer,
    legend_columns,
    log_axis,
    new_figure,
)
from profiler.report.figures.theme import Look, Theme

_ROW_IN, _THIN_ROW_IN, _MANY = 0.27, 0.2, 30
_NAME_PT = 140.0
_APART = 0.4
"""The precisions of a layer share so much of its row."""


def draw(published: Published, theme: Theme) -> Figure:
    """Layers above, networks below; either may be missing."""
    names = list(dict.fromkeys(line.layer for line in published.layers))
    row_in = _THIN_ROW_IN if len(names) > _MANY else _ROW_IN
    heights = [0.4 + row_in * len(names)] * bool(names)
    heights += [0.4 + _ROW_IN * len(published.networks)] * bool(published.networks)
    figure = new_figure(sum(heights) + 1.0 * len(heights))
    all_axes = list(figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if names:
        _layers(all_axes[0], published, names, theme)
    if published.networks:
        _networks(all_axes[-1], published, theme)
    return figure


def _layers(axes: Axes, published: Published, names: Sequence[str], theme: Theme) -> None:
    """A line per precision in the row of a layer: ours filled, theirs open."""
    precisions = list(dict.fromkeys(line.precision for line in published.layers))
    looks = dict(zip(precisions, theme.precisions_of(precisions), strict=True))
    seconds = [s for line in published.layers for s in (line.theirs_s, line.ours.low_s, line.ours.high_s)]
    factor, unit = duration_unit(sqrt(min(seconds) * max(seconds)))
    _range(axes, [s / factor for s in seconds])
    for place, (precision, look) in enumerate(looks.items()):
        shift = 0.0 if len(precisions) == 1 else (place / (len(precisions) - 1) - 0.5) * _APART
        lines = [line for line in published.layers if line.precision == precision]
        rows = [names.index(line.layer) + shift for line in lines]
        theirs, ours = [line.theirs_s / factor for line in lines], [line.ours.latency_s / factor for line in lines]
        _joined(axes, [*zip(theirs, ours, strict=True)], rows, look, 0.9)
        _joined(axes, [(line.ours.low_s / factor, line.ours.high_s / factor) for line in lines], rows, look, 2.2)
        open_: Style = {"markerfacecolor": theme.background, "markeredgewidth": 1.2, "linestyle": "none"}
        axes.plot(theirs, rows, look.marker, color=look.color, markersize=5.5, label=f"{precision}, published", **open_)
        for bare in (False, True):
            chosen = [(x, y) for x, y, line in zip(ours, rows, lines, strict=True) if line.bare is bare]
            if chosen:
                edge: Style = {"markeredgecolor": theme.text if bare and _both(published.layers) else look.color}
                axes.plot(
                    *zip(*chosen, strict=True), look.marker, color=look.color, markersize=5.5, zorder=3,
                    label=f"{precision}, ours", **edge,
                )  # fmt: skip
    many = len(names) > _MANY
    size = TINY_PT if many else SMALL_PT
    axes.set_yticks(range(len(names)), [fit_layer(name, _NAME_PT, size) for name in names], size=size)
    _rows(axes, len(names))
    axes.set_xlabel(f"latency of a layer ({unit}, log scale)")
    marks = [
        _mark(look, f"{fit(name, 60, SMALL_PT)}, {of}", filled, theme)
        for name, look in looks.items()
        for of, filled in (("ours", True), ("published", False))
    ]
    if _both(published.layers):
        dark: Style = {"color": theme.band, "markeredgecolor": theme.text}
        marks.append(Line2D([], [], linestyle="none", marker="o", label="ours is bare", **dark))
    kind = "" if _both(published.layers) else ", bare kernels" if published.layers[0].bare else ", fused layers"
    title = fit(f"ours: {published.ours}{kind}; published: {published.theirs}", 360, SMALL_PT)
    columns = legend_columns([str(mark.get_label()) for mark in marks], 370)
    where: Style = {"loc": "lower left", "bbox_to_anchor": (0, 1.005), "ncols": columns, "handlelength": 1.1}
    axes.legend(handles=marks, title=title, title_fontsize=SMALL_PT, alignment="left", **where)


def _networks(axes: Axes, published: Published, theme: Theme) -> None:
    """A row per configuration: published end to end, and the sum of this table's kernels."""
    networks = published.networks
    rows = range(len(networks))
    factor, unit = duration_unit(max(s for n in networks for s in (n.theirs_s, n.sum_s or 0.0)))
    theirs = [network.theirs_s / factor for network in networks]
    sums = [(network.sum_s / factor, row) for row, network in zip(rows, networks, strict=True) if network.sum_s]
    ends = [(total, theirs[row]) for total, row in sums]
    _joined(axes, ends, [row for _, row in sums], theme.main, 0.9)
    axes.plot(theirs, rows, "D", color=theme.accent.color, markersize=5.5, label="published", zorder=3)
    if sums:
        axes.plot(*zip(*sums, strict=True), "o", color=theme.main.color, markersize=6, label="sum", zorder=3)
    for row, network in zip(rows, networks, strict=True):
        said = [] if network.top1_percent is None else [f"top-1 {network.top1_percent:.2f}%"]
        if network.sum_s and network.priced < network.lines:
            said.append(f"{network.priced} of {network.lines} layers")
        place: Style = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "annotation_clip": False}
        axes.annotate("\n".join(said), (1, row), (6, 0), va="center", size=TINY_PT, color=theme.muted, **place)
    batches = {network.batch for network in networks}
    names = [n.configuration if len(batches) == 1 else f"{n.configuration}, batch {n.batch}" for n in networks]
    axes.set_yticks(rows, [fit(name, _NAME_PT, SMALL_PT) for name in names])
    _rows(axes, len(networks))
    axes.set_xlim(0, max([*theirs, *(total for total, _ in sums)]) * 1.06)
    of = f" of a batch of {networks[0].batch}" if len(batches) == 1 else ""
    axes.set_xlabel(f"latency{of} ({unit})")
    theirs_label = f"published end to end, {fit(published.theirs, 100, SMALL_PT)}"
    ours_label = f"sum of kernels, {fit(published.ours, 130, SMALL_PT)}"
    marks = [
        Line2D([], [], linestyle="none", marker="D", color=theme.accent.color, label=theirs_label),
        Line2D([], [], linestyle="none", marker="o", color=theme.main.color, label=ours_label),
    ]
    columns = legend_columns([theirs_label, ours_label], 370, 26)
    axes.legend(handles=marks, loc="lower left", bbox_to_anchor=(0, 1.005), ncols=columns, handlelength=1.1)


def _both(layers: Sequence[BesideLayer]) -> bool:
    """Some bare, some fused."""
    return len({line.bare for line in layers}) > 1


def _range(axes: Axes, values: Sequence[float]) -> None:
    around = max((max(values) / min(values)) ** 0.04, 1.05)
    log_axis(axes.xaxis, min(values) / around, max(values) * around)


def _joined(axes: Axes, ends: Sequence[tuple[float, float]], rows: Sequence[float], look: Look, width: float) -> None:
    """Lines along rows, as one path."""
    across = [x for start, end in ends for x in (start, end, nan)]
    axes.plot(across, [y for row in rows for y in (row, row, nan)], color=look.color, linewidth=width, label="_joined")


def _rows(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", linewidth=0.6)
    axes.spines["left"].set_visible(False)


def _mark(look: Look, label: str, filled: bool, theme: Theme) -> Line2D:
    face = look.color if filled else theme.background
    style: Style = {"marker": look.marker, "color": look.color, "markerfacecolor": face, "markeredgewidth": 1.2}
    return Line2D([], [], linestyle="none", label=label, **style)
