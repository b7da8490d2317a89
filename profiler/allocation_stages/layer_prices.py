"""What each layer costs in each precision, all around it being uniform; where a narrower one is no faster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

_Uniform = tuple[Precision, Mapping[str, Precision]]
"""A precision, and that of each tensor in the network that is uniform in it (`uniform_precisions`)."""


@dataclass(frozen=True)
class _UnitPrice:
    """A unit by its fastest way; the ends of several kernels are added up as if all erred alike."""

    latency_s: float
    low_s: float
    high_s: float


def _cheapest(network: Network, unit: Unit, uniform: _Uniform, prices: Prices) -> _UnitPrice | None:
    """The unit in a uniform network; None without a price, and for a precision that its layer cannot have there."""
    precision, precision_of = uniform
    if precision_of[unit.layer.inputs[0]] != precision:
        return None
    ways = priced_ways(network, unit, precision_of, prices)
    found = [[prices[kernel.spec] for kernel in way.kernels] for way in ways]
    each = [
        _UnitPrice(sum(p.latency_s for p in way), sum(p.low_s for p in way), sum(p.high_s for p in way))
        for way in found
    ]
    return min(each, key=lambda price: price.latency_s, default=None)


def _uniform_networks(problem: NetworkProblem) -> tuple[_Uniform, ...]:
    """From the widest to the narrowest."""
    network, precisions = problem.network, problem.freedom.precisions
    return tuple((precision, uniform_precisions(network, precision)) for precision in precisions)


def layer_prices(problem: NetworkProblem, priced: PriceList) -> Iterator[LayerPrice]:
    """Each unit with weights in every narrower precision against the widest, all around it being uniform."""
    wide, *narrower = _uniform_networks(problem)
    for unit in units(problem.network):
        if not unit.layer.workload.op.has_weights:
            continue
        first = _cheapest(problem.network, unit, wide, priced.prices)
        for narrow in narrower:
            other = _cheapest(problem.network, unit, narrow, priced.prices)
            if first is None or other is None:
                continue
            if other.high_s < first.low_s:
                verdict = "faster"
            elif other.low_s > first.high_s:
                verdict = "slower"
            else:
                verdict = "same"
            yield LayerPrice(unit.layers, narrow[0].name, first.latency_s, other.latency_s, verdict)


def layer_views(
    problem: NetworkProblem, priced: PriceList, sensitivity: Sensitivity, chosen: Sequence[LayerBits]
) -> tuple[LayerView, ...]:
    """Of each layer with weights, in the order of ``chosen``."""
    precisions, uniform = problem.freedom.precisions, _uniform_networks(problem)
    by_layer = {unit.layer.name: unit for unit in units(problem.network)}
    views = []
    for layer in chosen:
        unit = by_layer[layer.name]
        found = [_cheapest(problem.network, unit, network, priced.prices) for network in uniform]
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
