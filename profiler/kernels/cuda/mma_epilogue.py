"""The epilogue of template ``mma``: bias, residual, dyadic requantization, clamp, and a coalesced store.

32-bit values are read and written from registers, where a row of 8 of them is a whole sector already; narrower ones go
through a tile in shared memory (`mma_output_tile`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.codegen import call
from profiler.kernels.cuda.mma_fragments import Sums
from profiler.kernels.cuda.mma_output_tile import OutputTile, Pieces
from profiler.kernels.cuda.mma_tile import WarpIndex
from profiler.kernels.cuda.template import Index
from profiler.kernels.tir import Buffer, Expr, barrier, const, load, local, store, value
from profiler.space.mma_plan import MmaPlan
from profiler.workload import Epilogue


def output_dtype(plan: MmaPlan) -> str:
    """Element type of the output's buffer."""
    return Pieces.of(plan, plan.spec.output_dtype).element


def residual_dtype(plan: MmaPlan) -> str:
    """Element type of the residual's buffer."""
    assert plan.spec.input2_dtype is not None
    return Pieces.of(plan, plan.spec.input2_dtype).element


def emit_epilogue(
    plan: MmaPlan,
    buffers: Mapping[str, Buffer],
    shared: Buffer,
    sums: Sums,
    warp: WarpIndex,
    index: Index,
    group: Expr,
) -> None:
    """From sums to the output. The shared memory must be free: all threads behind a barrier."""
    spec = plan.spec
    residual: OutputTile | None = None
    if spec.input2_dtype is not None and spec.input2_dtype.bits < 32:
        start = plan.config.block_m * plan.output_row_bytes
        residual = OutputTile(plan, shared, spec.input2_dtype, start, plan.residual_row_bytes)
        residual.emit_fill(buffers["residual"], index, group)
        barrier()
    output = None
    if spec.output_dtype.bits < 32:
        output = OutputTile(plan, shared, spec.output_dtype, 0, plan.output_row_bytes)
    _Columns(plan, buffers, sums, warp, index, group, residual, output).emit()
    if output is not None:
        barrier()
        output.emit_drain(buffers["output"], index, group)


