"""What each layer costs in each precision, all around it being uniform; where a narrower one is no faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from profiler.allocation.bits_file import LayerBits
from profiler.allocation.network_problem import NetworkProblem
from profiler.allocation.tensor_choices import Prices
from profiler.allocation.unit_tables import priced_ways
from profiler.allocation_stages.prices import PriceList
from profiler.allocation_stages.result import LayerPrice, LayerView
from profiler.lut.demand import Unit, units
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.sensitivity.table import Sensitivity
from profiler.workload import Network, Precision


@dataclass(frozen=True)
class _UnitPrice:
    """A unit by its fastest way; the ends of several kernels are added up as if all erred alike."""

    latency_s: float
    low_s: float
    high_s: float


def _cheapest(network: Network, unit: Unit, precision: Precision, prices: Prices) -> _UnitPrice | None:
    """The unit in a uniform network; None without a price, and for a precision that its layer cannot have there."""
    chosen = uniform_precisions(network, precision)
    if chosen[unit.layer.inputs[0]] != precision:
        return None
    ways = priced_ways(network, unit, chosen, prices)
    found = [[prices[kernel.spec] for kernel in way.kernels] for way in ways]
    each = [
        _UnitPrice(sum(p.latency_s for p in way), sum(p.low_s for p in way), sum(p.high_s for p in way))
        for way in found
    ]
    return min(each, key=lambda price: price.latency_s, default=None)


def layer_prices(problem: NetworkProblem, priced: PriceList) -> Iterator[LayerPrice]:
    """Each unit with weights in every narrower precision against the widest, all around it being uniform."""
    wide, *narrower = problem.freedom.precisions
    for unit in units(problem.network):
        if not unit.layer.workload.op.has_weights:
            continue
        first = _cheapest(problem.network, unit, wide, priced.prices)
        for precision in narrower:
            other = _cheapest(problem.network, unit, precision, priced.prices)
            if first is None or other is None:
                continue
            if other.high_s < first.low_s:
                verdict = "faster"
            elif other.low_s > first.high_s:
                verdict = "slower"
            else:
                verdict = "same"
            yield LayerPrice(unit.layers, precision.name, first.latency_s, other.latency_s, verdict)


def layer_views(
    problem: NetworkProblem, priced: PriceList, sensitivity: Sensitivity, chosen: Sequence[LayerBits]
) -> tuple[LayerView, ...]:
    """Of each layer with weights, in the order of ``chosen``."""
    precisions = problem.freedom.precisions
    by_layer = {unit.layer.name: unit for unit in units(problem.network)}
    views = []
    for layer in chosen:
        unit = by_layer[layer.name]
        found = [_cheapest(problem.network, unit, precision, priced.prices) for precision in precisions]
        costs = sensitivity.layer(layer.name).cost if layer.name in sensitivity else {}
        views.append(
            LayerView(
                name=layer.name,
                precision=layer.precision,
                fixed=layer.fixed,
                sensitivities=tuple(costs.get(precision.name) for precision in precisions),
                latencies_s=tuple(None if price is None else price.latency_s for price in found),
            )
        )
    return tuple(views)
