"""From a kernel spec and a config to an artifact: CUDA source through TVM, a cubin, and what its machine code shows."""

from __future__ import annotations

from profiler.artifact import Artifact, Launch, Resources
from profiler.errors import CompilerError
from profiler.hardware import GpuSpec
from profiler.kernels.check import check_of
from profiler.kernels.cuda.compiler import compiler_text
from profiler.kernels.cuda.cubin import Cubin
from profiler.kernels.cuda.lower import CudaKernel, lower
from profiler.kernels.cuda.sass import Counts, Listing, multiplies
from profiler.kernels.cuda.tools import Tools
from profiler.space.config import MmaConfig, ScheduleConfig, to_text
from profiler.space.occupancy import blocks_per_sm
from profiler.workload import KernelSpec


def build(spec: KernelSpec, config: ScheduleConfig, gpu: GpuSpec, tools: Tools) -> Artifact:
    """Compile one kernel. Raises `CompilerError` or `InvalidConfig`, and `ToolchainError` if a tool does not work."""
    kernel = lower(spec, config, gpu)
    cubin = _compile(kernel, spec, config, gpu, tools)
    resources = _resources(gpu, kernel.entry, kernel.launch, cubin, tools.disassembler.listing(cubin.code))
    native = is_native(spec, resources.main_loop)
    if isinstance(config, MmaConfig) and not native and (gpu.native_int4 or not _is_int4(spec)):
        width = "INT4" if _is_int4(spec) else "INT8"
        raise CompilerError(f"{spec.key}: {tools.compiler.identity} emulates {width} on {gpu.arch}, which has it")
    return Artifact(
        spec=spec,
        config=to_text(config),
        threads=1,
        entry=kernel.entry,
        arch=gpu.arch,
        features=(),
        args=kernel.args,
        packing=kernel.packing,
        check=check_of(spec),
        compiler=compiler_text(tools.compiler),
        native=native,
        code=cubin.code,
        launch=kernel.launch,
        resources=resources,
    )


def _compile(kernel: CudaKernel, spec: KernelSpec, config: ScheduleConfig, gpu: GpuSpec, tools: Tools) -> Cubin:
    """ptxas spills a few registers where that lets one more block live on an SM; then it is told not to care."""
    cubin = tools.compiler.compile(kernel.source, gpu.arch)
    if not cubin.usage(kernel.entry).spill_bytes:
        return cubin
    roomy = tools.compiler.compile(lower(spec, config, gpu, all_registers=True).source, gpu.arch)
    return min(cubin, roomy, key=lambda c: c.usage(kernel.entry).spill_bytes)


def is_native(spec: KernelSpec, main_loop: Counts) -> bool:
    """Whether the machine code multiplies in the width of the weights; true where nothing is multiplied."""
    return spec.weight_dtype is None or multiplies(main_loop, spec.weight_dtype.bits)


def _is_int4(spec: KernelSpec) -> bool:
    return spec.weight_dtype is not None and spec.weight_dtype.bits == 4


def _resources(gpu: GpuSpec, entry: str, launch: Launch, cubin: Cubin, listing: Listing) -> Resources:
    usage = cubin.usage(entry)
    shared = launch.shared_bytes + usage.static_shared_bytes
    blocks = blocks_per_sm(gpu, launch.threads, usage.registers, shared)
    if blocks == 0:
        raise CompilerError(
            f"a block of {launch.threads} threads with {usage.registers} registers each and {shared} bytes of shared "
            f"memory does not fit an SM of {gpu.name}"
        )
    return Resources(
        registers=usage.registers,
        stack_bytes=usage.stack_bytes,
        spill_bytes=usage.spill_bytes,
        shared_bytes=shared,
        threads=launch.threads,
        blocks_per_sm=blocks,
        occupancy=blocks * launch.threads / gpu.threads_per_sm,
        instructions=listing.count(entry),
        main_loop=listing.count_main_loop(entry),
        cubin_abi=cubin.abi,
        least_driver=cubin.least_driver,
    )
