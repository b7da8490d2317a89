"""Which tensors of a network cannot be narrow, as memory is laid out: types below 8 bits share bytes along channels.

A slice of a concatenation has to begin on a byte, and an image that is read flattened has to have no spare bits between
its pixels (`quantize.whole_bytes`). Below four bits a pixel is several bit planes: groups whose channels share a byte
of a plane have no kernel. Whoever chooses precisions asks here: allocations, uniform networks, and the check of
hand-made bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from profiler.quantize.whole_bytes import begins_on_byte, lies_in_a_row
from profiler.workload import INT8, DType, Layer, Network, Op, Precision, Tensor


@dataclass(frozen=True)
class Misfits:
    """Of activations of so many bits, by name, with the reason: ``tensors`` that cannot be stored in them, and
    ``layers`` with weights that cannot read them (a copy in a wider type they can)."""

    tensors: Mapping[str, str]
    layers: Mapping[str, str]


def misfits(network: Network, bits: int) -> Misfits:
    """Types of whole bytes fit everywhere."""
    if bits % 8 == 0:
        return Misfits({}, {})
    owners, tensors = _owners(network), {tensor.name: tensor for tensor in network.tensors}
    stored: dict[str, str] = _without_kernels(network, bits, owners) if DType.activation(bits, True).in_planes else {}
    layers: dict[str, str] = {}
    filled: dict[str, int] = {}
    for layer in network.layers:
        work = layer.workload
        if work.op is Op.CONCAT:
            first = filled.get(layer.output, 0)
            filled[layer.output] = first + work.in_channels
            if not begins_on_byte(first, DType.activation(bits, tensors[layer.output].signed)):
                reason = f"the slice of layer '{layer.name}' begins at channel {first} of '{layer.output}', in a byte"
                stored.setdefault(owners[layer.output], reason)
        if work.op not in (Op.CONCAT, Op.DENSE):
            continue
        tensor = tensors[layer.inputs[0]]
        dtype = DType.activation(bits, tensor.signed)
        if _flattens(layer, tensor) and not lies_in_a_row(tensor.height, tensor.width, tensor.channels, dtype):
            reason = f"layer '{layer.name}' reads '{tensor.name}' flattened, and "
            reason += (
                f"the bit planes of its pixels ({dtype.value}, {tensor.channels} channels) do not follow each other"
                if dtype.in_planes
                else f"its {tensor.channels} channels fill no whole bytes"
            )
            if work.op is Op.DENSE:
                layers[layer.name] = reason
            else:
                stored.setdefault(owners[tensor.name], reason)
    return Misfits({name: stored[owner] for name, owner in owners.items() if owner in stored}, layers)


def uniform_precisions(network: Network, precision: Precision) -> Mapping[str, Precision]:
    """Of every tensor, where the network is as uniform as it can be without conversions: what does not fit, or cannot
    be read by a layer with weights, is INT8, and so are the layers that read it."""
    found, owners = misfits(network, precision.activation_bits), _owners(network)
    wide = {owners[network.layer(name).inputs[0]] for name in found.layers} | {owners[name] for name in found.tensors}
    return {name: INT8 if owner in wide else precision for name, owner in owners.items()}


def _without_kernels(network: Network, bits: int, owners: Mapping[str, str]) -> dict[str, str]:
    """Owners of tensors in bit planes that no kernel writes, with the reason."""
    found: dict[str, str] = {}
    outputs = {layer.name: output for layer, output in _outputs(network)}
    for layer in network.layers:
        work = layer.workload
        depthwise = work.is_depthwise and work.in_channels == work.out_channels
        if work.op is Op.CONV2D and work.groups > 1 and not depthwise and work.group_outputs % 8:
            reason = f"groups of {work.group_outputs} output channels of layer '{layer.name}' would share bytes of bit "
            found.setdefault(owners[outputs[layer.name]], f"{reason}planes ({bits} bits)")
    return found


def _outputs(network: Network) -> Iterator[tuple[Layer, str]]:
    """What each layer writes where additions are fused."""
    fused = {convolution: network.layer(addition).output for addition, convolution in network.fusions().items()}
    return ((layer, fused.get(layer.name, layer.output)) for layer in network.layers)


def _owners(network: Network) -> dict[str, str]:
    """`Network.type_owner` of every tensor."""
    owners = {tensor.name: tensor.name for tensor in network.tensors}
    for layer in network.layers:
        if layer.workload.op is Op.MAX_POOL:
            owners[layer.output] = owners[layer.inputs[0]]
    return owners


def _flattens(layer: Layer, tensor: Tensor) -> bool:
    return layer.workload.input_shape[1:] != (tensor.height, tensor.width, tensor.channels)
