"""The analytic performance model of a config on a CPU: the prior of the search and a limit line, never a measurement.

Cycles of one thread. A register tile costs, per step of the reduction, the most of: its dot products, its loads, the
latency of its chains of sums, and the weights that stream in from the cache level in which their block stays between
uses. Then the epilogue of the tile. Staging the input is a copy. Recomputed pixels of overlapping tiles count in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from profiler.errors import InvalidConfig
from profiler.hardware import DEFAULT_L1D_BYTES, DEFAULT_L2_BYTES, WIDE_POPCOUNT, CpuSpec, DotIsa
from profiler.quantize.lookup import threshold_rows
from profiler.space.config import (
    DepthwiseConfig,
    DotConfig,
    LookupConfig,
    LoopOrder,
    ParallelAxis,
    PopcountConfig,
    ScheduleConfig,
    VectorConfig,
    to_text,
)
from profiler.space.cpu import (
    lookup_register_demand,
    popcount_register_demand,
    register_demand,
    table_kinds,
    template_for,
)
from profiler.space.dot_plan import DotPlan
from profiler.space.lookup_plan import LookupPlan
from profiler.space.popcount_plan import PopcountPlan
from profiler.space.traffic import moved_bytes
from profiler.workload import KernelSpec, Op

NOMINAL_HZ = 3.5e9
"""Clock that turns cycles to seconds; measured records correct it."""


@dataclass(frozen=True)
class CoreRates:
    """What a core does in a cycle. Rounded from the optimization manuals of recent x86 and Arm server cores."""

    dot_products: float = 2.0
    dot_latency: float = 2.6  # of a chain; tiles overlap in the reorder buffer, so less than the instruction's 4 to 5
    shuffles: float = 2.0  # of bytes in vectors of up to 256 bits
    wide_shuffles: float = 1.0  # in vectors of 512 bits
    popcounts: float = 1.0  # of vectors of 64-bit words
    loads: float = 2.0
    operations: float = 3.0
    l2_bytes: float = 48.0
    l3_bytes: float = 24.0
    memory_bytes: float = 5.0
    first_use_bytes: float = 12.0  # of weights that were evicted, as in cache mode network; prefetching hides the rest


# Instructions for one dot-product step of one vector, next to the single instruction of VNNI and sdot.
_DOT_INSTRUCTIONS = {DotIsa.AVX2: 4.0, DotIsa.NEON: 6.0, DotIsa.GENERIC: 8.0}
_EPILOGUE_OPERATIONS_PER_VECTOR = 13.0  # two halves of 64-bit multiply, add, shift, clamp, half hidden by the next tile
_ADDITION_OPERATIONS_PER_VECTOR = 13.0  # the second operand is rescaled likewise
_STORE_OPERATIONS_PER_VECTOR = 2.0  # of sums as they are
_SPILL_COST = 0.25  # of a step, for each register too many: LLVM then reloads sums in the innermost loop
_LAUNCH_CYCLES = 300.0
_SHUFFLES_REACHED = 0.75  # of their peak; read off the 3x3 layers of ResNet18 on an AVX2 server core
_WIDE_SUMS_REGISTERS, _LOOKUP_SPILL_COST = 4, 0.12  # of the sums that bytes are added to: they compete for registers
_FLUSH_OPERATIONS = 6.0  # of a vector of byte sums: both halves widened and added to sums in the first-level cache
_WIDE_OPERATIONS = 2.0  # of 512-bit vectors in a cycle
_EXPANDED_POPCOUNT_OPERATIONS = 9.0  # where the CPU cannot count bits of wide words
_STAGED_WORD_CYCLES = 1.5
_TABLE_CYCLES, _NIBBLE_TABLE_CYCLES = 1.3, 8.0  # copied out of the table of tables, or added up
_INDEX_CYCLES = 0.8  # of a group, where its table is not staged


@dataclass(frozen=True)
class _StreamRates:
    """Cycles of an element in vectors of 16. factors : where multipliers and shifts of the channels are loaded for each
    pixel; tap, nibble : for each element of the window; clipped : of
    those too, for single elements where padding clips it."""

    element: float
    factors: float = 0.0
    tap: float = 0.0
    nibble: float = 0.0
    clipped: float = 0.0


# Read off 130 kernels that were measured on an AVX512 server core (lut/recorded).
_STREAMS = {
    Op.ADD: _StreamRates(0.43, 0.23, 0.0, 0.22),
    Op.CONCAT: _StreamRates(0.20, 0.12, 0.0, 0.26),
    Op.CONVERT: _StreamRates(0.20, 0.12, 0.0, 0.24),
    Op.AVG_POOL: _StreamRates(0.05, 0.0, 0.048, 0.045, 0.5),
    Op.MAX_POOL: _StreamRates(0.02, 0.0, 0.012, 0.004, 0.25),
    Op.RELAYOUT: _StreamRates(0.20),
}
_HELD_VECTORS = 7
"""Of multipliers and shifts that stay in registers for all pixels."""
_CLIPPED = 10
"""Elements beyond which the compiler makes vectors of them after all."""
_WORD_MAXIMUM_CYCLES = 2.0
_TAIL_COST, _SCALAR_RESCALE = 1.2, 2.0


@dataclass(frozen=True)
class Cycles:
    """What one call's cycles go to. products : the main loop, if its weights were at hand; weights : waiting for them;
    epilogue : rescaling and storing; staging : copying the input."""

    products: float
    weights: float = 0.0
    epilogue: float = 0.0
    staging: float = 0.0
    launch: float = _LAUNCH_CYCLES

    @property
    def total(self) -> float:
        return self.products + self.weights + self.epilogue + self.staging + self.launch


def analytic_latency_s(spec: KernelSpec, config: ScheduleConfig, cpu: CpuSpec, threads: int = 1) -> float:
    """Modelled latency in seconds of a valid config."""
    return analytic_cycles(spec, config, cpu, threads).total / NOMINAL_HZ


def analytic_cycles(spec: KernelSpec, config: ScheduleConfig, cpu: CpuSpec, threads: int = 1) -> Cycles:
    """The parts of the modelled latency of a valid config."""
    if isinstance(config, DotConfig):
        return _dot_cycles(DotPlan.of(spec, cpu.isa), config, cpu, threads)
    if isinstance(config, LookupConfig):
        return _lookup_cycles(LookupPlan.of(spec, cpu.isa, config.tables), config, cpu, threads)
    if isinstance(config, PopcountConfig):
        return _popcount_cycles(PopcountPlan.of(spec, cpu.isa), config, cpu, threads)
    if isinstance(config, DepthwiseConfig):
        return Cycles(_depthwise_cycles(spec, config, cpu) / threads)
    if isinstance(config, VectorConfig):
        return Cycles(_stream_cycles(spec, config.vectors, cpu) / threads)
    raise InvalidConfig(f"{to_text(config)} is not a config of a CPU kernel")


def limit_s(spec: KernelSpec, cpu: CpuSpec, threads: int = 1) -> float:
    """A time that no kernel on this instruction set can beat, by the model's rates: dot products or bytes alone."""
    rates, w = CoreRates(), spec.workload
    busy = w.macs / (4 * cpu.isa.lanes) * _DOT_INSTRUCTIONS.get(cpu.isa, 1.0) / rates.dot_products
    if spec.weight_dtype is not None and template_for(spec) is LookupConfig:
        plans = [LookupPlan.of(spec, cpu.isa, tables) for tables in table_kinds(cpu.features)]
        groups = [plan.group for plan in plans if plan.reason_unsupported is None]
        if groups:  # a kernel that cannot be looked up is limited as if dot products computed it
            steps = w.macs / (max(groups) * 4 * cpu.isa.lanes) * spec.weight_dtype.bits
            busy = min(busy, steps / _shuffles(rates, cpu.isa))
        counting = PopcountPlan.of(spec, cpu.isa)
        if WIDE_POPCOUNT in cpu.features and counting.reason_unsupported is None:
            busy = min(busy, w.macs / (32 * cpu.isa.lanes) * len(counting.pairs) / rates.popcounts)
    return max(busy, moved_bytes(spec) / (64 * rates.loads)) / threads / NOMINAL_HZ


