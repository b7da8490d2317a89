"""Which configs a GPU and its templates admit, and why not: checked before anything is compiled.

Threads, registers as estimated, shared memory, grid, alignment of loads, and the 32-bit offsets of the kernels.
"""

from __future__ import annotations

from math import ceil, gcd

from profiler.errors import InvalidConfig, InvalidWorkload
from profiler.hardware import WARP_SIZE, GpuSpec
from profiler.quantize.operands import operands
from profiler.quantize.packed_weights import WORD_BYTES
from profiler.quantize.planes import WORD_BITS as PLANE_WORD_BITS
from profiler.quantize.planes import plane_bytes
from profiler.quantize.whole_bytes import activation_nbytes
from profiler.space.config import (
    GpuConfig,
    MmaConfig,
    ScheduleConfig,
    SimtDepthwiseConfig,
    SimtDirectConfig,
    SimtVectorConfig,
    Unroll,
    to_text,
)
from profiler.space.mma_plan import MmaPlan, mma_types, reason_inexact
from profiler.space.occupancy import blocks_per_sm
from profiler.space.registers import register_estimate
from profiler.space.simt_plan import SimtConfig, holds_nibbles, holds_planes, simt_items
from profiler.workload import KernelSpec, any_in_planes

OFFSET_LIMIT = 1 << 31
"""Kernels compute offsets in bytes and items in 32 bits."""
GRID_LIMIT = 65535
"""Of blocks along y and z."""
MAX_LOADS = 16
MAX_STAGED_WORDS = 32
MAX_UNROLLED_MMAS = 64
"""Instructions of a warp in one step, where the template unrolls: bounds the size of the source."""
MAX_SPLIT = 32
MAX_DEPTHWISE_SUMS = 64
"""Of a thread: twice as many spill, whatever the kernel."""
MAX_DEPTHWISE_PRODUCTS = 2048
"""Of a thread for one kernel row: bounds the size of the code."""

WARP_TILES = (8, 16, 32, 64)
WARPS_ALONG = (1, 2, 4)
BLOCK_K = (4, 8, 16, 32)
LOADS = (16, 8, 4, 1)
CHANNELS = (1, 2, 4, 8, 16, 32)


def template_for(spec: KernelSpec) -> type[GpuConfig]:
    """The template that computes the spec."""
    w = spec.workload
    if not w.op.has_weights:
        return SimtVectorConfig
    if w.is_depthwise and w.in_channels == w.out_channels:
        assert spec.weight_dtype is not None
        narrow = spec.input_dtype.bits <= 8 and spec.weight_dtype.bits <= 8 and spec.weight_dtype.signed
        return SimtDepthwiseConfig if narrow else SimtDirectConfig
    return MmaConfig if mma_types(spec) and _groups_fill_tensor_cores(spec) else SimtDirectConfig


def _groups_fill_tensor_cores(spec: KernelSpec) -> bool:
    """Whether each group begins at a whole byte everywhere and has channels for a word of K and a column of 8."""
    w = spec.workload
    if w.groups == 1:
        return True
    inputs, outputs = w.group_inputs, w.group_outputs
    stored = (spec.output_dtype, spec.input2_dtype)
    if any_in_planes(*stored) and outputs % 8:
        return False
    if spec.input_dtype.in_planes:
        return inputs % PLANE_WORD_BITS == 0 and outputs >= 8
    whole = inputs * spec.input_dtype.bits % 8 == 0 and all(d is None or outputs * d.bits % 8 == 0 for d in stored)
    return whole and inputs * spec.input_dtype.bits >= 8 * WORD_BYTES and outputs >= 8


def reason_unsupported(spec: KernelSpec, gpu: GpuSpec) -> str | None:
    """Why no config can compute the spec on that GPU; None if its space is not empty for that reason."""
    if gpu.capability < (7, 5):
        return f"{gpu.name} ({gpu.arch}) has no integer tensor cores; sm_75 is the oldest architecture that has"
    try:
        arguments = operands(spec)
    except InvalidWorkload as error:
        return str(error)
    for operand in arguments:
        size = activation_nbytes(operand.shape, operand.dtype)
        if size >= OFFSET_LIMIT:
            return f"its {operand.name} of {size} bytes is beyond 32-bit offsets; a smaller batch may fit"
    return reason_inexact(spec) if spec.workload.op.has_weights else None


