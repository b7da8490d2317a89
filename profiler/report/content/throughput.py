"""Images a second over batches, the latency of a batch, and what an image takes in joules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from profiler.report.content.table import Cell, Column, Kind, Table
from profiler.throughput.knee import Knee, find_knee
from profiler.throughput.point import Point
from profiler.verdict import Span


@dataclass(frozen=True)
class AtBatch:
    """``latency`` is of the whole batch. ``j_per_image`` is None where it is not known."""

    batch: int
    latency: Span
    j_per_image: float | None

    @property
    def images_per_s(self) -> float:
        return self.batch / self.latency.latency_s

    @property
    def low(self) -> float:
        """Of images per second, the lower end of the interval."""
        return self.batch / self.latency.high_s

    @property
    def high(self) -> float:
        return self.batch / self.latency.low_s

    @property
    def images_per_j(self) -> float | None:
        """Images a second for each watt."""
        return None if self.j_per_image is None else 1 / self.j_per_image

    @property
    def power_w(self) -> float | None:
        """Mean, while it runs."""
        return None if self.j_per_image is None else self.j_per_image * self.images_per_s


@dataclass(frozen=True)
class ThroughputCurve:
    """``kind`` is ``INT8``, ... where everything is of that precision, else ``MIXED``. ``end_to_end``: networks ran;
    otherwise the latencies are sums of kernels. ``points`` are ordered by batch; at least one."""

    name: str
    kind: str
    end_to_end: bool
    points: tuple[AtBatch, ...]

    @property
    def knee(self) -> Knee:
        return find_knee({point.batch: point.latency for point in self.points})

    @property
    def source(self) -> str:
        return "end to end" if self.end_to_end else "sum of kernels"


@dataclass(frozen=True)
class ThroughputCurves:
    """Of one network on one device."""

    network: str
    device_name: str
    curves: tuple[ThroughputCurve, ...]

    @property
    def has_energy(self) -> bool:
        return any(point.j_per_image is not None for curve in self.curves for point in curve.points)


def curves_of(points: Iterable[Point]) -> tuple[ThroughputCurve, ...]:
    """End to end, in the order of their first points; two bits of one name are told apart by their digest."""
    found: dict[tuple[str, ...], list[Point]] = {}
    for point in points:
        found.setdefault(point.curve, []).append(point)
    firsts = [taken[0] for taken in found.values()]
    names = Counter(_name(point) for point in firsts)
    return tuple(
        ThroughputCurve(
            name=_name(first) if names[_name(first)] == 1 else f"{_name(first)} ({first.bits_digest or 'uniform'})",
            kind="MIXED" if first.bits_digest else first.configuration.upper(),
            end_to_end=True,
            points=tuple(
                AtBatch(point.batch, point.latency, point.j_per_image)
                for point in sorted(taken, key=lambda point: point.batch)
            ),
        )
        for first, taken in zip(firsts, found.values(), strict=True)
    )


def _name(point: Point) -> str:
    return point.configuration if point.bits_digest else point.configuration.upper()


def table_of(found: ThroughputCurves) -> Table:
    """A row for each curve and batch; columns of joules and of the knee only where there can be any."""
    columns = (
        Column("configuration", "bits"),
        Column("batch", "batch", Kind.NUMBER),
        Column("source", "source"),
        Column("images_per_s", "images/s", Kind.NUMBER),
        Column("images_per_s_low", "images/s from", Kind.NUMBER),
        Column("images_per_s_high", "images/s to", Kind.NUMBER),
        Column("latency_s", "latency of a batch", Kind.SECONDS),
        Column("latency_low_s", "latency from", Kind.SECONDS),
        Column("latency_high_s", "latency to", Kind.SECONDS),
    )
    joules = (
        Column("energy_per_image_j", "J/image", Kind.NUMBER),
        Column("images_per_s_per_w", "images/s/W", Kind.NUMBER),
        Column("power_w", "W", Kind.NUMBER),
    )
    knees = any(len(curve.points) > 1 for curve in found.curves)
    rows: list[tuple[Cell, ...]] = []
    for curve in found.curves:
        knee = curve.knee
        for point in curve.points:
            row: list[Cell] = [
                curve.name,
                point.batch,
                curve.source,
                point.images_per_s,
                *_ends(point.low, point.high, point),
            ]
            row += [point.latency.latency_s, *_ends(point.latency.low_s, point.latency.high_s, point)]
            if found.has_energy:
                row += [point.j_per_image, point.images_per_j, point.power_w]
            if knees:
                row.append("knee" if point.batch == knee.batch else "")
            rows.append(tuple(row))
    asked = (*columns, *(joules if found.has_energy else ()), *((Column("knee", "knee"),) if knees else ()))
    return Table(asked, tuple(rows))


def _ends(low: float, high: float, point: AtBatch) -> tuple[Cell, Cell]:
    """Of an interval that is known."""
    return (low, high) if point.latency.known else (None, None)
