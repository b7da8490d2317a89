"""Template ``lookup``: convolution and dense with weights of one to three bits, with the epilogue fused.

Stage (`lookup_stage`): for four channels of a pixel the sums over all 16 subsets of their values. One bit plane of the
weights of those channels is then an index, and one byte shuffle adds up four products for each output channel of a
vector, whatever the bits of the activations. Sums are bytes until they could overflow, then 16 bits (or 32). Where a
CPU can look up in 64 bytes, a table may have the sums over all 64 subsets of six channels (`Tables`).

    tables [pixel][group][16] --+
                                +-> looked up, summed: [tile pixels][vectors x planes] bytes -> 16 bits -> compared or
    indices [group][plane][v] --+   requantized -> bit planes, nibbles or bytes
"""

from __future__ import annotations

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.hardware import DotIsa
from profiler.kernels.cpu.byte_shuffle import byte_shuffle
from profiler.kernels.cpu.comparison import Comparison
from profiler.kernels.cpu.emit import Activation, loop, vector
from profiler.kernels.cpu.finish import Finish
from profiler.kernels.cpu.lookup_stage import LookupStage
from profiler.kernels.cpu.planes import PLANE_LANES
from profiler.kernels.cpu.tiles import Tile, TileLoops
from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.space.config import LookupConfig
from profiler.space.lookup_plan import LookupPlan


def emit_lookup(plan: LookupPlan, config: LookupConfig, buffers: dict[str, Buffer]) -> None:
    """Emit the body of a kernel that the plan supports."""
    kernel = _LookupKernel(plan, config, buffers)
    kernel.stage.emit_master()
    kernel.loops.emit(kernel.stage.emit, kernel.tile, kernel.stage.emit_band)


