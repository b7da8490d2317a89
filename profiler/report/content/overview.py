"""How much faster each layer is in each of several precisions: one row per layer, a column for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from profiler.report.content.speedup import Speedups
from profiler.report.content.table import Cell, Column, Kind, Table
from profiler.verdict import Ratio

TOTAL = "all that are compared"


@dataclass(frozen=True)
class Overview:
    """``speedups`` are of two or more narrower precisions over the same wider one, layers and their order alike."""

    speedups: tuple[Speedups, ...]

    @property
    def wide(self) -> str:
        return self.speedups[0].wide

    @property
    def narrow(self) -> tuple[str, ...]:
        return tuple(found.narrow for found in self.speedups)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(layer.layer for layer in self.speedups[0].layers)

    def ratios(self, layer: int) -> tuple[Ratio | None, ...]:
        """Of a layer, by its place, in each precision; None without a price in both."""
        return tuple(found.layers[layer].speedup for found in self.speedups)

    @property
    def totals(self) -> tuple[Ratio | None, ...]:
        """Of the network in each precision."""
        return tuple(found.total for found in self.speedups)


def table_of(overview: Overview) -> Table:
    """A row per layer, and one of the whole network."""
    first = overview.speedups[0]
    columns = (
        Column("layer", "layer"),
        Column("workload", "workload"),
        *(column for narrow in overview.narrow for column in _columns(narrow)),
    )
    rows: list[tuple[Cell, ...]] = [
        (layer.layer, layer.workload, *_cells(overview.ratios(place))) for place, layer in enumerate(first.layers)
    ]
    rows.append((TOTAL, "", *_cells(overview.totals)))
    return Table(columns, tuple(rows))


def _columns(narrow: str) -> tuple[Column, ...]:
    name = narrow.lower()
    return (
        Column(f"{name}_speedup", narrow, Kind.RATIO),
        Column(f"{name}_speedup_low", f"{narrow} from", Kind.RATIO),
        Column(f"{name}_speedup_high", f"{narrow} to", Kind.RATIO),
    )


def _cells(ratios: tuple[Ratio | None, ...]) -> Iterator[Cell]:
    for ratio in ratios:
        yield from (None, None, None) if ratio is None else (ratio.value, ratio.low, ratio.high)
