"""From a trained network to integers: weights per output channel, static ranges of activations, dyadic rescaling.

Source: Yao et al., HAWQ-V3: Dyadic Neural Network Quantization, ICML 2021 (arXiv 2011.10680). With scales S of the
input x, the weights w of a channel and the output y, and integers q, a layer is

    q_y = clamp(round(q_acc * m / 2**s)),  q_acc = sum(q_w * q_x) + q_b
    m / 2**s = S_w * S_x / S_y,  q_b = round(b / (S_w * S_x))

A residual is rescaled by its own dyadic number and added in integers ahead of the clamp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.allocation.deployment import Deployment
from profiler.allocation.launches import Launch, Purpose, launches
from profiler.errors import UnsupportedModel
from profiler.frontend.weights import LayerWeights
from profiler.network.integer_network import IntegerNetwork, Step, Value
from profiler.network.integer_weights import IntegerWeights
from profiler.network.pool_counts import counted
from profiler.network.ranges import Ranges
from profiler.quantize.dyadic import dyadic
from profiler.quantize.scales import activation_scale
from profiler.sensitivity.perturbation import Clipping
from profiler.workload import DType, Layer, Network, Op

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with what training and calibration have found. ``weights`` are by layer, ``ranges`` by tensor."""

    network: Network
    weights: Mapping[str, LayerWeights] = field(hash=False, compare=False)
    ranges: Ranges = field(hash=False, compare=False)


def integer_network(
    trained: TrainedNetwork, deployment: Deployment, clipping: Clipping = Clipping.MAX_ABS
) -> IntegerNetwork:
    """The network in integers, as the deployment has it.

    Raises `UnsupportedModel` for a layer whose numbers no integer kernel can hold, naming it, and `InvalidFile` for a
    deployment of another network.
    """
    return integer_network_with(IntegerWeights(trained.network, trained.weights, clipping), trained, deployment)


def integer_network_with(weights: IntegerWeights, trained: TrainedNetwork, deployment: Deployment) -> IntegerNetwork:
    """As `integer_network`; ``weights`` are those of the same trained network, as others may have made them before."""
    builder = _Builder(weights, trained, deployment)
    for launch in launches(trained.network, deployment):
        builder.add(launch)
    return builder.network()


