"""The Pareto front of an allocation as a figure: sensitivity against a quantity, and the bits of each point."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from profiler.report.front import FigurePoint, FrontFigure

# Blue to orange, also apart in grey and for colour-blind readers (Okabe and Ito, Color universal design, 2008).
_PRECISION_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
_FRONT, _CHOSEN, _UNIFORM = "#333333", "#D55E00", "#666666"
_MOST_LABELS = 60


def render(figure: FrontFigure, file_format: str) -> bytes:
    """The file's content; the same figure gives the same bytes."""
    settings = {"svg.hashsalt": "front", "svg.fonttype": "path", "font.size": 9, "text.parse_math": False}
    with mpl.rc_context(settings):  # a name with $ in it is no formula
        drawn = _draw(figure)
        data = BytesIO()
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[file_format]
        drawn.savefig(data, format=file_format, metadata=metadata, dpi=160, bbox_inches="tight")
    return data.getvalue()


def _draw(figure: FrontFigure) -> Figure:
    rows = min(len(figure.layers), _MOST_LABELS)
    drawn = Figure(figsize=(7.5, 3.0 + 0.13 * rows), layout="constrained")
    upper, lower = drawn.subplots(2, 1, sharex=False, height_ratios=(3.0, 0.6 + 0.13 * rows))
    _front(upper, figure)
    _bits(lower, figure)
    return drawn


def _front(axes: Axes, figure: FrontFigure) -> None:
    points = sorted(figure.points, key=lambda point: point.amount)
    amounts, values = [p.amount for p in points], [p.sensitivity for p in points]
    # Between two points the best one within a limit is the cheaper of both: a staircase, not a curve.
    axes.step(amounts, values, where="post", color=_FRONT, linewidth=0.8, alpha=0.6)
    axes.plot(amounts, values, "o", color=_FRONT, markersize=3.5, label=f"Pareto front, {len(points)} points")
    if figure.chosen is not None:
        axes.plot([figure.chosen.amount], [figure.chosen.sensitivity], "D", color=_CHOSEN, markersize=7, label="chosen")
    for label, amount in figure.levels:
        axes.axvline(amount, color=_UNIFORM, linewidth=0.8, linestyle=":")
        axes.annotate(
            label, (amount, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
            ha="center", fontsize=7, color=_UNIFORM,
        )  # fmt: skip
    axes.set_xlabel(figure.axis)
    axes.set_ylabel("total sensitivity")
    axes.set_title(figure.title, loc="left", fontsize=10, pad=16)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")


def _bits(axes: Axes, figure: FrontFigure) -> None:
    """Layers from top to bottom, points from the fastest on the left to the least sensitive on the right."""
    points = sorted(figure.points, key=lambda point: point.amount)
    names = _names(points)
    values = [[names.index(point.precisions[row]) for point in points] for row in range(len(figure.layers))]
    colors = ListedColormap(list(_PRECISION_COLORS[: len(names)]))
    axes.imshow(
        values, aspect="auto", cmap=colors, vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest",
    )  # fmt: skip
    step = max(1, -(-len(figure.layers) // _MOST_LABELS))
    axes.set_yticks(range(0, len(figure.layers), step), figure.layers[::step], fontsize=6)
    axes.set_xticks([])
    axes.set_xlabel("the points above, from left to right")
    for index, name in enumerate(names):
        axes.plot([], [], "s", color=_PRECISION_COLORS[index], label=name.upper())
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _names(points: Sequence[FigurePoint]) -> list[str]:
    """The precisions that occur, those of most layers of the least sensitive point first."""
    return list(dict.fromkeys(name for point in reversed(points) for name in point.precisions))
