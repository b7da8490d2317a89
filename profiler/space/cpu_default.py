"""The config that the analytic model of a CPU holds for the fastest, without a look at the whole space."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from profiler.errors import InvalidConfig
from profiler.hardware import WIDE_POPCOUNT, CpuSpec
from profiler.space.config import (
    CpuConfig,
    DotConfig,
    LookupConfig,
    LoopOrder,
    ParallelAxis,
    PopcountConfig,
    ScheduleConfig,
)
from profiler.space.cpu import (
    MAX_TILE_HEIGHT,
    MAX_TILE_PIXELS,
    UNROLLS,
    VECTORS,
    config_space,
    reason_invalid,
    reason_unsupported,
    table_kinds,
    template_for,
)
from profiler.space.dot_plan import DotPlan
from profiler.space.lookup_plan import LookupPlan
from profiler.space.model import analytic_latency_s
from profiler.workload import KernelSpec


def default_config(spec: KernelSpec, cpu: CpuSpec, threads: int = 1) -> CpuConfig:
    """The best by the model among configs whose tiles waste least. Raises `InvalidConfig` where none is valid."""
    template = template_for(spec)
    configs: list[ScheduleConfig]
    if threads == 1 and template is DotConfig:
        configs = list(_frugal(spec, cpu))
    elif threads == 1 and template is LookupConfig:
        configs = [*_frugal_lookups(spec, cpu), *_frugal_popcounts(spec, cpu), *_frugal(spec, cpu)]
    else:
        configs = list(config_space(spec, cpu.isa, threads, cpu.features))
    if not configs:
        reason = reason_unsupported(spec, cpu.isa) or "none is within the limits of the device"
        raise InvalidConfig(f"{spec.key} has no valid config on {cpu.isa.value}: {reason}")
    best = min(configs, key=lambda config: analytic_latency_s(spec, config, cpu, threads))
    assert isinstance(best, CpuConfig)
    return best


def _frugal(spec: KernelSpec, cpu: CpuSpec) -> Iterator[DotConfig]:
    """One thread's configs whose tiles are no wider, for the number of tiles that they make, than need be."""
    plan = DotPlan.of(spec, cpu.isa)
    vectors = min(max(VECTORS), -(-spec.workload.group_outputs // plan.lanes))
    unrolls = [unroll for unroll in UNROLLS if plan.run_steps % unroll == 0]
    for tile_h, tile_w, blocked in _frugal_tiles(plan):
        if tile_h * tile_w > MAX_TILE_PIXELS or blocked > vectors:
            continue
        config = DotConfig(tile_h, tile_w, blocked, LoopOrder.CHANNELS, unrolls[-1])
        if reason_invalid(spec, config, cpu.isa) is None:
            for order in LoopOrder:
                yield DotConfig(tile_h, tile_w, blocked, order, unrolls[-1], ParallelAxis.NONE)


def _frugal_lookups(spec: KernelSpec, cpu: CpuSpec) -> Iterator[LookupConfig]:
    """The same of kernels that look sums up."""
    for tables in table_kinds(cpu.features):
        plan = LookupPlan.of(spec, cpu.isa, tables)
        unrolls = [unroll for unroll in UNROLLS if unroll <= plan.groups]
        for tile in _frugal_tiles(plan):
            if _sums(tile) * plan.planes > plan.isa.registers:
                continue
            configs = [LookupConfig(*tile, *how, ParallelAxis.NONE, tables) for how in product(LoopOrder, unrolls)]
            if configs and reason_invalid(spec, configs[0], cpu.isa) is None:  # it is the tile that decides
                yield from configs


def _frugal_popcounts(spec: KernelSpec, cpu: CpuSpec) -> Iterator[PopcountConfig]:
    """The same of kernels that count bits; none where the CPU does not do so in wide words."""
    if WIDE_POPCOUNT not in cpu.features:
        return
    for tile in _frugal_tiles(LookupPlan.of(spec, cpu.isa)):
        if _sums(tile) > cpu.isa.registers:
            continue
        configs = [PopcountConfig(*tile, order) for order in LoopOrder]
        if reason_invalid(spec, configs[0], cpu.isa) is None:  # as above
            yield from configs


def _sums(tile: tuple[int, int, int]) -> int:
    """Vectors of them, at the least."""
    tile_h, tile_w, vectors = tile
    return tile_h * tile_w * vectors


def _frugal_tiles(plan: DotPlan | LookupPlan) -> Iterator[tuple[int, int, int]]:
    """Height and width in pixels, and vectors."""
    heights = _frugal_extents(plan.out_height, MAX_TILE_HEIGHT)
    return product(heights, _frugal_extents(plan.out_width, MAX_TILE_PIXELS), VECTORS)


def _frugal_extents(extent: int, most: int) -> list[int]:
    """Of the tile extents up to ``most`` the smallest for each number of tiles."""
    found: dict[int, int] = {}
    for tile in range(min(extent, most), 0, -1):
        found[-(-extent // tile)] = tile
    return sorted(found.values())
