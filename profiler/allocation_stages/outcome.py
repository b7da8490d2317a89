"""What an assignment of a network's problem means: precisions of layers and tensors, kernels, latency."""

from __future__ import annotations

import math
from collections import Counter

from profiler.allocation.bits_file import LatencyParts, LayerBits, TensorBits, TensorConversion
from profiler.allocation.calibration import Calibration
from profiler.allocation.network_problem import NetworkProblem
from profiler.allocation.problem import Assignment, copies
from profiler.allocation_stages.prices import PriceList
from profiler.lut.demand import Implementation, Variant
from profiler.lut.schema import Source
from profiler.workload import KernelSpec


def layer_bits(problem: NetworkProblem, assignment: Assignment) -> tuple[LayerBits, ...]:
    """All layers with weights, in the network's order."""
    found = []
    for layer in problem.network.weighted_layers:
        choice = problem.choices.of_layer[layer.name]
        name = problem.problem.precisions[assignment.levels[choice]]
        found.append(LayerBits(layer.name, name, fixed=len(problem.choices.choices[choice].allowed) == 1))
    return tuple(found)


def tensor_bits(problem: NetworkProblem, assignment: Assignment) -> tuple[TensorBits, ...]:
    """All tensors that are stored in a precision, in the network's order."""
    of_tensor = problem.choices.of_tensor
    return tuple(
        TensorBits(tensor.name, problem.problem.precisions[assignment.levels[of_tensor[tensor.name]]])
        for tensor in problem.network.tensors
        if tensor.name in of_tensor
    )


def tensor_conversions(problem: NetworkProblem, assignment: Assignment) -> tuple[TensorConversion, ...]:
    """The copies that readers of one tensor need; readers of one type share one."""
    found = []
    names = problem.problem.precisions
    for index, (stored, wanted) in copies(problem.problem, assignment.levels):
        shared, sharing = problem.choices.shared[index], problem.problem.sharings[index]
        of_reader = {name: assignment.levels[problem.choices.of_layer[name]] for name in shared.readers}
        own = assignment.levels[sharing.tensor]
        readers = tuple(name for name, level in of_reader.items() if sharing.pair(own, level) == (stored, wanted))
        found.append(TensorConversion(shared.tensor, names[own], names[of_reader[readers[0]]], readers))
    return tuple(found)


def chosen_ways(problem: NetworkProblem, assignment: Assignment) -> tuple[Implementation, ...]:
    """Of each unit that has a price."""
    return tuple(table.ways[option] for table, option in zip(problem.tables, assignment.options, strict=True))


def separate_additions(problem: NetworkProblem, assignment: Assignment) -> tuple[str, ...]:
    """Additions that run as kernels of their own although they could be fused."""
    return tuple(
        table.unit.addition.name
        for table, way in zip(problem.tables, chosen_ways(problem, assignment), strict=True)
        if way.variant is Variant.SEPARATE and table.unit.addition is not None
    )


def kernels(problem: NetworkProblem, assignment: Assignment) -> Counter[KernelSpec]:
    """Every launch of the network that has a price, by kernel."""
    counts = Counter(k.spec for way in chosen_ways(problem, assignment) for k in way.kernels)
    for index, pair in copies(problem.problem, assignment.levels):
        counts[problem.choices.shared[index].kernels[pair]] += 1
    return counts


def latency_parts(
    problem: NetworkProblem,
    assignment: Assignment,
    price_list: PriceList,
    confidence: float | None,
    calibration: Calibration | None,
) -> LatencyParts:
    """The sum over the kernels by source."""
    counts = kernels(problem, assignment)
    parts = {
        source: math.fsum(
            price_list.prices[spec].latency_s * count
            for spec, count in counts.items()
            if price_list.prices[spec].source is source
        )
        for source in Source
    }
    total_s = math.fsum(parts.values())
    return LatencyParts(
        total_s=total_s,
        measured_s=parts[Source.MEASURED],
        published_s=parts[Source.PUBLISHED],
        predicted_s=parts[Source.PREDICTED],
        bound_s=math.fsum(price_list.prices[spec].bound_s * count for spec, count in counts.items()),
        confidence=confidence if parts[Source.PREDICTED] else None,
        network_s=None if calibration is None else calibration.latency_s(total_s),
        kernel_only=price_list.kernel_only,
        unpriced=problem.unpriced,
    )


def energy_j(problem: NetworkProblem, assignment: Assignment, price_list: PriceList) -> float | None:
    """Of all kernels; None where one of them has none."""
    counts = kernels(problem, assignment)
    energies = [price_list.prices[spec].energy_j for spec in counts]
    if any(energy is None for energy in energies):
        return None
    return math.fsum((e or 0.0) * count for e, count in zip(energies, counts.values(), strict=True))
