"""Tiles of narrow values on their way between shared and global memory, in template ``mma``: outputs and residuals.

A lane has two neighbouring columns of a row: one byte of 4-bit values, two of 8-bit ones. In shared memory they make
up rows that are read and written in pieces as wide as the tensor's pitch in global memory allows. Values whose tensor
lies in bit planes take a byte each in shared memory; a piece is then so many bytes of a plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.codegen import call
from profiler.kernels.cuda.template import Index
from profiler.kernels.cuda.work_items import both, when
from profiler.kernels.tir import Buffer, Expr, const, load, local, store, value
from profiler.quantize.packed_weights import WORD_BYTES
from profiler.quantize.planes import plane_bytes
from profiler.space.mma_plan import MmaPlan, shared_bits
from profiler.workload import DType

_PAIR_TYPES = {4: "uint8", 8: "uint16", 16: "int32"}
"""The element that holds a lane's pair, by the width of one value."""


@dataclass(frozen=True)
class Pieces:
    """A block's tile of an output-shaped tensor in global memory, cut into pieces of one access.

    ``pitch``, ``group`` and ``row``: bytes of a pixel, of a group's channels, and of a row of the block's tile; of bit
    planes those of one plane.
    """

    pitch: int
    group: int
    row: int
    nbytes: int

    @staticmethod
    def of(plan: MmaPlan, dtype: DType) -> Pieces:
        w = plan.spec.workload
        if dtype.in_planes:
            pitch, row = plane_bytes(w.out_channels), plan.config.block_n // 8
            group = pitch if w.groups == 1 else w.group_outputs // 8
            return Pieces(pitch, group, row, gcd(gcd(pitch, group), gcd(row, WORD_BYTES)))
        pitch = -(-w.out_channels * dtype.bits // 8)
        group = -(-plan.spec.workload.group_outputs * dtype.bits // 8)
        row = plan.config.block_n * dtype.bits // 8
        return Pieces(pitch, group, row, WORD_BYTES if dtype.bits == 32 else gcd(gcd(pitch, group), gcd(row, 16)))

    @property
    def element(self) -> str:
        return {1: "uint8", 2: "uint16"}.get(self.nbytes, "int32")

    @property
    def element_bytes(self) -> int:
        return min(self.nbytes, WORD_BYTES)

    @property
    def lanes(self) -> int:
        return self.nbytes // self.element_bytes


@dataclass(frozen=True)
class _Piece:
    """Where a thread's piece lies. row, pixel : in the tile, and in the tensor. piece, byte : its place in the row, and
    its first byte in the group's channels of a pixel. inside, own : conditions for being in the tensor and the tile."""

    row: Expr
    piece: Expr
    pixel: Expr
    byte: Expr
    inside: list[Expr]
    own: list[Expr]


@dataclass(frozen=True)
class OutputTile:
    """A tile of narrow values in shared memory, from byte ``start`` on, rows ``row_bytes`` apart."""

    plan: MmaPlan
    shared: Buffer
    dtype: DType
    start: int
    row_bytes: int

    def emit_fill(self, tensor: Buffer, index: Index, group: Expr) -> None:
        """From global memory; what lies behind the tensor's pixels and channels is zero."""
        if self.dtype.in_planes:
            self._emit_planes(tensor, index, group, to_shared=True)
        else:
            self._emit_copy(tensor, index, group, to_shared=True)

    def emit_drain(self, tensor: Buffer, index: Index, group: Expr) -> None:
        """To global memory."""
        if self.dtype.in_planes:
            self._emit_planes(tensor, index, group, to_shared=False)
            self._emit_end_of_planes(tensor, index, group)
        else:
            self._emit_copy(tensor, index, group, to_shared=False)

    def _emit_planes(self, tensor: Buffer, index: Index, group: Expr, *, to_shared: bool) -> None:
        """Pieces of planes from or to the bytes of their channels: an item is a piece of every plane of a pixel."""
        pieces = Pieces.of(self.plan, self.dtype)
        with self._each_piece(index, pieces) as item:
            # Four channels to a word of the tile.
            here = (self.start + item.row * self.row_bytes) // WORD_BYTES + item.piece * (2 * pieces.nbytes)
            there = [
                ((item.pixel * self.dtype.bits + p) * pieces.pitch + group * pieces.group + item.byte) // pieces.nbytes
                for p in range(self.dtype.bits)
            ]
            with when(both(*item.own, *([] if to_shared else item.inside))):
                if to_shared:
                    self._emit_spread(tensor, there, tirx.all(*item.inside), here, pieces)
                else:
                    self._emit_gathered(tensor, there, here, pieces)

    def _emit_spread(self, tensor: Buffer, there: list[Expr], inside: Expr, here: Expr, pieces: Pieces) -> None:
        planes = local(self.dtype.bits)
        for p, at in enumerate(there):
            store(planes, p, T.if_then_else(inside, tirx.Cast("int32", tensor[at]), const(0)))
        for four in range(2 * pieces.nbytes):
            codes = None
            for p in range(self.dtype.bits):
                spread = call("lb_bytes_of_bits", tirx.shift_right(planes[p], const(4 * four)), returns="int32")
                codes = spread if codes is None else tirx.bitwise_or(codes, tirx.shift_left(spread, const(p)))
            store(self.shared, here + four, codes)

    def _emit_gathered(self, tensor: Buffer, there: list[Expr], here: Expr, pieces: Pieces) -> None:
        planes = local(self.dtype.bits)
        for four in range(2 * pieces.nbytes):
            codes = value(self.shared[here + four])[0]
            for p in range(self.dtype.bits):
                bits = call("lb_bits_of_bytes", tirx.shift_right(codes, const(p)), returns="int32")
                bits = tirx.shift_left(bits, const(4 * four)) if four else bits
                store(planes, p, tirx.bitwise_or(planes[p], bits) if four else bits)
        for p, at in enumerate(there):
            store(tensor, at, planes[p] if pieces.nbytes == WORD_BYTES else tirx.Cast(pieces.element, planes[p]))

    def _emit_end_of_planes(self, tensor: Buffer, index: Index, group: Expr) -> None:
        """Zeros behind the last tile of channels, up to the end of each plane."""
        plan, pieces = self.plan, Pieces.of(self.plan, self.dtype)
        w = plan.spec.workload
        written = plan.n_tiles * pieces.row if w.groups == 1 else pieces.group * w.groups
        missing = (pieces.pitch - written) // pieces.nbytes
        if missing <= 0:
            return
        total = plan.config.block_m * self.dtype.bits * missing
        last = tirx.all(index.block_y == plan.n_tiles - 1, group == w.groups - 1)
        with T.serial(-(-total // plan.config.threads)) as turn:
            item = value(turn * plan.config.threads + index.thread)[0]
            row, piece = tirx.floordiv(item, self.dtype.bits * missing), tirx.floormod(item, missing)
            plane = tirx.floormod(tirx.floordiv(item, missing), self.dtype.bits)
            pixel = index.block_x * plan.config.block_m + row
            at = ((pixel * self.dtype.bits + plane) * pieces.pitch + written) // pieces.nbytes + piece
            zero = const(0, pieces.element)
            with T.If(tirx.all(last, item < total, pixel < plan.m)), T.Then():
                store(tensor, at, zero)

    def _emit_copy(self, tensor: Buffer, index: Index, group: Expr, *, to_shared: bool) -> None:
        pieces = Pieces.of(self.plan, self.dtype)
        view = self._view(pieces.element)
        with self._each_piece(index, pieces) as item:
            here = (self.start + item.row * self.row_bytes + item.piece * pieces.nbytes) // pieces.element_bytes
            there = (item.pixel * pieces.pitch + group * pieces.group + item.byte) // pieces.element_bytes
            if to_shared:
                zeros = const(0, pieces.element, pieces.lanes)
                loaded = T.if_then_else(tirx.all(*item.inside), load(tensor, there, pieces.lanes), zeros)
                _store_if(item.own, view, here, loaded, pieces.lanes)
            else:
                _store_if([*item.own, *item.inside], tensor, there, load(view, here, pieces.lanes), pieces.lanes)

    @contextmanager
    def _each_piece(self, index: Index, pieces: Pieces) -> Iterator[_Piece]:
        """A loop over the pieces of the block's tile, a thread's own ones."""
        plan = self.plan
        per_row = pieces.row // pieces.nbytes
        total = plan.config.block_m * per_row
        with T.serial(-(-total // plan.config.threads)) as turn:
            item = value(turn * plan.config.threads + index.thread)[0]
            row, piece = tirx.floordiv(item, per_row), tirx.floormod(item, per_row)
            pixel = index.block_x * plan.config.block_m + row
            byte = index.block_y * pieces.row + piece * pieces.nbytes
            inside = [pixel < plan.m]
            if pieces.group % pieces.row:
                inside.append(byte < pieces.group)
            yield _Piece(row, piece, pixel, byte, inside, [item < total] if total % plan.config.threads else [])

    def pair(self, row: Expr, column: Expr) -> tuple[Expr, Expr]:
        """The values of a lane's pair of columns, as int32; ``column`` is even."""
        stored = load(self._view(_PAIR_TYPES[shared_bits(self.dtype)]), self._pair_index(row, column))
        pair = value(tirx.Cast("int32", stored))[0]
        return self._half(pair, 0), self._half(pair, 1)

    def _half(self, pair: Expr, i: int) -> Expr:
        bits, offset = self.dtype.bits, shared_bits(self.dtype) * i
        if not self.dtype.signed:
            return tirx.bitwise_and(tirx.shift_right(pair, const(offset)), const((1 << bits) - 1))
        return tirx.shift_right(tirx.shift_left(pair, const(32 - bits - offset)), const(32 - bits))

    def emit_pair(self, row: Expr, column: Expr, values: list[Expr]) -> None:
        """Store a lane's pair of columns: int32 values within the type; ``column`` is even."""
        bits, element = shared_bits(self.dtype), _PAIR_TYPES[shared_bits(self.dtype)]
        low = tirx.bitwise_and(values[0], const((1 << bits) - 1))
        pair = tirx.bitwise_or(low, tirx.shift_left(values[1], const(bits)))
        store(
            self._view(element), self._pair_index(row, column), pair if element == "int32" else tirx.Cast(element, pair)
        )

    def _pair_index(self, row: Expr, column: Expr) -> Expr:
        pair_bytes = shared_bits(self.dtype) // 4
        return row * (self.row_bytes // pair_bytes) + tirx.floordiv(column, 2) + self.start // pair_bytes

    def _view(self, element: str) -> Buffer:
        if element == "int32":
            return self.shared
        size = self.plan.shared_bytes // {"uint8": 1, "uint16": 2}[element]
        return T.decl_buffer((size,), element, data=self.shared.data, scope="shared.dyn")


def _store_if(conditions: list[Expr], buffer: Buffer, offset: Expr, loaded: Expr, lanes: int) -> None:
    if not conditions:
        store(buffer, offset, loaded, lanes)
        return
    with T.If(tirx.all(*conditions)), T.Then():
        store(buffer, offset, loaded, lanes)