def _dot_cycles(plan: DotPlan, config: DotConfig, cpu: CpuSpec, threads: int) -> Cycles:
    rates, w = CoreRates(), plan.spec.workload
    vectors_total = ceil(plan.spec.workload.group_outputs / plan.lanes)
    blocks = vectors_total / config.vectors  # the last block computes only the vectors that it has
    tiles = plan.images * ceil(plan.out_height / config.tile_h) * ceil(plan.out_width / config.tile_w) * w.groups
    steps = w.kernel_h * plan.runs * plan.run_elements / 4
    pixels = config.tile_h * config.tile_w

    dots = pixels * config.vectors * _DOT_INSTRUCTIONS.get(plan.isa, 1.0)
    unpacking = config.vectors * 1.5 if plan.nibble_weights else 0.0
    spilled = max(0, _live_registers(plan, config) - plan.isa.registers)
    loads = pixels + config.vectors
    loop = 2.0 / config.unroll
    compute = max(dots / rates.dot_products, loads / rates.loads, rates.dot_latency,
                  (dots + loads + unpacking + loop) / 6.0)  # fmt: skip
    compute *= 1.0 + _SPILL_COST * min(spilled, 4)
    step_bytes = config.vectors * plan.lanes * (2 if plan.nibble_weights else 4)
    stream = step_bytes / _weight_bandwidth(plan, config, cpu, rates, steps * step_bytes, blocks)
    epilogue = pixels * config.vectors * _epilogue_operations(plan.spec) * plan.lanes / 16 / rates.operations
    waiting = max(0.0, stream - 0.7 * compute)  # as long as that products hide it
    each = tiles * blocks / _balance(plan, config, blocks, threads)
    return Cycles(
        each * steps * compute, each * steps * waiting, each * (epilogue + 20.0), _stage_cycles(plan, threads)
    )


