"""A layer's weights and bias as integers, and the scales that they are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import UnsupportedModel
from profiler.frontend.weights import LayerWeights
from profiler.lut.demand import emits_logits
from profiler.network.features import channel_orders, weight_as_stored
from profiler.sensitivity.perturbation import Clipping, channel_scales, quantized
from profiler.workload import DType, KernelSpec, Layer, Network

Array = npt.NDArray[Any]
Reals = npt.NDArray[np.float64]
ZERO_CHANNEL = 2.0**-24
"""Scale of a channel of zeros in one bit, over the largest of the layer."""
_BIAS_ROOM = 1 << 30
"""A bias takes no more of an accumulator than this; a channel whose bias would take more has a coarser scale."""


@dataclass(frozen=True)
class LayerIntegers:
    """``weight`` : int8 [O, KH, KW, C / groups], features in the order in which they are stored. ``bias`` : int32 [O].
    ``sums`` : float64 [O], what one of an accumulator stands for."""

    weight: Array = field(compare=False)
    bias: Array = field(compare=False)
    sums: Reals = field(compare=False)


class IntegerWeights:
    """Of a network's layers with weights, by kernel and scale of the input. Each is made once, however many networks
    want it: the search for scales of least squared error takes longer than all else that makes a network of
    integers."""

    def __init__(self, network: Network, weights: Mapping[str, LayerWeights], clipping: Clipping) -> None:
        self._network, self._weights, self._clipping = network, weights, clipping
        self._orders = channel_orders(network)
        self._made: dict[tuple[str, DType, DType, float], LayerIntegers] = {}
        self._found: dict[tuple[str, int], Reals] = {}
        """Scales that the weights alone decide on, by layer and bits."""

    def of(self, layer: Layer, spec: KernelSpec, input_scale: float) -> LayerIntegers:
        """``spec`` is of the layer, at any batch. The arrays belong to all who ask. Raises `UnsupportedModel` for sums
        that int32 does not hold, naming the layer."""
        assert spec.weight_dtype is not None
        key = (layer.name, spec.weight_dtype, spec.input_dtype, input_scale)
        if key not in self._made:
            self._made[key] = self._integers(layer, spec, spec.weight_dtype.bits, input_scale)
        return self._made[key]

    def _integers(self, layer: Layer, spec: KernelSpec, bits: int, input_scale: float) -> LayerIntegers:
        real = self._weights[layer.name]
        tensor = self._network.tensor(layer.inputs[0])
        weight = weight_as_stored(real.weight, layer, tensor, self._orders.get(tensor.name))
        scales = self._scales(layer, weight, real.bias, spec, input_scale)
        sums = scales * input_scale
        return LayerIntegers(quantized(weight, scales, bits), np.rint(real.bias / sums).astype(np.int32), sums)

    def _scales(self, layer: Layer, weight: Array, bias: Array, spec: KernelSpec, input_scale: float) -> Reals:
        """Of each output channel. Logits share one, so that they can be compared as the integers that they are: the
        largest, or of one bit the mean, which has the least squared error for all of the weights. One bit has no
        zero: a channel of zeros has a scale so small that what it adds to its bias is rounded away."""
        assert spec.weight_dtype is not None
        bits = spec.weight_dtype.bits
        if (layer.name, bits) not in self._found:
            self._found[layer.name, bits] = channel_scales(weight, bits, self._clipping)
        scales = self._found[layer.name, bits]
        of_zeros = (scales.max(initial=0.0) or 1.0) * (ZERO_CHANNEL if bits == 1 else 1.0)
        if bits == 1 and emits_logits(self._network, layer):
            scales = np.full_like(scales, scales.mean())
        scales = np.where(scales > 0, scales, of_zeros)
        largest = spec.workload.reduction * spec.weight_dtype.high * max(spec.input_dtype.high, -spec.input_dtype.low)
        room = min(_BIAS_ROOM, DType.INT32.high - largest)
        if room < 1:
            raise UnsupportedModel(
                f"layer '{layer.name}': sums of {spec.workload.reduction} products may leave 32 bits"
            )
        scales = np.maximum(scales, np.abs(bias) / (room * input_scale))
        return np.full_like(scales, scales.max()) if emits_logits(self._network, layer) else scales
