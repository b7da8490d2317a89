"""What each unit of a network costs, given the precisions of what it reads and writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from profiler.allocation.freedom import Freedom
from profiler.allocation.problem import Costs, Option, Quantity, Table
from profiler.allocation.tensor_choices import Prices, TensorChoices
from profiler.lut.demand import Implementation, Unit, implementations
from profiler.workload import Network, Precision


@dataclass(frozen=True)
class UnitTable:
    """A unit, its table, and the implementation behind each option. ``impossible`` : levels of the table's choices for
    which no way has a price."""

    unit: Unit
    table: Table
    ways: tuple[Implementation, ...]
    impossible: tuple[tuple[int, ...], ...]


def unit_table(
    network: Network, unit: Unit, choices: TensorChoices, freedom: Freedom, prices: Prices, *, all_ways: bool
) -> UnitTable:
    """``all_ways`` keeps those that cost more latency and energy, since they may take less memory."""
    chosen = unit_choices(unit, choices)
    axes = tuple(dict.fromkeys(chosen.values()))
    options: list[Option] = []
    ways: list[Implementation] = []
    impossible = []
    for levels in product(*(choices.choices[axis].allowed for axis in axes)):
        level_of = dict(zip(axes, levels, strict=True))
        precision_of = {tensor: freedom.precisions[level_of[choice]] for tensor, choice in chosen.items()}
        found = [(way, costs_of(way, prices)) for way in priced_ways(network, unit, precision_of, prices)]
        if not found:
            impossible.append(levels)
        for way, costs in found if all_ways else _best(found):
            ways.append(way)
            options.append(Option(levels, costs))
    name = " + ".join(unit.layers)
    return UnitTable(unit, Table(name, axes, tuple(options)), tuple(ways), tuple(impossible))


def unit_choices(unit: Unit, choices: TensorChoices) -> dict[str, int]:
    """By tensor that decides on the unit's kernels: what a layer with weights reads is in the layer's own precision."""
    found = {name: choices.of_tensor[name] for name in unit.tensors if name in choices.of_tensor}
    if unit.layer.workload.op.has_weights:
        found[unit.layer.inputs[0]] = choices.of_layer[unit.layer.name]
    return found


def priced_ways(
    network: Network, unit: Unit, precision_of: Mapping[str, Precision], prices: Prices
) -> tuple[Implementation, ...]:
    """The ways of doing a unit all of whose kernels have a price."""
    ways = implementations(network, unit, precision_of)
    return tuple(way for way in ways if all(kernel.spec in prices for kernel in way.kernels))


def is_priced(network: Network, unit: Unit, precisions: Sequence[Precision], prices: Prices) -> bool:
    """Whether there is any combination of precisions in which the unit can be done."""
    return any(
        priced_ways(network, unit, dict(zip(unit.tensors, combination, strict=True)), prices)
        for combination in product(precisions, repeat=len(unit.tensors))
    )


def costs_of(way: Implementation, prices: Prices) -> Costs:
    """Latency as it counts against a limit; energy only where it is known of every kernel."""
    found = [prices[kernel.spec] for kernel in way.kernels]
    energies = [price.energy_j for price in found if price.energy_j is not None]
    energy = {Quantity.ENERGY: sum(energies)} if len(energies) == len(found) else {}
    return {Quantity.LATENCY: sum(price.bound_s for price in found), **energy}


def _best(found: Sequence[tuple[Implementation, Costs]]) -> Iterator[tuple[Implementation, Costs]]:
    """Those that no other one equals or beats in all costs."""
    for index, (way, costs) in enumerate(found):
        others = (
            other for number, (_, other) in enumerate(found) if number != index and (other != costs or number < index)
        )
        if not any(all(other.get(quantity, 0.0) <= cost for quantity, cost in costs.items()) for other in others):
            yield way, costs
