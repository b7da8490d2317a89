"""Template ``popcount``: convolution and dense with one or two bits: bits that two words share are counted.

    planes [pixel][plane][word], padded --+
                                          +-> counted: [tile pixels][pairs of planes][vectors] 64-bit counts -> compared
    weights [word][plane][vector][lane] --+   or requantized -> bit planes, nibbles or bytes

A vector has the same word of several output channels; a word of the activations is broadcast. There is no instruction
of its own in here: LLVM has one for counting bits in wide words where the CPU has.
"""

from __future__ import annotations

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cpu.comparison import Comparison
from profiler.kernels.cpu.emit import Activation, loop, vector
from profiler.kernels.cpu.finish import Finish
from profiler.kernels.cpu.planes import PLANE_LANES
from profiler.kernels.cpu.stage import emit_padded_rows
from profiler.kernels.cpu.tiles import Tile, TileLoops, TilePixels
from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.space.config import PopcountConfig
from profiler.space.popcount_plan import PopcountPlan

_WORD = 8


def emit_popcount(plan: PopcountPlan, config: PopcountConfig, buffers: dict[str, Buffer]) -> None:
    """Emit the body of a kernel that the plan supports."""
    kernel = _PopcountKernel(plan, config, buffers)
    kernel.loops.emit(kernel.stage, kernel.tile)


