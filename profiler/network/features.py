"""The order of features behind a flattened image: a model flattens NCHW, a network's tensors are NHWC.

A concatenation of flattened images is stored as its images are, one behind the other, each of them NHWC: its channels
stand in another order than the model's. That of its readers' weights makes up for it. `channel_orders` finds such
tensors, and what is made of them without weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import UnsupportedModel
from profiler.workload import Layer, Network, Op, Tensor

Array = npt.NDArray[Any]
Order = npt.NDArray[np.int64]
"""The model's channel (or feature) at each place where one is stored."""


def channel_orders(network: Network) -> Mapping[str, Order]:
    """Of the tensors whose channels are not stored in the model's order, by name.

    Raises `UnsupportedModel` for a layer without weights that would have to reorder what it reads, naming it.
    """
    found: dict[str, Order] = {}
    slices: dict[str, list[Order]] = {}
    for layer in network.layers:
        orders = [found.get(name) for name in layer.inputs]
        if layer.workload.op is Op.CONCAT:
            parts = slices.setdefault(layer.output, [])
            first = sum(map(len, parts))
            parts.append(first + _slice_order(layer, network.tensor(layer.inputs[0]), orders[0]))
            whole = np.concatenate(parts)
            if len(whole) == layer.workload.out_channels and (whole != np.arange(len(whole))).any():
                found[layer.output] = whole
        elif not layer.workload.op.has_weights and any(order is not None for order in orders):
            if any(order is None or (order != orders[0]).any() for order in orders):
                raise UnsupportedModel(
                    f"layer '{layer.name}' adds a concatenation of flattened images to what is stored in another order"
                    " of features; no kernel reorders them"
                )
            assert orders[0] is not None
            found[layer.output] = orders[0]
    return found


def weight_as_stored(weight: Array, layer: Layer, tensor: Tensor, channels: Order | None = None) -> Array:
    """A layer's weights for what it reads as it is stored.

    weight : of shape `Workload.weight_shape`, as `LayerWeights` has it, its features in the model's order, which is
    that of NCHW. The layer reads the ``tensor``, NHWC, whose ``channels`` have an order of their own (None: the
    model's). Raises `UnsupportedModel` for groups of such channels.
    """
    if layer.workload.op is Op.DENSE:
        if channels is None and tensor.height * tensor.width == 1:
            return weight
        return np.ascontiguousarray(weight[..., _feature_order(tensor, channels)])
    if channels is None:
        return weight
    if layer.workload.groups > 1:
        raise UnsupportedModel(
            f"layer '{layer.name}' reads groups of channels that a concatenation of flattened images has mixed; no"
            " kernel reorders them"
        )
    return np.ascontiguousarray(weight[..., channels])


def features_of(x: Array) -> Array:
    """Flattened images, [N, 1, 1, features] of [N, H, W, C], the features in the model's order."""
    return np.asarray(x.transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1))


def in_model_order(x: Array, channels: Order | None) -> Array:
    """[..., C] as it is stored, its channels in the model's order; ``channels`` as `channel_orders` has them."""
    return x if channels is None else np.asarray(x[..., np.argsort(channels)])


def _slice_order(layer: Layer, tensor: Tensor, channels: Order | None) -> Order:
    """Of the channels that a concatenation copies, counted from the first one of them."""
    if layer.workload.in_channels == tensor.channels:
        return np.arange(tensor.channels) if channels is None else channels
    return _feature_order(tensor, channels)


def _feature_order(tensor: Tensor, channels: Order | None) -> Order:
    """Of a flattened image."""
    order = np.arange(tensor.channels) if channels is None else channels
    pixels = np.arange(tensor.height * tensor.width)
    return np.asarray((pixels[:, None] + order[None, :] * len(pixels)).reshape(-1))
