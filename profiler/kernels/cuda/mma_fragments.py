"""From tiles in shared memory to sums in registers: `ldmatrix` and `mma`, for the shapes of sm_75 and of sm_80."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.codegen import do
from profiler.kernels.cuda.mma_tile import Tile, WarpIndex
from profiler.kernels.tir import Buffer, Expr, const, local, store, value
from profiler.space.config import Unroll
from profiler.space.mma_plan import CHUNK_WORDS, Counted, MmaPlan

_MATRIX_ROWS = 8


@dataclass(frozen=True)
class Operand:
    """The matrices of one operand that a warp needs for an instruction's depth of K, and the lane's share of loading.

    ``blocks`` matrices of 8 rows x ``units`` of 4 words. Their registers: block b, unit u at ``b * units + u``, or for
    the activations of sm_80, which come in pairs of blocks, ``(b / 2 * units + u) * 2 + b % 2``.
    """

    plan: MmaPlan
    registers: Buffer
    blocks: int
    units: int
    blocks_first: bool
    row: Expr
    unit: Expr
    permutation: Expr

    @property
    def at_once(self) -> int:
        """Matrices of one `ldmatrix`."""
        return gcd(4, self.blocks * self.units)

    @staticmethod
    def emit_setup(plan: MmaPlan, rows: int, first_row: Expr, lane: Expr, blocks_first: bool) -> Operand:
        units = plan.mma.k_words // CHUNK_WORDS
        blocks = rows // _MATRIX_ROWS
        at_once = gcd(4, blocks * units)
        matrix = tirx.floormod(tirx.floordiv(lane, _MATRIX_ROWS), at_once)
        if units == 1:
            block, unit = matrix, const(0)
        elif blocks_first:
            block, unit = tirx.floormod(matrix, 2), tirx.floordiv(matrix, 2)
        else:
            block, unit = tirx.floordiv(matrix, units), tirx.floormod(matrix, units)
        row = value(first_row + block * _MATRIX_ROWS + tirx.floormod(lane, _MATRIX_ROWS))[0]
        permutation = value(Tile.permutation(plan, row))[0]
        return Operand(plan, local(blocks * units), blocks, units, blocks_first, row, unit, permutation)

    def emit_load(self, tile: Tile, depth: Expr) -> None:
        """Load the matrices of depth ``depth`` (counted in the instruction's words of K)."""
        chunk = depth * self.units + self.unit
        start = tile.word(self.row, chunk, self.permutation)
        for first in range(0, self.blocks * self.units, self.at_once):
            rows = first // self.units * _MATRIX_ROWS
            address = T.address_of(tile.shared[start + rows * self.plan.row_words])
            do(f"lb_ldmatrix_x{self.at_once}", T.address_of(self.registers[first]), address)

    def registers_of(self, block: int) -> list[Expr]:
        """The words of a block, unit by unit; of a pair of blocks where they come in pairs."""
        if not self.blocks_first or self.units == 1:
            return [self.registers[block * self.units + u] for u in range(self.units)]
        return [self.registers[block * self.units + i] for i in range(2 * self.units)]


@dataclass(frozen=True)
class Sums:
    """The sums of a warp: ``rows`` x ``columns`` tiles of 8 x 8, two neighbouring columns per lane.

    ``paired``: tiles come in pairs along the rows, as an instruction of 16 rows has them.
    """

    registers: Buffer
    rows: int
    columns: int
    paired: bool

    @staticmethod
    def emit_setup(rows: int, columns: int, paired: bool) -> Sums:
        """Registers for them, all zero."""
        sums = Sums(local(2 * rows * columns), rows, columns, paired)
        with T.unroll(sums.count) as i:
            store(sums.registers, i, const(0))
        return sums

    @property
    def count(self) -> int:
        return 2 * self.rows * self.columns

    def at(self, row: int, column: int) -> int:
        """Index of the first of the two sums of a tile."""
        if not self.paired:
            return 2 * (row * self.columns + column)
        return 4 * (row // 2 * self.columns + column) + 2 * (row % 2)


@dataclass(frozen=True)
class Fragments:
    """Operands and sums of a warp; ``activations``: bits set in each row, where those are asked for."""

    plan: MmaPlan
    a: Operand
    b: Operand
    sums: Sums
    activations: Sums | None

    @staticmethod
    def emit_setup(plan: MmaPlan, warp: WarpIndex) -> Fragments:
        rows, paired = plan.warp_rows // _MATRIX_ROWS, plan.mma.m > _MATRIX_ROWS
        sums = Sums.emit_setup(rows, plan.warp_columns // _MATRIX_ROWS, paired)
        activations = Sums.emit_setup(rows, 1, paired) if plan.sums_activations else None
        first_row, first_column = warp.row * plan.pixel_planes, warp.column * plan.channel_planes
        return Fragments(
            plan,
            Operand.emit_setup(plan, plan.warp_rows, first_row, warp.lane, blocks_first=True),
            Operand.emit_setup(plan, plan.warp_columns, first_column, warp.lane, blocks_first=False),
            sums,
            activations,
        )

    def emit_multiply(self, tile_a: Tile, tile_b: Tile) -> None:
        """Add the product of two tiles."""
        depths = self.plan.config.block_k // self.plan.mma.k_words
        if self.plan.config.unroll is Unroll.FULL:
            for depth in range(depths):
                self._emit_depth(tile_a, tile_b, const(depth))
        else:
            with T.unroll(depths) as depth:
                self._emit_depth(tile_a, tile_b, depth)

    def _emit_depth(self, tile_a: Tile, tile_b: Tile, depth: Expr) -> None:
        self.a.emit_load(tile_a, depth)
        self.b.emit_load(tile_b, depth)
        for row in range(0, self.sums.rows, self.plan.mma.m // _MATRIX_ROWS):
            for column in range(self.sums.columns):
                address = T.address_of(self.sums.registers[self.sums.at(row, column)])
                do(self.plan.instruction, address, *self.a.registers_of(row), *self.b.registers_of(column))
            if self.activations is not None:
                # The bits of a row: those shared with ones, or in which it differs from zeros.
                against = const(-1 if self.plan.counted is Counted.SHARED else 0)
                address = T.address_of(self.activations.registers[self.activations.at(row, 0)])
                do(self.plan.instruction, address, *self.a.registers_of(row), *[against] * self.b.units)
