"""Tiles in shared memory: rows of `block_k` words, their chunks of 16 bytes permuted or padded against bank conflicts.

The 32 banks are 128 bytes wide: 8 chunks. `ldmatrix` reads chunk c of 8 consecutive rows at a time, so those must lie
in 8 different places of the 128 bytes. With pad a row is an odd number of chunks long (but for rows of a single chunk,
which need nothing and which padding would harm). With swizzle chunk c of row r lies where chunk c ^ (r / L) would, L
being the number of rows in 128 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from profiler.kernels.tir import Buffer, Expr, value
from profiler.space.config import SharedLayout
from profiler.space.mma_plan import CHUNK_WORDS, MmaPlan

_LINE_CHUNKS = 8


@dataclass(frozen=True)
class WarpIndex:
    """Where a warp's sums lie in the block's tile, and the lane. TIR expressions, elements."""

    row: Expr
    column: Expr
    lane: Expr

    @staticmethod
    def of(plan: MmaPlan, thread: Expr) -> WarpIndex:
        config = plan.config
        warp, down = tirx.floordiv(thread, 32), config.block_m // config.warp_m
        row = value(tirx.floormod(warp, down) * config.warp_m)[0]
        column = value(tirx.floordiv(warp, down) * config.warp_n)[0]
        return WarpIndex(row, column, value(tirx.floormod(thread, 32))[0])


@dataclass(frozen=True)
class Tile:
    """Rows of words from word ``start`` of the shared array on; ``start`` is a multiple of a chunk."""

    plan: MmaPlan
    shared: Buffer
    start: Expr

    @staticmethod
    def permutation(plan: MmaPlan, row: Expr) -> Expr:
        """What is XORed to the chunks of a row; the same for rows that differ by a multiple of 8."""
        chunks = min(plan.config.block_k // CHUNK_WORDS, _LINE_CHUNKS)
        return row // (_LINE_CHUNKS // chunks) % chunks

    def word(self, row: Expr, chunk: Expr, permutation: Expr) -> Expr:
        """Index in the shared array of the first word of a chunk; ``permutation`` is that of the row."""
        place = chunk ^ permutation if self.swizzled else chunk
        return self.start + row * self.plan.row_words + place * CHUNK_WORDS

    @property
    def swizzled(self) -> bool:
        return self.plan.config.shared_layout is SharedLayout.SWIZZLE and self.plan.config.block_k > CHUNK_WORDS
