"""A whole report: what should make a reader doubt it, the facts of the instrument, and sections with their figures."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.report.content.front import FrontFigure
from profiler.report.content.health import Health
from profiler.report.content.overview import Overview
from profiler.report.content.prediction import Predictions
from profiler.report.content.published import Published
from profiler.report.content.roofline import Roofline
from profiler.report.content.speedup import Speedups
from profiler.report.content.table import Table
from profiler.report.content.throughput import ThroughputCurves
from profiler.report.content.time_course import TimeCourses
from profiler.report.content.tuning import TuningHistory

FigureContent = (
    Speedups
    | Overview
    | TimeCourses
    | ThroughputCurves
    | Roofline
    | Predictions
    | FrontFigure
    | TuningHistory
    | Health
    | Published
)
"""What a figure shows; `figures.draw` knows how."""


@dataclass(frozen=True)
class NamedTable:
    """``name`` is the file's, without suffix; ``shown`` tables stand in the page, others are only linked as CSV (they
    are too long to read)."""

    name: str
    title: str
    table: Table
    shown: bool = True


@dataclass(frozen=True)
class Section:
    """``name`` is that of the figure's files, without suffix. ``lead`` says in one or two sentences what is to be seen;
    ``notes`` what is left out or has to be known. ``figure`` is None where there is nothing to show: then ``notes``
    say why, and what to do. ``alt`` describes the figure to who cannot see it."""

    name: str
    title: str
    lead: str
    figure: FigureContent | None
    alt: str = ""
    tables: tuple[NamedTable, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.figure is None and not self.notes:
            raise ValueError(f"section {self.name} shows nothing and does not say why")
        if self.figure is not None and not self.alt:
            raise ValueError(f"the figure of section {self.name} is not described")


@dataclass(frozen=True)
class Report:
    """``facts`` are names and values of the instrument and the table. ``doubts`` come first, whatever else is there;
    ``headline`` is the answer in a sentence. ``layers`` is the table of all layers, which can be sorted and filtered.
    """

    title: str
    headline: str
    doubts: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    layers: NamedTable
