"""What a latency model sees of a kernel. It asks for no schedule config: the best by the analytic model stands in.

From the spec and the device alone. The target of the regression is log(latency / `KernelFeatures.modelled_s`), so that
a model starts from physics and has only to learn where physics, as we model it, is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, gcd, log, log2

from profiler.errors import InvalidConfig, InvalidWorkload
from profiler.hardware import DEFAULT_L1D_BYTES, WARP_SIZE, CpuSpec, GpuSpec
from profiler.predictor.configs.feature_vector import log_waste
from profiler.predictor.device_facts import DeviceFacts
from profiler.predictor.roofline import roofline_s
from profiler.space import cpu_default, gpu_model, model
from profiler.space import gpu as gpu_space
from profiler.space.config import CpuConfig, DotConfig, GpuConfig, LookupConfig, MmaConfig, PopcountConfig, VectorConfig
from profiler.space.dot_plan import DotPlan
from profiler.space.lookup_plan import LookupPlan
from profiler.space.mma_plan import MmaPlan
from profiler.space.residency import residency
from profiler.space.traffic import moved_bytes
from profiler.workload import KernelSpec, Op

_OPS = (Op.DENSE, Op.ADD, Op.MAX_POOL, Op.AVG_POOL, Op.CONCAT, Op.CONVERT)
_ALIGNMENT = 32


@dataclass(frozen=True)
class KernelFeatures:
    """modelled_s : latency in seconds by the analytic model under its own best config, or the roofline where the
    templates have no such kernel. values : what the correction may depend on; their number depends on the device's kind
    alone, and they are named by `feature_names`."""

    modelled_s: float
    values: tuple[float, ...]


@lru_cache(maxsize=8192)  # a model is fitted to the same kernels again and again
def kernel_features(spec: KernelSpec, facts: DeviceFacts, threads: int = 1) -> KernelFeatures:
    """The features of a kernel on a device; ``threads`` are of a CPU."""
    roof_s = roofline_s(spec, facts)
    modelled_s, geometry = _modelled(spec, facts, threads)
    known = modelled_s is not None
    best_s = modelled_s if modelled_s is not None else roof_s
    return KernelFeatures(best_s, (*_shape(spec), log(best_s / roof_s), float(known), *geometry))


def feature_names(facts: DeviceFacts) -> tuple[str, ...]:
    """Of the values, in their order."""
    geometry = _CPU_GEOMETRY if isinstance(facts, CpuSpec) else _GPU_GEOMETRY if isinstance(facts, GpuSpec) else ()
    return (*_SHAPE, "log_modelled_over_roofline", "modelled", *geometry)


def core_features(facts: DeviceFacts) -> tuple[int, ...]:
    """The places of those values that matter most, few enough for some 30 rows."""
    names = feature_names(facts)
    return tuple(names.index(name) for name in _CORE if name in names)


_CORE = (
    "log2_pixels", "log2_out_channels", "log2_reduction", "log2_bytes", "log2_intensity", "weight_bytes",
    "log2_kernel_h", "log2_stride", "log_modelled_over_roofline", "share_weights", "share_epilogue",
    "log_tail_32x32", "log_tail_64x64", "log_tail_128x64", "log_tail_128x128",
)  # fmt: skip
_SHAPE = (
    "log2_pixels", "log2_out_channels", "log2_reduction", "log2_bytes", "log2_intensity", "log2_batch", "log2_groups",
    "log2_kernel_h", "log2_kernel_w", "log2_stride", "input_bytes", "weight_bytes", "output_bytes", "signed_input",
    "signed_second", "float", "requantizes", "adds", "log2_input_alignment", "log2_output_alignment",
    *(op.value for op in _OPS),
)  # fmt: skip


def _shape(spec: KernelSpec) -> tuple[float, ...]:
    w = spec.workload
    moved = moved_bytes(spec)
    outputs = w.in_channels if w.op is Op.CONCAT else w.out_channels
    return (
        log2(w.batch * w.out_height * w.out_width),
        log2(outputs // w.groups),
        log2(w.reduction),
        log2(moved),
        log2(max(w.macs, 1) / moved) if w.op.has_weights else 0.0,
        log2(w.batch),
        log2(w.groups),
        log2(w.kernel_h),
        log2(w.kernel_w),
        log2(w.stride_h * w.stride_w),
        spec.input_dtype.bits / 8,
        spec.weight_dtype.bits / 8 if spec.weight_dtype else 0.0,
        spec.output_dtype.bits / 8,
        float(spec.input_dtype.signed),
        float(spec.input2_dtype is not None and spec.input2_dtype.signed),
        float(not spec.input_dtype.is_integer),
        float(spec.epilogue.requantizes),
        float(spec.epilogue.adds),
        log2(gcd(w.group_inputs, _ALIGNMENT)),
        log2(gcd(w.group_outputs, _ALIGNMENT)),
        *(float(w.op is op) for op in _OPS),
    )


_CPU_GEOMETRY = (
    "share_weights", "share_epilogue", "share_staging", "share_launch", "log_channel_waste", "nibbles",
    "log_pixel_waste", "log_reduction_waste", "accumulators", "log2_block_over_l1", "staged",
    "row_alignment", "log2_row_vectors", "row_tail", "clipped",
)  # fmt: skip
"""The second line is of dot products, the third of the templates that walk along the channels of a pixel, its row."""
_GPU_GEOMETRY = (
    "log_pixel_waste", "log_channel_waste", "log_reduction_waste", "log_tail", "log2_blocks_per_sm", "log2_warps",
    "log2_split_k", "emulated", "log_tail_32x32", "log_tail_64x64", "log_tail_128x64", "log_tail_128x128",
)  # fmt: skip
_TILES = ((32, 32), (64, 64), (128, 64), (128, 128))
"""Of pixels and output channels: blocks that kernels of this kind usually have, whosoever they are."""


def _modelled(spec: KernelSpec, facts: DeviceFacts, threads: int) -> tuple[float | None, tuple[float, ...]]:
    """By the analytic model under its best config, and what that config's tiles and blocks look like."""
    if not spec.input_dtype.is_integer:
        return None, _no_geometry(facts)  # the templates compute integers
    try:
        if isinstance(facts, CpuSpec):
            cpu_config = cpu_default.default_config(spec, facts, threads)
            cycles = model.analytic_cycles(spec, cpu_config, facts, threads)
            return cycles.total / model.NOMINAL_HZ, (*_shares(cycles), *_cpu_geometry(spec, cpu_config, facts))
        if isinstance(facts, GpuSpec):
            gpu_config = gpu_space.usual_config(spec, facts)
            return gpu_model.analytic_latency_s(spec, gpu_config, facts), _gpu_geometry(spec, gpu_config, facts)
    except (InvalidConfig, InvalidWorkload):  # a kernel that the templates do not have: another type or layout
        pass
    return None, _no_geometry(facts)


