"""Bits that are INT8 in all layers but one.

The tensor that the layer reads is stored in its type, and whoever else reads that tensor is given what is left of it:
additions, pools and concatenations as it lies, other layers with weights in a copy of 8 bits. So a layer answers for
all that its tensor's few bits do. A copy for the layer alone is made where nothing else is possible: where several
layers read a tensor that cannot be narrow itself, or where another one of them takes it as it lies, to convolve and to
add it.
"""

from __future__ import annotations

from profiler.allocation.bits_file import TensorConversion
from profiler.allocation.deployment import Deployment
from profiler.allocation.tensor_choices import adding_their_input
from profiler.lut.demand import units
from profiler.lut.narrow_tensors import misfits
from profiler.workload import INT8, Layer, Network, Precision


def why_wide(network: Network, layer: str, precision: Precision) -> str:
    """Why the layer stays in 8 bits where it shall have that precision, as an allocation has it (`narrow_tensors`);
    empty where it can have it."""
    found = misfits(network, precision.activation_bits)
    if layer in found.layers:
        return found.layers[layer]
    needs_storage = not _others(network, layer) or layer in adding_their_input(units(network))
    return found.tensors.get(network.layer(layer).inputs[0], "") if needs_storage else ""


def one_narrow(network: Network, layer: str, precision: Precision) -> Deployment:
    """The layer in that precision, which it can have (`why_wide`), and all others in INT8; additions are fused."""
    wide = Deployment.uniform(network, INT8)
    layers = {**wide.layers, layer: precision}
    source, others = network.layer(layer).inputs[0], _others(network, layer)
    owner, in_place = network.type_owner(source), adding_their_input(units(network))
    unfit = source in misfits(network, precision.activation_bits).tensors
    if unfit or (layer not in in_place and any(other.name in in_place for other in others)):
        return Deployment(layers, wide.tensors, (TensorConversion(source, INT8.name, precision.name, (layer,)),))
    stored = {name: precision if network.type_owner(name) == owner else before for name, before in wide.tensors.items()}
    readers: dict[str, list[str]] = {}
    for other in others:
        readers.setdefault(other.inputs[0], []).append(other.name)
    copies = (TensorConversion(tensor, precision.name, INT8.name, tuple(names)) for tensor, names in readers.items())
    return Deployment(layers, stored, tuple(copies))


def _others(network: Network, layer: str) -> list[Layer]:
    """Layers with weights that read the same tensor, ahead of or behind a max pool."""
    owner = network.type_owner(network.layer(layer).inputs[0])
    readers = (other for other in network.weighted_layers if network.type_owner(other.inputs[0]) == owner)
    return [other for other in readers if other.name != layer]
