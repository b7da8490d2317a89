"""Looking up bytes: lane l of the result is entry index[l] of a table of 16 bytes, or of 64, by instruction set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Protocol

from tvm import tirx

from profiler.hardware import DotIsa
from profiler.kernels.cpu.emit import vector
from profiler.kernels.tir import Buffer, Expr, const, load
from profiler.quantize.lookup import GROUP, WIDE_GROUP, table_bytes

_TABLE_BYTES = table_bytes(GROUP)


class ByteShuffle(Protocol):
    """A table is prepared once and used for a whole register tile. Indices are bytes, below the size of a table."""

    @property
    def lanes(self) -> int: ...

    def table(self, buffer: Buffer, *offsets: Expr) -> Expr:
        """Prepare the table at a byte offset, or the sum of the tables at several."""

    def look_up(self, table: Expr, indices: Expr) -> Expr:
        """A uint8 vector of the entries."""


@dataclass(frozen=True)
class Shuffle:
    """One instruction on the table, repeated in each 16 bytes of the vector (``pshufb``, ``tbl``)."""

    lanes: int
    intrinsic: str

    def table(self, buffer: Buffer, *offsets: Expr) -> Expr:
        entries = _sum(load(buffer, offset, _TABLE_BYTES) for offset in offsets)
        copies = self.lanes // _TABLE_BYTES
        if copies == 1:
            return entries
        return tirx.Shuffle([entries] * copies, [const(i) for i in range(_TABLE_BYTES)] * copies)

    def look_up(self, table: Expr, indices: Expr) -> Expr:
        return tirx.call_llvm_pure_intrin(vector("uint8", self.lanes), self.intrinsic, table, indices)


@dataclass(frozen=True)
class Permutation:
    """One instruction on a table that fills the vector (``vpermb``)."""

    lanes: int = table_bytes(WIDE_GROUP)

    def table(self, buffer: Buffer, *offsets: Expr) -> Expr:
        return _sum(load(buffer, offset, self.lanes) for offset in offsets)

    def look_up(self, table: Expr, indices: Expr) -> Expr:
        intrinsic = "llvm.x86.avx512.permvar.qi.512"
        return tirx.call_llvm_pure_intrin(vector("uint8", self.lanes), intrinsic, table, indices)


@dataclass(frozen=True)
class Masking:
    """Any CPU: the sum of the entries 1, 2, 4, ... that the bits of an index name. So only tables of sums will do."""

    lanes: int = 16
    group: int = GROUP

    def table(self, buffer: Buffer, *offsets: Expr) -> tuple[Expr, ...]:
        entries = (_sum(load(buffer, offset + (1 << bit)) for offset in offsets) for bit in range(self.group))
        return tuple(tirx.Broadcast(entry, self.lanes) for entry in entries)

    def look_up(self, table: Expr, indices: Expr) -> Expr:
        total, zero = const(0, "uint8", self.lanes), const(0, "uint8", self.lanes)
        for bit, value in enumerate(table):
            named = tirx.bitwise_and(indices, const(1 << bit, "uint8", self.lanes)) != zero
            total = total + tirx.Select(named, value, zero)
        return total


def _sum(parts: Iterable[Expr]) -> Expr:
    return reduce(add, parts)


_SHUFFLES = {
    DotIsa.AVX512_VNNI: Shuffle(64, "llvm.x86.avx512.pshuf.b.512"),
    DotIsa.AVX_VNNI: Shuffle(32, "llvm.x86.avx2.pshuf.b"),
    DotIsa.AVX2: Shuffle(32, "llvm.x86.avx2.pshuf.b"),
    DotIsa.NEON_DOT: Shuffle(16, "llvm.aarch64.neon.tbl1.v16i8"),
    DotIsa.NEON: Shuffle(16, "llvm.aarch64.neon.tbl1.v16i8"),
}


def byte_shuffle(isa: DotIsa, wide: bool = False) -> ByteShuffle:
    """How an instruction set looks bytes up. wide : in tables of 64 bytes."""
    return Permutation() if wide else _SHUFFLES.get(isa, Masking())
