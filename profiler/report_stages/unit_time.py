"""What a layer, with the addition that belongs to it, takes in a uniform network."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.allocation.price import Price
from profiler.allocation.unit_tables import priced_ways
from profiler.allocation_stages.prices import PriceList
from profiler.lut.demand import Implementation, Unit, implementations
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.lut.schema import Source
from profiler.verdict import Span
from profiler.workload import KernelSpec, Network, Precision


@dataclass(frozen=True)
class UnitTime:
    """By its fastest way. ``span`` and ``way`` are None where no way has all its prices: ``missing`` are then the
    kernels of the usual way that have none. ``source`` names where the latencies come from; ``guessed``: one of them is
    predicted, and nobody says how well. ``energy_j`` is None where the energy of one of the kernels is not known."""

    span: Span | None
    way: Implementation | None
    missing: tuple[KernelSpec, ...]
    source: str
    guessed: bool = False
    energy_j: float | None = None


def unit_time(network: Network, unit: Unit, precision: Precision, priced: PriceList) -> UnitTime:
    """All around the unit is in the same precision, as far as it fits (`narrow_tensors`)."""
    chosen = uniform_precisions(network, precision)
    prices = priced.prices
    ways = priced_ways(network, unit, chosen, prices)
    if not ways:
        usual = implementations(network, unit, chosen)[0]
        return UnitTime(None, None, tuple(k.spec for k in usual.kernels if k.spec not in prices), "")
    way = min(ways, key=lambda way: sum(prices[kernel.spec].latency_s for kernel in way.kernels))
    found = [prices[kernel.spec] for kernel in way.kernels]
    sources = dict.fromkeys(price.source.value for price in found)
    spans = tuple(map(span_of, found))
    guessed = any(p.source is Source.PREDICTED and not s.known for p, s in zip(found, spans, strict=True))
    joules = [price.energy_j for price in found if price.energy_j is not None]
    energy_j = sum(joules) if len(joules) == len(found) else None
    return UnitTime(Span.total(spans), way, (), " and ".join(sources), guessed, energy_j)


def span_of(price: Price) -> Span:
    """A price whose ends are the latency itself has no interval."""
    return Span(price.latency_s, price.low_s, price.high_s, known=price.low_s < price.high_s)


def label(unit: Unit) -> str:
    """For people."""
    return " + ".join(unit.layers)
