"""Weights and images from a seed, so that any network can be quantized and run without a download.

Source: He et al., Delving Deep into Rectifiers, ICCV 2015 (arXiv 1502.01852): with n products a sum and a mean square
q of what is read, weights of variance 2 / (n q) ahead of a ReLU, and 1 / (n q) without one, give a mean square of 1. He
et al. know q to be 1. Here it is followed through the network, since the sums of a residual network grow with each
block: what is added to a shortcut is of mean square 1 at any depth, so that the shortcut grows by steps and not by
factors, and what leaves it is brought back to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
import numpy.typing as npt

from profiler.frontend.weights import LayerWeights
from profiler.network.float_run import input_tensors
from profiler.network.images import Images
from profiler.network.integer_network import IntegerNetwork
from profiler.network.pool_counts import counted
from profiler.workload import Layer, Network, Op

_BIAS = 0.1
"""Standard deviation of a bias: small beside the sums, whose mean square is 1 or 2."""


def random_weights(network: Network, seed: int) -> Mapping[str, LayerWeights]:
    """Normally distributed, by layer. The same seed and network give the same weights, with the same NumPy."""
    squares = {tensor.name: 1.0 for tensor in input_tensors(network)}
    found = {}
    for index, layer in enumerate(network.layers):
        if layer.workload.op.has_weights:
            variance = (2.0 if layer.relu else 1.0) / (layer.workload.reduction * squares[layer.inputs[0]])
            found[layer.name] = _drawn(layer, sqrt(variance), np.random.default_rng([seed, index]))
        squares[layer.output] = _square(network, layer, squares)
    return found


def random_images(network: Network, count: int, seed: int) -> Images:
    """Normally distributed pixels with a mean square of 1, their magnitudes where the network reads them unsigned. The
    first images of many are those of few."""
    inputs = {}
    for index, tensor in enumerate(input_tensors(network)):
        shape = (count, tensor.height, tensor.width, tensor.channels)
        inputs[tensor.name] = _pixels(shape, tensor.signed, [seed, index])
    return Images(inputs)


def random_pixels(network: IntegerNetwork, seed: int) -> Mapping[str, npt.NDArray[np.float32]]:
    """A batch of them for a network in integers, by input name: real numbers that its scales are applied to."""
    values = [network.value(name) for name in network.inputs]
    return {value.name: _pixels(value.shape, value.dtype.signed, [seed, i]) for i, value in enumerate(values)}


def _pixels(shape: tuple[int, ...], signed: bool, seed: list[int]) -> npt.NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return values if signed else np.abs(values)


def _drawn(layer: Layer, deviation: float, rng: np.random.Generator) -> LayerWeights:
    work = layer.workload
    weight = rng.standard_normal(work.weight_shape) * deviation
    return LayerWeights(weight, rng.standard_normal(work.out_channels) * _BIAS)


def _square(network: Network, layer: Layer, squares: Mapping[str, float]) -> float:
    """The mean square of what the layer writes, about."""
    if layer.workload.op.has_weights:
        # Of the products, those with padding are zero. No padding counts here.
        return float(counted(layer).mean()) / (layer.workload.kernel_h * layer.workload.kernel_w)
    read = [squares[tensor] for tensor in layer.inputs]
    if layer.workload.op is Op.CONCAT:
        return max(*read, squares.get(layer.output, 0.0))
    if layer.workload.op is not Op.ADD:
        return read[0]
    signed = [network.tensor(tensor).signed for tensor in layer.inputs]
    if not any(signed):
        return sum(sqrt(square) for square in read) ** 2  # both have a mean, which add up: at most this
    return sum(read) / 2 if layer.relu and all(signed) else sum(read)
