"""The weights of a model's layers, batch normalization folded in.

A module of its own: it needs NumPy, which reading a network does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiler.errors import UnsupportedModel
from profiler.frontend import SUFFIXES
from profiler.frontend.layer_values import Doubles, LayerValues
from profiler.frontend.lowering import Lowered, Origin
from profiler.frontend.refusal import RefusedError, quoted
from profiler.workload import Layer, Network, Op


@dataclass(frozen=True)
class LayerWeights:
    """Of one convolution or dense layer.

    weight : ndarray of shape `Workload.weight_shape` (output channels, kernel height, kernel width, input channels of
    a group), float64, with a folded batch normalization (and other constant factors) multiplied in. bias : ndarray of
    shape (output channels,), float64, zeros where there is none.

    The features of a dense layer stand in the model's order: behind a flattened image that is the order of NCHW, while
    the network's tensor is NHWC.
    """

    weight: Doubles
    bias: Doubles


def load_weights(model: str, network: Network) -> Mapping[str, LayerWeights]:
    """By name of the layer, for all with weights, in the network's order.

    ``model`` is the file that the network was read from. Dequantized weights are what their integers stand for, to the
    precision of float64. Raises `UnsupportedModel` for a model without weights (a built-in name, a network.json), for
    another model than that of the network, and for whatever cannot be read exactly, naming the file and the layer.
    """
    path = Path(model)
    lowered, values_of = _opened(path, model, network)
    ours, theirs = network.weighted_layers, lowered.network.weighted_layers
    if [(x.name, x.workload) for x in ours] != [(x.name, x.workload) for x in theirs]:
        raise UnsupportedModel(f"{path}: is not the model of network {quoted(network.name)}: its layers are others")
    return dict(_folded(path, ours, lowered.origins, values_of))


def _opened(path: Path, model: str, network: Network) -> tuple[Lowered, Callable[[Origin], LayerValues]]:
    """The model as a network, and what it says of a layer."""
    suffix = path.suffix.lower()
    skip = bool(network.skipped)
    if suffix == ".onnx":
        from profiler.frontend.onnx import weights as onnx_weights

        return onnx_weights.opened(path, network.batch, skip_unsupported=skip)
    if suffix == ".pt2":
        from profiler.frontend.torch import weights as torch_weights

        return torch_weights.opened(path, network.batch, skip_unsupported=skip)
    with_weights = " or ".join(s for s in SUFFIXES if s != ".json")
    raise UnsupportedModel(f"{model}: has no weights; give the model itself, as a file that ends in {with_weights}")


def _folded(
    path: Path, layers: Sequence[Layer], origins: Sequence[Origin], values_of: Callable[[Origin], LayerValues]
) -> Iterator[tuple[str, LayerWeights]]:
    by_layer = {origin.layer: origin for origin in origins}
    for layer in layers:
        try:
            yield layer.name, _fold(layer, values_of(by_layer[layer.name]))
        except RefusedError as refusal:
            raise UnsupportedModel(f"{path}: layer {quoted(layer.name)}: {refusal}") from None


def _fold(layer: Layer, values: LayerValues) -> LayerWeights:
    channels = layer.workload.out_channels
    weight = values.weight
    if layer.workload.op is Op.DENSE and weight.ndim == 2:
        weight = weight[:, None, None, :]
    elif weight.ndim == 4:
        weight = weight.transpose(0, 2, 3, 1)
    if weight.shape != layer.workload.weight_shape:
        raise RefusedError(f"its weights have shape {values.weight.shape}, which is not that of its operator")
    bias = np.zeros(channels)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at below
        if values.bias is not None:
            bias = bias + _per_channel(values.bias, channels)
        for fold in values.folds:
            scale, shift = _per_channel(fold.scale, channels), _per_channel(fold.shift, channels)
            weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    for what, array in (("weight", weight), ("bias", bias)):
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            raise RefusedError(f"{bad} of its {array.size} {what} values are not finite, batch normalization folded in")
    return LayerWeights(np.ascontiguousarray(weight, np.float64), np.ascontiguousarray(bias, np.float64))


def _per_channel(values: Doubles, channels: int) -> Doubles:
    if values.shape not in ((), (1,), (channels,)):
        raise RefusedError(f"a bias or constant of it has shape {values.shape} for {channels} output channels")
    return np.broadcast_to(values, (channels,))
