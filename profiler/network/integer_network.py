"""An integer-only network: tensors of integers between kernels, each kernel with its integer parameters.

Between the quantized input and the logits there is no other number: scales stand beside the values for whoever wants
real numbers in the end, and no step reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.errors import InvalidWorkload
from profiler.quantize.dyadic import MULTIPLIER_BITS, SHIFT_MAX, SHIFT_MIN
from profiler.quantize.operands import Operand, operands
from profiler.workload import NHWC, DType, KernelSpec, Op

Array = npt.NDArray[Any]

ACTIVATIONS = ("input", "input2", "residual", "output")
"""Operands of a kernel that are values of the network; all others are parameters."""


@dataclass(frozen=True)
class Value:
    """A tensor of integers, ``shape`` NHWC. A real number is the integer times ``scale``: one for all, or one for each
    channel of accumulators. Raises `InvalidWorkload`."""

    name: str
    shape: tuple[int, int, int, int]
    dtype: DType
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != 4 or min(self.shape) < 1:
            raise InvalidWorkload(f"value '{self.name}': {self.shape} are not four extents of at least 1")
        if len(self.scale) not in (1, self.shape[-1]):
            raise InvalidWorkload(f"value '{self.name}': {len(self.scale)} scales for {self.shape[-1]} channels")
        if not all(0 < scale < float("inf") for scale in self.scale):
            raise InvalidWorkload(f"value '{self.name}': a scale is positive and finite")
        if not self.dtype.is_integer:
            raise InvalidWorkload(f"value '{self.name}' is {self.dtype.value}: an integer network has none such")


@dataclass(frozen=True)
class Step:
    """One launch of a kernel. ``layer`` is the layer of the network that it does (or whose input it converts).

    ``reads`` : (operand, value) for each activation that the kernel reads; ``writes`` the value that it writes, from
    channel ``first_channel`` on (a slice of a concatenation; 0 elsewhere). ``parameters`` are by operand, integers of
    the shapes of `quantize.operands`.
    """

    name: str
    layer: str
    spec: KernelSpec
    reads: tuple[tuple[str, str], ...]
    writes: str
    parameters: Mapping[str, Array] = field(hash=False, compare=False)
    first_channel: int = 0

    @property
    def filled(self) -> int | None:
        """Channels that a concatenation has behind its slice; None of other kernels, which write all."""
        work = self.spec.workload
        return self.first_channel + work.in_channels if work.op is Op.CONCAT else None


@dataclass(frozen=True)
class IntegerNetwork:
    """Steps in an order in which they can run, and the values between them; ``inputs`` are written by nobody.

    Raises `InvalidWorkload` where a step reads what is not there, in another shape or type, writes what is written
    already, or has a parameter that is missing or out of its range (dyadic numbers: `quantize.dyadic`); where an input
    has a scale for each channel, and where there is nothing to compute.
    """

    name: str
    batch: int
    values: tuple[Value, ...]
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        by_name = {value.name: value for value in self.values}
        if len(by_name) < len(self.values):
            raise InvalidWorkload(f"network '{self.name}': a value is defined twice")
        odd = [value.name for value in self.values if value.shape[0] != self.batch]
        if odd:
            raise InvalidWorkload(f"network '{self.name}': value '{odd[0]}' is not of batch {self.batch}")
        written = set(self.inputs)
        filled: dict[str, int] = {}
        for step in self.steps:
            self._check_operands(step)
            for operand in operands(step.spec):
                self._check(step, operand, by_name, written)
            self._check_sums(step, by_name)
            self._check_written(step, written, filled)
        missing = [name for name in (*self.inputs, *self.outputs) if name not in by_name or name not in written]
        if missing:
            raise InvalidWorkload(f"network '{self.name}': '{missing[0]}' is written by no step")
        ends = (*self.inputs, *self.outputs)
        if len(set(ends)) < len(ends):
            raise InvalidWorkload(f"network '{self.name}': an input or output is named twice")
        if not self.steps or not self.inputs or not self.outputs:
            raise InvalidWorkload(f"network '{self.name}': without inputs, steps and outputs there is nothing to run")
        scaled = [name for name in self.inputs if len(by_name[name].scale) != 1]
        if scaled:
            raise InvalidWorkload(f"network '{self.name}': input '{scaled[0]}' has a scale for each channel")

    def value(self, name: str) -> Value:
        """Raises `KeyError`."""
        return {value.name: value for value in self.values}[name]

    def _where(self, step: Step) -> str:
        return f"network '{self.name}', step '{step.name}'"

    def _check_operands(self, step: Step) -> None:
        """The kernel's, each once."""
        wanted = [operand.name for operand in operands(step.spec)]
        given = [*(operand for operand, _ in step.reads), *step.parameters, "output"]
        odd = sorted(set(given) ^ set(wanted)) or [name for name in given if given.count(name) > 1]
        if odd:
            raise InvalidWorkload(f"{self._where(step)}: operand '{odd[0]}' is missing, superfluous or there twice")
        if (step.spec.input_layout, step.spec.output_layout) != (NHWC, NHWC):
            raise InvalidWorkload(f"{self._where(step)}: the layouts of an integer network are {NHWC}")

    def _check_sums(self, step: Step, by_name: Mapping[str, Value]) -> None:
        """No sum of products, with its bias, may leave an accumulator."""
        weight, bias = step.parameters.get("weight"), step.parameters.get("bias")
        read = by_name.get(dict(step.reads).get("input", ""))
        if weight is None or read is None:
            return
        largest = max(-read.dtype.low, read.dtype.high)
        sums = np.abs(weight.reshape(len(weight), -1).astype(np.int64)).sum(axis=1) * largest
        if bias is not None:
            sums = sums + np.abs(bias.astype(np.int64))
        if sums.size and int(sums.max()) > DType.INT32.high:
            most = int(sums.max())
            raise InvalidWorkload(f"{self._where(step)}: its sums may reach {most}, which int32 does not hold")

    def _check_written(self, step: Step, written: set[str], filled: dict[str, int]) -> None:
        """A value has one writer, or the slices of a concatenation one after the other."""
        slices = step.spec.workload.op is Op.CONCAT
        if step.first_channel != (filled.get(step.writes, 0) if slices else 0):
            raise InvalidWorkload(f"{self._where(step)}: it cannot begin at channel {step.first_channel}")
        if step.writes in written or (step.writes in filled and not slices):
            raise InvalidWorkload(f"{self._where(step)}: '{step.writes}' is written already")
        workload = step.spec.workload
        if slices:
            filled[step.writes] = step.first_channel + workload.in_channels
        if not slices or filled[step.writes] == workload.out_channels:
            written.add(step.writes)

    def _check(self, step: Step, operand: Operand, by_name: Mapping[str, Value], written: set[str]) -> None:
        where = self._where(step)
        if operand.name in ACTIVATIONS:
            reads = dict(step.reads)
            name = step.writes if operand.name == "output" else reads.get(operand.name, "")
            value = by_name.get(name)
            if value is None or (operand.name != "output" and name not in written):
                raise InvalidWorkload(f"{where}: {operand.name} '{name}' is not there")
            self._check_value(where, step, operand, value)
            return
        found = step.parameters.get(operand.name)
        if found is None or found.shape != operand.shape or found.dtype.kind not in "iu":
            raise InvalidWorkload(f"{where}: parameter '{operand.name}' is not integers of shape {operand.shape}")
        low, high = _range(operand)
        if int(found.min()) < low or int(found.max()) > high:
            raise InvalidWorkload(f"{where}: parameter '{operand.name}' is out of its range, {low} to {high}")

    @staticmethod
    def _check_value(where: str, step: Step, operand: Operand, value: Value) -> None:
        flat = step.spec.workload.op in (Op.DENSE, Op.CONCAT) and operand.name == "input"
        same = value.shape == operand.shape or (flat and prod(value.shape) == prod(operand.shape))
        if not same or value.dtype is not operand.dtype:
            raise InvalidWorkload(
                f"{where}: {operand.name} is {operand.dtype.value} {operand.shape}, but value '{value.name}' is "
                f"{value.dtype.value} {value.shape}"
            )
        workload = step.spec.workload
        if workload.op is Op.CONCAT and step.first_channel + workload.in_channels > workload.out_channels:
            raise InvalidWorkload(f"{where}: its slice ends behind the channels of '{step.writes}'")


def _range(operand: Operand) -> tuple[int, int]:
    """Of a parameter."""
    if "shift" in operand.name:
        return SHIFT_MIN, SHIFT_MAX
    if "multiplier" in operand.name:
        return 0, (1 << MULTIPLIER_BITS) - 1
    return operand.dtype.low, operand.dtype.high
