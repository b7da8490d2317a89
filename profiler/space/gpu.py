"""The config space of a kernel on a GPU: every config in it is valid, that is, it compiles and launches.

The space of the ``mma`` template leaves out what another config of it is never worse than:

- loads of activations that are narrower than alignment and block allow;
- tiles of which half or more lies beyond the pixels, channels or K of the layer, and warp tiles of fewer than 256
  outputs where the layer has at least 16 of both pixels and channels, or more than 4 times as long as wide;
- splits of K where half as many give every SM two blocks, or where they do not give half of the SMs one;
- padding where a row is a single 16-byte chunk, which needs neither padding nor swizzle;
- rows of weights shorter than the 32 bytes of a memory sector.

And of weight layout, shared layout and unrolling at most one differs from the usual choice at a time.
`reason_invalid` admits all of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from profiler.errors import InvalidConfig
from profiler.hardware import WARP_SIZE, GpuSpec
from profiler.quantize.packed_weights import WORD_BYTES
from profiler.space.config import (
    GpuConfig,
    MmaConfig,
    SharedLayout,
    SimtDepthwiseConfig,
    SimtDirectConfig,
    SimtVectorConfig,
    Unroll,
    WeightLayout,
)
from profiler.space.gpu_limits import (
    BLOCK_K,
    CHANNELS,
    LOADS,
    WARP_TILES,
    WARPS_ALONG,
    alignment,
    reason_beyond_limits,
    reason_loads,
    reason_tile,
    reason_unsupported,
    template_for,
)
from profiler.space.gpu_model import analytic_latency_s
from profiler.space.mma_plan import CHUNK_WORDS, MmaPlan, MmaShape, mma_planes, mma_shape
from profiler.space.simt_plan import holds_planes
from profiler.workload import KernelSpec

SPLITS = (1, 2, 4, 8, 16, 32)
THREADS = (64, 128, 256)
MOST_CHANNELS = 16
"""Of a thread without tensor cores; 32 are valid, but hold back parallelism or spill."""


def config_space(spec: KernelSpec, gpu: GpuSpec) -> tuple[GpuConfig, ...]:
    """All valid configs that are not dominated (see above), in a fixed order without meaning."""
    return tuple(valid_configs(spec, gpu))


def valid_configs(spec: KernelSpec, gpu: GpuSpec) -> Iterator[GpuConfig]:
    """The configs of `config_space` one by one, for those who need only a few."""
    if reason_unsupported(spec, gpu) is not None:
        return
    template = template_for(spec)
    configs: Iterator[GpuConfig]
    if template is MmaConfig:
        configs = _mma_configs(spec, gpu)
    elif template is SimtDepthwiseConfig:
        pixels = [p for p in (1, 2, 4, 8, 16) if p // 2 < spec.workload.out_width]
        configs = (SimtDepthwiseConfig(*c) for c in product(THREADS, _simt_channels(spec), pixels))
    elif template is SimtDirectConfig:
        configs = (SimtDirectConfig(*c) for c in product(THREADS, _simt_channels(spec)))
    else:
        configs = (SimtVectorConfig(*c) for c in product(THREADS, _simt_channels(spec)))
    yield from (config for config in configs if reason_beyond_limits(spec, config, gpu) is None)


def default_config(spec: KernelSpec, gpu: GpuSpec) -> GpuConfig:
    """The config that the analytic model holds for the fastest. Raises `InvalidConfig` where none is valid."""
    space = config_space(spec, gpu)
    if not space:
        reason = reason_unsupported(spec, gpu) or "none is within the limits of the device"
        raise InvalidConfig(f"{spec.key} has no valid config on {gpu.slug}: {reason}")
    return min(space, key=lambda config: analytic_latency_s(spec, config, gpu))


def usual_config(spec: KernelSpec, gpu: GpuSpec) -> GpuConfig:
    """The same among the configs of two stages and of the usual layouts: nearly as good, and found in a tenth of the
    time. Errors as those of `default_config`."""
    if template_for(spec) is not MmaConfig or reason_unsupported(spec, gpu) is not None:
        return default_config(spec, gpu)
    usual = [c for c in _mma_configs(spec, gpu, _VARIANTS[:1], (2,)) if reason_beyond_limits(spec, c, gpu) is None]
    if not usual:
        return default_config(spec, gpu)
    return min(usual, key=lambda config: analytic_latency_s(spec, config, gpu))


_VARIANTS = (
    (WeightLayout.TILES, SharedLayout.SWIZZLE, Unroll.PRAGMA),
    (WeightLayout.TILES, SharedLayout.SWIZZLE, Unroll.FULL),
    (WeightLayout.TILES, SharedLayout.PAD, Unroll.PRAGMA),
    (WeightLayout.ROWS, SharedLayout.SWIZZLE, Unroll.PRAGMA),
)
_STAGES = (1, 2)


def _mma_configs(
    spec: KernelSpec,
    gpu: GpuSpec,
    variants: Sequence[tuple[WeightLayout, SharedLayout, Unroll]] = _VARIANTS,
    all_stages: Sequence[int] = _STAGES,
) -> Iterator[MmaConfig]:
    """What is not dominated; not all of it is valid."""
    mma, unit = mma_shape(gpu), alignment(spec)
    widest = next(load for load in LOADS if unit % load == 0)
    tiles = [tile for tile in product(WARP_TILES, WARP_TILES, WARPS_ALONG, WARPS_ALONG) if _tile_fits(spec, mma, *tile)]
    for (warp_m, warp_n, along_m, along_n), block_k in product(tiles, BLOCK_K):
        if block_k < mma.k_words:
            continue
        block = (warp_m * along_m, warp_n * along_n, block_k, warp_m, warp_n)
        load_bytes = _widest_load(widest, block_k, WARP_SIZE * along_m * along_n)
        base = MmaPlan.of(spec, MmaConfig(*block, 1, load_bytes), gpu)
        if reason_tile(base) or reason_loads(base) or (block_k > mma.k_words and block_k // 2 >= base.k_words):
            continue
        splits = [s for s in SPLITS if s == 1 or gpu.sms // 2 <= base.tiles * s < 4 * gpu.sms]
        for stages, split, variant in product(all_stages, splits, variants):
            if block_k == CHUNK_WORDS and SharedLayout.PAD in variant:
                continue
            if block_k * WORD_BYTES < 32 and WeightLayout.ROWS in variant:
                continue
            yield MmaConfig(*block, stages, load_bytes, split, *variant)


def _tile_fits(spec: KernelSpec, mma: MmaShape, warp_m: int, warp_n: int, along_m: int, along_n: int) -> bool:
    w = spec.workload
    m, n = w.batch * w.out_height * w.out_width, w.group_outputs
    rows_each, columns_each = mma_planes(spec)
    if warp_m * rows_each % mma.m:
        return False
    least_m = next(tile for tile in WARP_TILES if tile * rows_each % mma.m == 0)
    if (warp_m > least_m or along_m > 1) and warp_m * along_m // 2 >= m:
        return False
    if (warp_n > mma.n or along_n > 1) and warp_n * along_n // 2 >= n:
        return False
    if m < 16 or n < 16:
        return True
    rows, columns = warp_m * rows_each, warp_n * columns_each
    return rows * columns >= 256 and max(rows, columns) <= 4 * min(rows, columns)


def _widest_load(widest: int, block_k: int, threads: int) -> int:
    """Of the loads that alignment allows, the widest with which the threads read whole rows, if there is one."""
    for load_bytes in LOADS:
        words = max(load_bytes // WORD_BYTES, 1)
        if load_bytes <= widest and block_k % words == 0 and threads % (block_k // words) == 0:
            return load_bytes
    return widest


def _simt_channels(spec: KernelSpec) -> list[int]:
    """Channels of a thread: not above what the tensor, or a group of it, fills."""
    template, w = template_for(spec), spec.workload
    total = w.group_outputs if template is SimtDirectConfig else w.in_channels
    if holds_planes(spec, template):
        return [count for count in CHANNELS if 8 <= count <= MOST_CHANNELS]
    return [count for count in CHANNELS if (count <= MOST_CHANNELS and count // 2 < total) or count == 2]
