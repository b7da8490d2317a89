"""What the SIMT templates do to a block of int32 values before they store it: bias, requantization, residual, clamp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler.kernels.cuda.codegen import call
from profiler.kernels.cuda.plane_rows import tensor_rows
from profiler.kernels.cuda.rows import Block, Place, Rows
from profiler.kernels.cuda.work_items import Condition
from profiler.kernels.tir import Buffer, Expr
from profiler.quantize.operands import operands
from profiler.space.simt_plan import reached_channels
from profiler.workload import DType, KernelSpec


def clamped(spec: KernelSpec, value: Expr) -> Expr:
    """An int64 value limited to what is stored, as int32."""
    return call("lb_clamp", value, *spec.output_range, returns="int32")


@dataclass(frozen=True)
class Rescale:
    """Multipliers and shifts of a block of channels, in registers."""

    multiplier: Block
    shift: Block

    @staticmethod
    def load(
        rows: Mapping[str, Rows], buffers: Mapping[str, Buffer], place: Place, prefix: str = "", suffix: str = ""
    ) -> Rescale:
        """From the arguments ``<prefix>multiplier<suffix>`` and ``<prefix>shift<suffix>``."""
        multiplier, shift = f"{prefix}multiplier{suffix}", f"{prefix}shift{suffix}"
        return Rescale(
            rows[multiplier].load(buffers[multiplier], place), rows[shift].load(buffers[shift], place, fill=1)
        )

    def apply(self, value: Expr, channel: int, *, negative: bool) -> Expr:
        """An int32 value of a channel of the block, rescaled, as int64."""
        return rescaled(value, self.multiplier.value(channel), self.shift.value(channel), negative=negative)


def rescaled(value: Expr, multiplier: Expr, shift: Expr, *, negative: bool) -> Expr:
    """``value * multiplier / 2**shift``, rounded half away from zero, as int64.

    ``negative`` is false where the rounding of negative values is not seen: there are none, or a clamp at zero follows.
    """
    name = "lb_rescale" if negative else "lb_rescale_relu"
    return call(name, value, multiplier, shift, returns="int64")


def epilogue_rows(spec: KernelSpec, block: int, section: int, padded: int) -> dict[str, Rows]:
    """The arguments of the epilogue and the output, of which a thread takes ``block`` output channels.

    section : output channels of a section of the output. padded : length of the vectors of parameters, in sections of
    their own where there are several.
    """
    channels = spec.workload.out_channels
    reach = reached_channels(spec) if section == channels else 0
    found = {"output": tensor_rows(spec.output_dtype, channels, block, section, reach)}
    for operand in operands(spec):
        if operand.per_output_channel:
            found[operand.name] = Rows.of(DType.INT32, padded, block, padded if section == channels else section, reach)
        elif operand.name == "residual":
            found["residual"] = tensor_rows(operand.dtype, channels, block, section, reach)
    return found


@dataclass(frozen=True)
class SumEpilogue:
    """The epilogue of a convolution or dense layer for one block of output channels; parameters are in registers."""

    spec: KernelSpec
    rows: Mapping[str, Rows]
    buffers: Mapping[str, Buffer]
    bias: Block | None
    requantization: Rescale | None
    residual: Rescale | None

    @staticmethod
    def load(spec: KernelSpec, rows: Mapping[str, Rows], buffers: Mapping[str, Buffer], place: Place) -> SumEpilogue:
        """Load the parameters of the block and section of a place."""
        vector = Place(0, place.block, place.section)
        return SumEpilogue(
            spec,
            rows,
            buffers,
            rows["bias"].load(buffers["bias"], vector) if "bias" in rows else None,
            Rescale.load(rows, buffers, vector) if spec.epilogue.requantizes else None,
            Rescale.load(rows, buffers, vector, prefix="residual_") if spec.epilogue.adds else None,
        )

    def store(self, places: Sequence[Place], sums: Buffer, inside: Sequence[Condition] | None = None) -> None:
        """Finish the sums of some pixels and store them.

        sums : int32 of shape [pixels * channels of the block]. inside : which of the pixels there are.
        """
        added = [
            self.rows["residual"].load(self.buffers["residual"], place, inside[i] if inside else None)
            for i, place in enumerate(places if self.residual else ())
        ]
        output = self.rows["output"]

        def value(i: int, channel: int) -> Expr:
            return self._value(channel, sums[i * output.block + channel], added[i] if added else None)

        output.store(self.buffers["output"], places, value, inside)

    def _value(self, channel: int, total: Expr, added: Block | None) -> Expr:
        if self.bias is not None:
            total = total + self.bias.value(channel)
        if self.requantization is None:
            return total
        low, _ = self.spec.output_range
        value = self.requantization.apply(total, channel, negative=low < 0 or added is not None)
        if added is not None:
            assert self.residual is not None
            value = value + self.residual.apply(added.value(channel), channel, negative=added.rows.dtype.signed)
        return clamped(self.spec, value)
