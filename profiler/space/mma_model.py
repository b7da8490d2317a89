"""The cost of a block of the ``mma`` template.

A step of K keeps four units of an SM busy: tensor cores, warp schedulers, shared memory (stores, ldmatrix, and global
loads on their way through L1), and the SM's share of L2. Alone on its SM a block also waits: for what it loads, where
computing a step is shorter than that, and at barriers.
"""

from __future__ import annotations

from math import ceil

from profiler.hardware import WARP_SIZE, GpuSpec
from profiler.quantize.packed_weights import WORD_BYTES
from profiler.space.block_cost import BlockCost, overlapped
from profiler.space.config import SharedLayout
from profiler.space.mma_plan import MmaPlan
from profiler.space.occupancy import blocks_per_sm
from profiler.space.registers import register_estimate

# Instructions of a warp, counted in the machine code of 60 kernels of sm_75 and sm_90 (NVRTC 12.9).
_STEP_INSTRUCTIONS = 30.0  # loop, place in K, barriers
_LOAD_INSTRUCTIONS = 4.0  # address and predicate of a load of activations
_WINDOW_INSTRUCTIONS = 6.0  # the same, where rows or columns can lie outside of the image
_GATHER_INSTRUCTIONS = 14.0  # to put a word together from bytes, four loads included
_SWIZZLE_INSTRUCTIONS = 2.0  # of an ldmatrix address
_EMULATION_INSTRUCTIONS = 100.0  # of a 4-bit instruction where tensor cores have none
_SETUP_INSTRUCTIONS = 100.0
_ROW_INSTRUCTIONS = 20.0  # where a pixel of a thread lies: divisions by constants
_EPILOGUE_INSTRUCTIONS = {0: 4.0, 1: 8.0, 2: 20.0}
"""Of a sum, by the number of its rescalings, where shifts are as usual."""
_ARITHMETIC_SLOTS = 1.5  # of a scheduler: the integer pipe takes two clocks for a warp, the multiply-add pipe helps

_BARRIER_CLOCKS = 25.0
_SHARED_CLOCKS = 25.0  # from ldmatrix to its use
_FENCE_CLOCKS = 600.0  # of publishing partial sums and counting in
_PORT_BYTES = 64.0  # that an SM takes from L2 in a clock when the others are idle
SECTOR_BYTES = 32
"""What memory and caches move at least."""


