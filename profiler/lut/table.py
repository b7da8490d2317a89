"""The network's table: what each layer costs in each precision, which way of doing it is cheaper, and the totals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from profiler.lut.demand import Implementation, Variant, implementations, units
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.lut.schema import LutRow, Source
from profiler.record import Conditions
from profiler.workload import KernelSpec, Network, Precision, Workload


@dataclass(frozen=True)
class Joules:
    """What something takes of energy; ``above_idle_j`` of it a device that does nothing would not have drawn, None
    where that is not known."""

    energy_j: float
    above_idle_j: float | None = None

    def __add__(self, other: Joules) -> Joules:
        known = self.above_idle_j is not None and other.above_idle_j is not None
        return Joules(
            self.energy_j + other.energy_j, (self.above_idle_j or 0) + (other.above_idle_j or 0) if known else None
        )


@dataclass(frozen=True)
class Cell:
    """A layer in one precision, by the cheapest way whose kernels all have a price.

    ``latency_s`` and ``variant`` are None if there is none; ``missing`` are then the kernels that have no price, of
    the usual way. ``joules`` are of the same kernels, None where they are not known of all.
    """

    latency_s: float | None
    variant: Variant | None
    missing: tuple[KernelSpec, ...] = ()
    joules: Joules | None = None


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

    ``speedup`` compares with the first precision over the ``compared`` lines that have a price in both. ``joules`` are
    the sum over the ``metered`` lines whose energy is known, None if there are none.
    """

    latency_s: float
    priced: int
    lines: int
    speedup: float | None
    compared: int
    joules: Joules | None = None
    metered: int = 0

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


def network_table(
    network: Network,
    precisions: Sequence[Precision],
    price: Mapping[KernelSpec, float],
    joules: Mapping[KernelSpec, Joules] | None = None,
) -> NetworkTable:
    """The table of the network in each of the precisions, uniformly (as far as it fits, `narrow_tensors`); ``price`` is
    in seconds per kernel launch, and ``joules`` are of one."""
    rows = []
    uniform = [uniform_precisions(network, precision) for precision in precisions]
    for unit in units(network):
        ways = [implementations(network, unit, chosen) for chosen in uniform]
        rows.append(TableRow(unit.layers, unit.layer.workload, tuple(_cheapest(w, price, joules or {}) for w in ways)))
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


def _cheapest(
    ways: Sequence[Implementation], price: Mapping[KernelSpec, float], joules: Mapping[KernelSpec, Joules]
) -> Cell:
    priced = [
        (sum(price[kernel.spec] for kernel in way.kernels), way)
        for way in ways
        if all(kernel.spec in price for kernel in way.kernels)
    ]
    if not priced:
        missing = tuple(kernel.spec for kernel in ways[0].kernels if kernel.spec not in price)
        return Cell(None, None, missing)
    latency_s, way = min(priced, key=lambda p: p[0])
    return Cell(latency_s, way.variant, joules=_sum([joules.get(kernel.spec) for kernel in way.kernels]))


def _sum(joules: Sequence[Joules | None]) -> Joules | None:
    """None where one of them is not known, or there are none."""
    known = [each for each in joules if each is not None]
    return reduce(add, known) if known and len(known) == len(joules) else None


def _total(rows: Sequence[TableRow], precision: int) -> Total:
    latencies = [row.cells[precision].latency_s for row in rows]
    pairs = [(row.cells[0].latency_s, row.cells[precision].latency_s) for row in rows]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    priced = [latency for latency in latencies if latency is not None]
    metered = [joules for row in rows if (joules := row.cells[precision].joules) is not None]
    return Total(
        latency_s=sum(priced),
        priced=len(priced),
        lines=len(rows),
        speedup=sum(a for a, _ in both) / sum(b for _, b in both) if both else None,
        compared=len(both),
        joules=_sum(metered),
        metered=len(metered),
    )
