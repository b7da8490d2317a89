"""The roofline of a device, with the layers of a network on it.

Source: Williams, Waterman, Patterson, Roofline: an insightful visual performance model, CACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

from profiler.report.content.table import Column, Kind, Table


@dataclass(frozen=True)
class Roof:
    """The rate at which a device can compute in a precision (``INT8``), in operations a second: a multiplication and an
    addition are two. ``origin`` says where the figure comes from."""

    precision: str
    ops_per_s: float
    origin: str


@dataclass(frozen=True)
class RooflinePoint:
    """A layer, with the addition that belongs to it: ``ops``, and ``moved_bytes`` of its kernels (everything that each
    reads and writes, once). ``limit_s`` is the time that the device cannot beat by its rates."""

    layer: str
    precision: str
    ops: float
    moved_bytes: float
    latency_s: float
    limit_s: float

    @property
    def ops_per_s(self) -> float:
        return self.ops / self.latency_s

    @property
    def ops_per_byte(self) -> float:
        return self.ops / self.moved_bytes


@dataclass(frozen=True)
class Roofline:
    """``bytes_per_s`` of the memory that counts, which a figure calls ``memory_name``, with its ``memory_origin``.
    Points are in the network's order."""

    roofs: tuple[Roof, ...]
    bytes_per_s: float
    memory_origin: str
    points: tuple[RooflinePoint, ...]
    memory_name: str = "memory"

    def roof(self, precision: str) -> Roof:
        return next(roof for roof in self.roofs if roof.precision == precision)

    def bound(self, point: RooflinePoint) -> str:
        """What limits it by the figures: ``memory`` left of the knee of its roof, ``compute`` right of it."""
        knee = self.roof(point.precision).ops_per_s / self.bytes_per_s
        return "memory" if point.ops_per_byte < knee else "compute"


def table_of(roofline: Roofline) -> Table:
    """A row per layer and precision."""
    columns = (
        Column("layer", "layer"),
        Column("precision", "precision"),
        Column("ops", "operations", Kind.NUMBER),
        Column("moved_bytes", "bytes moved", Kind.NUMBER),
        Column("ops_per_byte", "operations a byte", Kind.NUMBER),
        Column("latency_s", "latency", Kind.SECONDS),
        Column("ops_per_s", "achieved", Kind.RATE),
        Column("share_of_peak_percent", "of the peak", Kind.PERCENT),
        Column("limit_s", "limit", Kind.SECONDS),
        Column("share_of_limit_percent", "limit / latency", Kind.PERCENT),
        Column("bound", "bound by"),
    )
    return Table(columns, tuple(_row(roofline, point) for point in roofline.points))


def _row(roofline: Roofline, point: RooflinePoint) -> tuple[str | float, ...]:
    return (
        point.layer,
        point.precision,
        point.ops,
        point.moved_bytes,
        point.ops_per_byte,
        point.latency_s,
        point.ops_per_s,
        100 * point.ops_per_s / roofline.roof(point.precision).ops_per_s,
        point.limit_s,
        100 * point.limit_s / point.latency_s,
        roofline.bound(point),
    )