class _LookupKernel:
    """Emits the parts of one kernel."""

    def __init__(self, plan: LookupPlan, config: LookupConfig, buffers: dict[str, Buffer]) -> None:
        self.plan, self.config, self.buffers = plan, config, buffers
        self.lanes, self.half = plan.lanes, plan.lanes // 2
        self.shuffle = byte_shuffle(plan.isa, plan.tables.wide)
        self.stage = LookupStage(plan, config, buffers["input"], buffers["workspace"])
        self.block = config.vectors * plan.lanes
        self.loops = TileLoops(plan, config, self.block)

    def tile(self, tile: Tile) -> None:
        """One register tile: sums, then the epilogue."""
        plan = self.plan
        vectors = -(-tile.channels // self.lanes)
        pixels = self.loops.pixels(tile)
        sums = _Sums(plan, len(pixels.steps), vectors)
        sums.clear()
        self._accumulate(tile, sums, pixels.origin, pixels.steps)
        totals = self._pixel_sums(pixels.origin, pixels.steps) if plan.bipolar else None
        raw = sums.combine(totals)
        if plan.by_thresholds:
            self._compare(tile, vectors, raw, pixels.places)
        else:
            self._finish(tile, vectors, raw, pixels.places)
        output = Activation(self.buffers["output"], plan.spec.output_dtype, plan.spec.workload.out_channels)
        step = self.half if plan.by_thresholds else max(plan.isa.lanes, PLANE_LANES)
        for place in pixels.places:
            output.clear_behind(place, -(-plan.spec.workload.out_channels // step) * step)

    def _accumulate(self, tile: Tile, sums: _Sums, origin: Expr, steps: list[int]) -> None:
        """All taps and groups; bytes are added to the sums as rarely as their range allows."""
        w, most = self.plan.spec.workload, self.plan.lookups_at_most
        # Tables of neighbours lie side by side: those under a row of the kernel are as those of one wide pixel.
        merged = w.dilation_w == 1 and self.plan.staged
        taps_w, groups = (1, w.kernel_w * self.plan.groups) if merged else (w.kernel_w, self.plan.groups)

        def run(kh: Expr, kw: Expr, start: Expr, count: int) -> None:
            tap = origin + kh * (w.dilation_h * self.plan.stage_width) + kw * w.dilation_w
            row = ((tile.block * w.kernel_h + kh) * taps_w + kw) * groups
            self._run(sums, tap, row, start, count, steps)

        if w.kernel_h * taps_w * groups <= most:
            sums.clear_bytes()
            with loop(w.kernel_h) as kh, loop(taps_w) as kw:
                run(kh, kw, const(0), groups)
            sums.flush()
        elif taps_w * groups <= most:
            with loop(w.kernel_h) as kh:
                sums.clear_bytes()
                with loop(taps_w) as kw:
                    run(kh, kw, const(0), groups)
                sums.flush()
        else:
            pieces = -(-groups // most)
            piece = -(-groups // pieces)
            full, rest = divmod(groups, piece)
            with loop(w.kernel_h) as kh, loop(taps_w) as kw:
                with loop(full) as chunk:
                    sums.clear_bytes()
                    run(kh, kw, chunk * piece, piece)
                    sums.flush()
                if rest:
                    sums.clear_bytes()
                    run(kh, kw, const(full * piece), rest)
                    sums.flush()

    def _run(self, sums: _Sums, tap: Expr, row: Expr, start: Expr, count: int, steps: list[int]) -> None:
        """``count`` groups of one tap: from group ``start`` of the pixels at ``tap``, weights from ``row`` on."""
        unroll = min(self.config.unroll, count)
        iterations, rest = divmod(count, unroll)
        with loop(iterations) as i:
            for u in range(unroll):
                self._group(sums, tap, row, start + i * unroll + u, steps)
        for u in range(rest):
            self._group(sums, tap, row, start + iterations * unroll + u, steps)

    def _group(self, sums: _Sums, tap: Expr, row: Expr, group: Expr, steps: list[int]) -> None:
        plan, lanes = self.plan, self.lanes
        first = (row + group) * (plan.planes * self.config.vectors)
        for i, step in enumerate(steps):
            table = self._table(tap + step, group)
            for plane in range(plan.planes):
                for v in range(sums.vectors):
                    offset = (first + (plane * self.config.vectors + v)) * lanes
                    sums.add(i, plane, v, self.shuffle.look_up(table, load(self.buffers["weight"], offset, lanes)))

    def _table(self, pixel: Expr, group: Expr) -> Expr:
        staged = [(pixel * self.plan.groups + group) * self.plan.table_bytes]
        return self.shuffle.table(
            self.buffers["workspace"], *(staged if self.plan.staged else self.stage.rows(pixel, group))
        )

    def _pixel_sums(self, origin: Expr, steps: list[int]) -> Buffer:
        """The sum of all activations under the kernel, for each pixel of the tile: int32."""
        plan, w = self.plan, self.plan.spec.workload
        totals = T.alloc_buffer((len(steps),), "int32", scope="local")
        for i in range(len(steps)):
            store(totals, i, const(0))
        with loop(w.kernel_h) as kh, loop(w.kernel_w) as kw:
            for i, step in enumerate(steps):
                pixel = origin + step + kh * (w.dilation_h * plan.stage_width) + kw * w.dilation_w
                bytes_ = load(self.buffers["workspace"], plan.sums_at(self.config) + pixel * 4, 4)
                store(totals, i, totals[i] + tirx.reinterpret("int32", bytes_))
        return totals

    def _compare(self, tile: Tile, vectors: int, raw: Buffer, places: list[Expr]) -> None:
        half = self.half
        compare = Comparison(self.plan.spec, f"int{self.plan.raw_bits}", self.block, self.buffers)
        for v in range(2 * vectors):
            used = min(half, tile.channels - v * half)
            if used > 0:
                values = [load(raw, (i * vectors * 2 + v) * half, half) for i in range(len(places))]
                compare.vector(tile.block * self.block + v * half, half, used, places, values)

    def _finish(self, tile: Tile, vectors: int, raw: Buffer, places: list[Expr]) -> None:
        """The epilogue with multiplications, or none: int32 vectors."""
        lanes = max(self.plan.isa.lanes, PLANE_LANES)
        finish = Finish(self.plan.spec, lanes, self.buffers)
        for v in range(vectors * self.lanes // lanes):
            used = min(lanes, tile.channels - v * lanes)
            if used <= 0:
                break
            channel = tile.block * self.block + v * lanes
            totals = [
                tirx.Cast(vector("int32", lanes), load(raw, i * vectors * self.lanes + v * lanes, lanes))
                for i in range(len(places))
            ]
            finish.vector(channel, channel, used, places, totals)


class _Sums:
    """What a tile has summed up: bytes [pixel][plane][vector][lanes], and 16- or 32-bit sums of the same shape.

    The even bytes of a vector are its first half of channels, the odd ones its second (see `quantize.lookup`). In 16
    bits the first half is summed up with 256 times the second, which is taken off in the end, modulo 2**16: that saves
    one of four instructions.
    """

    def __init__(self, plan: LookupPlan, pixels: int, vectors: int) -> None:
        self.plan, self.pixels, self.vectors = plan, pixels, vectors
        self.lanes, self.half = plan.lanes, plan.lanes // 2
        self.count = pixels * plan.planes * vectors
        self.dtype = f"uint{plan.raw_bits}"
        self.bytes = T.alloc_buffer((self.count * self.lanes,), "uint8", scope="local")
        self.wide = T.alloc_buffer((self.count * self.lanes,), self.dtype, scope="local")

    def _at(self, pixel: int, plane: int, v: int) -> int:
        return ((pixel * self.plan.planes + plane) * self.vectors + v) * self.lanes

    def clear(self) -> None:
        for i in range(2 * self.count):
            store(self.wide, i * self.half, const(0, self.dtype, self.half), self.half)

    def clear_bytes(self) -> None:
        for i in range(self.count):
            store(self.bytes, i * self.lanes, const(0, "uint8", self.lanes), self.lanes)

    def add(self, pixel: int, plane: int, v: int, looked_up: Expr) -> None:
        at = self._at(pixel, plane, v)
        now = load(self.bytes, at, self.lanes)
        if self.plan.isa is DotIsa.AVX512_VNNI:
            # Nothing is saturated. But this addition, of 512 bits, goes to a port of its own on Intel's cores, where a
            # plain one would compete with the shuffles for theirs.
            added = tirx.call_llvm_pure_intrin(vector("uint8", self.lanes), "llvm.uadd.sat.v64i8", now, looked_up)
        else:
            added = now + looked_up
        store(self.bytes, at, added, self.lanes)

    def flush(self) -> None:
        """Add the bytes to the wide sums."""
        half, short = self.half, self.dtype == "uint16"
        for i in range(self.count):
            pairs = tirx.reinterpret(vector("uint16", half), load(self.bytes, i * self.lanes, self.lanes))
            first = pairs if short else tirx.bitwise_and(pairs, const(255, "uint16", half))
            for h, values in enumerate((first, tirx.shift_right(pairs, const(8, "uint16", half)))):
                at = i * self.lanes + h * half
                added = values if short else tirx.Cast(vector(self.dtype, half), values)
                store(self.wide, at, load(self.wide, at, half) + added, half)

    def _half(self, pixel: int, plane: int, v: int, h: int) -> Expr:
        at, half = self._at(pixel, plane, v), self.half
        if h == 0 and self.dtype == "uint16":
            second = load(self.wide, at + half, half)
            return load(self.wide, at, half) - tirx.shift_left(second, const(8, "uint16", half))
        return load(self.wide, at + h * half, half)

    def combine(self, totals: Buffer | None) -> Buffer:
        """The raw accumulators [pixel][vector][lanes], signed. totals : of -1 and +1, the sums of all activations."""
        plan, half = self.plan, self.half
        signed = f"int{plan.raw_bits}"
        raw = T.alloc_buffer((self.pixels * self.vectors * self.lanes,), signed, scope="local")
        for i in range(self.pixels):
            for v in range(self.vectors):
                for h in range(2):
                    value = None
                    for plane in range(plan.planes):
                        part = tirx.reinterpret(vector(signed, half), self._half(i, plane, v, h))
                        places = plane + 1 if plan.bipolar else plane
                        if places:
                            part = tirx.shift_left(part, const(places, signed, half))
                        last = plane == plan.planes - 1
                        value = part if value is None else value - part if last else value + part
                    if totals is not None:
                        value = value - tirx.Broadcast(tirx.Cast(signed, totals[i]), half)
                    store(raw, (i * self.vectors + v) * self.lanes + h * half, value, half)
        return raw
