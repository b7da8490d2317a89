"""From global memory through registers to a tile in shared memory: activations (implicit im2col) and weights.

A thread always loads the same column of a tile, in ``passes`` rows. So its place in K (kernel row, kernel column, word
of the channels) is one for all of its rows and moves on by a constant every step: additions and carries, no division.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.mma_tile import Tile
from profiler.kernels.cuda.template import Index
from profiler.kernels.tir import Buffer, Expr, const, load, local, store, value
from profiler.quantize.packed_weights import WORD_BYTES
from profiler.space.config import WeightLayout
from profiler.space.mma_plan import CHUNK_WORDS, LoadShare, MmaPlan


def input_dtype(plan: MmaPlan) -> str:
    """Element type of the input's buffer: words, or bytes where activations are gathered."""
    return "uint8" if plan.config.load_bytes == 1 else "int32"


def _emit_store(share: LoadShare, staged: Buffer, tile: Tile, thread: Expr) -> None:
    row = tirx.floordiv(thread, share.columns)
    first_word = tirx.floormod(thread, share.columns) * share.words
    chunk, within = tirx.floordiv(first_word, CHUNK_WORDS), tirx.floormod(first_word, CHUNK_WORDS)
    for index in range(share.passes):
        target = row + index * share.rows_at_once
        word = tile.word(target, chunk, Tile.permutation(tile.plan, target))
        if share.words < CHUNK_WORDS:
            word = word + within
        loaded = load(staged, index * share.words, share.words)
        if share.reaches_beyond(index):
            with T.If(target < share.rows), T.Then():
                store(tile.shared, word, loaded, share.words)
        else:
            store(tile.shared, word, loaded, share.words)


@dataclass(frozen=True)
class WeightLoader:
    """Weights are packed ahead of time, padded to whole tiles: no predicate, 16 bytes (a chunk) at a time.

    ``place`` and the pitches count chunks, so that TVM sees that what is loaded is aligned.
    """

    share: LoadShare
    weight: Buffer
    place: Buffer
    staged: Buffer
    thread: Expr
    row_pitch: int
    step_pitch: int

    @staticmethod
    def emit_setup(plan: MmaPlan, weight: Buffer, index: Index, group: Expr, first_step: Expr) -> WeightLoader:
        config = plan.config
        share = plan.weight_loads
        block = group * plan.n_tiles + index.block_y
        row, chunk = tirx.floordiv(index.thread, share.columns), tirx.floormod(index.thread, share.columns)
        if config.weight_layout is WeightLayout.TILES:
            row_pitch, step_pitch = share.columns, plan.block_columns * share.columns
            start = (block * plan.steps + first_step) * step_pitch
        else:
            row_pitch, step_pitch = plan.steps * share.columns, share.columns
            start = block * plan.block_columns * row_pitch + first_step * step_pitch
        place = value(start + row * row_pitch + chunk)
        staged = local(share.passes * CHUNK_WORDS)
        return WeightLoader(share, weight, place, staged, index.thread, row_pitch, step_pitch)

    def emit_load(self) -> None:
        """Load the next step."""
        share = self.share
        row = tirx.floordiv(self.thread, share.columns)
        for index in range(share.passes):
            below = index * share.rows_at_once
            loaded = load(self.weight, (self.place[0] + below * self.row_pitch) * CHUNK_WORDS, CHUNK_WORDS)
            if share.reaches_beyond(index):
                loaded = T.if_then_else(row + below < share.rows, loaded, const(0, lanes=CHUNK_WORDS))
            store(self.staged, index * CHUNK_WORDS, loaded, CHUNK_WORDS)
        store(self.place, 0, self.place[0] + self.step_pitch)

    def emit_store(self, tile: Tile) -> None:
        """Store the step that was loaded last."""
        _emit_store(self.share, self.staged, tile, self.thread)


