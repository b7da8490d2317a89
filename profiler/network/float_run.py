"""What a trained network computes in real numbers, in float32: the values of every tensor, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import UnsupportedModel
from profiler.frontend.weights import LayerWeights
from profiler.network import float_layers
from profiler.network.features import features_of, weight_as_stored
from profiler.network.float_layers import Floats
from profiler.workload import Layer, Network, Op, Tensor

Array = npt.NDArray[Any]

_AT_ONCE = 32
_TENSOR_BYTES = 64 << 20
"""What the largest tensor of a run may take, where an image fits in."""


def input_tensors(network: Network) -> tuple[Tensor, ...]:
    """The tensors that layers read and none writes, in the network's order."""
    written = {layer.output for layer in network.layers}
    read = {tensor for layer in network.layers for tensor in layer.inputs}
    return tuple(tensor for tensor in network.tensors if tensor.name in read - written)


def images_at_once(network: Network) -> int:
    """How many images `float_run` takes without the largest tensor filling the memory; at most 32."""
    largest = max(4 * tensor.height * tensor.width * tensor.channels for tensor in network.tensors)
    return max(1, min(_AT_ONCE, _TENSOR_BYTES // largest))


def float_run(
    network: Network, weights: Mapping[str, LayerWeights], inputs: Mapping[str, Array]
) -> Iterator[tuple[str, Floats]]:
    """The name and the values of each tensor as soon as they are there: inputs first, then in the order of the layers.

    weights : by layer. inputs : by tensor, float32 [N, H, W, C]; N is any number of images, whatever the network's
    batch. Values are of the same kind, and the bits of an image do not depend on N. They must not be changed; the run
    forgets them behind their last reader.

    A tensor that is unsigned holds nothing below zero, whoever writes it, and be it the user; one that a clipped ReLU
    writes nothing above its end. What leaves float32 is infinite or NaN, without a warning.

    Raises `UnsupportedModel` for a network that operators were left out of, `ValueError` for inputs and weights that
    are missing or of other shapes.
    """
    if network.skipped:
        raise UnsupportedModel(
            f"network '{network.name}' cannot be run: {network.skipped[0]} was left out of it (--skip-unsupported)"
        )
    given = {tensor.name: _given(tensor, inputs) for tensor in input_tensors(network)}
    counts = {name: len(values) for name, values in given.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the inputs have different numbers of images: {counts}")
    for layer in network.weighted_layers:
        found = weights.get(layer.name)
        if found is None or found.weight.shape != layer.workload.weight_shape:
            raise ValueError(f"layer '{layer.name}' has no weights of shape {layer.workload.weight_shape}")
    return _run(network, weights, given)


def _given(tensor: Tensor, inputs: Mapping[str, Array]) -> Floats:
    shape = (tensor.height, tensor.width, tensor.channels)
    values = inputs.get(tensor.name)
    if values is None or values.shape[1:] != shape or values.dtype != np.float32:
        raise ValueError(f"input '{tensor.name}' is missing, or not float32 of shape (images, {shape})")
    return values if tensor.signed else np.maximum(values, np.float32(0))


def _run(
    network: Network, weights: Mapping[str, LayerWeights], live: dict[str, Floats]
) -> Iterator[tuple[str, Floats]]:
    """``live`` are the tensors that somebody still reads."""
    yield from tuple(live.items())
    last_reader = {tensor: layer.name for layer in network.layers for tensor in layer.inputs}
    filled: dict[str, int] = {}
    for layer in network.layers:
        name, work = layer.output, layer.workload
        if work.op is Op.CONCAT:
            first = filled.get(name, 0)
            filled[name] = first + work.in_channels
            live[name] = _with_slice(layer, live[layer.inputs[0]], live.get(name), first)
        else:
            live[name] = _computed(network, weights, layer, [live[tensor] for tensor in layer.inputs])
        for tensor in set(layer.inputs):
            if last_reader[tensor] == layer.name:
                del live[tensor]
        if filled.get(name, work.out_channels) < work.out_channels:
            continue
        if layer.relu or not network.tensor(name).signed:
            np.maximum(live[name], np.float32(0), out=live[name])
        if layer.relu_limit is not None:
            np.minimum(live[name], np.float32(layer.relu_limit), out=live[name])
        yield name, (live[name] if name in last_reader else live.pop(name))


def _with_slice(layer: Layer, x: Floats, whole: Floats | None, first: int) -> Floats:
    """The concatenation with one more input in it, from channel ``first`` on."""
    work = layer.workload
    if x.shape[1:3] != (work.in_height, work.in_width):
        x = features_of(x)
    if whole is None:
        whole = np.empty((len(x), work.out_height, work.out_width, work.out_channels), np.float32)
    whole[..., first : first + work.in_channels] = x
    return whole


def _computed(network: Network, weights: Mapping[str, LayerWeights], layer: Layer, values: list[Floats]) -> Floats:
    work = layer.workload
    if work.op is Op.ADD:
        return float_layers.added(*values)
    if work.op is Op.MAX_POOL:
        return float_layers.max_pooled(work, values[0])
    if work.op is Op.AVG_POOL:
        return float_layers.avg_pooled(layer, values[0])
    if not work.op.has_weights:
        raise UnsupportedModel(f"layer '{layer.name}': {work.op.value} is no layer of a trained network")
    real = weights[layer.name]
    weight = weight_as_stored(real.weight, layer, network.tensor(layer.inputs[0]))
    with np.errstate(over="ignore"):
        weight, bias = weight.astype(np.float32), real.bias.astype(np.float32)
    return (float_layers.dense if work.op is Op.DENSE else float_layers.conv2d)(work, values[0], weight, bias)
