"""The config space of a kernel on a CPU: every config in it is valid, that is, it compiles and fits the registers."""

from __future__ import annotations

from itertools import product

from profiler.errors import InvalidConfig
from profiler.hardware import DotIsa
from profiler.space.config import (
    DepthwiseConfig,
    DotConfig,
    LoopOrder,
    ParallelAxis,
    ScheduleConfig,
    VectorConfig,
    to_text,
)
from profiler.space.dot_plan import DotPlan
from profiler.workload import KernelSpec, Op

MAX_TILE_PIXELS = 28
MAX_TILE_HEIGHT = 4
VECTORS = (1, 2, 3, 4, 5, 6, 7, 8, 16)
UNROLLS = (1, 2, 4)


def template_for(spec: KernelSpec) -> type[DotConfig] | type[DepthwiseConfig] | type[VectorConfig]:
    """The template that computes the spec."""
    w = spec.workload
    if w.is_depthwise and w.in_channels == w.out_channels:
        return DepthwiseConfig
    return DotConfig if w.op in (Op.CONV2D, Op.DENSE) else VectorConfig


def config_space(spec: KernelSpec, isa: DotIsa, threads: int) -> tuple[ScheduleConfig, ...]:
    """All valid configs, in a fixed order without meaning.

    With one thread nothing is parallel; with more, every config splits its work among them, where any can.
    """
    if threads > 1:
        configs = _configs(spec, isa, (ParallelAxis.PIXELS, ParallelAxis.CHANNELS))
        if configs:
            return configs
    return _configs(spec, isa, (ParallelAxis.NONE,))


def reason_unsupported(spec: KernelSpec, isa: DotIsa) -> str | None:
    """Why no config can compute the spec; None if its space is not empty for that reason."""
    return DotPlan.of(spec, isa).reason_inexact if template_for(spec) is DotConfig else None


def _configs(spec: KernelSpec, isa: DotIsa, axes: tuple[ParallelAxis, ...]) -> tuple[ScheduleConfig, ...]:
    template = template_for(spec)
    configs: list[ScheduleConfig]
    if template is DotConfig:
        configs = list(_dot_configs(DotPlan.of(spec, isa), axes))
    elif template is DepthwiseConfig:
        widths = range(1, min(spec.workload.out_width, 8) + 1)
        configs = [DepthwiseConfig(t, v, axes[0]) for t, v in product(widths, (1, 2, 4))]
    else:
        configs = [VectorConfig(v, axes[0]) for v in (1, 2, 4, 8)]
    return tuple(config for config in configs if reason_invalid(spec, config, isa) is None)


def check_config(spec: KernelSpec, config: ScheduleConfig, isa: DotIsa) -> None:
    """Raises `InvalidConfig` with the reason if the config is not valid for the spec."""
    reason = reason_invalid(spec, config, isa)
    if reason is not None:
        raise InvalidConfig(f"{to_text(config)} is not valid for {spec.key}: {reason}")


def reason_invalid(spec: KernelSpec, config: ScheduleConfig, isa: DotIsa) -> str | None:
    """Why the config cannot be built for the spec; None if it can."""
    template = template_for(spec)
    if not isinstance(config, template):
        return f"it belongs to another template than {template.__name__}"
    if isinstance(config, DotConfig):
        return _reason_invalid_dot(DotPlan.of(spec, isa), config)
    if isinstance(config, DepthwiseConfig):
        if config.tile_w > spec.workload.out_width:
            return f"a tile of {config.tile_w} pixels is wider than the output ({spec.workload.out_width})"
        if config.tile_w * config.vectors > isa.registers - 4:
            return f"{config.tile_w * config.vectors} sums do not fit {isa.registers} registers"
    return None


def register_demand(plan: DotPlan, config: DotConfig) -> int:
    """Vector registers that a tile wants at once: sums, weights, one activation, as the instruction takes them."""
    parts = {DotIsa.AVX2: 2, DotIsa.GENERIC: 4}.get(plan.isa, 1)  # operands that one vector is split into
    return config.accumulators + parts * min(config.vectors, 2) + parts


def _reason_invalid_dot(plan: DotPlan, config: DotConfig) -> str | None:
    if plan.reason_inexact is not None:
        return plan.reason_inexact
    if config.tile_h > plan.out_height or config.tile_w > plan.out_width:
        output = f"{plan.out_height}x{plan.out_width}"
        return f"a tile of {config.tile_h}x{config.tile_w} pixels is larger than the output ({output})"
    outputs = plan.spec.workload.group_outputs
    if config.vectors > -(-outputs // plan.lanes):
        return f"{config.vectors} vectors are more than the {outputs} output channels of a group fill"
    if plan.run_steps % config.unroll:
        return f"{plan.run_steps} reduction steps do not divide by the unrolling of {config.unroll}"
    if register_demand(plan, config) > plan.isa.registers:
        return f"{config.accumulators} sums do not fit {plan.isa.registers} registers"
    if (
        config.parallel is not ParallelAxis.NONE
        and plan.spec.output_dtype.bits == 4
        and plan.spec.workload.group_outputs % 2
    ):
        groups = plan.spec.workload.groups
        if groups > 1:
            return "threads would share bytes: groups with an odd number of 4-bit channels"
    return None


def _dot_configs(plan: DotPlan, axes: tuple[ParallelAxis, ...]) -> list[DotConfig]:
    widths = range(1, min(plan.out_width, MAX_TILE_PIXELS) + 1)
    heights = range(1, min(plan.out_height, MAX_TILE_HEIGHT) + 1)
    found = []
    for tile_h, tile_w, vectors in product(heights, widths, VECTORS):
        if tile_h * tile_w > MAX_TILE_PIXELS:
            continue
        for order, unroll, axis in product(LoopOrder, UNROLLS, axes):
            found.append(DotConfig(tile_h, tile_w, vectors, order, unroll, axis))
    return found