def mma_block(plan: MmaPlan, gpu: GpuSpec) -> BlockCost:
    """Cost of a block. The first round of blocks waits for memory, later ones find most of what they read in L2."""
    config, mma = plan.config, plan.mma
    warps, steps, schedulers = config.warps, plan.split_steps, gpu.instructions_per_clock
    grid = plan.grid
    blocks = grid[0] * grid[1] * grid[2]
    shared_bytes = plan.shared_bytes
    resident = max(1, blocks_per_sm(gpu, config.threads, register_estimate(plan.spec, config, gpu), shared_bytes))
    together = min(resident, ceil(blocks / gpu.sms))
    emulated = not gpu.has_native(plan.bits)

    loads = plan.activation_loads.passes
    depths = config.block_k // mma.k_words
    mmas = plan.warp_mmas * depths
    units = mma.k_words // 4
    matrices = [rows // 8 * units for rows in (plan.warp_rows, plan.warp_columns)]
    ldmatrix = depths * sum(ceil(count / 4) for count in matrices)
    tensor = warps * mmas * _mma_clocks(plan, gpu)
    slots = warps * (
        mmas * (2 + _EMULATION_INSTRUCTIONS * _ARITHMETIC_SLOTS if emulated else 1)
        + ldmatrix
        + 2 * (loads + plan.weight_loads.passes)
        + _ARITHMETIC_SLOTS * _step_arithmetic(plan, depths)
    )
    conflicts = 2 if config.shared_layout is SharedLayout.PAD and config.block_k == 4 else 1
    tile_bytes = (plan.block_rows + plan.block_columns) * config.block_k * WORD_BYTES
    fragment_bytes = warps * (plan.warp_rows + plan.warp_columns) * config.block_k * WORD_BYTES
    shared = (conflicts * fragment_bytes + 2 * tile_bytes) / gpu.shared_bytes_per_clock

    read_bytes = _read_bytes(plan, gpu, together * shared_bytes, together)
    written_bytes = _written_bytes(plan)
    port = min(_PORT_BYTES, gpu.l2_bytes_per_s / gpu.clock_hz / min(gpu.sms, blocks))
    rounds = ceil(ceil(blocks / gpu.sms) / resident)
    latency = gpu.l2_latency_clocks + (gpu.dram_latency_clocks - gpu.l2_latency_clocks) / rounds

    spec = plan.spec
    sums = config.warp_m * config.warp_n // WARP_SIZE
    rescalings = int(spec.epilogue.requantizes) + int(spec.epilogue.adds)
    once = _SETUP_INSTRUCTIONS + _ROW_INSTRUCTIONS * loads + _EPILOGUE_INSTRUCTIONS[rescalings] * sums
    once += plan.warp_sums if plan.in_planes else 0  # to join the planes
    once_slots = warps * once * _ARITHMETIC_SLOTS

    busy = overlapped(
        steps * tensor,
        (steps * slots + once_slots) / schedulers,
        steps * shared,
        (read_bytes + written_bytes) / port,
    )
    active = min(schedulers, warps)  # schedulers of the SM that have a warp of this block
    fetching = 0.5 * depths * _SHARED_CLOCKS / max(1.0, warps / schedulers)
    computing = max(tensor * schedulers / active, slots / active, shared) + fetching
    loading = latency + read_bytes / steps / _PORT_BYTES
    barriers = _BARRIER_CLOCKS * (1 if config.stages == 2 else 2)
    step_path = max(computing, loading) + barriers + _SHARED_CLOCKS + tile_bytes / gpu.shared_bytes_per_clock
    waits = 3 + int(spec.epilogue.adds)  # for the first tile, the parameters, the store; the residual
    path = steps * step_path + once_slots / active + waits * latency + written_bytes / _PORT_BYTES
    if config.split_k > 1:
        partial = config.block_m * config.block_n * WORD_BYTES / port
        busy += 2 * partial  # each block writes its sums, and the last of a tile reads those of all others
        path += _FENCE_CLOCKS + partial + (config.split_k - 1) * (partial + latency)
    return BlockCost(blocks, resident, busy, max(path, busy))


def _mma_clocks(plan: MmaPlan, gpu: GpuSpec) -> float:
    """Clocks of an SM for one instruction of a warp."""
    macs = plan.mma.m * plan.mma.n * plan.mma.k_words * 32 // plan.bits
    per_core = gpu.macs_per_tensor_core(plan.bits) or gpu.int8_macs_per_tensor_core
    return macs / (per_core * gpu.tensor_cores_per_sm * gpu.mma_fraction)


def _step_arithmetic(plan: MmaPlan, depths: int) -> float:
    """Instructions of a warp in a step that neither load, store nor multiply matrices."""
    config, w = plan.config, plan.spec.workload
    each = _LOAD_INSTRUCTIONS
    if w.has_padding or w.kernel_h * w.kernel_w > 1:
        each += _WINDOW_INSTRUCTIONS
    if config.load_bytes == 1:
        each += _GATHER_INSTRUCTIONS
    swizzled = config.shared_layout is SharedLayout.SWIZZLE and config.block_k > 4
    return (
        _STEP_INSTRUCTIONS
        + each * plan.activation_loads.passes
        + (2 * depths * _SWIZZLE_INSTRUCTIONS if swizzled else 0.0)
    )


def _read_bytes(plan: MmaPlan, gpu: GpuSpec, shared_bytes: int, together: int) -> float:
    """What a block reads from L2. Kernel positions overlap: what the SM's L1 still holds is read once.

    ``shared_bytes``: what the ``together`` resident blocks take of L1.
    """
    config, w = plan.config, plan.spec.workload
    share = plan.split_steps / plan.steps
    rows = min(config.block_m, plan.m)
    weights = plan.block_columns * plan.k_words * WORD_BYTES * share
    group_bytes = plan.group_bytes * plan.pixel_planes
    reads = float(rows * w.kernel_h * w.kernel_w * group_bytes) * share
    piece = min(config.block_k * WORD_BYTES, max(plan.group_bytes, w.kernel_w * plan.pixel_bytes // 2))
    if w.kernel_h * w.kernel_w > 1:
        lines = min(w.out_height, ceil(rows / w.out_width)) * w.stride_h + max(0, w.kernel_h - w.stride_h)
        columns = min(rows, w.out_width) * w.stride_w + max(0, w.kernel_w - w.stride_w)
        distinct = min(reads, float(lines * columns * group_bytes))
        held = distinct + plan.block_columns * w.kernel_w * plan.group_bytes
        hits = min(1.0, max(0.0, gpu.l1_bytes - shared_bytes) / (together * held))
        reads = hits * distinct + (1 - hits) * reads
    return weights + reads * max(1.0, SECTOR_BYTES / piece)


def _written_bytes(plan: MmaPlan) -> float:
    """What a block writes of the output, and reads of the residual."""
    spec, config = plan.spec, plan.config
    bits = spec.output_dtype.bits + (spec.input2_dtype.bits if spec.input2_dtype is not None else 0)
    return min(config.block_m, plan.m) * min(config.block_n, plan.spec.workload.group_outputs) * bits / 8
