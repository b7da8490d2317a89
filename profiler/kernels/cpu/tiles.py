"""The loops around the register tiles of kernels without groups: images, rows, columns and blocks of channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from profiler.kernels.cpu.emit import clipped_start, loop
from profiler.kernels.tir import Expr, const
from profiler.space.config import LookupConfig, LoopOrder, ParallelAxis, PopcountConfig
from profiler.space.lookup_plan import LookupPlan

EmitStage = Callable[[Expr, Expr, bool], None]
"""Stages an image of the batch in a slot of the workspace; the last argument: its rows are split among threads."""
EmitBand = Callable[[Expr, Expr], None]
"""Stages what the output rows of an image from one on need, in slot 0."""


@dataclass(frozen=True)
class Tile:
    """Where a register tile lies: loop variables, and the channels that its block really has."""

    block: Expr = 0
    channels: int = 0
    image: Expr = 0
    row: Expr = 0
    column: Expr = 0
    band: Expr = 0
    """The first output row of the band, in which ``row`` counts."""


@dataclass(frozen=True)
class TilePixels:
    """The pixels of a tile. origin : the first one's staged pixel, steps : from it to each. places : output pixels."""

    origin: Expr
    steps: list[int]
    places: list[Expr]


_AXES = {
    LoopOrder.CHANNELS: ("block", "image", "row", "column"),
    LoopOrder.IMAGES: ("image", "block", "row", "column"),
    LoopOrder.PIXELS: ("image", "row", "column", "block"),
}
_BANDED_AXES = {
    LoopOrder.IMAGES: ("image", "band", "block", "row", "column"),
    LoopOrder.PIXELS: ("image", "band", "row", "column", "block"),
}


class TileLoops:
    """Emits the loops of one kernel. block : output channels of a block."""

    def __init__(self, plan: LookupPlan, config: LookupConfig | PopcountConfig, block: int) -> None:
        self.plan, self.config, self.block = plan, config, block
        self.band_rows = plan.band_rows(config)
        self.rows, self.columns = -(-self.band_rows // config.tile_h), -(-plan.out_width // config.tile_w)
        pixel_axis = next((a for a, n in (("image", plan.images), ("row", self.rows)) if n > 1), "column")
        self.parallel_axis = {ParallelAxis.CHANNELS: "block", ParallelAxis.PIXELS: pixel_axis}.get(config.parallel)

    def emit(self, stage: EmitStage, tile: Callable[[Tile], None], stage_band: EmitBand | None = None) -> None:
        """The stage, ahead of everything, image by image or band by band, and the tiles."""
        if stage_band is not None and self.plan.banded(self.config):
            self._nest(_BANDED_AXES[self.config.order], Tile(), stage_band, tile)
            return
        batch, parallel = self.plan.spec.workload.batch, self.config.parallel is not ParallelAxis.NONE
        if self.plan.stages_all_at_once(self.config):
            with loop(batch, parallel and batch > 1) as image:
                stage(image, image, parallel and batch == 1)
        self._nest(_AXES[self.config.order], Tile(), lambda image, _: stage(image, const(0), False), tile)

    def pixels(self, tile: Tile) -> TilePixels:
        """Where the tile's pixels are; the last tile of a row or column is moved back to end with it."""
        plan, config = self.plan, self.config
        y0 = clipped_start(tile.row, config.tile_h, self.band_rows)
        x0 = clipped_start(tile.column, config.tile_w, plan.out_width)
        offsets = [(dy, dx) for dy in range(config.tile_h) for dx in range(config.tile_w)]
        slot = tile.image if plan.stages_all_at_once(config) else const(0)
        return TilePixels(
            slot * plan.image_pixels + y0 * (plan.stride_h * plan.stage_width) + x0 * plan.stride_w,
            [dy * plan.stride_h * plan.stage_width + dx * plan.stride_w for dy, dx in offsets],
            [(tile.image * plan.out_height + tile.band + y0 + dy) * plan.out_width + x0 + dx for dy, dx in offsets],
        )

    def _nest(self, axes: Sequence[str], place: Tile, stage: EmitBand, tile: Callable[[Tile], None]) -> None:
        """The loops over the axes, outermost first, around the tile."""
        if not axes:
            tile(place)
            return
        axis, inner, parallel = axes[0], axes[1:], axes[0] == self.parallel_axis
        if axis == "block":
            full, tail = divmod(self.plan.spec.workload.out_channels, self.block)
            if full:
                with loop(full, parallel) as block:
                    self._nest(inner, replace(place, block=block, channels=self.block), stage, tile)
            if tail:
                self._nest(inner, replace(place, block=const(full), channels=tail), stage, tile)
        elif axis == "image":
            with loop(self.plan.images, parallel) as image:
                if not self.plan.stages_all_at_once(self.config) and "band" not in inner:
                    stage(image, const(0))
                self._nest(inner, replace(place, image=image), stage, tile)
        elif axis == "band":
            with loop(-(-self.plan.out_height // self.band_rows)) as band:
                first = clipped_start(band, self.band_rows, self.plan.out_height)
                stage(place.image, first)
                self._nest(inner, replace(place, band=first), stage, tile)
        else:
            with loop(self.rows if axis == "row" else self.columns, parallel) as index:
                self._nest(inner, replace(place, **{axis: index}), stage, tile)
