"""The kernels that a network runs with chosen bits, in an order in which they can run: from the bits and the network
alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from profiler.allocation.bits_file import Bits
from profiler.allocation.deployment import Deployment
from profiler.errors import InvalidFile
from profiler.lut.demand import Unit, Variant, conversion, implementations, units
from profiler.workload import KernelSpec, Network, Precision


class Purpose(str, Enum):
    """What a launch is for: a layer itself, or a copy of what it reads in another precision."""

    LAYER = "layer"
    CONVERSION = "conversion"


@dataclass(frozen=True)
class Launch:
    """A kernel. ``unit`` is the layer that is done, with the addition that belongs to it, ``layer`` what of it this
    kernel does (of a fused pair: the convolution). A conversion belongs to the first of its readers."""

    unit: Unit
    layer: str
    spec: KernelSpec
    purpose: Purpose


def launches(network: Network, chosen: Bits | Deployment) -> tuple[Launch, ...]:
    """Raises `InvalidFile` for bits of another network, or that leave a tensor without a precision."""
    if isinstance(chosen, Bits):
        chosen.require_network(network)
        chosen = Deployment.of(chosen)
    return tuple(_launches(network, chosen))


def _launches(network: Network, deployment: Deployment) -> Iterator[Launch]:
    copied = {(copy.tensor, reader): copy for copy in deployment.conversions for reader in copy.readers}
    made = set()
    for unit in _in_order(network):
        layer = unit.layer
        copy = copied.get((layer.inputs[0], layer.name)) if layer.workload.op.has_weights else None
        if copy is not None and copy not in made:
            made.add(copy)
            spec = conversion(network, copy.tensor, Precision.parse(copy.source), Precision.parse(copy.target))
            if spec is not None:
                yield Launch(unit, layer.name, spec, Purpose.CONVERSION)
        precision_of = {name: deployment.tensors[name] for name in unit.tensors if name in deployment.tensors}
        if layer.workload.op.has_weights:
            precision_of[layer.inputs[0]] = deployment.layers[layer.name]
        try:
            ways = implementations(network, unit, precision_of)
        except KeyError as error:
            raise InvalidFile(f"the bits say no precision of tensor {error}; make them again (allocate)") from None
        separate = unit.addition is not None and unit.addition.name in deployment.separate
        for way in ways:
            if (way.variant is Variant.SEPARATE) == separate:
                for kernel in way.kernels:
                    yield Launch(unit, kernel.layer, kernel.spec, Purpose.LAYER)


def _in_order(network: Network) -> Iterator[Unit]:
    """A unit with an addition stands where the addition does: what else that reads (a shortcut) may be written only
    after the convolution."""
    by_last = {unit.layers[-1]: unit for unit in units(network)}
    return (by_last[layer.name] for layer in network.layers if layer.name in by_last)
