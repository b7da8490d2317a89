"""Schedule configs: frozen values with a canonical text form, which is what records, artifacts and the LUT hold."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

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
class DotConfig:
    """Convolution and dense on a dot-product instruction (template ``dot``).

    A register tile is ``tile_h`` x ``tile_w`` output pixels x ``vectors`` vectors of output channels; the last tile of
    a row or column overlaps its neighbour rather than being cut. ``unroll`` steps of the reduction form one iteration.
    """

    tile_h: int
    tile_w: int
    vectors: int
    order: LoopOrder
    unroll: int = 1
    parallel: ParallelAxis = ParallelAxis.NONE

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", LoopOrder(self.order))
        object.__setattr__(self, "parallel", ParallelAxis(self.parallel))
        _positive(self, "tile_h", "tile_w", "vectors", "unroll")

    @property
    def accumulators(self) -> int:
        """Vector registers that hold sums."""
        return self.tile_h * self.tile_w * self.vectors


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


ScheduleConfig = DotConfig | DepthwiseConfig | VectorConfig

_TEMPLATES: dict[str, type[DotConfig] | type[DepthwiseConfig] | type[VectorConfig]] = {
    "dot": DotConfig,
    "depthwise": DepthwiseConfig,
    "vector": VectorConfig,
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
        pairs = dict(part.split("=", 1) for part in rest[:-1].split(","))
        return cls(**{key: int(value) if value.isdigit() else value for key, value in pairs.items()})  # type: ignore[arg-type]
    except (ValueError, TypeError, InvalidConfig) as error:
        raise InvalidConfig(f"'{text}' is not a config of template '{name}': {error}") from None


def _positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise InvalidConfig(f"{name} must be a positive integer, not {value!r}")