@dataclass(frozen=True)
class _Columns:
    """Sums to values, column of 8 x 8 tiles by column: the parameters of two channels serve all rows."""

    plan: MmaPlan
    buffers: Mapping[str, Buffer]
    sums: Sums
    warp: WarpIndex
    index: Index
    group: Expr
    residual: OutputTile | None
    output: OutputTile | None

    def emit(self) -> None:
        plan = self.plan
        for tile_column in range(self.sums.columns):
            # Pairs of columns are counted, so that TVM sees that two of them are aligned.
            pair = value(tirx.floordiv(self.warp.column, 2) + tile_column * 4 + tirx.floormod(self.warp.lane, 4))[0]
            channel = (self.index.block_y * (plan.config.block_n // 2) + pair) * 2
            column = pair * 2
            padded = plan.n_tiles * plan.config.block_n
            parameters = {
                name: self._two(name, self.group * padded + channel)
                for name in ("bias", "multiplier", "shift", "residual_multiplier", "residual_shift")
                if name in self.buffers
            }
            if plan.spec.epilogue.requantizes:
                with T.If(self._quick(parameters)):
                    with T.Then():
                        known = self._prepared(parameters)
                        self._emit_rows(tile_column, column, channel, known, quick=True)
                    with T.Else():
                        self._emit_rows(tile_column, column, channel, parameters, quick=False)
            else:
                self._emit_rows(tile_column, column, channel, parameters, quick=False)

    def _two(self, name: str, at: Expr) -> Buffer:
        both = local(2)
        store(both, 0, load(self.buffers[name], at, 2), 2)
        return both

    def _quick(self, parameters: Mapping[str, Buffer]) -> Expr:
        """Whether the shifts are as usual: so far that 32 bits hold what they leave, and the sum of two such.

        With a shift of 32 or more a rescaled sum is at most 2**30; a rescaled residual of b bits at most 2**29 with
        b + 2 or more.
        """
        conditions = [parameters["shift"][i] >= 32 for i in range(2)]
        if self.plan.spec.input2_dtype is not None:
            least = self.plan.spec.input2_dtype.bits + 2
            conditions += [parameters["residual_shift"][i] >= least for i in range(2)]
        return tirx.all(*conditions)

    def _prepared(self, parameters: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """The parameters of two channels as the quick form takes them: both shifts are at least 32.

        A residual whose shift is shorter is shifted left by what is missing; `_quick` asks that it fits 32 bits.
        """
        known = {**parameters, "multiplier": local(2), "addend": local(2, "int64")}
        for i in range(2):
            bias, multiplier, shift = (parameters[name][i] for name in ("bias", "multiplier", "shift"))
            store(known["multiplier"], i, call("lb_as_it_is", multiplier, returns="int32"))
            store(known["addend"], i, call("lb_addend", bias, known["multiplier"][i], shift, returns="int64"))
        if not self.plan.spec.epilogue.adds:
            return known
        new = ("residual_multiplier", "residual_left", "residual_shift")
        known |= {name: local(2) for name in new} | {"residual_addend": local(2, "int64")}
        for i in range(2):
            factor, shift = parameters["residual_multiplier"][i], parameters["residual_shift"][i]
            store(known["residual_multiplier"], i, call("lb_as_it_is", factor, returns="int32"))
            store(known["residual_left"], i, call("lb_missing_shift", shift, returns="int32"))
            store(known["residual_shift"], i, shift + known["residual_left"][i])
            addend = (const(0), known["residual_multiplier"][i], known["residual_shift"][i])
            store(known["residual_addend"], i, call("lb_addend", *addend, returns="int64"))
        return known

    def _emit_rows(
        self, tile_column: int, column: Expr, channel: Expr, parameters: Mapping[str, Buffer], *, quick: bool
    ) -> None:
        for tile_row in range(self.sums.rows):
            row = self.warp.row + tile_row * 8 + tirx.floordiv(self.warp.lane, 4)
            self._emit_pair(row, column, channel, self.sums.at(tile_row, tile_column), parameters, quick)

    def _emit_pair(
        self, row: Expr, column: Expr, channel: Expr, first: int, parameters: Mapping[str, Buffer], quick: bool
    ) -> None:
        spec, registers = self.plan.spec, self.sums.registers
        sums = [registers[first + i] for i in range(2)]
        if not spec.epilogue.requantizes:
            biased = "bias" in parameters
            self._emit_wide(row, channel, [s + parameters["bias"][i] if biased else s for i, s in enumerate(sums)])
            return
        residuals = self._residuals(row, column, channel) if spec.epilogue.adds else [None, None]
        values = [self._requantized(total, residuals[i], i, parameters, quick) for i, total in enumerate(sums)]
        if self.output is None:
            self._emit_wide(row, channel, values)
            return
        self.output.emit_pair(row, column, values)

    def _requantized(
        self, total: Expr, residual: Expr | None, i: int, parameters: Mapping[str, Buffer], quick: bool
    ) -> Expr:
        spec = self.plan.spec
        bias, multiplier, shift = (parameters[name][i] for name in ("bias", "multiplier", "shift"))
        # A clamp at zero hides how negative values were rounded; where a residual is added first, it does not.
        hides_sign = spec.epilogue is Epilogue.REQUANT_RELU
        if quick and hides_sign:
            scaled = call("lb_rescale_relu_high", total, multiplier, shift, parameters["addend"][i], returns="int32")
        elif quick:
            scaled = call("lb_rescale_high", total + bias, multiplier, shift, returns="int32")
        else:
            name = "lb_rescale_relu" if hides_sign else "lb_rescale"
            scaled = call(name, total + bias, multiplier, shift, returns="int64")
        if residual is not None:
            scaled = scaled + self._rescaled_residual(residual, i, parameters, quick)
        low, high = spec.output_range
        return call("lb_clamp32" if quick else "lb_clamp", scaled, const(low), const(high), returns="int32")

    def _rescaled_residual(self, residual: Expr, i: int, parameters: Mapping[str, Buffer], quick: bool) -> Expr:
        factor, shift = parameters["residual_multiplier"][i], parameters["residual_shift"][i]
        if not quick:
            return call("lb_rescale", residual, factor, shift, returns="int64")
        moved = tirx.shift_left(residual, parameters["residual_left"][i])
        assert self.plan.spec.input2_dtype is not None
        if self.plan.spec.input2_dtype.signed:
            return call("lb_rescale_high", moved, factor, shift, returns="int32")
        # What is never negative needs no care for how negative values are rounded.
        return call("lb_rescale_relu_high", moved, factor, shift, parameters["residual_addend"][i], returns="int32")

    def _residuals(self, row: Expr, column: Expr, channel: Expr) -> tuple[Expr, Expr]:
        if self.residual is not None:
            return self.residual.pair(row, column)
        at, known = self._wide_place(row, channel)
        return self._wide_residual(at, known, channel), self._wide_residual(at + 1, known, channel + 1)

    def _wide_residual(self, at: Expr, known: Expr, channel: Expr) -> Expr:
        inside = tirx.all(known, channel < self.plan.spec.workload.group_outputs)
        return value(T.if_then_else(inside, self.buffers["residual"][at], const(0)))[0]

    def _wide_place(self, row: Expr, channel: Expr) -> tuple[Expr, Expr]:
        """Index of a channel in an output-shaped tensor of 32-bit values, and whether the row is a pixel."""
        plan = self.plan
        pixel = self.index.block_x * plan.config.block_m + row
        place = pixel * plan.spec.workload.out_channels + self.group * plan.spec.workload.group_outputs + channel
        return place, pixel < plan.m

    def _emit_wide(self, row: Expr, channel: Expr, pair: list[Expr]) -> None:
        plan, output = self.plan, self.buffers["output"]
        at, known = self._wide_place(row, channel)
        if plan.spec.workload.group_outputs % 2 == 0:
            both = local(2)
            for i in range(2):
                store(both, i, pair[i])
            with T.If(tirx.all(known, channel < plan.spec.workload.group_outputs)), T.Then():
                store(output, at, load(both, 0, 2), 2)
            return
        for i in range(2):
            with T.If(tirx.all(known, channel + i < plan.spec.workload.group_outputs)), T.Then():
                store(output, at + i, pair[i])
