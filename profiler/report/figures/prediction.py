"""Predicted against measured latencies of kernels that the model has not seen, and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from profiler.report.content.prediction import PredictedKernel, Predictions
from profiler.report.figures.style import (
    INNER_PT,
    SMALL_PT,
    TINY_PT,
    Style,
    duration_unit,
    fit,
    legend_columns,
    log_axis,
    new_figure,
    note,
    number,
    wrap,
)
from profiler.report.figures.theme import Look, Theme

_HEIGHT_IN, _ROW_IN = 4.1, 0.62
_SPLIT_PT = 175.0


def draw(predictions: Predictions, theme: Theme) -> Figure:
    """Kernels on the left, errors on the right."""
    figure = new_figure(max(_HEIGHT_IN, 1.4 + _ROW_IN * len(predictions.splits)))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2.2))
    if predictions.kernels:
        _kernels(left, predictions, theme)
    else:
        note(left, theme, "no kernel was held out")
    if predictions.splits:
        _errors(right, predictions, theme)
    else:
        note(right, theme, "no errors are known")
    marks, labels = left.get_legend_handles_labels()
    if marks:
        columns = legend_columns(labels, INNER_PT, 26)
        place: Style = {"loc": "outside upper left", "borderaxespad": 0.3, "handletextpad": 0.2, "handlelength": 1.1}
        figure.legend(marks, labels, ncols=columns, **place)
    if predictions.noise_percent is not None and predictions.noise:
        said = wrap(f"Noise floor: {predictions.noise}.", INNER_PT, TINY_PT, 2)
        figure.supxlabel(said, x=0.01, ha="left", size=TINY_PT, color=theme.muted, linespacing=1.25)
    return figure


def _kernels(axes: Axes, predictions: Predictions, theme: Theme) -> None:
    kernels = predictions.kernels
    seconds = [s for k in kernels for s in (k.measured_s, k.predicted_s)]
    least, most = min(seconds), max(seconds)
    factor, unit = duration_unit(sqrt(least * most))
    around = max((most / least) ** 0.05, 1.1)
    low, high = least / around / factor, most * around / factor
    log_axis(axes.xaxis, low, high, 6)
    log_axis(axes.yaxis, low, high, 6)
    axes.set_box_aspect(1)
    axes.grid()
    axes.plot([low, high], [low, high], color=theme.muted, linewidth=0.9, label="_equal", zorder=1.5)
    for covered, look in ((True, theme.main), (False, theme.accent)):
        chosen = [kernel for kernel in kernels if kernel.covered is covered]
        if chosen:
            _intervals(axes, chosen, look, factor)
        for far in (False, True):
            _dots(axes, [kernel for kernel in chosen if kernel.extrapolated is far], look, far, theme, factor)
    axes.set_xlabel(f"measured ({unit}, log scale)")
    axes.set_ylabel(f"predicted ({unit}, log scale)")
    count = f"{len(kernels):,} held-out kernel{'s' if len(kernels) > 1 else ''}"
    said = f"{count}, {predictions.confidence_percent:g}% intervals; line: both equal"
    axes.set_title(said, size=SMALL_PT)


def _intervals(axes: Axes, kernels: Sequence[PredictedKernel], look: Look, factor: float) -> None:
    """As one path."""
    across = [x for kernel in kernels for x in (kernel.measured_s / factor, kernel.measured_s / factor, nan)]
    up = [y for kernel in kernels for y in (kernel.low_s / factor, kernel.high_s / factor, nan)]
    axes.plot(across, up, color=look.color, linewidth=0.8, alpha=0.6, zorder=2, label="_intervals")


def _dots(
    axes: Axes, kernels: Sequence[PredictedKernel], look: Look, extrapolated: bool, theme: Theme, factor: float
) -> None:
    if not kernels:
        return
    covered = "inside its interval" if kernels[0].covered else "outside"
    label = f"{covered}{', extrapolated' if extrapolated else ''} ({len(kernels):,})"
    axes.plot(
        [k.measured_s / factor for k in kernels], [k.predicted_s / factor for k in kernels], look.marker,
        color=look.color, markerfacecolor=theme.background if extrapolated else look.color, markeredgewidth=1.0,
        markersize=4.2, linestyle="none", label=label, zorder=3,
    )  # fmt: skip


def _errors(axes: Axes, predictions: Predictions, theme: Theme) -> None:
    """Median and mean of each split, joined; its name above."""
    splits = predictions.splits
    rows = range(len(splits))
    medians, means = [s.median_percent for s in splits], [s.mape_percent for s in splits]
    ends = [x for pair in zip(medians, means, strict=True) for x in (*pair, nan)]
    axes.plot(ends, [y for row in rows for y in (row, row, nan)], color=theme.axes, linewidth=1.0, label="_joined")
    hollow: Style = {"markerfacecolor": theme.background, "markeredgewidth": 1.2}
    axes.plot(medians, rows, "o", color=theme.main.color, markersize=6, label="median", clip_on=False)
    axes.plot(means, rows, "D", color=theme.main.color, markersize=5.5, label="mean", clip_on=False, **hollow)
    ground = {"facecolor": theme.background, "edgecolor": "none", "pad": 1.2}  # the line of the noise stops at a name
    for row, split in zip(rows, splits, strict=True):
        text = f"{fit(split.split, _SPLIT_PT, SMALL_PT)} ({split.rows:,})"
        place: Style = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
        axes.annotate(text, (0, row), (2, 8), size=SMALL_PT, annotation_clip=False, bbox=ground, **place)
    noise = predictions.noise_percent
    if noise is not None:
        axes.axvline(noise, color=theme.accent.color, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1.5)
        axes.annotate(
            f"noise floor {number(float(f'{noise:.2g}'))}%", (noise, 0), (4, 4), xycoords=("data", "axes fraction"),
            textcoords="offset points", size=SMALL_PT, color=theme.accent.color,
        )  # fmt: skip
    axes.set_xlim(0, max([*means, *medians, noise or 0.0]) * 1.15 or 1.0)
    axes.set_ylim(len(splits) - 0.25, -0.75)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("error (% of the measured latency)")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, handletextpad=0.2)
