"""How many blocks a kernel has, and how many of them an SM holds at once."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from profiler.hardware import GpuSpec
from profiler.space.config import GpuConfig, MmaConfig
from profiler.space.mma_plan import MmaPlan
from profiler.space.occupancy import blocks_per_sm
from profiler.space.registers import register_estimate
from profiler.space.simt_plan import simt_items
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class Residency:
    """``per_sm`` of the ``blocks`` are on an SM at once, by estimate; ``registers`` are those of a thread."""

    blocks: int
    per_sm: int
    registers: int


def residency(spec: KernelSpec, config: GpuConfig, gpu: GpuSpec) -> Residency:
    """Of a valid config of the kernel."""
    registers = register_estimate(spec, config, gpu)
    if isinstance(config, MmaConfig):
        plan = MmaPlan.of(spec, config, gpu)
        blocks, shared_bytes = plan.grid[0] * plan.grid[1] * plan.grid[2], plan.shared_bytes
    else:
        blocks, shared_bytes = ceil(simt_items(spec, config) / config.threads), 0
    return Residency(blocks, max(1, blocks_per_sm(gpu, config.threads, registers, shared_bytes)), registers)
