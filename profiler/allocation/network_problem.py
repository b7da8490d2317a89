"""From a network, the prices of its kernels and the sensitivities of its layers to an allocation problem."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.allocation.freedom import Freedom
from profiler.allocation.live_tensors import moments
from profiler.allocation.problem import Problem
from profiler.allocation.tensor_choices import Prices, SensitivityOf, TensorChoices, tensor_choices
from profiler.allocation.unit_tables import UnitTable, is_priced, unit_table
from profiler.errors import ProfilerError
from profiler.lut.demand import units
from profiler.workload import KernelSpec, Network

_MOST_NAMES = 8


@dataclass(frozen=True)
class NetworkProblem:
    """The problem, and what its parts stand for: ``choices``, and ``tables`` in the order of the problem's tables.

    ``unpriced`` : layers of which nothing is in the latency, since nothing of them has a price. ``gaps`` : units that
    have a price in some combinations of precisions but not in all, with how many of how many are missing.
    ``kernels`` counts those that can be chosen, and ``unmetered`` are the ones that do not say their energy.
    """

    network: Network
    freedom: Freedom
    problem: Problem
    choices: TensorChoices
    tables: tuple[UnitTable, ...]
    unpriced: tuple[str, ...]
    gaps: tuple[tuple[str, int, int], ...]
    kernels: int
    unmetered: tuple[KernelSpec, ...]


def network_problem(
    network: Network, prices: Prices, sensitivity_of: SensitivityOf, freedom: Freedom, *, limits_memory: bool = False
) -> NetworkProblem:
    """Raises `ProfilerError` naming the layers that have no price at all, unless ``freedom.only_priced``."""
    all_units = units(network)
    priced = [is_priced(network, unit, freedom.precisions, prices) for unit in all_units]
    unpriced = tuple(name for unit, known in zip(all_units, priced, strict=True) if not known for name in unit.layers)
    if unpriced and not freedom.only_priced:
        raise ProfilerError(_unpriced_text(unpriced, len(network.layers)))
    if not any(priced):
        raise ProfilerError(
            f"no layer of network '{network.name}' has a price: is the LUT of another network or batch?"
        )
    choices = tensor_choices(network, all_units, freedom, unpriced, sensitivity_of, prices)
    tables = tuple(
        unit_table(network, unit, choices, freedom, prices, all_ways=limits_memory)
        for unit, known in zip(all_units, priced, strict=True)
        if known
    )
    by_layer = {table.unit.layer.name: (index, table) for index, table in enumerate(tables)}
    used = {kernel.spec for table in tables for way in table.ways for kernel in way.kernels}
    used |= {spec for shared in choices.shared for spec in shared.kernels.values()}
    return NetworkProblem(
        network=network,
        freedom=freedom,
        problem=Problem(
            precisions=tuple(precision.name for precision in freedom.precisions),
            choices=choices.choices,
            tables=tuple(table.table for table in tables),
            sharings=choices.sharings,
            not_narrower=choices.rules,
            moments=moments(network, all_units, choices, freedom, by_layer),
        ),
        choices=choices,
        tables=tables,
        unpriced=unpriced,
        gaps=tuple(
            (
                table.table.name,
                len(table.impossible),
                len(table.impossible) + len({o.levels for o in table.table.options}),
            )
            for table in tables
            if table.impossible
        ),
        kernels=len(used),
        unmetered=tuple(sorted((spec for spec in used if prices[spec].energy_j is None), key=lambda spec: spec.key)),
    )


def _unpriced_text(names: tuple[str, ...], count: int) -> str:
    shown = ", ".join(names[:_MOST_NAMES]) + (
        f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    )
    return (
        f"{len(names)} of {count} layers have no price: {shown}; profile them, predict them (--predictor), or leave "
        "them out of the latency (--scope priced)"
    )
