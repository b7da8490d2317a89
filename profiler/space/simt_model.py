"""The cost of a block of the templates without tensor cores: instructions of a thread, and waiting for its loads."""

from __future__ import annotations

from math import ceil

from profiler.hardware import WARP_SIZE, GpuSpec
from profiler.space.block_cost import BlockCost
from profiler.space.config import SimtDepthwiseConfig, SimtDirectConfig
from profiler.space.occupancy import blocks_per_sm
from profiler.space.registers import register_estimate
from profiler.space.simt_plan import SimtConfig, simt_items
from profiler.workload import DType, KernelSpec, Op

_SETUP_INSTRUCTIONS = 60.0
_RESCALE_INSTRUCTIONS = 25.0  # bias, rescaling in 64 bits, clamp, packing
_TAP_INSTRUCTIONS = 12.0  # place and predicate of a kernel position
_ISSUE_CLOCKS = 5.0  # between dependent instructions of a warp
_DP4A_PRODUCTS = 4
_PLANE_INSTRUCTIONS = 3.0  # to take a channel's bit out of a plane, or to put it there


def simt_block(spec: KernelSpec, config: SimtConfig, gpu: GpuSpec) -> BlockCost:
    """Cost of a block of ``threads`` threads, all of which have work."""
    arithmetic, loads = _thread(spec, config)
    warps = config.threads // WARP_SIZE
    resident = max(1, blocks_per_sm(gpu, config.threads, register_estimate(spec, config, gpu), 0))
    busy = warps * (arithmetic * WARP_SIZE / gpu.int32_lanes + loads * WARP_SIZE * 4 / gpu.shared_bytes_per_clock)
    waits = 2 + ceil(loads / 8)  # of several loads on their way at once
    path = arithmetic * _ISSUE_CLOCKS + waits * gpu.dram_latency_clocks
    return BlockCost(ceil(simt_items(spec, config) / config.threads), resident, busy, max(path, busy))


def _thread(spec: KernelSpec, config: SimtConfig) -> tuple[float, float]:
    """Arithmetic instructions of a thread, and its loads and stores."""
    if isinstance(config, SimtDirectConfig):
        return _direct_thread(spec, config)
    if isinstance(config, SimtDepthwiseConfig):
        return _depthwise_thread(spec, config)
    w = spec.workload
    taps = w.kernel_h * w.kernel_w
    rescalings = 2 if w.op is Op.ADD else int(spec.epilogue.requantizes)
    each = (
        rescalings * _RESCALE_INSTRUCTIONS + 3 * taps + _plane_instructions(taps, spec.input_dtype, spec.input2_dtype)
    )
    each += _plane_instructions(1, spec.output_dtype)
    accesses = taps + 1 + 2 * rescalings
    vectors = ceil(config.channels / 4)
    return _SETUP_INSTRUCTIONS + taps * _TAP_INSTRUCTIONS + each * config.channels, accesses * vectors


def _direct_thread(spec: KernelSpec, config: SimtDirectConfig) -> tuple[float, float]:
    w = spec.workload
    assert spec.weight_dtype is not None
    inputs, taps = w.group_inputs, w.kernel_h * w.kernel_w
    dp4a = spec.input_dtype.bits == spec.weight_dtype.bits == 8 and inputs % _DP4A_PRODUCTS == 0
    products = config.channels * taps * inputs
    arithmetic = products / _DP4A_PRODUCTS if dp4a else 2.5 * products
    arithmetic += _plane_instructions(taps * inputs, spec.input_dtype) + _plane_instructions(
        products, spec.weight_dtype
    )
    loads = taps * (config.channels + 1) * ceil(inputs * spec.weight_dtype.bits / 32)
    rescalings = int(spec.epilogue.requantizes) + int(spec.epilogue.adds)
    once = _SETUP_INSTRUCTIONS + taps * _TAP_INSTRUCTIONS + config.channels * (4 + rescalings * _RESCALE_INSTRUCTIONS)
    return arithmetic + once, loads + config.channels


def _plane_instructions(count: int, *dtypes: DType | None) -> float:
    """To take apart or put together that many values of each of the types, of those in bit planes."""
    return _PLANE_INSTRUCTIONS * count * sum(d.bits for d in dtypes if d is not None and d.in_planes)


def _depthwise_thread(spec: KernelSpec, config: SimtDepthwiseConfig) -> tuple[float, float]:
    w = spec.workload
    columns = (config.pixels - 1) * w.stride_w + (w.kernel_w - 1) * w.dilation_w + 1
    sums = config.channels * config.pixels
    products = sums * w.kernel_h * w.kernel_w
    unpacking = w.kernel_h * (columns + w.kernel_w) * config.channels
    vectors = ceil(config.channels * spec.input_dtype.bits / 32)
    rescalings = int(spec.epilogue.requantizes) + int(spec.epilogue.adds)
    once = _SETUP_INSTRUCTIONS + w.kernel_h * columns * _TAP_INSTRUCTIONS / 2
    arithmetic = products + unpacking + once + sums * (4 + rescalings * _RESCALE_INSTRUCTIONS)
    return arithmetic, w.kernel_h * (columns + w.kernel_w) * vectors + config.pixels * vectors + 2 * config.channels
