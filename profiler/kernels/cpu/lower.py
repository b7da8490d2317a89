"""From a kernel spec and a schedule config to a TIR function: the choice of the template and the list of arguments."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from tvm.ir import PrimType
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from profiler.artifact import ArgSpec, Role
from profiler.errors import CompilerError, InvalidConfig
from profiler.hardware import DotIsa
from profiler.kernels.arguments import activation_dtypes, buffer_dtype, spec_arguments
from profiler.kernels.cpu.depthwise import depthwise_packing, depthwise_workspace_bytes, emit_depthwise
from profiler.kernels.cpu.dot import DotBuffers, emit_dot
from profiler.kernels.cpu.elementwise import emit_elementwise
from profiler.kernels.cpu.emit import argument, flat_buffer
from profiler.kernels.cpu.lookup import emit_lookup
from profiler.kernels.cpu.pool import emit_avg_pool, emit_max_pool
from profiler.kernels.cpu.popcount import emit_popcount
from profiler.kernels.tir import Buffer, const
from profiler.quantize.lookup import raw_bits
from profiler.quantize.packed_weights import weights_in_nibbles
from profiler.quantize.packing import Packing
from profiler.space.config import (
    DepthwiseConfig,
    DotConfig,
    LookupConfig,
    PopcountConfig,
    ScheduleConfig,
    VectorConfig,
    to_text,
)
from profiler.space.cpu import reason_unsupported, templates_for
from profiler.space.dot_plan import DotPlan
from profiler.space.lookup_plan import LookupPlan
from profiler.space.popcount_plan import PopcountPlan
from profiler.workload import KernelSpec, Op

KERNEL_SYMBOL = "lowbit_kernel"


@dataclass(frozen=True)
class Lowered:
    """A TIR function of pointers, the arguments that they stand for in order, and how parameters are packed."""

    function: Any
    args: tuple[ArgSpec, ...]
    packing: Packing


def lower(spec: KernelSpec, config: ScheduleConfig, isa: DotIsa) -> Lowered:
    """Emit the kernel for an instruction set.

    Raises `InvalidConfig` where the config belongs to another template, and `CompilerError` where the template cannot
    compute the spec exactly.
    """
    templates = templates_for(spec)
    if not isinstance(config, templates):
        wanted = " or ".join(template.__name__ for template in templates)
        raise InvalidConfig(f"{to_text(config)} is not a config for {spec.key}: it wants a {wanted}")
    reason = reason_unsupported(spec, isa)
    if reason is not None:
        raise CompilerError(f"{spec.key}: {reason}")
    packing, workspace_bytes = _storage(spec, config, isa)
    args = (*spec_arguments(spec, packing), ArgSpec("workspace", Role.WORKSPACE, workspace_bytes))
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name(KERNEL_SYMBOL)
        dtypes = {a.name: _buffer_dtype(spec, packing, a.name) for a in args}
        pointers = {a.name: argument(a.name, dtypes[a.name]) for a in args}
        T.func_attr({"tirx.noalias": True})
        T.func_ret(PrimType("int32"))  # TVM's parallel loops return a status from inside the function
        buffers = {a.name: flat_buffer(pointers[a.name], dtypes[a.name], a.nbytes) for a in args}
        _emit(spec, config, isa, buffers)
        T.Return(const(0))
    return Lowered(builder.get(), args, packing)


def _storage(spec: KernelSpec, config: ScheduleConfig, isa: DotIsa) -> tuple[Packing, int]:
    if isinstance(config, DotConfig):
        plan = DotPlan.of(spec, isa)
        return plan.packing(config), plan.workspace_bytes(config)
    if isinstance(config, LookupConfig):
        lookups = LookupPlan.of(spec, isa, config.tables)
        if lookups.reason_unsupported is not None:
            raise CompilerError(f"{spec.key}: {lookups.reason_unsupported}")
        return lookups.packing(config), lookups.workspace_bytes(config)
    if isinstance(config, PopcountConfig):
        counts = PopcountPlan.of(spec, isa)
        if counts.reason_unsupported is not None:
            raise CompilerError(f"{spec.key}: {counts.reason_unsupported}")
        return counts.packing(config), counts.workspace_bytes(config)
    if isinstance(config, DepthwiseConfig):
        return depthwise_packing(config, isa.lanes), depthwise_workspace_bytes(spec, isa.lanes)
    return Packing("plain"), 0


def _emit(spec: KernelSpec, config: ScheduleConfig, isa: DotIsa, buffers: dict[str, Buffer]) -> None:
    if isinstance(config, DotConfig):
        emit_dot(DotPlan.of(spec, isa), config, DotBuffers(**{f.name: buffers.get(f.name) for f in fields(DotBuffers)}))
    elif isinstance(config, LookupConfig):
        emit_lookup(LookupPlan.of(spec, isa, config.tables), config, buffers)
    elif isinstance(config, PopcountConfig):
        emit_popcount(PopcountPlan.of(spec, isa), config, buffers)
    elif isinstance(config, DepthwiseConfig):
        emit_depthwise(spec, config, isa.lanes, buffers)
    elif isinstance(config, VectorConfig):
        emit = {Op.MAX_POOL: emit_max_pool, Op.AVG_POOL: emit_avg_pool}.get(spec.workload.op, emit_elementwise)
        emit(spec, config, isa.lanes, buffers)


def _buffer_dtype(spec: KernelSpec, packing: Packing, name: str) -> str:
    activations = activation_dtypes(spec)
    if name in activations:
        return buffer_dtype(activations[name])
    if name == "thresholds":
        return f"int{raw_bits(spec)}"
    if name == "weight" and packing.kind == "lookup":
        return "uint8"
    if name == "weight" and packing.kind == "popcount":
        return "uint64"
    if name == "weight":
        return "uint8" if packing.kind == "depthwise" and weights_in_nibbles(spec.weight_dtype) else "int8"
    return "uint8" if name == "workspace" else "int32"
