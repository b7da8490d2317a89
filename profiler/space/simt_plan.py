"""How the templates without tensor cores divide their work among threads."""

from __future__ import annotations

from math import ceil

from profiler.quantize.whole_bytes import cleared_behind
from profiler.space.config import GpuConfig, SimtDepthwiseConfig, SimtDirectConfig, SimtVectorConfig
from profiler.workload import DType, KernelSpec, Op, any_in_planes

SimtConfig = SimtDirectConfig | SimtDepthwiseConfig | SimtVectorConfig


def simt_items(spec: KernelSpec, config: SimtConfig) -> int:
    """Threads that have work: each computes ``channels`` channels of one pixel, of depthwise kernels several pixels."""
    w = spec.workload
    if isinstance(config, SimtDepthwiseConfig):
        columns = ceil(w.out_width / config.pixels)
        return w.batch * w.out_height * columns * ceil(reached_channels(spec) / config.channels)
    pixels = w.batch * w.out_height * w.out_width
    if isinstance(config, SimtVectorConfig):
        return pixels * ceil(reached_channels(spec) / config.channels)
    if groups_share_bytes(spec) or w.groups == 1:
        return pixels * ceil(reached_channels(spec) / config.channels)
    return pixels * w.groups * ceil(w.group_outputs / config.channels)


def groups_share_bytes(spec: KernelSpec) -> bool:
    """Whether a byte of the output or the residual holds channels of two groups; in bit planes it is taken to."""
    w = spec.workload
    if w.groups > 1 and any_in_planes(spec.output_dtype, spec.input2_dtype):
        return True
    return w.groups > 1 and w.group_outputs % 2 == 1 and 4 in _widths(spec.output_dtype, spec.input2_dtype)


def holds_nibbles(spec: KernelSpec, config: SimtConfig) -> bool:
    """Whether a thread's channels of some argument lie two to a byte, so that their number must be even."""
    if isinstance(config, SimtDirectConfig):
        return 4 in _widths(spec.output_dtype, spec.input2_dtype)
    return 4 in _widths(spec.input_dtype, spec.weight_dtype, spec.output_dtype, spec.input2_dtype)


def reached_channels(spec: KernelSpec) -> int:
    """Output channels that threads go up to: bit planes are written to their end, by a slice as far as it clears."""
    w = spec.workload
    written = w.in_channels if w.op is Op.CONCAT else w.out_channels
    return written + cleared_behind(written, w.out_channels, spec.output_dtype)


def holds_planes(spec: KernelSpec, template: type[GpuConfig]) -> bool:
    """Whether a thread's channels of some argument lie in bit planes, so that they must fill whole bytes of one."""
    if template is SimtDirectConfig:
        return any_in_planes(spec.output_dtype, spec.input2_dtype)
    return any_in_planes(spec.input_dtype, spec.output_dtype, spec.input2_dtype)


def _widths(*dtypes: DType | None) -> set[int]:
    return {dtype.bits for dtype in dtypes if dtype is not None}
