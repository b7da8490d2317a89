"""Tiles of narrow values on their way between shared and global memory, in template ``mma``: outputs and residuals.

A lane has two neighbouring columns of a row: one byte of 4-bit values, two of 8-bit ones. In shared memory they make
up rows that are read and written in pieces as wide as the tensor's pitch in global memory allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.template import Index
from profiler.kernels.tir import Buffer, Expr, const, load, store, value
from profiler.quantize.packing import WORD_BYTES
from profiler.space.mma_plan import MmaPlan
from profiler.workload import DType

_PAIR_TYPES = {4: "uint8", 8: "uint16", 16: "int32"}
"""The element that holds a lane's pair, by the width of one value."""


@dataclass(frozen=True)
class Pieces:
    """A block's tile of an output-shaped tensor in global memory, cut into pieces of one access.

    ``pitch``, ``group`` and ``row``: bytes of a pixel, of a group's channels, and of a row of the block's tile.
    """

    pitch: int
    group: int
    row: int
    nbytes: int

    @staticmethod
    def of(plan: MmaPlan, dtype: DType) -> Pieces:
        w = plan.spec.workload
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
class OutputTile:
    """A tile of narrow values in shared memory, from byte ``start`` on, rows ``row_bytes`` apart."""

    plan: MmaPlan
    shared: Buffer
    dtype: DType
    start: int
    row_bytes: int

    def emit_fill(self, tensor: Buffer, index: Index, group: Expr) -> None:
        """From global memory; what lies behind the tensor's pixels and channels is zero."""
        self._emit_copy(tensor, index, group, to_shared=True)

    def emit_drain(self, tensor: Buffer, index: Index, group: Expr) -> None:
        """To global memory."""
        self._emit_copy(tensor, index, group, to_shared=False)

    def _emit_copy(self, tensor: Buffer, index: Index, group: Expr, *, to_shared: bool) -> None:
        plan, pieces = self.plan, Pieces.of(self.plan, self.dtype)
        view = self._view(pieces.element)
        per_row = pieces.row // pieces.nbytes
        total = plan.config.block_m * per_row
        with T.serial(-(-total // plan.config.threads)) as turn:
            item = value(turn * plan.config.threads + index.thread)[0]
            row, piece = tirx.floordiv(item, per_row), tirx.floormod(item, per_row)
            pixel = index.block_x * plan.config.block_m + row
            channel_byte = index.block_y * pieces.row + piece * pieces.nbytes
            inside = [pixel < plan.m]
            if pieces.group % pieces.row:
                inside.append(channel_byte < pieces.group)
            own = [item < total] if total % plan.config.threads else []
            here = (self.start + row * self.row_bytes + piece * pieces.nbytes) // pieces.element_bytes
            there = (pixel * pieces.pitch + group * pieces.group + channel_byte) // pieces.element_bytes
            if to_shared:
                zeros = const(0, pieces.element, pieces.lanes)
                loaded = T.if_then_else(tirx.all(*inside), load(tensor, there, pieces.lanes), zeros)
                _store_if(own, view, here, loaded, pieces.lanes)
            else:
                _store_if([*own, *inside], tensor, there, load(view, here, pieces.lanes), pieces.lanes)

    def pair(self, row: Expr, column: Expr) -> tuple[Expr, Expr]:
        """The values of a lane's pair of columns, as int32; ``column`` is even."""
        stored = load(self._view(_PAIR_TYPES[self.dtype.bits]), self._pair_index(row, column))
        pair = value(tirx.Cast("int32", stored))[0]
        return self._half(pair, 0), self._half(pair, 1)

    def _half(self, pair: Expr, i: int) -> Expr:
        bits = self.dtype.bits
        if not self.dtype.signed:
            return tirx.bitwise_and(tirx.shift_right(pair, const(bits * i)), const((1 << bits) - 1))
        return tirx.shift_right(tirx.shift_left(pair, const(32 - bits * (i + 1))), const(32 - bits))

    def emit_pair(self, row: Expr, column: Expr, values: list[Expr]) -> None:
        """Store a lane's pair of columns: int32 values within the type; ``column`` is even."""
        bits, element = self.dtype.bits, _PAIR_TYPES[self.dtype.bits]
        low = tirx.bitwise_and(values[0], const((1 << bits) - 1))
        pair = tirx.bitwise_or(low, tirx.shift_left(values[1], const(bits)))
        store(
            self._view(element), self._pair_index(row, column), pair if element == "int32" else tirx.Cast(element, pair)
        )

    def _pair_index(self, row: Expr, column: Expr) -> Expr:
        pair_bytes = self.dtype.bits // 4
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
