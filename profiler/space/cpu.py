"""The config space of a kernel on a CPU: every config in it is valid, that is, it compiles and fits the registers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import product

from profiler.errors import InvalidConfig
from profiler.hardware import WIDE_PERMUTATION, WIDE_POPCOUNT, DotIsa
from profiler.space.config import (
    DepthwiseConfig,
    DotConfig,
    LookupConfig,
    LoopOrder,
    ParallelAxis,
    PopcountConfig,
    ScheduleConfig,
    Tables,
    VectorConfig,
    to_text,
)
from profiler.space.dot_plan import DotPlan
from profiler.space.lookup_plan import LookupPlan
from profiler.space.popcount_plan import PopcountPlan
from profiler.workload import KernelSpec, Op

MAX_TILE_PIXELS = 28
MAX_TILE_HEIGHT = 4
VECTORS = (1, 2, 3, 4, 5, 6, 7, 8, 16)
UNROLLS = (1, 2, 4)


CpuTemplate = type[DotConfig] | type[LookupConfig] | type[PopcountConfig] | type[DepthwiseConfig] | type[VectorConfig]


def templates_for(spec: KernelSpec) -> tuple[CpuTemplate, ...]:
    """The templates that compute the spec, the usual one first.

    Weights of fewer than four bits can be unpacked for dot products as INT4 ones are. Where those are one instruction
    that may be the fastest way, since lookups take the longer the more bits the weights have.
    """
    w = spec.workload
    if spec.weight_dtype is not None and spec.weight_dtype.bits < 4 and w.groups == 1:
        return (LookupConfig, PopcountConfig, DotConfig)
    if w.is_depthwise and w.in_channels == w.out_channels:
        return (DepthwiseConfig,)
    return (DotConfig,) if w.op in (Op.CONV2D, Op.DENSE) else (VectorConfig,)


def template_for(spec: KernelSpec) -> CpuTemplate:
    """The one that computes the spec on every CPU."""
    return templates_for(spec)[0]


EXTENSIONS = frozenset({WIDE_POPCOUNT, WIDE_PERMUTATION})
"""Features of CPUs that some have beside their dot products, and that templates make use of."""


def extensions_of(config: ScheduleConfig) -> frozenset[str]:
    """Those of `EXTENSIONS` that kernels of the config are for."""
    if isinstance(config, PopcountConfig):
        return frozenset({WIDE_POPCOUNT})
    return frozenset({WIDE_PERMUTATION} if isinstance(config, LookupConfig) and config.tables.wide else ())


def config_space(
    spec: KernelSpec, isa: DotIsa, threads: int, features: Collection[str] = EXTENSIONS
) -> tuple[ScheduleConfig, ...]:
    """All valid configs, in a fixed order without meaning.

    With one thread nothing is parallel; with more, every config splits its work among them, where any can. features :
    of the CPU; configs that want another one, or are slow without, are left out.
    """
    if threads > 1:
        configs = _configs(spec, isa, (ParallelAxis.PIXELS, ParallelAxis.CHANNELS), features)
        if configs:
            return configs
    return _configs(spec, isa, (ParallelAxis.NONE,), features)


def reason_unsupported(spec: KernelSpec, isa: DotIsa) -> str | None:
    """Why no config can compute the spec; None if its space is not empty for that reason."""
    template, w = template_for(spec), spec.workload
    if template is LookupConfig:
        return LookupPlan.of(spec, isa).reason_unsupported
    if template is not DotConfig:
        return None
    if spec.output_dtype.in_planes and w.groups > 1 and w.group_outputs % 8:
        return f"groups of {w.group_outputs} output channels would share bytes of bit planes"
    return DotPlan.of(spec, isa).reason_inexact


def _configs(
    spec: KernelSpec, isa: DotIsa, axes: tuple[ParallelAxis, ...], features: Collection[str]
) -> tuple[ScheduleConfig, ...]:
    if reason_unsupported(spec, isa) is not None:
        return ()
    template = template_for(spec)
    configs: list[ScheduleConfig]
    if template is DotConfig:
        configs = list(_dot_configs(DotPlan.of(spec, isa), axes))
    elif template is LookupConfig:
        configs = []
        for tables in table_kinds(features):
            configs += _lookup_configs(LookupPlan.of(spec, isa, tables), axes)
        if WIDE_POPCOUNT in features:
            configs += _popcount_configs(PopcountPlan.of(spec, isa), axes)
        configs += _dot_configs(DotPlan.of(spec, isa), axes)
    elif template is DepthwiseConfig:
        widths = range(1, min(spec.workload.out_width, 8) + 1)
        configs = [DepthwiseConfig(t, v, axes[0]) for t, v in product(widths, (1, 2, 4))]
    else:
        configs = [VectorConfig(v, axes[0]) for v in (1, 2, 4, 8)]
    return tuple(config for config in configs if _reason_invalid(spec, config, isa) is None)


def table_kinds(features: Collection[str]) -> tuple[Tables, ...]:
    """In which a CPU of those features can look sums up."""
    return tuple(Tables) if WIDE_PERMUTATION in features else (Tables.QUADS,)


def check_config(spec: KernelSpec, config: ScheduleConfig, isa: DotIsa) -> None:
    """Raises `InvalidConfig` with the reason if the config is not valid for the spec."""
    reason = reason_invalid(spec, config, isa)
    if reason is not None:
        raise InvalidConfig(f"{to_text(config)} is not valid for {spec.key}: {reason}")


def reason_invalid(spec: KernelSpec, config: ScheduleConfig, isa: DotIsa) -> str | None:
    """Why the config cannot be built for the spec; None if it can."""
    if not isinstance(config, templates_for(spec)):
        return f"it belongs to another template than {template_for(spec).__name__}"
    unsupported = reason_unsupported(spec, isa)
    if unsupported is not None:
        return unsupported
    return _reason_invalid(spec, config, isa)


def _reason_invalid(spec: KernelSpec, config: ScheduleConfig, isa: DotIsa) -> str | None:
    """The same of a config of one of the spec's templates, where some config can compute the spec."""
    if isinstance(config, DotConfig):
        dots = DotPlan.of(spec, isa)
        return dots.reason_inexact or _reason_invalid_dot(dots, config)
    if isinstance(config, LookupConfig):
        return _reason_invalid_lookup(LookupPlan.of(spec, isa, config.tables), config)
    if isinstance(config, PopcountConfig):
        return _reason_invalid_popcount(PopcountPlan.of(spec, isa), config)
    if isinstance(config, DepthwiseConfig):
        if config.tile_w > spec.workload.out_width:
            return f"a tile of {config.tile_w} pixels is wider than the output ({spec.workload.out_width})"
        if config.tile_w * config.vectors > isa.registers - 4:
            return f"{config.tile_w * config.vectors} sums do not fit {isa.registers} registers"
    return None


