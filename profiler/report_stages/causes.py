"""Why fewer bits do not make a layer faster: the likeliest cause that the numbers tell, in a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

from profiler.errors import InvalidConfig
from profiler.hardware import CpuSpec, GpuSpec
from profiler.lut.demand import Implementation
from profiler.lut.schema import LutRow
from profiler.predictor.device_facts import DeviceFacts
from profiler.quantize.whole_bytes import WORD_BITS
from profiler.space.config import DotConfig, GpuConfig, MmaConfig, PopcountConfig, ScheduleConfig, parse_config
from profiler.space.gpu_limits import reason_invalid
from profiler.space.residency import residency
from profiler.space.traffic import moved_bytes
from profiler.workload import KernelSpec

_K_BITS = 128
"""What an integer tensor-core instruction multiplies of a row at once: m8n8k16 of 8 bits, m8n8k32 of 4, m8n8k128 of a
bit plane (PTX manual)."""
_TILE = 64
"""Pixels and channels of a block, where a kernel of others does not say which ones it has."""
_LAUNCHES = 3.0
"""A kernel that takes no more than so many launches is mostly launching."""


@dataclass(frozen=True)
class Pair:
    """A layer's kernels in the wider and in the narrower precision, as their rows have them (a row may be missing where
    a price is predicted), and what they take in seconds."""

    wide: Implementation
    narrow: Implementation
    wide_s: float
    narrow_s: float
    rows: Callable[[KernelSpec], LutRow | None]

    @property
    def heart(self) -> KernelSpec:
        """The narrower kernel that multiplies, or the only one; as its row has it."""
        return self._seen(self.narrow)

    @property
    def wide_heart(self) -> KernelSpec:
        return self._seen(self.wide)

    @property
    def heart_row(self) -> LutRow | None:
        return self.rows(self.narrow.kernels[0].spec)

    def _seen(self, way: Implementation) -> KernelSpec:
        spec = way.kernels[0].spec
        row = self.rows(spec)
        return spec if row is None else row.spec


def cause(pair: Pair, facts: DeviceFacts, memory_bound: bool) -> str:
    """The first that applies; empty where the numbers tell none, and where no bits are fewer. ``memory_bound``: by the
    roofline of the device."""
    return next(_causes(pair, facts, memory_bound), "")


def _causes(pair: Pair, facts: DeviceFacts, memory_bound: bool) -> Iterator[str]:
    spec, row = pair.heart, pair.heart_row
    if not _fewer_bits(spec, pair.wide_heart):
        return
    narrow_bits = spec.input_dtype.bits
    weighted = spec.workload.op.has_weights
    if isinstance(facts, CpuSpec):
        if weighted and spec.workload.groups == 1 and spec.weight_dtype is not None and spec.weight_dtype.bits < 4:
            yield from _of_few_bits(spec, spec.weight_dtype.bits, row)
        if weighted:
            yield f"INT{narrow_bits} emulated: unpacked for the 8-bit dot product"
        yield f"INT{narrow_bits} is unpacked to bytes and packed again"
    if weighted and row is not None and not row.native:
        yield f"INT{narrow_bits} emulated: {row.arch} has no such instruction"
    if isinstance(facts, GpuSpec):
        if weighted:
            yield from _of_tensor_cores(spec, row, facts)
        yield from _of_grid(pair, facts)
    gain = moved_bytes(pair.wide_heart) / moved_bytes(spec)
    if memory_bound or not weighted:
        yield f"memory-bound: moves {_mega(moved_bytes(spec))}, only {gain:.1f}x fewer bytes"


def _fewer_bits(spec: KernelSpec, than: KernelSpec) -> bool:
    """Users may name the narrower precision first; and some kernels are the same in both."""
    weights = [one.weight_dtype.bits if one.weight_dtype is not None else 0 for one in (spec, than)]
    return spec.input_dtype.bits < than.input_dtype.bits or weights[0] < weights[1]


def _of_few_bits(spec: KernelSpec, weight_bits: int, row: LutRow | None) -> Iterator[str]:
    """Of a kernel on a CPU that may look sums up, count bits, or unpack; nothing of one that unpacks."""
    config = _config(row)
    if isinstance(config, PopcountConfig):
        channels = spec.workload.in_channels
        filled = (
            f", and {channels} channels fill {channels % WORD_BITS} of the last one" if channels % WORD_BITS else ""
        )
        yield f"no dot product: bits are counted in words of {WORD_BITS}{filled}"
    elif not isinstance(config, DotConfig):
        lookups = "a lookup" if weight_bits == 1 else f"{weight_bits} lookups"
        yield f"no dot product: {lookups} for a few products, and tables of every pixel"


def _of_tensor_cores(spec: KernelSpec, row: LutRow | None, gpu: GpuSpec) -> Iterator[str]:
    config = _own_config(row, gpu)
    if config is not None and not isinstance(config, MmaConfig):
        yield "no tensor cores: depthwise, or few channels in a group"
    width = 1 if spec.input_dtype.in_planes else spec.input_dtype.bits
    channels, wanted = spec.workload.group_inputs, _K_BITS // width
    if channels < wanted:
        yield f"too few channels: {channels} of the instruction's {wanted}"


def _of_grid(pair: Pair, gpu: GpuSpec) -> Iterator[str]:
    if pair.narrow_s < _LAUNCHES * gpu.launch_s:
        yield f"too short: launching takes some {1e6 * gpu.launch_s:.0f} us of it"
    if not pair.heart.workload.op.has_weights:
        return
    blocks, tiles = _blocks(pair.heart, pair.heart_row, gpu)
    if blocks < 2 * gpu.sms:
        yield f"too few blocks: {blocks}{tiles} for {gpu.sms} SMs"


def _blocks(spec: KernelSpec, row: LutRow | None, gpu: GpuSpec) -> tuple[int, str]:
    """Of the row's own config where it is one of ours; else as many as usual tiles make, and of which size."""
    config = _own_config(row, gpu)
    if config is not None:
        return residency(spec, config, gpu).blocks, ""
    w = spec.workload
    pixels = w.batch * w.out_height * w.out_width
    return ceil(pixels / _TILE) * ceil(w.group_outputs / _TILE) * w.groups, f" of {_TILE}x{_TILE}"


def _own_config(row: LutRow | None, gpu: GpuSpec) -> GpuConfig | None:
    """None for a config of another program, or of none, and for one that cannot be (a line that was edited)."""
    config = _config(row)
    if row is None or not isinstance(config, GpuConfig) or reason_invalid(row.spec, config, gpu) is not None:
        return None
    return config


def _config(row: LutRow | None) -> ScheduleConfig | None:
    try:
        return None if row is None else parse_config(row.config)
    except InvalidConfig:
        return None


def _mega(count: float) -> str:
    return f"{count / 1e6:.2g} MB" if count >= 1e5 else f"{count / 1e3:.2g} kB"
