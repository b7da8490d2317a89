"""Template ``dot``: convolution and dense as sums of 4-element dot products, with the epilogue fused.

Stage: where the input cannot be read as it lies (padding, nibbles, the wrong sign, rows whose length is no multiple of
the reduction step) an image is first copied to the workspace as bytes, padded. Then register tiles of output pixels x
output channels walk kernel rows; the elements of a kernel row that lie side by side in memory form one run.

         input (NHWC)            stage (bytes, padded)          tile in registers         output (NHWC)
    [n][h][w][c], 4 or 8 bit  ->  [h + pads][w + pads][c]  ->  [th x tw pixels][vectors]  ->  requantized, packed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.errors import CompilerError
from profiler.kernels.cpu.dot_product import dot_product
from profiler.kernels.cpu.emit import clipped_start, loop
from profiler.kernels.cpu.finish import Finish
from profiler.kernels.cpu.stage import Stage
from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.quantize.packed_weights import DOT_WIDTH
from profiler.space.config import DotConfig, LoopOrder, ParallelAxis
from profiler.space.dot_plan import DotPlan


@dataclass(frozen=True)
class DotBuffers:
    """The arguments of the kernel as flat buffers; those that the epilogue does not use are None."""

    input: Buffer
    weight: Buffer
    bias: Buffer | None
    multiplier: Buffer | None
    shift: Buffer | None
    residual: Buffer | None
    residual_multiplier: Buffer | None
    residual_shift: Buffer | None
    output: Buffer
    workspace: Buffer


@dataclass(frozen=True)
class _Tile:
    """Where a register tile lies: loop variables, and the channels that its block really has."""

    group: Expr = 0
    block: Expr = 0
    channels: int = 0
    image: Expr = 0
    row: Expr = 0
    column: Expr = 0


_AXES = {
    LoopOrder.CHANNELS: ("block", "image", "row", "column"),
    LoopOrder.IMAGES: ("image", "block", "row", "column"),
    LoopOrder.PIXELS: ("image", "row", "column", "block"),
}


def emit_dot(plan: DotPlan, config: DotConfig, buffers: DotBuffers) -> None:
    """Emit the body of the kernel. Raises `CompilerError` if a sum could leave 32 bits."""
    if plan.reason_inexact is not None:
        raise CompilerError(f"{plan.spec.key}: {plan.reason_inexact} in this template")
    kernel = _DotKernel(plan, config, buffers)
    if plan.staged and plan.stages_all_at_once(config):
        with loop(plan.spec.workload.batch, kernel.stage_axis == "image") as image:
            kernel.stage(image, image)
    with loop(plan.spec.workload.groups) as group:
        kernel.nest(_AXES[config.order], _Tile(group=group))


class _DotKernel:
    """Emits the parts of one kernel."""

    def __init__(self, plan: DotPlan, config: DotConfig, buffers: DotBuffers) -> None:
        self.plan, self.config, self.buffers = plan, config, buffers
        self.lanes = plan.lanes
        self.dot = dot_product(plan.isa)
        w = plan.spec.workload
        self.rows, self.columns = -(-plan.out_height // config.tile_h), -(-plan.out_width // config.tile_w)
        self.block = config.vectors * plan.lanes
        self.blocks = -(-plan.spec.workload.group_outputs // self.block)
        self.stages = Stage(plan.spec, plan.lanes, plan.gathered, plan.activation_offset)
        self.finish = Finish(plan.spec, plan.lanes, vars(buffers))
        pixel_axis = next((a for a, n in (("image", plan.images), ("row", self.rows)) if n > 1), "column")
        self.parallel_axis = {ParallelAxis.CHANNELS: "block", ParallelAxis.PIXELS: pixel_axis}.get(config.parallel)
        self.stage_axis = None if config.parallel is ParallelAxis.NONE else "image" if w.batch > 1 else "row"

    def stage(self, image: Expr, slot: Expr) -> None:
        self.stages.emit(self.buffers.input, self.buffers.workspace, image, slot, self.stage_axis == "row")

    def nest(self, axes: Sequence[str], tile: _Tile) -> None:
        """The loops over the axes, outermost first, around the tile."""
        if not axes:
            self.tile(tile)
            return
        axis, inner, parallel = axes[0], axes[1:], axes[0] == self.parallel_axis
        if axis == "block":
            full, tail = divmod(self.plan.spec.workload.group_outputs, self.block)
            if full:
                with loop(full, parallel) as block:
                    self.nest(inner, replace(tile, block=block, channels=self.block))
            if tail:
                self.nest(inner, replace(tile, block=const(full), channels=tail))
        elif axis == "image":
            with loop(self.plan.images, parallel) as image:
                if self.plan.staged and not self.plan.stages_all_at_once(self.config):
                    self.stage(image, const(0))
                self.nest(inner, replace(tile, image=image))
        else:
            with loop(self.rows if axis == "row" else self.columns, parallel) as index:
                self.nest(inner, replace(tile, **{axis: index}))

    def tile(self, tile: _Tile) -> None:
        """One register tile: sums, then the epilogue of each vector."""
        plan, config, lanes = self.plan, self.config, self.lanes
        vectors = -(-tile.channels // lanes)
        y0 = clipped_start(tile.row, config.tile_h, plan.out_height)
        x0 = clipped_start(tile.column, config.tile_w, plan.out_width)
        pixels = [(dy, dx) for dy in range(config.tile_h) for dx in range(config.tile_w)]
        sums = T.alloc_buffer((len(pixels) * vectors * lanes,), "int32", scope="local")
        for i in range(len(pixels) * vectors):
            store(sums, i * lanes, const(0, lanes=lanes), lanes)
        self._accumulate(tile, sums, vectors, pixels, y0, x0)
        for v in range(vectors):
            used = min(lanes, tile.channels - v * lanes)
            places = [((tile.image * plan.out_height + y0 + dy) * plan.out_width + x0 + dx) for dy, dx in pixels]
            totals = [load(sums, (i * vectors + v) * lanes, lanes) for i in range(len(pixels))]
            self._finish(tile, v, used, places, totals)
        for dy, dx in pixels:
            place = (tile.image * plan.out_height + y0 + dy) * plan.out_width + x0 + dx
            self.finish.output.clear_behind(place, plan.spec.workload.out_channels)

    def _accumulate(
        self, tile: _Tile, sums: Buffer, vectors: int, pixels: list[tuple[int, int]], y0: Expr, x0: Expr
    ) -> None:
        plan, config, lanes, w = self.plan, self.config, self.lanes, self.plan.spec.workload
        source = self.buffers.workspace if plan.staged else self.buffers.input
        slot = tile.image if not plan.staged or plan.stages_all_at_once(config) else const(0)
        base = (
            slot * plan.image_pitch
            + y0 * (plan.stride_h * plan.row_pitch)
            + x0 * (plan.stride_w * w.in_channels)
            + tile.group * plan.spec.workload.group_inputs
        )
        signed = plan.spec.input_dtype.signed and plan.activation_offset == 0
        per_vector = DOT_WIDTH * (2 if plan.nibble_weights else 1)  # elements of a run that one weight vector covers
        unroll = config.unroll if plan.run_steps % config.unroll == 0 else 1
        with loop(w.kernel_h) as kh, loop(plan.runs) as kw, loop(plan.run_steps // unroll) as chunk:
            for u in range(unroll):
                step = chunk * unroll + u
                row = (tile.group * self.blocks + tile.block) * w.kernel_h + kh
                first = ((row * plan.runs + kw) * plan.run_steps + step) * config.vectors
                weights = [self._weights((first + v) * (lanes * DOT_WIDTH)) for v in range(vectors)]
                run = (
                    base
                    + kh * (w.dilation_h * plan.row_pitch)
                    + kw * (w.dilation_w * w.in_channels)
                    + step * per_vector
                )
                for half in range(len(weights[0])):
                    for i, (dy, dx) in enumerate(pixels):
                        offset = (
                            dy * plan.stride_h * plan.row_pitch + dx * plan.stride_w * w.in_channels + half * DOT_WIDTH
                        )
                        word = tirx.reinterpret("int32", load(source, run + offset, DOT_WIDTH))
                        activation = self.dot.activation(word, signed)
                        for v in range(vectors):
                            place = (i * vectors + v) * lanes
                            total = self.dot.step(load(sums, place, lanes), activation, weights[v][half])
                            store(sums, place, total, lanes)

    def _weights(self, offset: Expr) -> list[Expr]:
        """The operands in one vector of weight bytes: one, or two of nibbles, scaled by 16 (`NIBBLE_SCALE`)."""
        lanes = self.lanes
        words = tirx.reinterpret(f"int32x{lanes}", load(self.buffers.weight, offset, lanes * DOT_WIDTH))
        if not self.plan.nibble_weights:
            return [self.dot.weights(words)]
        mask = const(0xF0F0F0F0 - (1 << 32), lanes=lanes)
        low = tirx.bitwise_and(tirx.shift_left(words, const(4, lanes=lanes)), mask)
        return [self.dot.weights(low), self.dot.weights(tirx.bitwise_and(words, mask))]

    def _finish(self, tile: _Tile, v: int, used: int, places: list[Expr], totals: list[Expr]) -> None:
        """Epilogue of one vector of channels for all pixels of the tile."""
        lanes, w = self.lanes, self.plan.spec.workload
        padded = (tile.group * self.blocks + tile.block) * self.block + v * lanes
        channel = tile.group * w.group_outputs + tile.block * self.block + v * lanes
        if self.plan.nibble_weights:
            totals = [tirx.shift_right(total, const(4, lanes=lanes)) for total in totals]
        self.finish.vector(padded, channel, used, places, totals, w.group_outputs if w.groups > 1 else 0)