def _shuffles(rates: CoreRates, isa: DotIsa) -> float:
    return rates.wide_shuffles if isa is DotIsa.AVX512_VNNI else rates.shuffles


def _lookup_cycles(plan: LookupPlan, config: LookupConfig, cpu: CpuSpec, threads: int) -> Cycles:
    rates, spec, w = CoreRates(), plan.spec, plan.spec.workload
    blocks = ceil(w.out_channels / plan.lanes) / config.vectors
    tiles = plan.images * ceil(plan.out_height / config.tile_h) * ceil(plan.out_width / config.tile_w)
    vectors = config.vectors * plan.planes
    sums = config.pixels * vectors
    steps = plan.taps * plan.groups

    shuffles = sums / _shuffles(rates, plan.isa) / _SHUFFLES_REACHED
    formed = 0 if plan.staged else config.pixels * plan.index_planes  # rows that are loaded and added up on the spot
    loads = (config.pixels + vectors + 2 * formed) / rates.loads
    live = lookup_register_demand(plan, config) + max(0, vectors - 2) + (2 if config.unroll > 2 else 0)
    spilled = max(0, live + _WIDE_SUMS_REGISTERS - plan.isa.registers)
    compute = max(shuffles, loads, (2.0 * sums + config.pixels + vectors + 2.0 / config.unroll + 2 * formed) / 5.0)
    if plan.isa is DotIsa.AVX512_VNNI:
        additions = max(0, formed - config.pixels)
        compute = max(compute, (2.0 * sums + additions) / _WIDE_OPERATIONS / _SHUFFLES_REACHED)
    compute *= 1.0 + _LOOKUP_SPILL_COST * min(spilled, 6)
    step_bytes = float(vectors * plan.lanes)
    stream = step_bytes / _weight_bandwidth(plan, config, cpu, rates, steps * step_bytes, blocks)
    flushes = ceil(steps / plan.lookups_at_most)
    widening = 1.0 if plan.raw_bits == 16 else 2.0
    flushing = flushes * sums * _FLUSH_OPERATIONS * widening / rates.operations
    halves = config.pixels * config.vectors * 2 * widening
    if plan.by_thresholds:
        finish = halves * (2.0 * plan.planes + 2.0 * threshold_rows(spec) + 4.0 * spec.output_dtype.bits)
    else:
        finish = 2 * halves * _epilogue_operations(spec) * plan.isa.lanes / 16
    waiting = max(0.0, stream - 0.7 * compute)
    each = tiles * blocks / _balance(plan, config, blocks, threads)
    tables = plan.images * plan.height * plan.width * plan.groups
    if not plan.staged:
        staging = tables * _INDEX_CYCLES * plan.index_planes
    else:
        staging = tables * (_TABLE_CYCLES * plan.index_planes if plan.from_planes else _NIBBLE_TABLE_CYCLES)
    return Cycles(
        each * (steps * compute + flushing), each * steps * waiting, each * (finish / rates.operations + 20.0),
        staging / threads,
    )  # fmt: skip


