"""How the templates without tensor cores divide their work among threads."""

from __future__ import annotations

from math import ceil

from profiler.space.config import SimtDepthwiseConfig, SimtDirectConfig, SimtVectorConfig
from profiler.workload import DType, KernelSpec

SimtConfig = SimtDirectConfig | SimtDepthwiseConfig | SimtVectorConfig


def simt_items(spec: KernelSpec, config: SimtConfig) -> int:
    """Threads that have work: each computes ``channels`` channels of one pixel, of depthwise kernels several pixels."""
    w = spec.workload
    if isinstance(config, SimtDepthwiseConfig):
        columns = ceil(w.out_width / config.pixels)
        return w.batch * w.out_height * columns * ceil(w.out_channels / config.channels)
    pixels = w.batch * w.out_height * w.out_width
    if isinstance(config, SimtVectorConfig):
        return pixels * ceil(w.in_channels / config.channels)
    if groups_share_bytes(spec):
        return pixels * ceil(w.out_channels / config.channels)
    return pixels * w.groups * ceil(w.group_outputs / config.channels)


def groups_share_bytes(spec: KernelSpec) -> bool:
    """Whether a byte of the output or the residual holds 4-bit channels of two groups."""
    w = spec.workload
    return w.groups > 1 and w.group_outputs % 2 == 1 and 4 in _widths(spec.output_dtype, spec.input2_dtype)


def holds_nibbles(spec: KernelSpec, config: SimtConfig) -> bool:
    """Whether a thread's channels of some argument lie two to a byte, so that their number must be even."""
    if isinstance(config, SimtDirectConfig):
        return 4 in _widths(spec.output_dtype, spec.input2_dtype)
    return 4 in _widths(spec.input_dtype, spec.weight_dtype, spec.output_dtype, spec.input2_dtype)


def _widths(*dtypes: DType | None) -> set[int]:
    return {dtype.bits for dtype in dtypes if dtype is not None}
