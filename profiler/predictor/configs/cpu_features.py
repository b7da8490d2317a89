"""Features of kernels of a CPU, see `features`.

What decides on a config's latency relative to the analytic model: registers that run out, pixels and channels that are
computed in vain, chains of sums that are too short, blocks of weights that leave the first cache.
"""

from __future__ import annotations

from math import ceil, log2

from profiler.hardware import DEFAULT_L1D_BYTES, DEFAULT_L2_BYTES, CpuSpec
from profiler.predictor.configs.feature_vector import Features, waste
from profiler.space.config import (
    CpuConfig,
    DepthwiseConfig,
    DotConfig,
    LookupConfig,
    LoopOrder,
    ParallelAxis,
    PopcountConfig,
    Tables,
)
from profiler.space.cpu import lookup_register_demand, popcount_register_demand
from profiler.space.dot_plan import DotPlan
from profiler.space.lookup_plan import LookupPlan
from profiler.space.popcount_plan import PopcountPlan
from profiler.workload import KernelSpec, Op


def cpu_features(spec: KernelSpec, config: CpuConfig, cpu: CpuSpec) -> Features:
    """The features of a valid config of the kernel."""
    if isinstance(config, DotConfig):
        return _dot(DotPlan.of(spec, cpu.isa), config, cpu)
    if isinstance(config, LookupConfig | PopcountConfig):
        return _bits(LookupPlan.of_config(spec, cpu.isa, config), config, cpu)
    w = spec.workload
    elements = log2(w.batch * w.out_height * w.out_width * w.out_channels)
    window = log2(w.kernel_h * w.kernel_w * w.stride_h * w.stride_w)
    types = (spec.input_dtype.bits / 8, spec.output_dtype.bits / 8, float(spec.epilogue.requantizes))
    if isinstance(config, DepthwiseConfig):
        axis = _axis(config.parallel)
        sums = config.tile_w * config.vectors / cpu.isa.registers
        schedule = (log2(config.tile_w), log2(config.vectors), 4 * sums, waste(w.out_width, config.tile_w), *axis)
        return Features(schedule, (elements / 2, window / 2, *types))
    ops = tuple(float(w.op is op) for op in (Op.ADD, Op.MAX_POOL, Op.AVG_POOL, Op.CONCAT, Op.CONVERT))
    return Features((log2(config.vectors), *_axis(config.parallel)), (elements / 2, window / 2, *types, *ops))


def _dot(plan: DotPlan, config: DotConfig, cpu: CpuSpec) -> Features:
    spec, w = plan.spec, plan.spec.workload
    vectors = ceil(plan.spec.workload.group_outputs / plan.lanes)
    steps = w.kernel_h * plan.runs * plan.run_elements / 4
    block_bytes = config.vectors * plan.lanes * steps * (2 if plan.nibble_weights else 4)
    pixels = config.tile_h * config.tile_w
    registers = plan.isa.registers
    schedule = (
        log2(config.tile_h),
        log2(config.tile_w),
        log2(config.vectors),
        log2(pixels),
        4 * config.accumulators / registers,
        max(0, config.accumulators + config.vectors + 1 - registers) / 2,
        max(0, 10 - config.accumulators) / 4,
        log2(config.unroll) / 2,
        *(float(config.order is order) for order in LoopOrder),
        waste(plan.out_height, config.tile_h),
        waste(plan.out_width, config.tile_w),
        waste(vectors, config.vectors),
        log2(block_bytes / (cpu.l1d_bytes or DEFAULT_L1D_BYTES)) / 2,
        *_axis(config.parallel),
    )
    shape = (
        log2(w.macs) / 3,
        log2(w.reduction) / 2,
        log2(plan.images * plan.out_height * plan.out_width) / 2,
        log2(vectors) / 2,
        log2(w.weights / (cpu.l2_bytes or DEFAULT_L2_BYTES)) / 2,
        2.0 * plan.nibble_weights,
        float(plan.staged),
        float(plan.merged),
        float(spec.epilogue.requantizes),
        float(spec.epilogue.adds),
    )
    return Features(schedule, shape)


def _bits(plan: LookupPlan, config: LookupConfig | PopcountConfig, cpu: CpuSpec) -> Features:
    """Of both templates for few bits: a kernel's configs are compared with one another."""
    spec, w = plan.spec, plan.spec.workload
    if isinstance(config, LookupConfig):
        lanes, steps, unroll = plan.lanes, plan.taps * plan.groups, config.unroll
        sums = config.pixels * config.vectors * plan.planes
        demand = lookup_register_demand(plan, config)
    else:
        counting = PopcountPlan(plan)
        lanes, steps, unroll = counting.lanes, plan.taps * counting.words, 1
        sums = config.pixels * config.vectors * len(counting.pairs)
        demand = popcount_register_demand(counting, config)
    vectors = ceil(w.out_channels / lanes)
    registers = plan.isa.registers
    tables = plan.image_pixels * plan.groups * plan.table_bytes
    step_bytes = config.vectors * plan.planes * (4 * plan.isa.lanes)
    schedule = (
        float(isinstance(config, PopcountConfig)),
        *(float(isinstance(config, LookupConfig) and config.tables is tables) for tables in Tables if tables.wide),
        log2(config.tile_h),
        log2(config.tile_w),
        log2(config.vectors),
        log2(config.pixels),
        4 * sums / registers,
        max(0, demand + config.vectors * plan.planes - 2 - registers) / 2,
        max(0, 6 - sums) / 4,
        log2(unroll) / 2,
        *(float(config.order is order) for order in LoopOrder),
        waste(plan.out_height, config.tile_h),
        waste(plan.out_width, config.tile_w),
        waste(vectors, config.vectors),
        log2(step_bytes * steps / (cpu.l1d_bytes or DEFAULT_L1D_BYTES)) / 2,
        *_axis(config.parallel),
    )
    shape = (
        log2(w.macs) / 3,
        log2(w.reduction) / 2,
        log2(plan.images * plan.out_height * plan.out_width) / 2,
        log2(w.out_channels) / 2,
        log2(tables / (cpu.l2_bytes or DEFAULT_L2_BYTES)) / 2,
        float(plan.planes),
        float(spec.input_dtype.bits),
        float(spec.output_dtype.bits) / 8,
        float(plan.raw_bits == 16),
        float(plan.by_thresholds),
        float(spec.epilogue.adds),
    )
    return Features(schedule, shape)


def _axis(parallel: ParallelAxis) -> tuple[float, float]:
    return float(parallel is ParallelAxis.CHANNELS), float(parallel is ParallelAxis.PIXELS)
