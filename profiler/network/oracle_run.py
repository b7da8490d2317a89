"""What an integer network computes, by the NumPy oracle of each kernel: the truth that devices are compared with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.devices.buffers import POISON
from profiler.network.integer_network import IntegerNetwork, Step
from profiler.quantize.operands import operands
from profiler.quantize.oracle import reference
from profiler.quantize.stored import numpy_dtype, unpack_activation
from profiler.quantize.whole_bytes import activation_nbytes
from profiler.workload import Op

Array = npt.NDArray[Any]


def oracle_run(network: IntegerNetwork, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """All values by name, NHWC, in the NumPy types of `stored.numpy_dtype`.

    inputs : integers by name, of the values' shapes. Raises `ValueError` for inputs that are missing, of another shape
    or out of their type's range.
    """
    values = checked_inputs(network, inputs)
    for step, output in oracle_steps(network, values):
        values[step.writes] = output
    return values


def checked_inputs(network: IntegerNetwork, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What the network reads, in the NumPy types of its values. Errors as those of `oracle_run`."""
    return {name: _checked(network, name, inputs) for name in network.inputs}


def oracle_steps(
    network: IntegerNetwork, values: dict[str, Array], known: Collection[str] = ()
) -> Iterator[tuple[Step, Array]]:
    """Each step with what its value holds behind it. ``values`` are those that have been written; whoever iterates adds
    what it gets. Steps that write what is ``known``, and so among the values, are left out."""
    for step in network.steps:
        if step.writes not in known:
            yield step, _launched(network, step, values)


def unfilled(network: IntegerNetwork) -> dict[str, Array]:
    """Of each concatenation what poisoned memory holds ahead of the first slice."""
    found = {}
    for step in network.steps:
        if step.spec.workload.op is Op.CONCAT:
            value = network.value(step.writes)
            raw = np.full(activation_nbytes(value.shape, value.dtype), POISON, np.uint8)
            found[step.writes] = unpack_activation(raw.tobytes(), value.shape, value.dtype)
    return found


def _launched(network: IntegerNetwork, step: Step, values: Mapping[str, Array]) -> Array:
    shapes = {operand.name: operand.shape for operand in operands(step.spec)}
    arguments = dict(step.parameters)
    for operand, name in step.reads:
        arguments[operand] = values[name].reshape(shapes[operand])
    if step.spec.workload.op is not Op.CONCAT:
        return reference(step.spec, arguments)
    value = network.value(step.writes)
    whole = values.get(step.writes)
    if whole is None:
        whole = np.zeros(value.shape, numpy_dtype(value.dtype))
    # The kernel writes the first channels of what it is given, the pixels from its slice on; what is behind them is not
    # this value's.
    first, output = step.first_channel, np.zeros_like(whole)
    output[..., : whole.shape[-1] - first] = whole[..., first:]
    written = whole.copy()
    written[..., first:] = reference(step.spec, {**arguments, "output": output})[..., : whole.shape[-1] - first]
    return written


def _checked(network: IntegerNetwork, name: str, inputs: Mapping[str, Array]) -> Array:
    value = network.value(name)
    if name not in inputs:
        raise ValueError(f"input '{name}' is missing")
    given = np.asarray(inputs[name])
    if given.shape != value.shape or given.dtype.kind not in "iu":
        raise ValueError(f"input '{name}' is integers of shape {value.shape}, not {given.dtype} of shape {given.shape}")
    if given.size and (given.min() < value.dtype.low or given.max() > value.dtype.high):
        raise ValueError(f"input '{name}' is out of the range of {value.dtype.value}")
    return given.astype(numpy_dtype(value.dtype))