def _popcount_cycles(plan: PopcountPlan, config: PopcountConfig, cpu: CpuSpec, threads: int) -> Cycles:
    rates, geometry, spec, w = CoreRates(), plan.geometry, plan.spec, plan.spec.workload
    blocks = ceil(w.out_channels / plan.lanes) / config.vectors
    tiles = geometry.images * ceil(geometry.out_height / config.tile_h) * ceil(geometry.out_width / config.tile_w)
    counts = config.pixels * config.vectors * len(plan.pairs)
    steps = geometry.taps * plan.words
    counting = 1.0 if WIDE_POPCOUNT in cpu.features else _EXPANDED_POPCOUNT_OPERATIONS

    weights = config.vectors * geometry.planes
    loads = (config.pixels * spec.input_dtype.bits + weights) / rates.loads
    compute = max(counts * counting / rates.popcounts, loads, counts * (2.0 + counting) / _WIDE_OPERATIONS)
    spilled = max(0, popcount_register_demand(plan, config) - geometry.isa.registers)
    compute *= 1.0 + _SPILL_COST * min(spilled, 4)
    step_bytes = 64.0 * weights
    stream = step_bytes / _weight_bandwidth(geometry, config, cpu, rates, steps * step_bytes, blocks)
    each_vector = 3.0 * len(plan.pairs) + 2.0
    if geometry.by_thresholds:
        each_vector += threshold_rows(spec) + 2.0 * spec.output_dtype.bits
    else:
        each_vector += _epilogue_operations(spec) / 2
    finish = config.pixels * (config.vectors * each_vector + (2.0 * geometry.taps if geometry.bipolar else 0.0))
    waiting = max(0.0, stream - 0.7 * compute)
    each = tiles * blocks / _balance(geometry, config, blocks, threads)
    staging = geometry.images * geometry.image_pixels * plan.pixel_bytes / 8 * _STAGED_WORD_CYCLES
    return Cycles(
        each * steps * compute, each * steps * waiting, each * (finish / rates.operations + 20.0), staging / threads
    )


def _epilogue_operations(spec: KernelSpec) -> float:
    """Of a vector of sums."""
    if not spec.epilogue.requantizes:
        return _STORE_OPERATIONS_PER_VECTOR
    return _EPILOGUE_OPERATIONS_PER_VECTOR + (_ADDITION_OPERATIONS_PER_VECTOR if spec.epilogue.adds else 0.0)


def _live_registers(plan: DotPlan, config: DotConfig) -> int:
    """Registers without reloading anything: all weights of a step (and the mask of nibbles) stay for all pixels."""
    few = min(config.vectors, 2)
    return register_demand(plan, config) + (config.vectors - few) + (1 if plan.nibble_weights else 0)


def _weight_bandwidth(
    plan: DotPlan | LookupPlan,
    config: DotConfig | LookupConfig | PopcountConfig,
    cpu: CpuSpec,
    rates: CoreRates,
    block_bytes: float,
    blocks: float,
) -> float:
    """Bytes a cycle at which the weights of a block arrive, by the level that holds them between two uses."""
    reused = block_bytes if config.order is not LoopOrder.PIXELS else block_bytes * blocks
    tiles = ceil(plan.out_height / config.tile_h) * ceil(plan.out_width / config.tile_w)
    if config.order is LoopOrder.CHANNELS:
        tiles *= plan.images
    return tiles / (1 / rates.first_use_bytes + (tiles - 1) / _bandwidth(reused, cpu, rates))


def _bandwidth(footprint: float, cpu: CpuSpec, rates: CoreRates) -> float:
    if footprint <= 0.6 * (cpu.l1d_bytes or DEFAULT_L1D_BYTES):
        return 64 * rates.loads
    if footprint <= 0.8 * (cpu.l2_bytes or DEFAULT_L2_BYTES):
        return rates.l2_bytes
    return rates.l3_bytes if footprint <= (cpu.l3_bytes or 16 << 20) else rates.memory_bytes


