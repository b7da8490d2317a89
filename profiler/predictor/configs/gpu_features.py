"""Features of kernels of a GPU, see `features`.

What decides on a config's latency relative to the analytic model: how many blocks an SM holds and what the last round
leaves idle, rows and channels that are computed in vain, warps that hide each other's waiting, registers that run out.
"""

from __future__ import annotations

from math import log2

from profiler.hardware import WARP_SIZE, GpuSpec
from profiler.predictor.configs.feature_vector import Features, waste
from profiler.space.config import (
    GpuConfig,
    MmaConfig,
    SharedLayout,
    SimtDepthwiseConfig,
    Unroll,
    WeightLayout,
)
from profiler.space.mma_plan import MmaPlan
from profiler.space.residency import Residency, residency
from profiler.workload import KernelSpec, Op


def gpu_features(spec: KernelSpec, config: GpuConfig, gpu: GpuSpec) -> Features:
    """The features of a valid config of the kernel."""
    if isinstance(config, MmaConfig):
        return _mma(MmaPlan.of(spec, config, gpu), gpu)
    w = spec.workload
    held = residency(spec, config, gpu)
    pixels = config.pixels if isinstance(config, SimtDepthwiseConfig) else 1
    schedule = (
        log2(config.threads),
        log2(config.channels),
        log2(pixels),
        waste(w.out_width, pixels),
        waste(w.out_channels // w.groups if w.groups > 1 else w.out_channels, config.channels),
        _idle(held, gpu),
    )
    ops = tuple(float(w.op is op) for op in (Op.ADD, Op.MAX_POOL, Op.AVG_POOL, Op.CONCAT, Op.CONVERT))
    shape = (
        log2(w.batch * w.out_height * w.out_width * w.out_channels) / 3,
        log2(w.kernel_h * w.kernel_w * w.stride_h * w.stride_w) / 2,
        log2(max(1, w.macs)) / 4,
        spec.input_dtype.bits / 8,
        spec.output_dtype.bits / 8,
        float(spec.epilogue.requantizes),
        *ops,
    )
    return Features(schedule, shape)


def _mma(plan: MmaPlan, gpu: GpuSpec) -> Features:
    spec, config, w = plan.spec, plan.config, plan.spec.workload
    held = residency(spec, config, gpu)
    schedule = (
        log2(config.block_m),
        log2(config.block_n),
        log2(config.block_k),
        log2(config.warp_m),
        log2(config.warp_n),
        float(config.stages),
        log2(config.load_bytes) / 2,
        log2(config.split_k),
        float(config.weight_layout is WeightLayout.ROWS),
        float(config.shared_layout is SharedLayout.PAD),
        float(config.unroll is Unroll.FULL),
        waste(plan.m, config.block_m),
        waste(w.group_outputs, config.block_n),
        waste(plan.k_words, config.block_k * config.split_k),
        log2(held.per_sm * config.threads / WARP_SIZE),
        held.registers / 64,
        _idle(held, gpu),
    )
    shape = (
        log2(w.macs) / 3,
        log2(plan.k_words) / 2,
        log2(plan.m) / 2,
        log2(w.group_outputs) / 2,
        log2(w.weights * plan.bits * plan.channel_planes / 8 / gpu.l2_bytes) / 2,
        log2(w.kernel_h * w.kernel_w) / 2,
        plan.bits / 4,
        log2(plan.pixel_planes * plan.channel_planes) / 2,
        spec.output_dtype.bits / 8,
        float(spec.epilogue.requantizes),
        float(spec.epilogue.adds),
    )
    return Features(schedule, shape)


def _idle(held: Residency, gpu: GpuSpec) -> float:
    """What the last round of blocks leaves idle, as `waste` counts it."""
    return min(4.0, waste(held.blocks, gpu.sms * held.per_sm))
