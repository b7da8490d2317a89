"""A figure as it was drawn, to be asked what is in it and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from profiler.report.figures.style import styled
from profiler.report.figures.theme import LIGHT, Theme


@dataclass(frozen=True)
class Written:
    """A text that is seen, with what it covers in pixels."""

    text: str
    box: Bbox
    size_pt: float
    rotation: float


def draw(name: str, content: Any, theme: Theme = LIGHT) -> Figure:
    """By the module of that name, laid out."""
    with styled(theme):
        figure = import_module(f"profiler.report.figures.{name}").draw(content, theme)
        FigureCanvasAgg(figure).draw()
    assert isinstance(figure, Figure)
    return figure


def written(figure: Figure) -> list[Written]:
    """Everything that can be read. Ticks beyond the ends of their axis are not."""
    hidden = {id(label) for axes in figure.axes for label in _unseen_ticks(axes)}
    found = []
    for text in figure.findobj(Text):
        if id(text) in hidden or not text.get_visible() or not text.get_text().strip():
            continue
        found.append(
            Written(text.get_text(), text_box(text), text.get_fontsize(), text.get_rotation()),
        )
    return found


def text_box(text: Text) -> Bbox:
    """Of the text alone, without the line of an annotation to its point."""
    return Text.get_window_extent(text)


def _unseen_ticks(axes: Axes) -> Iterator[Text]:
    if not axes.axison:
        for axis in (axes.xaxis, axes.yaxis):
            yield from (label for tick in axis.majorTicks for label in (tick.label1, tick.label2))
            yield axis.label
        return
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        seen = {id(tick) for tick in axis._update_ticks()}
        for tick in (*axis.majorTicks, *axis.minorTicks):
            out = id(tick) not in seen or not low <= tick.get_loc() <= high
            if out or not tick.label1.get_visible():
                yield tick.label1
            if out or not tick.label2.get_visible():
                yield tick.label2


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Texts that lie on each other, by more than a pixel. Slanted ones are left out: their boxes are larger."""
    texts = [text for text in written(figure) if text.rotation % 90 == 0]
    return [
        (a.text, b.text)
        for index, a in enumerate(texts)
        for b in texts[index + 1 :]
        if min(a.box.x1, b.box.x1) - max(a.box.x0, b.box.x0) > 1
        and min(a.box.y1, b.box.y1) - max(a.box.y0, b.box.y0) > 1
    ]


def outside(figure: Figure) -> list[str]:
    """Texts that the edge of the figure cuts."""
    edge = figure.bbox
    return [
        text.text
        for text in written(figure)
        if text.box.x0 < -0.5 or text.box.y0 < -0.5 or text.box.x1 > edge.x1 + 0.5 or text.box.y1 > edge.y1 + 0.5
    ]


def lines(axes: Axes, label: str) -> list[Line2D]:
    """Those of a label."""
    return [line for line in axes.lines if line.get_label() == label]


def legend_texts(figure: Figure) -> list[str]:
    """Of all legends."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for legend in legends if isinstance(legend, Legend) for text in legend.get_texts()]


def names_beside(axes: Axes) -> list[str]:
    """The names at the vertical axis, in order."""
    return [label.get_text() for label in axes.get_yticklabels()]