def _no_geometry(facts: DeviceFacts) -> tuple[float, ...]:
    return (0.0,) * (len(feature_names(facts)) - len(_SHAPE) - 2)


def _shares(cycles: model.Cycles) -> tuple[float, ...]:
    return tuple(part / cycles.total for part in (cycles.weights, cycles.epilogue, cycles.staging, cycles.launch))


def _cpu_geometry(spec: KernelSpec, config: CpuConfig, cpu: CpuSpec) -> tuple[float, ...]:
    nibbles = float(4 in (spec.input_dtype.bits, spec.output_dtype.bits))
    if isinstance(config, DotConfig):
        waste = log_waste(spec.workload.group_outputs, cpu.isa.lanes)
        return (waste, nibbles, *_dot_geometry(DotPlan.of(spec, cpu.isa), config, cpu), 0.0, 0.0, 0.0, 0.0)
    if isinstance(config, LookupConfig | PopcountConfig):
        waste = log_waste(spec.workload.out_channels, 4 * cpu.isa.lanes)
        plan = LookupPlan.of_config(spec, cpu.isa, config)
        return (waste, nibbles, *_lookup_geometry(plan, config, cpu), 0.0, 0.0, 0.0, 0.0)
    row = _row_geometry(spec, config, cpu)
    return (log_waste(spec.workload.in_channels, cpu.isa.lanes), nibbles, 0.0, 0.0, 0.0, 0.0, 0.0, *row)


def _dot_geometry(plan: DotPlan, config: DotConfig, cpu: CpuSpec) -> tuple[float, ...]:
    steps = plan.spec.workload.kernel_h * plan.runs * plan.run_elements
    block_bytes = config.vectors * plan.lanes * steps * (0.5 if plan.nibble_weights else 1.0)
    return (
        log_waste(plan.out_height, config.tile_h) + log_waste(plan.out_width, config.tile_w),
        log(steps / plan.spec.workload.reduction),
        config.accumulators / plan.isa.registers,
        log2(block_bytes / (cpu.l1d_bytes or DEFAULT_L1D_BYTES)),
        float(plan.staged),
    )


def _lookup_geometry(plan: LookupPlan, config: LookupConfig | PopcountConfig, cpu: CpuSpec) -> tuple[float, ...]:
    steps = plan.taps * plan.groups
    block_bytes = config.vectors * plan.planes * plan.lanes * steps
    return (
        log_waste(plan.out_height, config.tile_h) + log_waste(plan.out_width, config.tile_w),
        log(steps * plan.group / plan.spec.workload.reduction),
        config.pixels * config.vectors * plan.planes / plan.isa.registers,
        log2(block_bytes / (cpu.l1d_bytes or DEFAULT_L1D_BYTES)),
        1.0,
    )


def _row_geometry(spec: KernelSpec, config: CpuConfig, cpu: CpuSpec) -> tuple[float, ...]:
    row, lanes = model.stream_row(spec, cpu.isa)
    tail = row % lanes / lanes if isinstance(config, VectorConfig) else 0.0
    return gcd(row, lanes) / lanes, log2(row / lanes), tail, float(spec.workload.has_padding)


def _gpu_geometry(spec: KernelSpec, config: GpuConfig, gpu: GpuSpec) -> tuple[float, ...]:
    held = residency(spec, config, gpu)
    if isinstance(config, MmaConfig):
        plan = MmaPlan.of(spec, config, gpu)
        wastes = (
            log_waste(plan.m, config.block_m),
            log_waste(spec.workload.group_outputs, config.block_n),
            log_waste(plan.k_words, config.block_k * config.split_k),
        )
        split, emulated = config.split_k, not gpu.has_native(plan.bits)
    else:
        wastes, split, emulated = (0.0, 0.0, 0.0), 1, False
    return (
        *wastes,
        log_waste(held.blocks, gpu.sms * held.per_sm),
        log2(held.blocks / gpu.sms),
        log2(held.per_sm * config.threads / WARP_SIZE),
        log2(split),
        float(emulated),
        *(_tail(spec, gpu, *tile) for tile in _TILES),
    )


def _tail(spec: KernelSpec, gpu: GpuSpec, pixels: int, channels: int) -> float:
    """What the last wave of such blocks leaves idle, one of them on an SM."""
    w = spec.workload
    blocks = ceil(w.batch * w.out_height * w.out_width / pixels) * ceil(w.group_outputs / channels) * w.groups
    return log_waste(blocks, gpu.sms)
