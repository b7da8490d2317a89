"""The epilogue of comparisons: an output is its lowest value and one more for each threshold passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm import tirx

from profiler.kernels.cpu.emit import Activation, vector
from profiler.kernels.cpu.planes import PlanePixels, spread_bits
from profiler.kernels.tir import Buffer, Expr, const, load
from profiler.quantize.lookup import threshold_rows
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class Comparison:
    """dtype : of the values and of the thresholds that `quantize.lookup` makes; they are padded to whole blocks of
    ``block`` channels."""

    spec: KernelSpec
    dtype: str
    block: int
    buffers: Mapping[str, Buffer]

    @property
    def output(self) -> Activation:
        return Activation(self.buffers["output"], self.spec.output_dtype, self.spec.workload.out_channels)

    def vector(self, channel: Expr, lanes: int, used: int, places: list[Expr], values: list[Expr]) -> None:
        """``lanes`` channels (8, 16 or 32), of which ``used`` are there. values : raw accumulators of each pixel."""
        low, _ = self.spec.output_range
        padded = -(-self.spec.workload.out_channels // self.block) * self.block
        zeros, ones = const(0, self.dtype, lanes), const(-1, self.dtype, lanes)
        rows = [
            load(self.buffers["thresholds"], row * padded + channel, lanes) for row in range(threshold_rows(self.spec))
        ]
        for place, value in zip(places, values, strict=True):
            limits = self._limits(rows, place, channel, lanes)
            passed = [tirx.Select(value > limit, ones, zeros) for limit in limits]
            if self.output.planes is not None:
                for plane in range(self.spec.output_dtype.bits):
                    self._store_plane(place, channel, plane, lanes, used, passed)
                continue
            total = const(low, self.dtype, lanes)
            for mask in passed:
                total = total - mask
            self.output.store_used(place, channel, lanes, used, tirx.Cast(vector("int32", lanes), total))

    def _limits(self, rows: list[Expr], place: Expr, channel: Expr, lanes: int) -> list[Expr]:
        """The thresholds of the residual's values, chosen bit by bit, the highest first."""
        spec = self.spec
        if spec.input2_dtype is None:
            return rows
        planes = PlanePixels(self.buffers["residual"], spec.input2_dtype, spec.workload.out_channels)
        for plane in reversed(range(spec.input2_dtype.bits)):
            raw = load(planes.buffer, planes.byte(place, plane, channel), lanes // 8)
            chosen = spread_bits(raw if lanes == 8 else tirx.reinterpret(f"uint{lanes}", raw), lanes)
            half = len(rows) // 2
            rows = [tirx.Select(chosen, rows[half + i], rows[i]) for i in range(half)]
        return rows

    def _store_plane(self, place: Expr, channel: Expr, plane: int, lanes: int, used: int, passed: list[Expr]) -> None:
        """Bit ``plane`` is set where the number of thresholds passed has it: it turns at each multiple of its value."""
        zeros = const(0, self.dtype, lanes)
        mask = zeros
        for step in passed[(1 << plane) - 1 :: 1 << plane]:
            mask = tirx.bitwise_xor(mask, step)
        if self.spec.output_range[0] < 0 and plane == self.spec.output_dtype.bits - 1:
            mask = tirx.bitwise_not(mask)
        planes = self.output.planes
        assert planes is not None
        planes.store_mask(planes.byte(place, plane, channel), mask != zeros, lanes, used)
