"""The stage of the lookup kernels: for each pixel and four channels, the sums of all subsets of their values.

        input (bit planes)            indices (bytes)                     tables (16 bytes a group)
    [pixel][plane][64-bit words] -> [pixel][pair of planes][group] -> [pixel, with padding][group][16]

Of two planes a byte has the four bits of a group: the low half from one plane, the high half from the other. That byte
is a row of the table of tables, which has the 16 sums. Activations of four bits lie in nibbles; theirs are added up.

Where tables have the 64 sums of six channels, each plane has an index of its own into a table of tables of its own, and
what is stored is where that row begins. The rows of all planes, added up, are the table.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cpu.byte_shuffle import Permutation
from profiler.kernels.cpu.emit import loop
from profiler.kernels.cpu.planes import PlanePixels, lane_numbers
from profiler.kernels.cpu.stage import emit_padded_row, emit_padded_rows, nibbles_to_bytes
from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.quantize.lookup import GROUP, WIDE_GROUP, groups_of, table_bytes
from profiler.quantize.planes import WORD_BITS
from profiler.space.config import LookupConfig
from profiler.space.lookup_plan import WIDE_INDICES, LookupPlan


def subset_sums(values: list[Expr], group: int = GROUP) -> Expr:
    """Entry i is the sum of those of up to ``group`` uint8 scalars whose bit is set in i."""
    lanes = table_bytes(group)
    numbers = lane_numbers(lanes, "uint8")
    total = const(0, "uint8", lanes)
    for bit, value in enumerate(values):
        named = tirx.bitwise_and(numbers, const(1 << bit, "uint8", lanes))
        chosen = tirx.Select(named != const(0, "uint8", lanes), tirx.Broadcast(value, lanes), const(0, "uint8", lanes))
        total = total + chosen
    return total


@dataclass(frozen=True)
class LookupStage:
    plan: LookupPlan
    config: LookupConfig
    source: Buffer
    workspace: Buffer

    def emit_master(self) -> None:
        """The table of tables; once, ahead of everything."""
        plan = self.plan
        if not plan.from_planes:
            return
        start, size = plan.master_at(self.config), plan.table_bytes
        if plan.tables.wide:
            for plane in range(plan.index_planes):
                with loop(1 << WIDE_GROUP) as row:
                    bits = [tirx.bitwise_and(tirx.shift_right(row, const(bit)), const(1)) for bit in range(WIDE_GROUP)]
                    values = [tirx.Cast("uint8", bit * (1 << plane)) for bit in bits]
                    at = start + ((plane << WIDE_GROUP) + row) * size
                    store(self.workspace, at, subset_sums(values, WIDE_GROUP), size)
            return
        with loop(plan.master_bytes // size) as row:
            values = []
            for bit in range(GROUP):
                low = tirx.bitwise_and(tirx.shift_right(row, const(bit)), const(1))
                high = tirx.bitwise_and(tirx.shift_right(row, const(GROUP + bit)), const(1))
                values.append(tirx.Cast("uint8", low + high * 2))
            store(self.workspace, start + row * size, subset_sums(values), size)

    def emit(self, image: Expr, slot: Expr, parallel: bool) -> None:
        """Stage ``image`` of the batch as image ``slot``; ``parallel``: rows split among threads."""
        w = self.plan.spec.workload
        if self.plan.pointwise:
            pixels = w.out_height * w.out_width
            with loop(w.out_height, parallel) as y:
                first = (image * w.in_height + y * w.stride_h) * w.in_width
                at = slot * pixels + y * w.out_width
                self._pixels(first, w.stride_w, at, at, w.out_width)
            return
        height, width = self.plan.stage_height, self.plan.stage_width
        emit_padded_rows(
            w,
            parallel,
            lambda y, above: self._row(image, slot, y - above, (slot * height + y) * width),
            lambda y: self._padding((slot * height + y) * width, width),
        )

    def emit_band(self, image: Expr, first: Expr) -> None:
        """Stage the rows of an image under the band whose first output row is ``first``."""
        w, width = self.plan.spec.workload, self.plan.stage_width
        with loop(self.plan.staged_rows(self.config)) as row:
            emit_padded_row(
                w,
                first * self.plan.stride_h + row,
                lambda y, above: self._row(image, const(0), y - above, row * width),
                lambda y: self._padding(row * width, width),
            )

    def _row(self, image: Expr, slot: Expr, y: Expr, target: Expr) -> None:
        """Row ``y`` of an image, with the padding on either side."""
        w = self.plan.spec.workload
        start = target + w.pad_left
        self._padding(target, w.pad_left)
        real = start if self.plan.tables.wide else (slot * w.in_height + y) * w.in_width
        self._pixels((image * w.in_height + y) * w.in_width, 1, real, start, w.in_width)
        self._padding(start + w.in_width, w.pad_right)

    def _store(self, pixel: Expr, group: Expr, table: Expr) -> None:
        size = self.plan.table_bytes
        store(self.workspace, (pixel * self.plan.groups + group) * size, table, size)

    def _store_sum(self, pixel: Expr, total: Expr) -> None:
        """The sum of all activations of a pixel, which only weights of -1 and +1 ask for."""
        if self.plan.bipolar:
            at = self.plan.sums_at(self.config) + pixel * 4
            store(self.workspace, at, tirx.reinterpret("uint8x4", total), 4)

    def _padding(self, first: Expr, count: int) -> None:
        """Pixels of zeros, which is the offset where activations are shifted."""
        if not count:
            return
        plan = self.plan
        if plan.tables.wide:
            self._wide_padding(first, count)
            return
        channels, offset = plan.spec.workload.in_channels, const(plan.activation_offset, "uint8")
        full, rest = divmod(channels, GROUP)
        with loop(count) as x:
            if full:
                with loop(full) as group:
                    self._store(first + x, group, subset_sums([offset] * GROUP))
            if rest:
                self._store(first + x, const(full), subset_sums([offset] * rest))
            if plan.bipolar:
                at = plan.sums_at(self.config) + (first + x) * 4
                for i, byte in enumerate((plan.activation_offset * channels).to_bytes(4, "little")):
                    T.buffer_store(self.workspace, const(byte, "uint8"), [at + i])

    def _wide_padding(self, first: Expr, count: int) -> None:
        """Tables of zeros, or indices of such."""
        plan = self.plan
        if plan.staged:
            with loop(count) as x, loop(plan.groups) as group:
                self._store(first + x, group, const(0, "uint8", plan.table_bytes))
        else:
            at = plan.indices_at(self.config) + first * (plan.index_planes * plan.index_bytes)
            with loop(count * plan.index_planes * plan.index_bytes // 2) as i:
                store(self.workspace, at + i * 2, const(0, "uint8", 2), 2)
        if plan.bipolar:
            with loop(count) as x:
                store(self.workspace, plan.sums_at(self.config) + (first + x) * 4, const(0, "uint8", 4), 4)

    def _pixels(self, source: Expr, step: int, real: Expr, target: Expr, count: int) -> None:
        """``count`` pixels, each ``step``-th one, to staged pixels from ``target`` on, their indices to ``real`` on."""
        if not self.plan.from_planes:
            with loop(count) as x:
                self._nibble_pixel(source + x * step, target + x)
            return
        with loop(count) as x:
            self._indices(source + x * step, real + x, target + x)
        if not self.plan.staged:
            return
        with loop(count) as x, loop(self.plan.groups) as group:
            self._store(target + x, group, self._table(real + x, group))

    def rows(self, pixel: Expr, group: Expr) -> list[Expr]:
        """Where the rows lie whose sum is the wide table of a group."""
        plan, found = self.plan, []
        for plane in range(plan.index_planes):
            at = plan.indices_at(self.config) + (pixel * plan.index_planes + plane) * plan.index_bytes + group * 2
            row = tirx.Cast("int32", tirx.reinterpret("uint16", load(self.workspace, at, 2)))
            found.append(plan.master_at(self.config) + (plane << WIDE_GROUP) * plan.table_bytes + row)
        return found

    def _table(self, real: Expr, group: Expr) -> Expr:
        plan = self.plan
        if plan.tables.wide:
            return Permutation().table(self.workspace, *self.rows(real, group))
        total, size = None, plan.table_bytes
        for pair in range(plan.index_planes):
            at = plan.indices_at(self.config) + (real * plan.index_planes + pair) * plan.index_bytes + group
            row = tirx.Cast("int32", self.workspace[at])
            sums = load(self.workspace, plan.master_at(self.config) + row * size, size)
            if pair:
                sums = tirx.shift_left(sums, const(2 * pair, "uint8", size))
            total = sums if total is None else total + sums
        return total

    def _indices(self, source: Expr, real: Expr, target: Expr) -> None:
        """Split the words of one pixel into indices, and count their bits."""
        plan = self.plan
        channels = plan.spec.workload.in_channels
        total = T.alloc_buffer((1,), "int32", scope="local")
        if plan.bipolar:
            store(total, 0, const(0))
        full, rest = divmod(channels, WORD_BITS)
        if full:
            with loop(full) as word:
                self._word(source, real, word, (1 << WORD_BITS) - 1, total)
        if rest:
            self._word(source, real, const(full), (1 << rest) - 1, total)
        if plan.bipolar:
            self._store_sum(target, total[0])

    def _word(self, source: Expr, real: Expr, word: Expr, valid: int, total: Buffer) -> None:
        """64 channels, of which those in the mask ``valid`` are there."""
        plan, dtype = self.plan, self.plan.spec.input_dtype
        view = PlanePixels(self.source, dtype, plan.spec.workload.in_channels)
        halves: list[list[Expr]] = [[] for _ in range(plan.index_planes)]
        for plane in range(dtype.bits):
            raw = load(self.source, view.byte(source, plane, word * WORD_BITS), WORD_BITS // 8)
            if dtype.signed and plane == dtype.bits - 1:
                turned = tirx.bitwise_xor(tirx.reinterpret("int64", raw), const(_signed(valid), "int64"))
                raw = tirx.reinterpret("uint8x8", turned)
            if plan.bipolar:
                count = tirx.Cast("int32", tirx.popcount(tirx.reinterpret("uint64", raw)))
                store(total, 0, total[0] + tirx.shift_left(count, const(plane)))
            if plan.tables.wide:
                self._wide_indices(real, plane, word, raw)
            else:
                halves[plane // 2].append(nibbles_to_bytes(raw, WORD_BITS // GROUP))
        if plan.tables.wide:
            return
        for pair, planes in enumerate(halves):
            index = planes[0]
            if len(planes) > 1:
                index = tirx.bitwise_or(index, tirx.shift_left(planes[1], const(GROUP, "uint8", WORD_BITS // GROUP)))
            at = plan.indices_at(self.config) + (real * plan.index_planes + pair) * plan.index_bytes
            store(self.workspace, at + word * (WORD_BITS // GROUP), index, WORD_BITS // GROUP)

    def _wide_indices(self, real: Expr, plane: int, word: Expr, raw: Expr) -> None:
        """Where in the table of tables the rows of the groups of a word begin: 6 bits each, times the size of a row."""
        plan, lanes = self.plan, WIDE_INDICES // 2
        at = plan.indices_at(self.config) + (real * plan.index_planes + plane) * plan.index_bytes
        at = at + word * (2 * groups_of(WORD_BITS, WIDE_GROUP))
        bits = tirx.Broadcast(tirx.reinterpret("uint64", raw), lanes)
        for half in range(2):
            places = tirx.Ramp(const(half * lanes * WIDE_GROUP, "int64"), const(WIDE_GROUP, "int64"), lanes)
            # What is shifted behind the word's end would not be defined: those lanes are nobody's index.
            places = tirx.min(places, const(WORD_BITS - 1, "int64", lanes))
            shifted = tirx.shift_right(bits, tirx.Cast(f"uint64x{lanes}", places))
            index = tirx.bitwise_and(shifted, const((1 << WIDE_GROUP) - 1, "uint64", lanes))
            row = tirx.Cast(f"uint16x{lanes}", tirx.shift_left(index, const(WIDE_GROUP, "uint64", lanes)))
            store(self.workspace, at + half * (2 * lanes), tirx.reinterpret(f"uint8x{2 * lanes}", row), 2 * lanes)

    def _nibble_pixel(self, source: Expr, target: Expr) -> None:
        plan = self.plan
        channels = plan.spec.workload.in_channels
        total = T.alloc_buffer((1,), "int32", scope="local")
        if plan.bipolar:
            store(total, 0, const(0))
        full, rest = divmod(channels, GROUP)
        if full:
            with loop(full) as group:
                self._nibble_group(source, target, group, GROUP, total)
        if rest:
            self._nibble_group(source, target, const(full), rest, total)
        if plan.bipolar:
            self._store_sum(target, total[0])

    def _nibble_group(self, source: Expr, target: Expr, group: Expr, count: int, total: Buffer) -> None:
        plan = self.plan
        pitch = -(-plan.spec.workload.in_channels // 2)
        values = []
        for i in range(count):
            byte = self.source[source * pitch + group * (GROUP // 2) + i // 2]
            value = tirx.bitwise_and(tirx.shift_right(byte, const(4 * (i % 2), "uint8")), const(15, "uint8"))
            if plan.activation_offset:  # x ^ 8 is x + 8 as an unsigned nibble
                value = tirx.bitwise_xor(value, const(8, "uint8"))
            values.append(value)
        self._store(target, group, subset_sums(values))
        if plan.bipolar:
            for value in values:
                store(total, 0, total[0] + tirx.Cast("int32", value))


def _signed(word: int) -> int:
    """The int64 with those 64 bits."""
    return word - (1 << WORD_BITS) if word >> (WORD_BITS - 1) else word
