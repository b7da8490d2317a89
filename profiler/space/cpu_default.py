"""The config that the analytic model of a CPU holds for the fastest, without a look at the whole space."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from profiler.errors import InvalidConfig
from profiler.hardware import CpuSpec
from profiler.space.config import CpuConfig, DotConfig, LoopOrder, ParallelAxis
from profiler.space.cpu import (
    MAX_TILE_HEIGHT,
    MAX_TILE_PIXELS,
    UNROLLS,
    VECTORS,
    config_space,
    reason_invalid,
    reason_unsupported,
    template_for,
)
from profiler.space.dot_plan import DotPlan
from profiler.space.model import analytic_latency_s
from profiler.workload import KernelSpec


def default_config(spec: KernelSpec, cpu: CpuSpec, threads: int = 1) -> CpuConfig:
    """The best by the model among configs whose tiles waste least. Raises `InvalidConfig` where none is valid."""
    few = template_for(spec) is DotConfig and threads == 1
    configs = list(_frugal(spec, cpu)) if few else list(config_space(spec, cpu.isa, threads))
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
    for tile_h, tile_w, blocked in product(
        _frugal_extents(plan.out_height, MAX_TILE_HEIGHT), _frugal_extents(plan.out_width, MAX_TILE_PIXELS), VECTORS
    ):
        if tile_h * tile_w > MAX_TILE_PIXELS or blocked > vectors:
            continue
        config = DotConfig(tile_h, tile_w, blocked, LoopOrder.CHANNELS, unrolls[-1])
        if reason_invalid(spec, config, cpu.isa) is None:
            for order in LoopOrder:
                yield DotConfig(tile_h, tile_w, blocked, order, unrolls[-1], ParallelAxis.NONE)


def _frugal_extents(extent: int, most: int) -> list[int]:
    """Of the tile extents up to ``most`` the smallest for each number of tiles."""
    found: dict[int, int] = {}
    for tile in range(min(extent, most), 0, -1):
        found[-(-extent // tile)] = tile
    return sorted(found.values())