def _balance(
    plan: DotPlan | LookupPlan, config: DotConfig | LookupConfig | PopcountConfig, blocks: float, threads: int
) -> float:
    """Threads that are busy on average."""
    if config.parallel is ParallelAxis.NONE:
        return 1.0
    rows = ceil(plan.out_height / config.tile_h)
    columns = ceil(plan.out_width / config.tile_w)
    pixels = next((count for count in (plan.images, rows) if count > 1), columns)
    tasks = ceil(blocks) if config.parallel is ParallelAxis.CHANNELS else pixels
    return tasks / ceil(tasks / threads)


def _stage_cycles(plan: DotPlan, threads: int) -> float:
    if not plan.staged:
        return 0.0
    w = plan.spec.workload
    pixels = w.out_height * w.out_width if plan.gathered else (w.in_height + w.pad_top + w.pad_bottom) * w.in_width
    return w.batch * pixels * w.in_channels / 24.0 / threads


def _depthwise_cycles(spec: KernelSpec, config: DepthwiseConfig, cpu: CpuSpec) -> float:
    w, lanes, rates = spec.workload, cpu.isa.lanes, CoreRates()
    vectors = ceil(w.out_channels / lanes)
    tiles = w.batch * w.out_height * ceil(w.out_width / config.tile_w)
    step = config.tile_w * 3.0 + 2.0 + 4.0 / config.vectors
    spilled = max(0, config.tile_w * config.vectors - cpu.isa.registers + 6)
    taps = w.kernel_h * w.kernel_w * (step + spilled) / rates.operations
    return tiles * vectors * (taps + config.tile_w * _epilogue_operations(spec) / rates.operations)


def stream_row(spec: KernelSpec, isa: DotIsa) -> tuple[int, int]:
    """Elements of a pixel along which such a kernel walks, and how many a vector of it holds."""
    w = spec.workload
    if w.op is Op.MAX_POOL:  # compares bytes, whatever lies in them
        return ceil(w.in_channels * spec.input_dtype.bits / 8), 4 * isa.lanes
    return w.in_channels, isa.lanes


def _stream_cycles(spec: KernelSpec, vectors: int, cpu: CpuSpec) -> float:
    """Vectors of channels, then what fills none, one at a time: in pools with a branch for each that padding clips."""
    w, rates = spec.workload, _STREAMS[spec.workload.op]
    if spec.input_dtype.in_planes or spec.output_dtype.in_planes:
        return _plane_stream_cycles(spec)
    taps, pixels = w.kernel_h * w.kernel_w, w.batch * w.out_height * w.out_width
    nibbles = 4 in (spec.input_dtype.bits, spec.output_dtype.bits)
    elements, lanes = stream_row(spec, cpu.isa)
    blocks = 2.0 * ceil(elements / (lanes * vectors))
    tail = elements % lanes
    factors = 0.0 if elements <= _HELD_VECTORS * lanes else rates.factors
    each = rates.element + factors + taps * (rates.tap + (rates.nibble if nibbles else 0.0))
    alone = tail * each * _TAIL_COST
    if w.op in (Op.MAX_POOL, Op.AVG_POOL):
        if w.has_padding and tail % 32:
            alone += min(tail, _CLIPPED) * taps * rates.clipped
    elif elements < lanes and tail % 4:
        alone += tail * _SCALAR_RESCALE
    return pixels * (blocks + 16 / cpu.isa.lanes * each * (elements - tail) + alone)


def _plane_stream_cycles(spec: KernelSpec) -> float:
    """Bits spread over vectors and gathered again; maxima are found on whole words."""
    w = spec.workload
    taps, pixels = w.kernel_h * w.kernel_w, w.batch * w.out_height * w.out_width
    if w.op is Op.MAX_POOL:
        return pixels * ceil(w.in_channels / 64) * taps * spec.input_dtype.bits * _WORD_MAXIMUM_CYCLES
    bits = sum(dtype.bits for dtype in (spec.input_dtype, spec.input2_dtype) if dtype is not None and dtype.in_planes)
    stored = spec.output_dtype.bits if spec.output_dtype.in_planes else 0
    return pixels * w.in_channels * (taps * (_STREAMS[w.op].element + 0.1 * bits) + 0.1 * stored)