class _Builder:
    """The values and steps so far."""

    def __init__(self, weights: IntegerWeights, trained: TrainedNetwork, deployment: Deployment) -> None:
        self._weights, self._trained, self._deployment = weights, trained, deployment
        self._network = trained.network
        self._values: dict[str, Value] = {}
        self._steps: list[Step] = []
        self._filled: dict[str, int] = {}
        """Channels of each concatenation that are written so far."""
        self._copies: dict[tuple[str, str], str] = {}
        """Value that a layer reads instead of a tensor: by tensor and layer."""
        written = {layer.output for layer in self._network.layers}
        self._inputs = tuple(tensor.name for tensor in self._network.tensors if tensor.name not in written)
        for name in self._inputs:
            self._store(name)

    def network(self) -> IntegerNetwork:
        read = {name for step in self._steps for _, name in step.reads}
        return IntegerNetwork(
            name=self._network.name,
            batch=self._network.batch,
            values=tuple(self._values.values()),
            steps=tuple(self._steps),
            inputs=tuple(name for name in self._inputs if name in read),
            outputs=self._network.outputs,
        )

    def add(self, launch: Launch) -> None:
        """The step of a launch, and the value that it writes."""
        if launch.purpose is Purpose.CONVERSION:
            self._convert(launch)
            return
        layer = next(entry for entry in self._network.layers if entry.name == launch.layer)
        op = launch.spec.workload.op
        if op.has_weights:
            self._weighted(launch, layer)
        elif op is Op.ADD:
            self._add(launch, layer)
        elif op is Op.MAX_POOL:
            self._emit(launch, layer, {"input": layer.inputs[0]}, {})
        elif op is Op.AVG_POOL:
            self._average(launch, layer)
        else:
            self._concat(launch, layer)

    # -- steps by operator -------------------------------------------------------------------------------------------

    def _convert(self, launch: Launch) -> None:
        tensor = launch.unit.layer.inputs[0]
        dtype = launch.spec.output_dtype
        name = f"{tensor} as {dtype.value}"
        source = self._values[tensor]
        target = Value(name, source.shape, dtype, (self._scale(tensor, dtype),))
        self._values[name] = target
        factors = self._rescale(launch, source.scale, target.scale, source.shape[-1])
        self._steps.append(Step(name, launch.layer, launch.spec, (("input", tensor),), name, _named(factors)))
        for copy in self._deployment.conversions:
            if copy.tensor == tensor and launch.layer in copy.readers:
                self._copies |= {(tensor, reader): name for reader in copy.readers}

    def _weighted(self, launch: Launch, layer: Layer) -> None:
        spec, unit = launch.spec, launch.unit
        source = self._values[self._copies.get((layer.inputs[0], layer.name), layer.inputs[0])]
        if source.dtype is not spec.input_dtype:
            raise UnsupportedModel(f"layer '{layer.name}' reads {source.dtype.value}, not {spec.input_dtype.value}")
        made = self._weights.of(layer, spec, source.scale[0])
        parameters: dict[str, Array] = {"weight": made.weight, "bias": made.bias}
        reads = {"input": source.name}
        if not spec.epilogue.requantizes:
            output = layer.output
            self._values[output] = Value(output, spec.workload.output_shape, DType.INT32, _shared(made.sums))
        else:
            output = unit.output if spec.epilogue.adds else layer.output
            target = self._store(output)
            parameters |= _named(self._rescale(launch, tuple(made.sums), target.scale, len(made.sums)))
            if spec.epilogue.adds:
                assert unit.other is not None
                other = self._values[unit.other]
                factors = self._rescale(launch, other.scale, target.scale, len(made.sums))
                parameters |= _named(factors, prefix="residual_")
                reads["residual"] = other.name
        self._steps.append(Step(layer.name, layer.name, spec, tuple(reads.items()), output, parameters))

    def _add(self, launch: Launch, layer: Layer) -> None:
        first, second = layer.inputs
        if self._values[second].dtype is DType.INT32:  # accumulators come first
            first, second = second, first
        target = self._store(layer.output)
        channels = target.shape[-1]
        parameters = _named(self._rescale(launch, self._values[first].scale, target.scale, channels))
        parameters |= _named(self._rescale(launch, self._values[second].scale, target.scale, channels), suffix="2")
        self._emit(launch, layer, {"input": first, "input2": second}, parameters)

    def _average(self, launch: Launch, layer: Layer) -> None:
        source, target = self._values[layer.inputs[0]], self._store(layer.output)
        counts = counted(layer)
        if not counts.all():
            raise UnsupportedModel(f"layer '{layer.name}' averages windows in which nothing counts")
        factors = self._rescale(launch, tuple(source.scale[0] / counts.reshape(-1)), target.scale, counts.size)
        multiplier, shift = (values.reshape(counts.shape) for values in factors)
        self._emit(launch, layer, {"input": source.name}, {"multiplier": multiplier, "shift": shift})

    def _concat(self, launch: Launch, layer: Layer) -> None:
        work = layer.workload
        source, target = self._values[layer.inputs[0]], self._store(layer.output)
        first = self._filled.get(layer.output, 0)
        self._filled[layer.output] = first + work.in_channels
        factors = self._rescale(launch, source.scale, target.scale, work.in_channels)
        self._emit(launch, layer, {"input": source.name}, _named(factors), first)

    def _emit(
        self, launch: Launch, layer: Layer, reads: Mapping[str, str], parameters: Mapping[str, Array], first: int = 0
    ) -> None:
        self._store(layer.output)
        step = Step(layer.name, layer.name, launch.spec, tuple(reads.items()), layer.output, parameters, first)
        self._steps.append(step)

    # -- scales ------------------------------------------------------------------------------------------------------

    def _store(self, name: str) -> Value:
        """The value of a tensor, in the precision in which it is stored."""
        if name in self._values:
            return self._values[name]
        tensor, owner = self._network.tensor(name), self._network.type_owner(name)
        stored = self._deployment.tensors.get(name, self._deployment.tensors.get(owner))
        if stored is None:
            raise UnsupportedModel(f"tensor '{name}' has no precision; allocate the bits of this network again")
        dtype = stored.activation_dtype(tensor.signed)
        shape = (self._network.batch, tensor.height, tensor.width, tensor.channels)
        self._values[name] = Value(name, shape, dtype, (self._scale(name, dtype),))
        return self._values[name]

    def _scale(self, name: str, dtype: DType) -> float:
        """A max pool changes no value, so that what it writes has the scale of what it reads. A type ends where a
        clipped ReLU does, at the latest: that is all that clips there."""
        owner, limit = self._network.type_owner(name), self._network.relu_limit(name)
        try:
            scale = activation_scale(*self._trained.ranges[owner].of(dtype), dtype)
            return scale if limit is None else min(scale, limit / dtype.high)
        except (KeyError, ValueError) as error:
            raise UnsupportedModel(f"the range of tensor '{owner}' is not known ({error}); calibrate again") from None

    def _rescale(
        self, launch: Launch, source: Sequence[float], target: Sequence[float], channels: int
    ) -> tuple[Array, Array]:
        """Multipliers and shifts of source / target, for so many channels."""
        ratios = np.broadcast_to(np.asarray(source) / np.asarray(target), (channels,))
        try:
            pairs = {ratio: dyadic(float(ratio)) for ratio in set(ratios.tolist())}
        except ValueError as error:
            raise UnsupportedModel(f"layer '{launch.layer}': {error}") from None
        found = [pairs[ratio] for ratio in ratios.tolist()]
        return np.array([m for m, _ in found], np.int32), np.array([s for _, s in found], np.int32)


def _named(factors: tuple[Array, Array], prefix: str = "", suffix: str = "") -> dict[str, Array]:
    return {f"{prefix}multiplier{suffix}": factors[0], f"{prefix}shift{suffix}": factors[1]}


def _shared(scales: Array) -> tuple[float, ...]:
    """One for all where they are alike."""
    values = tuple(float(scale) for scale in scales)
    return values[:1] if len(set(values)) == 1 else values
