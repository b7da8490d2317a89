"""Bits of real networks, for tests."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from profiler.allocation.bits_file import Bits, LayerBits, TensorBits, TensorConversion
from profiler.workload import Network
from tests.allocation.bits_examples import made_by_hand


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
    return made_by_hand(
        network.name,
        tuple(layers),
        tuple(TensorBits(name, precision) for name, precision in (tensors or {}).items()),
        conversions=tuple(_conversions(network, {layer.name: layer.precision for layer in layers}, tensors or {})),
        separate=separate,
        batch=network.batch,
    )