def reason_invalid(spec: KernelSpec, config: ScheduleConfig, gpu: GpuSpec) -> str | None:
    """Why the config cannot be built for the spec or launched on that GPU; None if it can."""
    template = template_for(spec)
    if not isinstance(config, template):
        return f"it belongs to another template than {template.__name__}"
    return reason_unsupported(spec, gpu) or reason_beyond_limits(spec, config, gpu)


def check_config(spec: KernelSpec, config: ScheduleConfig, gpu: GpuSpec) -> None:
    """Raises `InvalidConfig` with the reason if the config is not valid for the spec on that GPU."""
    reason = reason_invalid(spec, config, gpu)
    if reason is not None:
        raise InvalidConfig(f"{to_text(config)} is not valid for {spec.key} on {gpu.slug}: {reason}")


def reason_beyond_limits(spec: KernelSpec, config: GpuConfig, gpu: GpuSpec) -> str | None:
    """`reason_invalid` for a config of the right template of a spec that is supported."""
    if isinstance(config, MmaConfig):
        return _reason_invalid_mma(MmaPlan.of(spec, config, gpu), gpu)
    return _reason_invalid_simt(spec, config, gpu)


def _reason_invalid_mma(plan: MmaPlan, gpu: GpuSpec) -> str | None:
    return (
        reason_tile(plan)
        or reason_loads(plan)
        or _reason_split(plan)
        or _reason_size(plan)
        or _reason_launch(plan.spec, plan.config, gpu, plan.config.threads, plan.shared_bytes)
    )


