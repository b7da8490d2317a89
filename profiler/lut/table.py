"""The network's table: what each layer costs in each precision, which way of doing it is cheaper, and the totals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from profiler.lut.demand import Implementation, Variant, implementations, units
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.lut.schema import LutRow, Source
from profiler.record import Conditions
from profiler.workload import KernelSpec, Network, Precision, Workload


@dataclass(frozen=True)
class Cell:
    """A layer in one precision, by the cheapest way whose kernels all have a price.

    ``latency_s`` and ``variant`` are None if there is none; ``missing`` are then the kernels that have no price, of
    the usual way.
    """

    latency_s: float | None
    variant: Variant | None
    missing: tuple[KernelSpec, ...] = ()


@dataclass(frozen=True)
class TableRow:
    """One line: a layer, with the addition that belongs to it. ``cells`` are in the order of the precisions."""

    layers: tuple[str, ...]
    workload: Workload
    cells: tuple[Cell, ...]

    def speedup(self, precision: int) -> float | None:
        """Latency in the first precision by that in the one of that index; None if one of them has no price."""
        first, other = self.cells[0].latency_s, self.cells[precision].latency_s
        return None if first is None or other is None else first / other


@dataclass(frozen=True)
class Total:
    """The sum over the lines that have a price in one precision, and how many those are.

    ``speedup`` compares with the first precision over the ``compared`` lines that have a price in both.
    """

    latency_s: float
    priced: int
    lines: int
    speedup: float | None
    compared: int

    @property
    def complete(self) -> bool:
        return self.priced == self.lines


@dataclass(frozen=True)
class NetworkTable:
    """``totals`` and the cells of each row are in the order of ``precisions``; the first one is the reference.

    ``skipped`` are the nodes of the model that no line stands for.
    """

    network: str
    batch: int
    precisions: tuple[Precision, ...]
    rows: tuple[TableRow, ...]
    totals: tuple[Total, ...]
    skipped: tuple[str, ...] = ()


def network_table(network: Network, precisions: Sequence[Precision], price: Mapping[KernelSpec, float]) -> NetworkTable:
    """The table of the network in each of the precisions, uniformly (as far as it fits, `narrow_tensors`); ``price`` is
    in seconds per kernel launch."""
    rows = []
    uniform = [uniform_precisions(network, precision) for precision in precisions]
    for unit in units(network):
        ways = [implementations(network, unit, chosen) for chosen in uniform]
        rows.append(TableRow(unit.layers, unit.layer.workload, tuple(_cheapest(w, price) for w in ways)))
    totals = tuple(_total(rows, index) for index in range(len(precisions)))
    return NetworkTable(network.name, network.batch, tuple(precisions), tuple(rows), totals, network.skipped)


def prices(
    rows: Iterable[LutRow], conditions: Conditions, sources: Sequence[Source] = (Source.MEASURED,)
) -> dict[KernelSpec, float]:
    """Seconds per kernel under those conditions; of several sources the one that stands first in ``sources``."""
    found: dict[KernelSpec, LutRow] = {}
    for row in rows:
        if row.conditions != conditions or row.source not in sources:
            continue
        other = found.get(row.spec)
        if other is None or sources.index(row.source) < sources.index(other.source):
            found[row.spec] = row
    return {spec: row.latency_median_s for spec, row in found.items()}


def _cheapest(ways: Sequence[Implementation], price: Mapping[KernelSpec, float]) -> Cell:
    priced = [
        (sum(price[kernel.spec] for kernel in way.kernels), way.variant)
        for way in ways
        if all(kernel.spec in price for kernel in way.kernels)
    ]
    if not priced:
        missing = tuple(kernel.spec for kernel in ways[0].kernels if kernel.spec not in price)
        return Cell(None, None, missing)
    latency_s, variant = min(priced, key=lambda p: p[0])
    return Cell(latency_s, variant)


def _total(rows: Sequence[TableRow], precision: int) -> Total:
    latencies = [row.cells[precision].latency_s for row in rows]
    pairs = [(row.cells[0].latency_s, row.cells[precision].latency_s) for row in rows]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    priced = [latency for latency in latencies if latency is not None]
    return Total(
        latency_s=sum(priced),
        priced=len(priced),
        lines=len(rows),
        speedup=sum(a for a, _ in both) / sum(b for _, b in both) if both else None,
        compared=len(both),
    )
