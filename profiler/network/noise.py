"""What rounding does to a network's outputs: the integer network beside the float network that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log10, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.network.features import channel_orders, in_model_order
from profiler.network.float_run import float_run
from profiler.network.integer_network import IntegerNetwork
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import TrainedNetwork
from profiler.network.real_numbers import quantized_inputs, real_values

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OutputNoise:
    """Of the output ``name``: ``relative_error`` is the root of the sum of squared differences to the float network,
    over that of its squared values. None where those are all zero."""

    name: str
    relative_error: float | None

    @property
    def snr_db(self) -> float | None:
        """Signal to quantization noise in decibels; None where there is no signal, or no noise."""
        return -20 * log10(self.relative_error) if self.relative_error else None


def output_noise(
    trained: TrainedNetwork, network: IntegerNetwork, inputs: Mapping[str, Array]
) -> tuple[OutputNoise, ...]:
    """Of each output, over all images together, by the integer oracle.

    network : what `integer_network` made of ``trained``, at any batch. inputs : by tensor, float32 [N, H, W, C], any
    number of images N. Errors as those of `float_run`.
    """
    count = len(next(iter(inputs.values())))
    integers = with_batch(network, count)
    computed = oracle_run(integers, quantized_inputs(integers, inputs))
    wanted = float_outputs(trained, inputs)
    found = integer_outputs(trained, integers, computed)
    return tuple(OutputNoise(name, _relative(found[name], wanted[name])) for name in network.outputs)


def float_outputs(trained: TrainedNetwork, inputs: Mapping[str, Array]) -> dict[str, Doubles]:
    """By name, [N, H, W, C] in the order of the network's outputs; arguments and errors as those of `float_run`."""
    outputs = trained.network.outputs
    run = float_run(trained.network, trained.weights, inputs)
    found = {name: values.astype(np.float64) for name, values in run if name in outputs}
    return {name: found[name] for name in outputs}


def integer_outputs(
    trained: TrainedNetwork, network: IntegerNetwork, computed: Mapping[str, Array]
) -> dict[str, Doubles]:
    """What the outputs among the ``computed`` values of the network stand for, as `float_outputs` has them."""
    orders = channel_orders(trained.network)
    real = {name: real_values(network, name, computed[name]) for name in trained.network.outputs}
    return {name: in_model_order(values, orders.get(name)) for name, values in real.items()}


def with_batch(network: IntegerNetwork, batch: int) -> IntegerNetwork:
    """The same network for so many images at once: nothing but extents knows how many there are."""
    return replace(
        network,
        batch=batch,
        values=tuple(replace(value, shape=(batch, *value.shape[1:])) for value in network.values),
        steps=tuple(
            replace(step, spec=replace(step.spec, workload=replace(step.spec.workload, batch=batch)))
            for step in network.steps
        ),
    )


def _relative(found: Array, wanted: Array) -> float | None:
    signal = float(np.square(wanted).sum())
    return sqrt(float(np.square(found.reshape(wanted.shape) - wanted).sum()) / signal) if signal else None
