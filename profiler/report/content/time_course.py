"""Where the time of a network goes, kernel by kernel, in several precisions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import fsum

from profiler.report.content.table import Cell, Column, Kind, Table


class Work(str, Enum):
    """Kinds of kernel. A fused addition is part of its convolution."""

    CONVOLUTION = "convolution"
    DENSE = "dense"
    ADDITION = "addition"
    POOLING = "pooling"
    CONCATENATION = "concatenation"
    CONVERSION = "conversion"


@dataclass(frozen=True)
class TimedKernel:
    """One launch. ``place`` is the index of its layer in `TimeCourses.layers`; ``name`` says what it is."""

    place: int
    name: str
    work: Work
    latency_s: float


@dataclass(frozen=True)
class Course:
    """A network as it runs: its kernels in order. ``unpriced`` are the layers of which nothing is in it; a course with
    the same ones can be compared with it."""

    name: str
    kernels: tuple[TimedKernel, ...]
    unpriced: tuple[str, ...] = ()

    @property
    def total_s(self) -> float:
        return fsum(kernel.latency_s for kernel in self.kernels)

    def of(self, work: Work) -> float:
        """Seconds of all kernels of a kind."""
        return fsum(kernel.latency_s for kernel in self.kernels if kernel.work is work)

    def until(self, places: int) -> tuple[float, ...]:
        """Seconds at the end of each of so many layers."""
        ends, passed_s = [], 0.0
        for place in range(places):
            passed_s += fsum(kernel.latency_s for kernel in self.kernels if kernel.place == place)
            ends.append(passed_s)
        return tuple(ends)


@dataclass(frozen=True)
class TimeCourses:
    """``layers`` in the network's order, a fusable addition with its convolution."""

    layers: tuple[str, ...]
    courses: tuple[Course, ...]

    def priced(self, course: Course) -> int:
        """Layers whose time is in the course."""
        return len(self.layers) - len(course.unpriced)


def table_of(courses: TimeCourses) -> Table:
    """A row per kernel of each course, with the time at its end."""
    columns = (
        Column("network", "network"),
        Column("layer", "layer"),
        Column("kernel", "kernel"),
        Column("work", "kind"),
        Column("latency_s", "latency", Kind.SECONDS),
        Column("cumulative_s", "until its end", Kind.SECONDS),
    )
    rows: list[tuple[str | float, ...]] = []
    for course in courses.courses:
        passed_s = 0.0
        for kernel in course.kernels:
            passed_s += kernel.latency_s
            layer = courses.layers[kernel.place]
            rows.append((course.name, layer, kernel.name, kernel.work.value, kernel.latency_s, passed_s))
    return Table(columns, tuple(rows))


def summary_of(courses: TimeCourses) -> Table:
    """A row per course: the seconds of each kind of kernel that any of them has."""
    works = [work for work in Work if any(course.of(work) for course in courses.courses)]
    columns = (
        Column("network", "network"),
        *(Column(f"{work.value}_s", work.value, Kind.SECONDS) for work in works),
        Column("total_s", "total", Kind.SECONDS),
        Column("layers", "layers in it", Kind.NUMBER),
    )
    rows: list[tuple[Cell, ...]] = [
        (c.name, *(c.of(work) for work in works), c.total_s, courses.priced(c)) for c in courses.courses
    ]
    return Table(columns, tuple(rows))
