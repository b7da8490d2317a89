"""Schedule configs: frozen values with a canonical text form, which is what records, artifacts and the LUT hold."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from profiler.errors import InvalidConfig


class LoopOrder(str, Enum):
    """Which loops of a dot kernel are outside.

    ``channels``: blocks of output channels, then images, then tiles: a block of weights stays in cache for all pixels.
    ``images``: images, then blocks of output channels, then tiles: an image stays in cache as well.
    ``pixels``: images, then tiles, then blocks of output channels: a tile's input stays in cache for all weights.
    """

    CHANNELS = "channels"
    IMAGES = "images"
    PIXELS = "pixels"


class ParallelAxis(str, Enum):
    """What is split among threads."""

    NONE = "none"
    CHANNELS = "channels"
    PIXELS = "pixels"


@dataclass(frozen=True)
class _RegisterTiles:
    """What the templates with register tiles have in common; see `DotConfig`."""

    tile_h: int
    tile_w: int
    vectors: int
    order: LoopOrder

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", LoopOrder(self.order))
        _positive(self, "tile_h", "tile_w", "vectors")

    @property
    def pixels(self) -> int:
        """Of a register tile."""
        return self.tile_h * self.tile_w


@dataclass(frozen=True)
class DotConfig(_RegisterTiles):
    """Convolution and dense on a dot-product instruction (template ``dot``).

    A register tile is ``tile_h`` x ``tile_w`` output pixels x ``vectors`` vectors of output channels; the last tile of
    a row or column overlaps its neighbour rather than being cut. ``unroll`` steps of the reduction form one iteration.
    """

    unroll: int = 1
    parallel: ParallelAxis = ParallelAxis.NONE

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "parallel", ParallelAxis(self.parallel))
        _positive(self, "unroll")

    @property
    def accumulators(self) -> int:
        """Vector registers that hold sums."""
        return self.pixels * self.vectors


class Tables(str, Enum):
    """What a lookup is made in.

    ``quads``: sums of four activations, in 16 bytes, with the byte shuffle that every vector instruction set has.
    ``sextets``: of six, in 64 bytes, with AVX512-VBMI's byte permutation. ``indexed``: the same, but that tables are
    put together where they are looked up in, out of constant ones of one bit, instead of ahead of all tiles.
    """

    QUADS = "quads"
    SEXTETS = "sextets"
    INDEXED = "indexed"

    @property
    def wide(self) -> bool:
        """Whether a table fills 64 bytes."""
        return self is not Tables.QUADS


@dataclass(frozen=True)
class LookupConfig(_RegisterTiles):
    """Convolution and dense with weights of one to three bits (template ``lookup``): sums of a few activations are
    looked up by the bits of their weights.

    As in `DotConfig`; ``vectors`` hold one byte per output channel, for each bit of the weights.
    """

    unroll: int = 1
    parallel: ParallelAxis = ParallelAxis.NONE
    tables: Tables = Tables.QUADS

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "parallel", ParallelAxis(self.parallel))
        object.__setattr__(self, "tables", Tables(self.tables))
        _positive(self, "unroll")


@dataclass(frozen=True)
class PopcountConfig(_RegisterTiles):
    """Convolution and dense with one or two bits (template ``popcount``): bits set in both of two words are counted.

    As in `LookupConfig`; ``vectors`` hold a 64-bit count per output channel, for each pair of planes.
    """

    parallel: ParallelAxis = ParallelAxis.NONE

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "parallel", ParallelAxis(self.parallel))


@dataclass(frozen=True)
class DepthwiseConfig:
    """Depthwise convolution (template ``depthwise``): ``tile_w`` pixels x ``vectors`` vectors of channels at a time."""

    tile_w: int
    vectors: int
    parallel: ParallelAxis = ParallelAxis.NONE

    def __post_init__(self) -> None:
        object.__setattr__(self, "parallel", ParallelAxis(self.parallel))
        _positive(self, "tile_w", "vectors")


@dataclass(frozen=True)
class VectorConfig:
    """Elementwise operators and pools (template ``vector``): ``vectors`` vectors of channels in one loop iteration."""

    vectors: int
    parallel: ParallelAxis = ParallelAxis.NONE

    def __post_init__(self) -> None:
        object.__setattr__(self, "parallel", ParallelAxis(self.parallel))
        _positive(self, "vectors")


class WeightLayout(str, Enum):
    """How packed weights lie in memory.

    ``rows``: one row of words per output channel, the same for every config; ``tiles``: what a block reads in one step
    lies together.
    """

    ROWS = "rows"
    TILES = "tiles"


class SharedLayout(str, Enum):
    """How the rows of a tile are kept from falling on the same banks of shared memory.

    ``swizzle``: the 16-byte chunks of a row are permuted by the row's number; ``pad``: every row is 16 bytes longer.
    """

    SWIZZLE = "swizzle"
    PAD = "pad"


class Unroll(str, Enum):
    """Who unrolls the innermost loops: the CUDA compiler (``pragma``) or the template (``full``)."""

    PRAGMA = "pragma"
    FULL = "full"


@dataclass(frozen=True)
class MmaConfig:
    """Convolution and dense as implicit GEMM on tensor cores (template ``mma``): pixels x output channels x K.

    K is counted in 32-bit words: 4 elements of 8 bits, 8 of 4 bits or 32 of a bit plane. A block of threads computes
    ``block_m`` pixels x ``block_n`` output channels, each of its warps ``warp_m`` x ``warp_n`` of them, ``block_k``
    words at a step, through ``stages`` buffers of shared memory. ``load_bytes`` is the width of the global loads of
    activations (1: gathered byte by byte, for channel counts that fill no words). ``split_k`` blocks share the sum of
    one tile; the last one to finish adds up.
    """

    block_m: int
    block_n: int
    block_k: int
    warp_m: int
    warp_n: int
    stages: int
    load_bytes: int
    split_k: int = 1
    weight_layout: WeightLayout = WeightLayout.TILES
    shared_layout: SharedLayout = SharedLayout.SWIZZLE
    unroll: Unroll = Unroll.PRAGMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight_layout", WeightLayout(self.weight_layout))
        object.__setattr__(self, "shared_layout", SharedLayout(self.shared_layout))
        object.__setattr__(self, "unroll", Unroll(self.unroll))
        _positive(self, "block_m", "block_n", "block_k", "warp_m", "warp_n", "stages", "load_bytes", "split_k")

    @property
    def warps(self) -> int:
        return (self.block_m // self.warp_m) * (self.block_n // self.warp_n)

    @property
    def threads(self) -> int:
        return 32 * self.warps


@dataclass(frozen=True)
class SimtDirectConfig:
    """Convolution and dense without tensor cores (template ``simt_direct``), for groups that fill no instruction.

    A thread computes ``channels`` output channels of one pixel.
    """

    threads: int
    channels: int

    def __post_init__(self) -> None:
        _positive(self, "threads", "channels")


@dataclass(frozen=True)
class SimtDepthwiseConfig:
    """Depthwise convolution (template ``simt_depthwise``): a thread computes ``channels`` x ``pixels`` of one row."""

    threads: int
    channels: int
    pixels: int

    def __post_init__(self) -> None:
        _positive(self, "threads", "channels", "pixels")


@dataclass(frozen=True)
class SimtVectorConfig:
    """Elementwise operators and pools (template ``simt_vector``): a thread computes ``channels`` of one pixel."""

    threads: int
    channels: int

    def __post_init__(self) -> None:
        _positive(self, "threads", "channels")


CpuConfig = DotConfig | LookupConfig | PopcountConfig | DepthwiseConfig | VectorConfig
GpuConfig = MmaConfig | SimtDirectConfig | SimtDepthwiseConfig | SimtVectorConfig
ScheduleConfig = CpuConfig | GpuConfig

_TEMPLATES: dict[str, type[Any]] = {
    "dot": DotConfig,
    "lookup": LookupConfig,
    "popcount": PopcountConfig,
    "depthwise": DepthwiseConfig,
    "vector": VectorConfig,
    "mma": MmaConfig,
    "simt_direct": SimtDirectConfig,
    "simt_depthwise": SimtDepthwiseConfig,
    "simt_vector": SimtVectorConfig,
}


def template_of(config: ScheduleConfig) -> str:
    """Name of the template that the config belongs to."""
    return next(name for name, cls in _TEMPLATES.items() if isinstance(config, cls))


def to_text(config: ScheduleConfig) -> str:
    """Canonical text, e.g. ``dot(tile_h=1,tile_w=7,vectors=2,order=channels,unroll=1,parallel=none)``."""
    values = [getattr(config, f.name) for f in fields(config)]
    parts = [f"{f.name}={v.value if isinstance(v, Enum) else v}" for f, v in zip(fields(config), values, strict=True)]
    return f"{template_of(config)}({','.join(parts)})"


def parse_config(text: str) -> ScheduleConfig:
    """Inverse of `to_text`; raises `InvalidConfig` with the text."""
    name, bracket, rest = text.partition("(")
    cls = _TEMPLATES.get(name)
    if cls is None or not bracket or not rest.endswith(")"):
        raise InvalidConfig(f"'{text}' is not a schedule config; known templates are {', '.join(_TEMPLATES)}")
    try:
        config: ScheduleConfig = cls(**dict(_parameter(part) for part in rest[:-1].split(",")))
        return config
    except (ValueError, TypeError, InvalidConfig) as error:
        raise InvalidConfig(f"'{text}' is not a config of template '{name}': {error}") from None


def _parameter(text: str) -> tuple[str, int | str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"'{text}' is no name=value")
    return name, int(value) if value.isdigit() else value


def _positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise InvalidConfig(f"{name} must be a positive integer, not {value!r}")