def register_demand(plan: DotPlan, config: DotConfig) -> int:
    """Vector registers that a tile wants at once: sums, weights, one activation, as the instruction takes them."""
    split = {DotIsa.AVX2: 2, DotIsa.NEON: 2, DotIsa.GENERIC: 4}  # operands that one vector becomes
    parts = split.get(plan.isa, 1)
    return config.accumulators + parts * min(config.vectors, 2) + parts


def lookup_register_demand(plan: LookupPlan, config: LookupConfig) -> int:
    """Vector registers that a tile wants at once: sums, indices, a table and what is looked up in it."""
    vectors = config.vectors * plan.planes
    return config.pixels * vectors + min(vectors, 2) + 2


def _reason_tile(
    plan: DotPlan | LookupPlan, config: DotConfig | LookupConfig | PopcountConfig, lanes: int
) -> str | None:
    """Why a register tile is larger than the output. lanes : output channels of a vector."""
    if config.tile_h > plan.out_height or config.tile_w > plan.out_width:
        output = f"{plan.out_height}x{plan.out_width}"
        return f"a tile of {config.tile_h}x{config.tile_w} pixels is larger than the output ({output})"
    w = plan.spec.workload
    if config.vectors > -(-w.group_outputs // lanes):
        of_group = " of a group" if w.groups > 1 else ""
        return f"{config.vectors} vectors are more than the {w.group_outputs} output channels{of_group} fill"
    return None


def _reason_invalid_lookup(plan: LookupPlan, config: LookupConfig) -> str | None:
    reason = plan.reason_unsupported or _reason_tile(plan, config, plan.lanes)
    if reason is not None:
        return reason
    if config.unroll > plan.groups:
        return f"{plan.groups} lookups of a pixel do not fill an iteration of {config.unroll}"
    if lookup_register_demand(plan, config) > plan.isa.registers:
        return f"{config.pixels * config.vectors * plan.planes} sums do not fit {plan.isa.registers} registers"
    return None


def popcount_register_demand(plan: PopcountPlan, config: PopcountConfig) -> int:
    """Vector registers that a tile wants at once: counts, weights, one word of activations."""
    return config.pixels * config.vectors * len(plan.pairs) + min(config.vectors, 2) + 1


def _reason_invalid_popcount(plan: PopcountPlan, config: PopcountConfig) -> str | None:
    if plan.reason_unsupported is not None:
        return plan.reason_unsupported
    reason = _reason_tile(plan.geometry, config, plan.lanes)
    if reason is not None:
        return reason
    registers = plan.geometry.isa.registers
    if popcount_register_demand(plan, config) > registers:
        return f"{config.pixels * config.vectors * len(plan.pairs)} counts do not fit {registers} registers"
    return None


def _reason_invalid_dot(plan: DotPlan, config: DotConfig) -> str | None:
    reason = _reason_tile(plan, config, plan.lanes)
    if reason is not None:
        return reason
    if plan.run_steps % config.unroll:
        return f"{plan.run_steps} reduction steps do not divide by the unrolling of {config.unroll}"
    if register_demand(plan, config) > plan.isa.registers:
        return f"{config.accumulators} sums do not fit {plan.isa.registers} registers"
    block = config.vectors * plan.lanes
    if config.parallel is ParallelAxis.CHANNELS and plan.spec.output_dtype.in_planes and block % 8:
        return f"threads would share bytes of bit planes: blocks of {block} output channels"
    if (
        config.parallel is not ParallelAxis.NONE
        and plan.spec.output_dtype.bits == 4
        and plan.spec.workload.group_outputs % 2
    ):
        groups = plan.spec.workload.groups
        if groups > 1:
            return "threads would share bytes: groups with an odd number of 4-bit channels"
    return None


def _tiles(plan: DotPlan | LookupPlan) -> Iterator[tuple[int, int, int]]:
    """Height and width in pixels, and vectors, of the register tiles that the output has room for."""
    widths = range(1, min(plan.out_width, MAX_TILE_PIXELS) + 1)
    heights = range(1, min(plan.out_height, MAX_TILE_HEIGHT) + 1)
    return product(heights, widths, VECTORS)


def _dot_configs(plan: DotPlan, axes: tuple[ParallelAxis, ...]) -> list[DotConfig]:
    found = []
    for tile_h, tile_w, vectors in _tiles(plan):
        if tile_h * tile_w > MAX_TILE_PIXELS:
            continue
        for order, unroll, axis in product(LoopOrder, UNROLLS, axes):
            found.append(DotConfig(tile_h, tile_w, vectors, order, unroll, axis))
    return found


def _lookup_configs(plan: LookupPlan, axes: tuple[ParallelAxis, ...]) -> list[LookupConfig]:
    if plan.reason_unsupported is not None:
        return []
    return [
        LookupConfig(tile_h, tile_w, vectors, order, unroll, axis, plan.tables)
        for tile_h, tile_w, vectors in _tiles(plan)
        if tile_h * tile_w * vectors * plan.planes < plan.isa.registers
        for order, unroll, axis in product(LoopOrder, UNROLLS, axes)
    ]


def _popcount_configs(plan: PopcountPlan, axes: tuple[ParallelAxis, ...]) -> list[PopcountConfig]:
    if plan.reason_unsupported is not None:
        return []
    return [
        PopcountConfig(tile_h, tile_w, vectors, order, axis)
        for tile_h, tile_w, vectors in _tiles(plan.geometry)
        if tile_h * tile_w * vectors * len(plan.pairs) < plan.geometry.isa.registers
        for order, axis in product(LoopOrder, axes)
    ]
