"""From a kernel spec and a schedule config to CUDA source: the choice of the template and the list of arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from profiler.artifact import ArgSpec, Launch
from profiler.errors import InvalidConfig
from profiler.hardware import GpuSpec
from profiler.kernels.arguments import activation_dtypes, buffer_dtype, spec_arguments
from profiler.kernels.cuda.codegen import cuda_source
from profiler.kernels.cuda.mma import plan_mma
from profiler.kernels.cuda.simt_depthwise import plan_depthwise
from profiler.kernels.cuda.simt_direct import plan_direct
from profiler.kernels.cuda.simt_vector import plan_vector
from profiler.kernels.cuda.template import Index, KernelPlan
from profiler.quantize.packing import Packing
from profiler.space.config import MmaConfig, ScheduleConfig, SimtDepthwiseConfig, SimtDirectConfig, SimtVectorConfig
from profiler.space.gpu_limits import reason_invalid
from profiler.workload import DType, KernelSpec

KERNEL_SYMBOL = "lowbit_kernel"
_TEMPLATES: Mapping[type[Any], Callable[[KernelSpec, Any, GpuSpec], KernelPlan]] = {
    MmaConfig: plan_mma,
    SimtDirectConfig: plan_direct,
    SimtDepthwiseConfig: plan_depthwise,
    SimtVectorConfig: plan_vector,
}
_ELEMENT_BYTES = {"int32": 4, "int16": 2, "uint16": 2}


@dataclass(frozen=True)
class CudaKernel:
    """CUDA source of a kernel, complete in itself, and how it is launched: no part of TVM is needed from here on."""

    source: str
    entry: str
    args: tuple[ArgSpec, ...]
    packing: Packing
    launch: Launch


def lower(spec: KernelSpec, config: ScheduleConfig, gpu: GpuSpec, *, all_registers: bool = False) -> CudaKernel:
    """Emit the kernel for a GPU. Raises `InvalidConfig` where the config is not valid for the spec on that GPU.

    all_registers : tell the compiler that one block on an SM is enough, so that it need not save registers.
    """
    reason = reason_invalid(spec, config, gpu)
    if reason is not None:
        raise InvalidConfig(f"{spec.key} on {gpu.slug}: {reason}")
    plan = _TEMPLATES[type(config)](spec, config, gpu)
    args = (*spec_arguments(spec, plan.packing), *plan.scratch)
    function = _function(spec, plan, args, all_registers)
    source = cuda_source(function, KERNEL_SYMBOL, gpu.arch, plan.headers)
    return CudaKernel(source, KERNEL_SYMBOL, args, plan.packing, plan.launch)


def _function(spec: KernelSpec, plan: KernelPlan, args: tuple[ArgSpec, ...], all_registers: bool) -> Any:
    dtypes = {a.name: plan.dtypes.get(a.name, _default_dtype(spec, a.name)) for a in args}
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name(KERNEL_SYMBOL)
        pointers = {a.name: T.arg(a.name, T.handle(dtypes[a.name])) for a in args}
        T.func_attr({"tirx.noalias": True, "tirx.is_global_func": True})
        if all_registers:
            T.func_attr({"tirx.launch_bounds_min_blocks_per_sm": 1})
        buffers = {
            a.name: T.decl_buffer(
                (max(1, a.nbytes // _ELEMENT_BYTES.get(dtypes[a.name], 1)),), dtypes[a.name], data=pointers[a.name]
            )
            for a in args
        }
        extents = (*plan.launch.grid, plan.launch.threads)
        names = ("blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x")
        variables = [T.env_thread(name) for name in names]
        with ExitStack() as scopes:
            for variable, extent in zip(variables, extents, strict=True):
                scopes.enter_context(T.launch_thread(variable, extent))
            plan.emit(buffers, Index(*variables))
    return builder.get()


def _default_dtype(spec: KernelSpec, name: str) -> str:
    """The type itself; bytes for 4-bit types."""
    dtype = spec.weight_dtype if name == "weight" else activation_dtypes(spec).get(name, DType.INT32)
    assert dtype is not None
    return buffer_dtype(dtype)
