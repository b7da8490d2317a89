"""An integer network as a torch module: the same roundings and clamps, in real numbers, so that weights can be trained.

Gradients pass a rounding as if it were not there, and end where a value is clamped: the straight-through estimator
(Bengio et al., arXiv 1308.3432, 2013), as HAWQ-V3 fine-tunes (Yao et al., ICML 2021). Weights of one bit have
no clamp (`_two_levels`). Batch normalization is folded into the weights that are trained, its statistics frozen: the
last phase of HAWQ-V3's training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from profiler.allocation.deployment import Deployment
from profiler.errors import UnsupportedModel
from profiler.frontend.weights import LayerWeights
from profiler.lut.demand import emits_logits
from profiler.network.integer_network import IntegerNetwork, Step, Value
from profiler.network.integer_weights import ZERO_CHANNEL
from profiler.network.pool_counts import counted
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.sensitivity.perturbation import top_level
from profiler.workload import Layer, Op, Workload


class FakeQuantized(nn.Module):  # type: ignore[misc,unused-ignore]
    """Computes logits [N, classes] of inputs by name, [N, C, H, W], within a step of the integer network's.

    Scales of weights are the largest magnitude of each output channel over the largest integer (of one bit the mean
    magnitude), followed as the weights change. Scales of activations are those of the ranges until `set_scales` is
    called with others.
    """

    def __init__(self, trained: TrainedNetwork, deployment: Deployment) -> None:
        """Raises what `integer_network` raises, and `UnsupportedModel` for a network of several outputs."""
        super().__init__()
        self._network, self._deployment = trained.network, deployment
        self._layers = {layer.name: layer for layer in trained.network.layers}
        self._weights = nn.ParameterDict()
        self._biases = nn.ParameterDict()
        self._keys = {layer.name: str(index) for index, layer in enumerate(trained.network.weighted_layers)}
        for name, key in self._keys.items():
            real = trained.weights[name]
            self._weights[key] = nn.Parameter(torch.from_numpy(_nchw(real.weight)).float())
            self._biases[key] = nn.Parameter(torch.from_numpy(real.bias.copy()).float())
        self._integers: IntegerNetwork
        self.set_scales(trained)
        if len(self._integers.outputs) != 1:
            raise UnsupportedModel(f"network '{trained.network.name}' has several outputs: what they shall be is open")

    def set_scales(self, trained: TrainedNetwork) -> None:
        """Those of other ranges."""
        self._integers = integer_network(trained, self._deployment)
        self._values = {value.name: value for value in self._integers.values}

    @property
    def activation_bits(self) -> tuple[int, ...]:
        """Of all precisions."""
        return tuple(sorted({precision.activation_bits for precision in self._deployment.precisions}))

    def weights(self) -> Mapping[str, LayerWeights]:
        """As they are now, as the frontend has them."""
        found = {}
        for name, key in self._keys.items():
            weight = self._weights[key].detach().double().numpy().transpose(0, 2, 3, 1)
            found[name] = LayerWeights(np.ascontiguousarray(weight), self._biases[key].detach().double().numpy().copy())
        return found

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        values = {name: _stored(inputs[name], self._values[name]) for name in self._integers.inputs}
        for step in self._integers.steps:
            found = self._computed(step, values)
            before = values.get(step.writes) if step.first_channel else None
            values[step.writes] = found if before is None else torch.cat([before, found], dim=1)
        return values[self._integers.outputs[0]].flatten(1)

    def _computed(self, step: Step, values: Mapping[str, Tensor]) -> Tensor:
        spec, target = step.spec, self._values[step.writes]
        work, layer = spec.workload, self._layers[step.layer]
        read = {operand: values[name] for operand, name in step.reads}
        x = read["input"]
        if work.op.has_weights:
            sums = self._sums(step, layer, x)
            if not spec.epilogue.requantizes:
                return sums
            return _stored(sums, target, spec.epilogue.relu, read.get("residual"))
        if work.op is Op.ADD:
            return _stored(x, target, spec.epilogue.relu, read["input2"])
        if work.op is Op.MAX_POOL:
            dilation = (work.dilation_h, work.dilation_w)
            return functional.max_pool2d(_padded(work, x, -np.inf), _kernel(work), _stride(work), 0, dilation)
        if work.op is Op.AVG_POOL and (work.dilation_h, work.dilation_w) == (1, 1):
            area = work.kernel_h * work.kernel_w
            sums = area * functional.avg_pool2d(_padded(work, x, 0.0), _kernel(work), _stride(work))
            return _stored(sums / torch.from_numpy(counted(layer).astype(np.float32)), target)
        if work.op is Op.CONCAT and x.shape[1] != work.in_channels:  # of flattened images, in the model's order
            x = x.flatten(1)[:, :, None, None]
        if work.op in (Op.CONVERT, Op.CONCAT):
            return _stored(x, target)
        raise UnsupportedModel(f"layer '{layer.name}': {work.text} cannot be fine-tuned through")

    def _sums(self, step: Step, layer: Layer, x: Tensor) -> Tensor:
        work, key = step.spec.workload, self._keys[layer.name]
        assert step.spec.weight_dtype is not None
        bits = step.spec.weight_dtype.bits
        top = top_level(bits)
        weight, bias = self._weights[key], self._biases[key]
        magnitudes = weight.detach().abs()
        scales = magnitudes.mean((1, 2, 3)) if bits == 1 else magnitudes.amax((1, 2, 3)) / top
        scales = torch.where(scales > 0, scales, scales.max().clamp(min=1e-30) * (ZERO_CHANNEL if bits == 1 else 1.0))
        if emits_logits(self._network, layer):
            scales = torch.full_like(scales, float(scales.mean() if bits == 1 else scales.max()))
        per_channel = scales[:, None, None, None]
        if bits == 1:
            weight = _two_levels(weight, per_channel)
        else:
            weight = _rounded((weight / per_channel).clamp(-top, top)) * per_channel
        steps = scales * self._values[dict(step.reads)["input"]].scale[0]
        bias = _rounded(bias / steps) * steps
        if work.op is Op.DENSE:  # features of a flattened image stand in the model's order in both
            return functional.linear(x.flatten(1), weight.flatten(1), bias)[:, :, None, None]
        dilation = (work.dilation_h, work.dilation_w)
        return functional.conv2d(_padded(work, x, 0.0), weight, bias, _stride(work), 0, dilation, work.groups)


def _stored(x: Tensor, value: Value, at_zero: bool = False, other: Tensor | None = None) -> Tensor:
    """``x`` as the integers of a value stand for it; what is added to it is rounded by itself."""
    scale = value.scale[0]
    levels = _rounded(x / scale)
    if other is not None:
        levels = levels + _rounded(other / scale)
    low = max(value.dtype.low, 0) if at_zero else value.dtype.low
    return levels.clamp(low, value.dtype.high) * scale


def _rounded(x: Tensor) -> Tensor:
    """Halves away from zero; the gradient is that of ``x``."""
    return x + (torch.sign(x) * torch.floor(x.abs() + 0.5) - x).detach()


def _two_levels(weight: Tensor, scale: Tensor) -> Tensor:
    """-scale and +scale by the sign, that of zero +; the gradient is that of ``weight``, of any magnitude.

    The scale is a constant to the gradient, as in DoReFa-Net (Zhou et al., arXiv 1606.06160, 2016; there one scale for
    a layer). Other estimators end where a weight is beyond 1 (XNOR-Net, arXiv 1603.05279), which means nothing for
    weights with batch normalization folded in. An estimator that ended at the scale, a mean, would never let two fifths
    of normally distributed weights change their sign.
    """
    return torch.where(weight < 0, -scale, scale) + (weight - weight.detach())


def _padded(work: Workload, x: Tensor, value: float) -> Tensor:
    margins = (work.pad_left, work.pad_right, work.pad_top, work.pad_bottom)
    return functional.pad(x, margins, value=value) if any(margins) else x


def _kernel(work: Workload) -> tuple[int, int]:
    return work.kernel_h, work.kernel_w


def _stride(work: Workload) -> tuple[int, int]:
    return work.stride_h, work.stride_w


def _nchw(weight: Any) -> Any:
    return np.ascontiguousarray(weight.transpose(0, 3, 1, 2))
