"""Which bits a network is run with: those of an allocation, or the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from profiler.allocation.bits_file import Bits
from profiler.allocation.deployment import Deployment
from profiler.errors import InvalidFile
from profiler.lut.demand import Variant, implementations, stored_tensors, units
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.workload import KernelSpec, Network, Precision, widest_first


def uniform_deployment(network: Network, precision: Precision, latencies_s: Mapping[KernelSpec, float]) -> Deployment:
    """Everything in one precision, as far as it fits (`narrow_tensors`); each addition fused or by itself, whichever is
    faster by these latencies. Where they say nothing it is fused."""
    separate = []
    precisions = uniform_precisions(network, precision)
    for unit in units(network):
        ways = implementations(network, unit, precisions)
        known = [way for way in ways if all(kernel.spec in latencies_s for kernel in way.kernels)]
        if not known or unit.addition is None:
            continue
        fastest = min(known, key=lambda way: sum(latencies_s[kernel.spec] for kernel in way.kernels))
        if fastest.variant is Variant.SEPARATE:
            separate.append(unit.addition.name)
    return Deployment.uniform(network, precision, separate)


def allocated_deployment(network: Network, path: Path, bits: Bits) -> Deployment:
    """Of the bits of a file. Raises `InvalidFile`, naming it, for those of another network or of another batch, and for
    those that leave out the precision of a tensor."""
    try:
        bits.require_network(network)
    except InvalidFile as error:
        raise InvalidFile(f"{path}: {error}") from None
    if bits.batch != network.batch:
        raise InvalidFile(f"{path}: is of batch {bits.batch}, and the network of {network.batch}")
    deployment = Deployment.of(bits)
    for tensor in stored_tensors(network):
        if tensor not in deployment.tensors and network.type_owner(tensor) not in deployment.tensors:
            raise InvalidFile(f"{path}: tensor '{tensor}' has no precision; allocate the bits of this network again")
    return deployment


def layers_of_precisions(network: Network, deployment: Deployment) -> Iterator[tuple[Precision, int]]:
    """How many layers with weights have which precision, widest first."""
    found = [deployment.layers[layer.name] for layer in network.weighted_layers]
    for precision in widest_first(found):
        yield precision, found.count(precision)


def weight_bytes(network: Network, deployment: Deployment) -> float:
    """What the weights take in their own bits, without biases: the size that bits.json counts."""
    bits = (layer.workload.weights * deployment.layers[layer.name].weight_bits for layer in network.weighted_layers)
    return sum(bits) / 8