def reason_tile(plan: MmaPlan) -> str | None:
    config, mma = plan.config, plan.mma
    if config.warp_m not in WARP_TILES or config.warp_n not in WARP_TILES or plan.warp_rows % mma.m:
        return f"a warp tile of {config.warp_m}x{config.warp_n} is not made of {mma.m}x{mma.n} instructions up to 64x64"
    along = (config.block_m / config.warp_m, config.block_n / config.warp_n)
    if any(count not in WARPS_ALONG for count in along):
        return (
            f"{config.block_m}x{config.block_n} is not 1, 2 or 4 warp tiles of {config.warp_m}x{config.warp_n} each way"
        )
    if config.block_k not in BLOCK_K or config.block_k % mma.k_words:
        return f"a step of {config.block_k} words is not a power of two from {mma.k_words} to {BLOCK_K[-1]}"
    if config.stages not in (1, 2):
        return f"{config.stages} stages are not 1 or 2"
    mmas = plan.warp_mmas * (config.block_k // mma.k_words)
    if config.unroll is Unroll.FULL and mmas > MAX_UNROLLED_MMAS:
        return f"{mmas} instructions in a step are too many to unroll in the source ({MAX_UNROLLED_MMAS})"
    return None


def reason_loads(plan: MmaPlan) -> str | None:
    config = plan.config
    if config.load_bytes not in LOADS:
        return f"loads of {config.load_bytes} bytes are not of 16, 8, 4 or 1"
    unit = alignment(plan.spec)
    if config.load_bytes == 1:
        if unit % WORD_BYTES == 0:
            return f"pixels of {plan.pixel_bytes} bytes need no gathering byte by byte"
    elif unit % config.load_bytes:
        return f"pixels or groups aligned to {unit} bytes are not read {config.load_bytes} at a time"
    if config.block_k % plan.activation_loads.words:
        return f"a step of {config.block_k} words is narrower than a load of {config.load_bytes} bytes"
    for what, share in (("activations", plan.activation_loads), ("weights", plan.weight_loads)):
        if config.threads % share.columns:
            return f"{config.threads} threads are not whole rows of {share.columns} loads of {what}"
        if share.passes > MAX_LOADS or share.passes * share.words > MAX_STAGED_WORDS:
            return f"{share.passes} loads of {share.words} words of {what} by each thread in a step are too many"
    return None


def _reason_split(plan: MmaPlan) -> str | None:
    split = plan.config.split_k
    if split > MAX_SPLIT or split & (split - 1):
        return f"K is split in {split}, not in a power of two up to {MAX_SPLIT}"
    if (split - 1) * plan.split_steps >= plan.steps:
        return f"{plan.steps} steps over K do not give each of {split} splits one"
    return None


def _reason_size(plan: MmaPlan) -> str | None:
    """What does not fit grid or 32-bit offsets."""
    config = plan.config
    _, y, z = plan.grid
    if y > GRID_LIMIT or z > GRID_LIMIT:
        return f"a grid of {y} x {z} blocks of channels and splits is beyond {GRID_LIMIT} each way"
    weights = y * plan.spec.workload.groups * config.block_n * plan.steps * config.block_k * WORD_BYTES
    if max(weights, plan.workspace_bytes, plan.m_tiles * config.block_m) >= OFFSET_LIMIT:
        return "its padded pixels, weights or partial sums are beyond 32-bit offsets"
    return None


def _reason_invalid_simt(spec: KernelSpec, config: SimtConfig, gpu: GpuSpec) -> str | None:
    if config.threads % WARP_SIZE or config.threads > gpu.threads_per_block:
        return f"{config.threads} threads are not whole warps up to {gpu.threads_per_block} threads"
    if config.channels not in CHANNELS:
        return f"{config.channels} channels of a thread are not a power of two up to {CHANNELS[-1]}"
    if config.channels % 2 and holds_nibbles(spec, config):
        return "two 4-bit channels share a byte, so a thread needs an even number of channels"
    if config.channels % 8 and holds_planes(spec, type(config)):
        return f"{config.channels} channels of a thread do not fill a byte of a bit plane, which takes 8"
    if isinstance(config, SimtDepthwiseConfig):
        if config.pixels > 16:
            return f"{config.pixels} pixels of a thread are more than 16"
        if config.channels * config.pixels > MAX_DEPTHWISE_SUMS:
            return f"{config.channels * config.pixels} sums of a thread are more than {MAX_DEPTHWISE_SUMS}"
        products = spec.workload.kernel_w * config.channels * config.pixels
        if products > MAX_DEPTHWISE_PRODUCTS:
            return f"{products} products of a thread for one kernel row are more than {MAX_DEPTHWISE_PRODUCTS}"
    if ceil(simt_items(spec, config) / config.threads) * config.threads >= OFFSET_LIMIT:
        return "its threads are too many to count in 32 bits"
    return _reason_launch(spec, config, gpu, config.threads, 0)


def _reason_launch(spec: KernelSpec, config: GpuConfig, gpu: GpuSpec, threads: int, shared_bytes: int) -> str | None:
    if shared_bytes > gpu.shared_bytes_per_block:
        return f"{shared_bytes} bytes of shared memory are more than the {gpu.shared_bytes_per_block} of a block"
    registers = register_estimate(spec, config, gpu)
    if registers > gpu.registers_per_thread:
        return f"about {registers} registers of a thread are more than {gpu.registers_per_thread}"
    if blocks_per_sm(gpu, threads, registers, shared_bytes) < 1:
        return f"{threads} threads of about {registers} registers do not fit an SM"
    return None


def alignment(spec: KernelSpec) -> int:
    """Bytes to which every pixel and plane of it, of grouped convolutions also every group, is aligned."""
    w, bits = spec.workload, spec.input_dtype.bits
    if spec.input_dtype.in_planes:
        return gcd(plane_bytes(w.in_channels), plane_bytes(w.group_inputs))
    pixel_bytes = ceil(w.in_channels * bits / 8)
    return pixel_bytes if w.groups == 1 else gcd(pixel_bytes, ceil(w.group_inputs * bits / 8))
