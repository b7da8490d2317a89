"""Figures: from content to the bytes of a file. Importing this does not import matplotlib.

- `theme`  colours and marks by role, light and dark
- `style`  sizes, text that fits, and the way to bytes
- `labels` where labels go so that they do not lie on each other
- `speedup` `overview` `time_course` `roofline` `prediction` `front` `tuning` `health` `published` `comparison`
  `accuracy` `throughput`  a figure each
"""

from __future__ import annotations

from profiler.report.content.accuracy import Accuracies
from profiler.report.content.comparison import Comparison
from profiler.report.content.front import FrontFigure
from profiler.report.content.health import Health
from profiler.report.content.overview import Overview
from profiler.report.content.prediction import Predictions
from profiler.report.content.published import Published
from profiler.report.content.report import FigureContent
from profiler.report.content.roofline import Roofline
from profiler.report.content.speedup import Speedups
from profiler.report.content.throughput import ThroughputCurves
from profiler.report.content.time_course import TimeCourses
from profiler.report.content.tuning import TuningHistory
from profiler.report.figures.theme import LIGHT, Theme

_MODULES: dict[type, str] = {
    Speedups: "speedup",
    TimeCourses: "time_course",
    Roofline: "roofline",
    Predictions: "prediction",
    FrontFigure: "front",
    TuningHistory: "tuning",
    Health: "health",
    Published: "published",
    Comparison: "comparison",
    Accuracies: "accuracy",
    Overview: "overview",
    ThroughputCurves: "throughput",
}
"""Each has ``draw(content, theme)``."""


def render(
    content: FigureContent | Comparison | Accuracies, file_format: str, theme: Theme = LIGHT, title: str = ""
) -> bytes:
    """``svg``, ``png`` or ``pdf``; the same content gives the same bytes. ``title`` stands above the figure and says
    what it is of; a front has one of its own, for where none is given."""
    from importlib import import_module

    from profiler.report.figures.style import to_bytes  # matplotlib takes a second to import

    module = import_module(f"profiler.report.figures.{_MODULES[type(content)]}")
    if isinstance(content, FrontFigure):
        title = title or content.title
    return to_bytes(lambda theme: module.draw(content, theme), theme, file_format, title)