@dataclass(frozen=True)
class ActivationLoader:
    """Rows are output pixels; what a kernel position reads outside of the image, and K behind its end, is zero.

    Offsets count what is loaded at once (``load_bytes``), so that TVM sees that it is aligned. Of each pass: ``start``
    of the pixel under kernel position (0, 0), its ``y`` and ``x``. ``tap_y``, ``tap_x``, ``word``: the place in K.
    """

    plan: MmaPlan
    share: LoadShare
    input: Buffer
    start: Buffer
    y: Buffer
    x: Buffer
    tap_y: Buffer
    tap_x: Buffer
    word: Buffer
    staged: Buffer
    thread: Expr

    @staticmethod
    def emit_setup(plan: MmaPlan, buffer: Buffer, index: Index, group: Expr, first_step: Expr) -> ActivationLoader:
        config, w = plan.config, plan.spec.workload
        share = plan.activation_loads
        k = value(first_step * config.block_k + tirx.floormod(index.thread, share.columns) * share.words)[0]
        tap = tirx.floordiv(k, plan.tap_words)
        loader = ActivationLoader(
            plan, share, buffer,
            start=local(share.passes), y=local(share.passes), x=local(share.passes),
            tap_y=value(tirx.floordiv(tap, w.kernel_w)), tap_x=value(tirx.floormod(tap, w.kernel_w)),
            word=value(tirx.floormod(k, plan.tap_words)), staged=local(share.passes * share.words), thread=index.thread,
        )  # fmt: skip
        pitch, group_pitch = plan.pixel_bytes // config.load_bytes, plan.group_bytes // config.load_bytes
        row = tirx.floordiv(index.thread, share.columns)
        for i in range(share.passes):
            inside = row + i * share.rows_at_once
            within, plane_start = _pixel_of_row(plan, inside)
            pixel = value(index.block_x * config.block_m + within)[0]
            known = pixel < plan.m
            if share.reaches_beyond(i):
                known = tirx.all(known, inside < plan.block_rows)
            plane = w.out_height * w.out_width
            y = tirx.floordiv(tirx.floormod(pixel, plane), w.out_width) * w.stride_h - w.pad_top
            x = tirx.floormod(pixel, w.out_width) * w.stride_w - w.pad_left
            start = ((tirx.floordiv(pixel, plane) * w.in_height + y) * w.in_width + x) * pitch + group * group_pitch
            store(loader.start, i, start + plane_start)
            # A row that is no pixel lies outside of the image for every kernel position.
            store(loader.y, i, tirx.Select(known, y, const(_FAR_OUTSIDE)))
            store(loader.x, i, x)
        return loader

    def emit_load(self) -> None:
        """Load the next step and move on in K."""
        plan, w, share = self.plan, self.plan.spec.workload, self.share
        pitch = plan.pixel_bytes // plan.config.load_bytes
        dy = value(self.tap_y[0] * w.dilation_h)[0] if w.kernel_h > 1 or self._beyond else const(0)
        dx = value(self.tap_x[0] * w.dilation_w)[0] if w.kernel_w > 1 else const(0)
        within = self.word[0] * WORD_BYTES if plan.config.load_bytes == 1 else tirx.floordiv(self.word[0], share.words)
        offset = value((dy * w.in_width + dx) * pitch + within)[0]
        for i in range(share.passes):
            inside = self._inside(i, dy, dx)
            if plan.config.load_bytes == 1:
                store(self.staged, i, self._gathered(self.start[i] + offset, inside))
            else:
                loaded = load(self.input, (self.start[i] + offset) * share.words, share.words)
                zero = const(0, lanes=share.words)
                store(self.staged, i * share.words, T.if_then_else(inside, loaded, zero), share.words)
        self._emit_advance()

    def emit_store(self, tile: Tile) -> None:
        """Store the step that was loaded last."""
        _emit_store(self.share, self.staged, tile, self.thread)

    @property
    def _beyond(self) -> bool:
        """Whether the last step reaches behind the end of K."""
        return self.plan.steps * self.plan.config.block_k > self.plan.k_words

    def _inside(self, index: int, dy: Expr, dx: Expr) -> Expr:
        """Whether the kernel position lies on the image, for the row of that pass."""
        w = self.plan.spec.workload
        y, x = self.y[index] + dy, self.x[index] + dx
        conditions = [y >= 0, y < w.in_height] if w.pad_top or w.pad_bottom or w.kernel_h > 1 else [self.y[index] >= 0]
        if w.pad_left or w.pad_right:
            conditions += [x >= 0, x < w.in_width]
        if self._beyond:
            conditions.append(self.tap_y[0] < w.kernel_h)
        return tirx.all(*conditions)

    def _gathered(self, offset: Expr, inside: Expr) -> Expr:
        """A word from its bytes; those behind the channels of the group are zero."""
        plan, total = self.plan, None
        for byte in range(WORD_BYTES):
            if byte >= plan.group_bytes:
                break
            valid = inside
            if WORD_BYTES * (plan.tap_words - 1) + byte >= plan.group_bytes:
                valid = tirx.all(inside, self.word[0] * WORD_BYTES + byte < plan.group_bytes)
            loaded = T.if_then_else(valid, tirx.Cast("int32", self.input[offset + byte]), const(0))
            shifted = loaded if byte == 0 else tirx.shift_left(loaded, const(8 * byte))
            total = shifted if total is None else tirx.bitwise_or(total, shifted)
        return total

    def _emit_advance(self) -> None:
        plan, w = self.plan, self.plan.spec.workload
        taps, words = divmod(plan.config.block_k, plan.tap_words)
        rows, columns = divmod(taps, w.kernel_w)
        _add_with_carry(self.word, words, plan.tap_words, self.tap_x)
        _add_with_carry(self.tap_x, columns, w.kernel_w, self.tap_y, carried=words > 0)
        if rows:
            store(self.tap_y, 0, self.tap_y[0] + rows)


_FAR_OUTSIDE = -(1 << 28)


def _pixel_of_row(plan: MmaPlan, row: Expr) -> tuple[Expr, Expr]:
    """The pixel of the block that a row of its tile belongs to, and where its plane starts in a pixel (in loads)."""
    planes = plan.pixel_planes
    if planes == 1:
        return row, const(0)
    eights = tirx.floordiv(row, 8)
    pixel = tirx.floordiv(eights, planes) * 8 + tirx.floormod(row, 8)
    return pixel, tirx.floormod(eights, planes) * (plan.plane_bytes // plan.config.load_bytes)


def _add_with_carry(digit: Buffer, addend: int, radix: int, next_digit: Buffer, carried: bool = False) -> None:
    """``digit += addend`` modulo ``radix``; ``carried``: a carry into this digit came before."""
    if addend:
        store(digit, 0, digit[0] + addend)
    if addend or carried:
        with T.If(digit[0] >= radix), T.Then():
            store(digit, 0, digit[0] - radix)
            store(next_digit, 0, next_digit[0] + 1)
