"""What follows the sums of a convolution or dense layer: bias, requantization, residual, clamp, and the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from profiler.kernels.cpu.emit import Activation, Requantization, clamp
from profiler.kernels.tir import Buffer, Expr, load
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class Finish:
    """``buffers`` has the kernel's arguments by name; those that the epilogue does not use are missing or None."""

    spec: KernelSpec
    lanes: int
    buffers: Mapping[str, Buffer | None]

    @property
    def output(self) -> Activation:
        return Activation(self.buffers["output"], self.spec.output_dtype, self.spec.workload.out_channels)

    def vector(
        self, padded: Expr, channel: Expr, used: int, places: list[Expr], totals: list[Expr], group: int = 0
    ) -> None:
        """One vector of channels for some pixels.

        padded, channel : its first channel in parameters and in activations. used : lanes that are channels.
        places, totals : of each pixel its number and its sums, an int32 vector. group : as of
        `Activation.load_some`.
        """
        spec, lanes = self.spec, self.lanes
        bias = self.buffers.get("bias")
        added = None if bias is None else load(bias, padded, lanes)
        requantization = self._requantization("", padded)
        rescale = self._requantization("residual_", padded)
        low, high = spec.output_range
        for place, total in zip(places, totals, strict=True):
            value = total if added is None else total + added
            if requantization is not None:
                wide = requantization.apply(value, negative=low < 0 or rescale is not None)
                if rescale is not None:
                    residual = self._residual(place, channel, used, group)
                    wide = wide + rescale.apply(
                        residual, negative=spec.input2_dtype is not None and spec.input2_dtype.signed
                    )
                value = clamp(wide, low, high, lanes)
            self.output.store_used(place, channel, lanes, used, value, group)

    def _requantization(self, prefix: str, offset: Expr) -> Requantization | None:
        multiplier, shift = (self.buffers.get(f"{prefix}{name}") for name in ("multiplier", "shift"))
        if multiplier is None:
            return None
        return Requantization.of(load(multiplier, offset, self.lanes), load(shift, offset, self.lanes), self.lanes)

    def _residual(self, place: Expr, channel: Expr, used: int, group: int) -> Expr:
        assert self.spec.input2_dtype is not None
        residual = Activation(self.buffers["residual"], self.spec.input2_dtype, self.output.channels)
        return residual.load_some(place, channel, self.lanes, used, group)
