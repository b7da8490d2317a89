"""Bits by hand, for tests."""

from __future__ import annotations

from profiler.allocation.bits_file import Bits, LatencyParts, LayerBits, TensorBits, TensorConversion
from profiler.allocation.deployment import Deployment
from profiler.lut.demand import stored_tensors
from profiler.workload import Network


def made_by_hand(
    network: str,
    layers: tuple[LayerBits, ...],
    tensors: tuple[TensorBits, ...] = (),
    *,
    conversions: tuple[TensorConversion, ...] = (),
    separate: tuple[str, ...] = (),
    batch: int = 1,
) -> Bits:
    """What decides on kernels, of the network of that name; nothing of what an allocation says beside that."""
    return Bits(
        network=network,
        batch=batch,
        layers=layers,
        tensors=tensors,
        conversions=conversions,
        separate=separate,
        limits=(),
        sensitivity=0.0,
        sensitivity_source="by hand",
        bound=0.0,
        gap=0.0,
        status="optimal",
        latency=LatencyParts(0.0, 0.0, 0.0, 0.0, 0.0),
        size_bytes=0.0,
        bops=0.0,
        activation_bytes=0.0,
        energy_j=None,
        device="",
        device_name="",
        fingerprint="",
        lut="",
    )


def as_bits(network: Network, deployment: Deployment) -> Bits:
    """A deployment as a file of bits says it."""
    return made_by_hand(
        network.name,
        tuple(LayerBits(layer.name, deployment.layers[layer.name].name) for layer in network.weighted_layers),
        tuple(TensorBits(name, deployment.tensors[name].name) for name in stored_tensors(network)),
        conversions=deployment.conversions,
        separate=tuple(sorted(deployment.separate)),
        batch=network.batch,
    )


def with_a_copy(network: Network) -> Bits:
    """All in INT8; the first convolution behind a max pool reads a copy in INT4, and the first addition that could be
    fused runs by itself."""
    reader = next(x for x in network.weighted_layers if network.type_owner(x.inputs[0]) != x.inputs[0])
    return made_by_hand(
        network.name,
        tuple(LayerBits(x.name, "int4" if x is reader else "int8") for x in network.weighted_layers),
        tuple(TensorBits(name, "int8") for name in stored_tensors(network)),
        conversions=(TensorConversion(reader.inputs[0], "int8", "int4", (reader.name,)),),
        separate=(next(iter(network.fusions())),),
        batch=network.batch,
    )
