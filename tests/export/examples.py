"""Bits by hand, for tests."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from profiler.allocation.bits_file import Bits, LatencyParts, LayerBits, TensorBits, TensorConversion
from profiler.workload import Network


def _conversions(
    network: Network, of_layer: Mapping[str, str], tensors: Mapping[str, str]
) -> Iterator[TensorConversion]:
    """For the layers that read a tensor in another precision than it is stored in."""
    for layer in network.weighted_layers:
        tensor, precision = layer.inputs[0], of_layer[layer.name]
        if tensors.get(tensor, precision) != precision:
            yield TensorConversion(tensor, tensors[tensor], precision, (layer.name,))


def bits_of(
    network: Network,
    narrow: Collection[str] = (),
    *,
    tensors: Mapping[str, str] | None = None,
    separate: tuple[str, ...] = (),
) -> Bits:
    """All of the network's layers in int8, those of ``narrow`` in int4; ``tensors`` are stored in these precisions."""
    layers = [LayerBits(x.name, "int4" if x.name in narrow else "int8") for x in network.weighted_layers]
    return Bits(
        network=network.name,
        batch=network.batch,
        layers=tuple(layers),
        tensors=tuple(TensorBits(name, precision) for name, precision in (tensors or {}).items()),
        conversions=tuple(_conversions(network, {layer.name: layer.precision for layer in layers}, tensors or {})),
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
