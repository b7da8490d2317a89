"""The arguments that every kernel of a spec takes, whatever it is compiled for."""

from __future__ import annotations

from profiler.artifact import ArgSpec, Role
from profiler.quantize.packed_arguments import argument_nbytes
from profiler.quantize.packing import Packing
from profiler.quantize.stored import output_nbytes
from profiler.workload import DType, KernelSpec, Op


def spec_arguments(spec: KernelSpec, packing: Packing) -> tuple[ArgSpec, ...]:
    """Inputs, parameters and the output in call order; scratch memory, where there is any, comes behind them."""
    sizes = argument_nbytes(spec, packing)
    sizes["output"] = output_nbytes(spec)
    roles = {"input": Role.INPUT, "input2": Role.INPUT, "residual": Role.INPUT}
    roles["output"] = Role.INOUT if spec.workload.op is Op.CONCAT else Role.OUTPUT
    return tuple(ArgSpec(name, roles.get(name, Role.PARAMETER), nbytes) for name, nbytes in sizes.items())


def activation_dtypes(spec: KernelSpec) -> dict[str, DType]:
    """Types of the arguments that are activations, by name."""
    found = {"input": spec.input_dtype, "output": spec.output_dtype}
    if spec.input2_dtype is not None:
        found |= {"input2": spec.input2_dtype, "residual": spec.input2_dtype}
    return found


def buffer_dtype(dtype: DType) -> str:
    """Element type of the buffer that holds such values: those of less than 8 bits are bytes."""
    return "uint8" if dtype.bits < 8 else dtype.value
