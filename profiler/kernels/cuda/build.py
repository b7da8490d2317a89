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
from profiler.space.mma_plan import mma_bits
from profiler.space.occupancy import blocks_per_sm
from profiler.workload import KernelSpec


def build(spec: KernelSpec, config: ScheduleConfig, gpu: GpuSpec, tools: Tools) -> Artifact:
    """Compile one kernel. Raises `CompilerError` or `InvalidConfig`, and `ToolchainError` if a tool does not work."""
    kernel = lower(spec, config, gpu)
    cubin = _compile(kernel, spec, config, gpu, tools)
    resources = _resources(gpu, kernel.entry, kernel.launch, cubin, tools.disassembler.listing(cubin.code))
    native = is_native(spec, config, resources.main_loop)
    if isinstance(config, MmaConfig) and not native and gpu.has_native(mma_bits(spec)):
        width = {1: "binary", 4: "INT4", 8: "INT8"}[mma_bits(spec)]
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


def is_native(spec: KernelSpec, config: ScheduleConfig, main_loop: Counts) -> bool:
    """Whether the machine code multiplies in the width that the kernel is made for: of tensor cores that of their
    operands (bit planes: single bits), otherwise that of the weights. True where nothing is multiplied."""
    if spec.weight_dtype is None:
        return True
    return multiplies(main_loop, mma_bits(spec) if isinstance(config, MmaConfig) else spec.weight_dtype.bits)


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