class _PopcountKernel:
    """Emits the parts of one kernel."""

    def __init__(self, plan: PopcountPlan, config: PopcountConfig, buffers: dict[str, Buffer]) -> None:
        self.plan, self.config, self.buffers = plan, config, buffers
        self.geometry, self.lanes = plan.geometry, plan.lanes
        self.block = config.vectors * plan.lanes
        self.loops = TileLoops(plan.geometry, config, self.block)

    # -- the stage: the input's planes, with zeros for padding, and the sum of each pixel

    def stage(self, image: Expr, slot: Expr, parallel: bool) -> None:
        w, geometry = self.plan.spec.workload, self.geometry
        if geometry.pointwise:
            with loop(w.out_height, parallel) as y:
                first = (image * w.in_height + y * w.stride_h) * w.in_width
                self._pixels(first, w.stride_w, (slot * w.out_height + y) * w.out_width, w.out_width)
            return
        height, width = geometry.stage_height, geometry.stage_width
        emit_padded_rows(
            w,
            parallel,
            lambda y, above: self._row(image * w.in_height + y - above, (slot * height + y) * width),
            lambda y: self._zeros((slot * height + y) * width, width),
        )

    def _row(self, row: Expr, target: Expr) -> None:
        w = self.plan.spec.workload
        self._zeros(target, w.pad_left)
        self._pixels(row * w.in_width, 1, target + w.pad_left, w.in_width)
        self._zeros(target + (w.pad_left + w.in_width), w.pad_right)

    def _pixels(self, source: Expr, step: int, target: Expr, count: int) -> None:
        plan, dtype = self.plan, self.plan.spec.input_dtype
        with loop(count) as x:
            total = T.alloc_buffer((1,), "int32", scope="local")
            store(total, 0, const(0))
            for plane in range(dtype.bits):
                with loop(plan.words) as word:
                    at = plane * plan.plane_bytes + word * _WORD
                    raw = load(self.buffers["input"], (source + x * step) * plan.pixel_bytes + at, _WORD)
                    store(self.buffers["workspace"], (target + x) * plan.pixel_bytes + at, raw, _WORD)
                    if self.geometry.bipolar:
                        count_ = tirx.Cast("int32", tirx.popcount(tirx.reinterpret("uint64", raw)))
                        store(total, 0, total[0] + tirx.shift_left(count_, const(plane)))
            if self.geometry.bipolar:
                at = plan.sums_at(self.config) + (target + x) * 4
                store(self.buffers["workspace"], at, tirx.reinterpret("uint8x4", total[0]), 4)

    def _zeros(self, first: Expr, count: int) -> None:
        plan = self.plan
        if not count:
            return
        with loop(count * plan.pixel_bytes // _WORD) as word:
            at = first * plan.pixel_bytes + word * _WORD
            store(self.buffers["workspace"], at, const(0, "uint8", _WORD), _WORD)
        if self.geometry.bipolar:
            with loop(count) as x:
                store(self.buffers["workspace"], plan.sums_at(self.config) + (first + x) * 4, const(0, "uint8", 4), 4)

    # -- a register tile

    def tile(self, tile: Tile) -> None:
        plan, lanes = self.plan, self.lanes
        vectors = -(-tile.channels // lanes)
        pixels = self.loops.pixels(tile)
        counts = T.alloc_buffer((len(pixels.steps) * len(plan.pairs) * vectors * lanes,), "uint64", scope="local")
        for i in range(len(pixels.steps) * len(plan.pairs) * vectors):
            store(counts, i * lanes, const(0, "uint64", lanes), lanes)
        self._count(tile, pixels, vectors, counts)
        raw = self._combine(pixels, vectors, counts)
        step = 2 * lanes if vectors % 2 == 0 else lanes
        if self.geometry.by_thresholds:
            compare = Comparison(plan.spec, self._raw_dtype, self.block, self.buffers)
        finish = Finish(plan.spec, step, self.buffers)
        for start in range(0, tile.channels, step):
            channel, used = tile.block * self.block + start, min(step, tile.channels - start)
            values = [load(raw, i * vectors * lanes + start, step) for i in range(len(pixels.places))]
            if self.geometry.by_thresholds:
                compare.vector(channel, step, used, pixels.places, values)
            else:
                totals = [tirx.Cast(vector("int32", step), value) for value in values]
                finish.vector(channel, channel, used, pixels.places, totals)
        output = Activation(self.buffers["output"], plan.spec.output_dtype, plan.spec.workload.out_channels)
        for place in pixels.places:
            output.clear_behind(place, -(-plan.spec.workload.out_channels // PLANE_LANES) * PLANE_LANES)

    @property
    def _raw_dtype(self) -> str:
        return f"int{self.geometry.raw_bits}"

    def _at(self, pixel: int, pair: int, v: int, vectors: int) -> int:
        return ((pixel * len(self.plan.pairs) + pair) * vectors + v) * self.lanes

    def _count(self, tile: Tile, pixels: TilePixels, vectors: int, counts: Buffer) -> None:
        plan, w, lanes, planes = self.plan, self.plan.spec.workload, self.lanes, self.geometry.planes
        with loop(w.kernel_h) as kh, loop(w.kernel_w) as kw, loop(plan.words) as word:
            tap = ((tile.block * w.kernel_h + kh) * w.kernel_w + kw) * plan.words + word
            first = tap * (planes * self.config.vectors)
            moved = kh * (w.dilation_h * self.geometry.stage_width) + kw * w.dilation_w
            weights = [
                [
                    load(self.buffers["weight"], (first + plane * self.config.vectors + v) * lanes, lanes)
                    for v in range(vectors)
                ]
                for plane in range(planes)
            ]
            for i, step in enumerate(pixels.steps):
                for number, pair in enumerate(plan.pairs):
                    at = (pixels.origin + step + moved) * plan.pixel_bytes + pair.activation * plan.plane_bytes
                    bits = tirx.reinterpret("uint64", load(self.buffers["workspace"], at + word * _WORD, _WORD))
                    activation = tirx.Broadcast(bits, lanes)
                    for v in range(vectors):
                        place = self._at(i, number, v, vectors)
                        shared = tirx.popcount(tirx.bitwise_and(activation, weights[pair.weight][v]))
                        store(counts, place, load(counts, place, lanes) + shared, lanes)

    def _combine(self, pixels: TilePixels, vectors: int, counts: Buffer) -> Buffer:
        """The raw accumulators [pixel][vector][lanes], signed (see `quantize.lookup`)."""
        lanes, dtype = self.lanes, self._raw_dtype
        raw = T.alloc_buffer((len(pixels.steps) * vectors * lanes,), dtype, scope="local")
        for i, step in enumerate(pixels.steps):
            total = self._pixel_sum(pixels.origin + step) if self.geometry.bipolar else None
            for v in range(vectors):
                value = const(0, "int64", lanes)
                for number, pair in enumerate(self.plan.pairs):
                    count = load(counts, self._at(i, number, v, vectors), lanes)
                    part = tirx.shift_left(
                        tirx.reinterpret(vector("int64", lanes), count), const(pair.shift, "int64", lanes)
                    )
                    value = value - part if pair.negative else value + part
                narrow = tirx.Cast(vector(dtype, lanes), value)
                if total is not None:
                    narrow = narrow - tirx.Broadcast(tirx.Cast(dtype, total[0]), lanes)
                store(raw, (i * vectors + v) * lanes, narrow, lanes)
        return raw

    def _pixel_sum(self, origin: Expr) -> Buffer:
        """The sum of all activations under the kernel."""
        plan, w = self.plan, self.plan.spec.workload
        total = T.alloc_buffer((1,), "int32", scope="local")
        store(total, 0, const(0))
        with loop(w.kernel_h) as kh, loop(w.kernel_w) as kw:
            pixel = origin + kh * (w.dilation_h * self.geometry.stage_width) + kw * w.dilation_w
            raw = load(self.buffers["workspace"], plan.sums_at(self.config) + pixel * 4, 4)
            store(total, 0, total[0] + tirx.reinterpret("int32", raw))
        return total
