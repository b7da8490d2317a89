"""What others published, beside what this table says of the same work."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.report.content.table import Column, Kind, Table
from profiler.verdict import Span


@dataclass(frozen=True)
class BesideLayer:
    """A layer in a precision. ``ours`` is of a fused kernel or, where ``bare``, of a kernel without epilogue, as
    ``theirs_s`` always is."""

    layer: str
    precision: str
    ours: Span
    theirs_s: float
    bare: bool


@dataclass(frozen=True)
class BesideNetwork:
    """A published end-to-end latency. ``sum_s`` is that of this table's kernels in the same precisions over ``priced``
    of the network's ``lines`` (layers, a fusable addition with its convolution); None where they are not known."""

    configuration: str
    batch: int
    theirs_s: float
    top1_percent: float | None
    sum_s: float | None
    priced: int
    lines: int


@dataclass(frozen=True)
class Published:
    """``theirs`` names the card that the published figures are of, ``sources`` who published them."""

    ours: str
    theirs: str
    layers: tuple[BesideLayer, ...]
    networks: tuple[BesideNetwork, ...]
    sources: tuple[str, ...]


def layers_of(published: Published) -> Table:
    """A row per layer and precision."""
    columns = (
        Column("layer", "layer"),
        Column("precision", "precision"),
        Column("ours_s", f"{published.ours}", Kind.SECONDS),
        Column("theirs_s", f"published, {published.theirs}", Kind.SECONDS),
        Column("ours_over_theirs", "ours / theirs", Kind.RATIO),
        Column("ours_is", "ours is"),
    )
    rows = tuple(
        (
            line.layer,
            line.precision,
            line.ours.latency_s,
            line.theirs_s,
            line.ours.latency_s / line.theirs_s,
            "a bare kernel" if line.bare else "a fused layer",
        )
        for line in published.layers
    )
    return Table(columns, rows)


def networks_of(published: Published) -> Table:
    """A row per published network."""
    columns = (
        Column("configuration", "bits"),
        Column("batch", "batch", Kind.NUMBER),
        Column("published_s", "published, end to end", Kind.SECONDS),
        Column("top1_percent", "top-1", Kind.PERCENT),
        Column("kernel_sum_s", "sum of this table's kernels", Kind.SECONDS),
        Column("priced", "layers in the sum", Kind.NUMBER),
        Column("layers", "layers", Kind.NUMBER),
    )
    rows = tuple(
        (n.configuration, n.batch, n.theirs_s, n.top1_percent, n.sum_s, n.priced if n.sum_s else None, n.lines)
        for n in published.networks
    )
    return Table(columns, rows)
