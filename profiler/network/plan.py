"""How an integer network runs from compiled kernels: where its values lie, and what each kernel gets as arguments.

Nothing here knows a device. What a plan is stands in `execute.planned`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.artifact import ArgSpec, Artifact, Role
from profiler.errors import UnsupportedModel
from profiler.network.execute.planned import Memory, Place, Plan, PlannedStep, PlannedValue
from profiler.network.integer_network import IntegerNetwork, Step, Value
from profiler.network.memory import ALIGNMENT, Block, arranged, most_needed
from profiler.quantize.operands import operands
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.stored import numpy_dtype
from profiler.quantize.whole_bytes import activation_nbytes, begins_on_byte, byte_of, lies_in_a_row
from profiler.workload import KernelSpec, Op

Bytes = npt.NDArray[np.uint8]

_READ = (Role.INPUT,)
_WRITTEN = (Role.OUTPUT, Role.INOUT)
_CONSTANT = (Role.PARAMETER, Role.COUNTERS)

_Key = tuple[int, str]
"""Of what needs memory for a while: a step and its argument, or -1 and a value."""


def plan(network: IntegerNetwork, artifacts: Mapping[KernelSpec, Artifact]) -> Plan:
    """Raises `UnsupportedModel` where a kernel cannot read or write a value as it lies, naming the layer, and
    `ValueError` for a spec without an artifact or one that is not of that spec."""
    specs = tuple(dict.fromkeys(step.spec for step in network.steps))
    for spec in specs:
        if spec not in artifacts or artifacts[spec].spec != spec:
            raise ValueError(f"there is no artifact of {spec.key}")
    values = {value.name: value for value in network.values}
    blocks = _blocks(network, values, artifacts)
    arena = arranged(list(blocks.values()))
    places = {
        key: Place(Memory.ARENA, offset, block.nbytes)
        for (key, block), offset in zip(blocks.items(), arena.offsets, strict=True)
    }
    parameters = _ParameterPlaces()
    written: set[str] = set()
    steps = []
    for index, step in enumerate(network.steps):
        artifact = artifacts[step.spec]
        args = tuple(_place(index, step, arg, values, places, parameters) for arg in artifact.args)
        output = places[-1, step.writes]
        kernel = specs.index(step.spec)
        steps.append(PlannedStep(step.name, step.layer, kernel, args, output, step.writes not in written))
        written.add(step.writes)
    return Plan(
        kernels=tuple(spec.key for spec in specs),
        steps=tuple(steps),
        inputs=tuple(PlannedValue(name, places[-1, name]) for name in network.inputs),
        outputs=tuple(PlannedValue(name, places[-1, name]) for name in network.outputs),
        arena_nbytes=arena.nbytes,
        parameter_nbytes=parameters.nbytes,
        needed_nbytes=most_needed(list(blocks.values())),
        unshared_nbytes=sum(block.nbytes for block in blocks.values()),
    )


def parameter_bytes(network: IntegerNetwork, artifacts: Mapping[KernelSpec, Artifact], planned: Plan) -> Bytes:
    """What has to lie in the parameters' memory: 1-d uint8, each parameter packed as its kernel reads it."""
    memory: Bytes = np.zeros(planned.parameter_nbytes, np.uint8)
    for step, placed in zip(network.steps, planned.steps, strict=True):
        artifact = artifacts[step.spec]
        packed = pack_arguments(step.spec, artifact.packing, {**_no_activations(step), **step.parameters})
        for arg, place in zip(artifact.args, placed.args, strict=True):
            if arg.role is Role.PARAMETER:
                memory[place.slice] = packed[arg.name]
    return memory


class _ParameterPlaces:
    """One behind the other, in the order of their use."""

    def __init__(self) -> None:
        self.nbytes = 0

    def add(self, nbytes: int) -> Place:
        place = Place(Memory.PARAMETERS, self.nbytes, nbytes)
        self.nbytes += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return place


def _blocks(
    network: IntegerNetwork, values: Mapping[str, Value], artifacts: Mapping[KernelSpec, Artifact]
) -> dict[_Key, Block]:
    """What needs memory for a while: values from the first write to the last read, scratch memory during its step."""
    first: dict[str, int] = dict.fromkeys(network.inputs, -1)
    last: dict[str, int] = {}
    for index, step in enumerate(network.steps):
        first.setdefault(step.writes, index)
        for name in (step.writes, *(name for _, name in step.reads)):
            last[name] = index
    last |= dict.fromkeys((*network.inputs, *network.outputs), len(network.steps))
    blocks: dict[_Key, Block] = {
        (-1, name): Block(activation_nbytes(values[name].shape, values[name].dtype), step, last[name])
        for name, step in first.items()
    }
    for index, step in enumerate(network.steps):
        for arg in artifacts[step.spec].args:
            if arg.role is Role.WORKSPACE:
                blocks[index, arg.name] = Block(arg.nbytes, index, index)
    return blocks


def _place(
    index: int,
    step: Step,
    arg: ArgSpec,
    values: Mapping[str, Value],
    places: Mapping[_Key, Place],
    parameters: _ParameterPlaces,
) -> Place:
    if arg.role is Role.WORKSPACE:
        return places[index, arg.name]
    if arg.role in _CONSTANT:
        return parameters.add(arg.nbytes)
    name = step.writes if arg.role in _WRITTEN else dict(step.reads)[arg.name]
    place = places[-1, name]
    if place.nbytes != arg.nbytes:
        raise UnsupportedModel(
            f"layer '{step.layer}' takes '{name}' for {arg.nbytes} bytes, but it lies in {place.nbytes}: pixels of "
            f"{values[name].shape[-1]} channels in {values[name].dtype.value} cannot be read as one row; give the "
            "layer 8 bits"
        )
    if arg.role in _READ and not _lies_as_read(step, arg, values[name]):
        raise UnsupportedModel(
            f"layer '{step.layer}' takes '{name}' flattened, but bit planes of several pixels "
            f"({values[name].dtype.value}) cannot be read as one row; give the layer 8 bits"
        )
    if not step.first_channel or arg.role in _READ:
        return place
    # The kernel writes the first channels of what it is given: it is given the value from its slice on.
    dtype = values[name].dtype
    if not begins_on_byte(step.first_channel, dtype):
        raise UnsupportedModel(
            f"layer '{step.layer}' writes '{name}' from channel {step.first_channel} on, in the middle of a byte "
            f"({dtype.value}); store '{name}' in 8 bits"
        )
    start = byte_of(step.first_channel, dtype)
    return Place(place.memory, place.offset + start, place.nbytes - start)


def _lies_as_read(step: Step, arg: ArgSpec, value: Value) -> bool:
    """Bytes of the same number can lie in another order where the kernel reads another shape than was written."""
    (read,) = (operand.shape for operand in operands(step.spec) if operand.name == arg.name)
    return read == value.shape or lies_in_a_row(*value.shape[1:], value.dtype)


def _no_activations(step: Step) -> dict[str, npt.NDArray[Any]]:
    """Zeros, for a packing that wants all arguments."""
    reads = dict(step.reads)
    return {
        operand.name: np.broadcast_to(numpy_dtype(operand.dtype).type(0), operand.shape)
        for operand in operands(step.spec)
        if operand.name in reads or (operand.name == "output" and step.spec.workload.op is Op.CONCAT)
    }
