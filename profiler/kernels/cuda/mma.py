"""Template ``mma``: convolution and dense as implicit GEMM on tensor cores, with the epilogue fused.

    activations (NHWC)     weights (packed)              rows of the GEMM: output pixels, in memory order
        |  block_m rows        |  block_n rows           columns: output channels of one group
        v                      v                         K: kernel row, kernel column, words of channels
    registers -> shared memory, block_k words a row, one or two stages
        |  ldmatrix
        v
    mma: sums of warp_m x warp_n in registers  ->  [planes joined]  ->  [other splits' sums]  ->  epilogue  ->  NHWC

While a step is computed the next one is on its way from global memory to registers. With two stages there is one
barrier a step, with one stage there are two.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.artifact import ArgSpec, Launch, Role
from profiler.hardware import GpuSpec
from profiler.kernels.cuda.mma_epilogue import emit_epilogue, output_dtype, residual_dtype
from profiler.kernels.cuda.mma_fragments import Fragments
from profiler.kernels.cuda.mma_load import ActivationLoader, WeightLoader, input_dtype
from profiler.kernels.cuda.mma_planes import emit_finished, emit_joined
from profiler.kernels.cuda.mma_split import emit_reduction
from profiler.kernels.cuda.mma_tile import Tile, WarpIndex
from profiler.kernels.cuda.template import Index, KernelPlan
from profiler.kernels.tir import Buffer, Expr, barrier, const, value
from profiler.quantize.packed_weights import WORD_BYTES
from profiler.space.config import MmaConfig
from profiler.space.mma_plan import MmaPlan
from profiler.workload import KernelSpec, any_in_planes


def plan_mma(spec: KernelSpec, config: MmaConfig, gpu: GpuSpec) -> KernelPlan:
    """Convolution or dense on tensor cores, for a config that is valid on the GPU."""
    plan = MmaPlan.of(spec, config, gpu)
    scratch: tuple[ArgSpec, ...] = ()
    if config.split_k > 1:
        scratch = (
            ArgSpec("workspace", Role.WORKSPACE, plan.workspace_bytes),
            ArgSpec("counters", Role.COUNTERS, plan.counter_bytes),
        )
    dtypes = {"input": input_dtype(plan), "weight": "int32", "output": output_dtype(plan), "workspace": "int32"}
    if spec.epilogue.adds:
        dtypes["residual"] = residual_dtype(plan)
    return KernelPlan(
        launch=Launch(plan.grid, config.threads, plan.shared_bytes),
        packing=plan.packing,
        emit=lambda buffers, index: _emit(plan, buffers, index),
        headers=_headers(plan),
        scratch=scratch,
        dtypes=dtypes,
    )


def _headers(plan: MmaPlan) -> tuple[str, ...]:
    found = ["integer.h", "mma.h"]
    found += ["bit_mma.h"] if plan.in_planes else []
    found += ["bits.h"] if any_in_planes(plan.spec.output_dtype, plan.spec.input2_dtype) else []
    return (*found, "split.h") if plan.config.split_k > 1 else tuple(found)


def _emit(plan: MmaPlan, buffers: Mapping[str, Buffer], index: Index) -> None:
    config = plan.config
    shared = T.alloc_buffer((plan.shared_bytes // WORD_BYTES,), "int32", scope="shared.dyn")
    part = tirx.floormod(index.block_z, config.split_k) if config.split_k > 1 else const(0)
    group = tirx.floordiv(index.block_z, config.split_k) if config.split_k > 1 else index.block_z
    first_step = part * plan.split_steps
    warp = WarpIndex.of(plan, index.thread)

    activations = ActivationLoader.emit_setup(plan, buffers["input"], index, group, first_step)
    weights = WeightLoader.emit_setup(plan, buffers["weight"], index, group, first_step)
    fragments = Fragments.emit_setup(plan, warp)

    def stage(step: Expr) -> tuple[Tile, Tile]:
        """The tiles of activations and weights that hold a step."""
        start = const(0) if config.stages == 1 else tirx.floormod(step, 2) * (plan.stage_bytes // WORD_BYTES)
        return Tile(plan, shared, start), Tile(plan, shared, start + plan.block_rows * plan.row_words)

    def fill(step: Expr) -> None:
        tile_a, tile_b = stage(step)
        activations.emit_store(tile_a)
        weights.emit_store(tile_b)

    activations.emit_load()
    weights.emit_load()
    fill(const(0))
    barrier()
    steps = _steps_of(plan, part)
    with T.serial(steps, unroll=False) as step:
        more = step + 1 < steps
        with T.If(more), T.Then():
            activations.emit_load()
            weights.emit_load()
        fragments.emit_multiply(*stage(step))
        if config.stages == 1:
            barrier()  # the only stage has been read
        with T.If(more), T.Then():
            fill(step + 1)
        barrier()
    sums = emit_joined(plan, fragments)
    if config.split_k == 1:
        emit_finished(plan, sums)
        emit_epilogue(plan, buffers, shared, sums, warp, index, group)
        return
    last = emit_reduction(plan, buffers, shared, sums, index, group, part)
    with T.If(last), T.Then():
        emit_finished(plan, sums)
        emit_epilogue(plan, buffers, shared, sums, warp, index, group)


def _steps_of(plan: MmaPlan, part: Expr) -> Expr:
    """Steps that this block does: the last part of a split may have fewer."""
    if plan.config.split_k == 1:
        return const(plan.steps)
    if plan.steps % plan.split_steps == 0:
        return const(plan.split_steps)
    return value(tirx.min(const(plan.split_steps), plan.steps - part * plan.split_steps))[0]
