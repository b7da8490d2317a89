"""How much faster each layer of a network is in fewer bits."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.report.content.table import Column, Kind, Table, span_cells
from profiler.verdict import Ratio, Span, Verdict


@dataclass(frozen=True)
class LayerSpeedup:
    """A layer, with the addition that belongs to it, in two uniform networks.

    ``wide``, ``narrow`` : its latency in the two precisions, None without a price. ``speedup`` is wide / narrow (above
    one the narrower is faster) and ``verdict`` is the narrower one's against the wider one; both None if a price is
    missing, the verdict also where an interval is not known (then the ends of ``speedup`` are worth nothing).
    ``cause`` says in a few words why it is not faster, or what is missing; empty where it is faster.
    """

    layer: str
    workload: str
    wide: Span | None
    narrow: Span | None
    speedup: Ratio | None
    verdict: Verdict | None
    source: str
    cause: str = ""


@dataclass(frozen=True)
class Speedups:
    """The layers in the network's order. ``wide``, ``narrow`` name the precisions, e.g. ``INT8``; ``noise_ratio`` is
    how far apart two measurements of one kernel may be (1.05: five percent), None where nothing is known of it;
    ``total`` compares the networks over the ``compared`` layers that have both prices."""

    wide: str
    narrow: str
    layers: tuple[LayerSpeedup, ...]
    noise_ratio: float | None
    total: Ratio | None
    compared: int

    def count(self, verdict: Verdict | None) -> int:
        """Layers of that verdict; None: those without one."""
        return sum(layer.verdict is verdict for layer in self.layers)


def table_of(speedups: Speedups) -> Table:
    """A row per layer."""
    wide, narrow = speedups.wide, speedups.narrow
    columns = (
        Column("layer", "layer"),
        Column("workload", "workload"),
        Column(f"{wide.lower()}_s", wide, Kind.SECONDS),
        Column(f"{wide.lower()}_low_s", f"{wide} from", Kind.SECONDS),
        Column(f"{wide.lower()}_high_s", f"{wide} to", Kind.SECONDS),
        Column(f"{narrow.lower()}_s", narrow, Kind.SECONDS),
        Column(f"{narrow.lower()}_low_s", f"{narrow} from", Kind.SECONDS),
        Column(f"{narrow.lower()}_high_s", f"{narrow} to", Kind.SECONDS),
        Column("speedup", "speedup", Kind.RATIO),
        Column("speedup_low", "speedup from", Kind.RATIO),
        Column("speedup_high", "speedup to", Kind.RATIO),
        Column("verdict", f"{narrow} is"),
        Column("cause", "likely cause"),
        Column("source", "source"),
    )
    return Table(columns, tuple(_row(layer) for layer in speedups.layers))


def _row(layer: LayerSpeedup) -> tuple[str | float | None, ...]:
    speedup = layer.speedup
    return (
        layer.layer,
        layer.workload,
        *span_cells(layer.wide),
        *span_cells(layer.narrow),
        *((None, None, None) if speedup is None else (speedup.value, speedup.low, speedup.high)),
        "not known" if layer.verdict is None else layer.verdict.value,
        layer.cause,
        layer.source,
    )
