"""Bits of vectors: masks as integers and back, and channels of a pixel that is stored as bit planes.

The integer of a mask has bit i set where lane i is true. LLVM has one instruction for either direction on most CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.quantize.planes import plane_bytes
from profiler.workload import DType

PLANE_LANES = 8
"""Channels that elementwise kernels take at least at once where tensors lie in bit planes: those of a byte."""


def mask_bits(mask: Expr, lanes: int) -> Expr:
    """A vector of 8, 16, 32 or 64 booleans as an unsigned integer of that width."""
    return tirx.call_intrin(f"uint{lanes}", "tirx.reinterpret", mask)


def spread_bits(bits: Expr, lanes: int) -> Expr:
    """Inverse of `mask_bits`."""
    return tirx.call_intrin(f"boolx{lanes}", "tirx.reinterpret", bits)


def lane_numbers(lanes: int, dtype: str = "int32") -> Expr:
    """0, 1, 2, ..."""
    return tirx.Ramp(const(0, dtype), const(1, dtype), lanes)


@dataclass(frozen=True)
class PlanePixels:
    """A view on a tensor in bit planes: pixels x channels (see `quantize.planes`); ``buffer`` holds bytes."""

    buffer: Buffer
    dtype: DType
    channels: int

    @property
    def plane_bytes(self) -> int:
        return plane_bytes(self.channels)

    @property
    def pitch(self) -> int:
        """Bytes from one pixel to the next."""
        return self.dtype.bits * self.plane_bytes

    def byte(self, pixel: Expr, plane: int, channel: Expr) -> Expr:
        """Where the byte of a channel lies."""
        return pixel * self.pitch + plane * self.plane_bytes + tirx.floordiv(channel, 8)

    def load(self, pixel: Expr, channel: Expr, lanes: int) -> Expr:
        """int32 vector of ``lanes`` channels: a multiple of 8 from such a multiple on, or 4 from such a one on.

        Whole bytes are read, and words behind the last channel are there: any number of lanes may be unused.
        """
        value = const(0, lanes=lanes)
        for plane in range(self.dtype.bits):
            bits = self._some_bits(pixel, plane, channel, lanes)
            one = tirx.bitwise_and(
                tirx.shift_right(tirx.Broadcast(bits, lanes), lane_numbers(lanes)), const(1, lanes=lanes)
            )
            value = tirx.bitwise_or(value, tirx.shift_left(one, const(plane, lanes=lanes)))
        return self._signed(value, lanes)

    def _some_bits(self, pixel: Expr, plane: int, channel: Expr, lanes: int) -> Expr:
        """int32 scalar with the bits of ``lanes`` channels, the first one lowest."""
        at = self.byte(pixel, plane, channel)
        if lanes < 8:
            return tirx.shift_right(tirx.Cast("int32", self.buffer[at]), tirx.floormod(channel, 8))
        raw = load(self.buffer, at, lanes // 8)
        return tirx.Cast("int32", raw if lanes == 8 else tirx.reinterpret(f"uint{lanes}", raw))

    def load_one(self, pixel: Expr, channel: Expr) -> Expr:
        """int32 scalar of any channel."""
        value = const(0)
        for plane in range(self.dtype.bits):
            byte = tirx.Cast("int32", self.buffer[self.byte(pixel, plane, channel)])
            one = tirx.bitwise_and(tirx.shift_right(byte, tirx.floormod(channel, 8)), const(1))
            value = tirx.bitwise_or(value, tirx.shift_left(one, const(plane)))
        return self._signed(value, 1)

    def _signed(self, value: Expr, lanes: int) -> Expr:
        if not self.dtype.signed:
            return value
        places = const(32 - self.dtype.bits, lanes=lanes)
        return tirx.shift_right(tirx.shift_left(value, places), places)

    def store(
        self, pixel: Expr, channel: Expr, lanes: int, value: Expr, used: int | None = None, inside: bool = False
    ) -> None:
        """Store the first ``used`` lanes of an int32 vector, zeros for the others; conditions as for `load`.

        Of 4 lanes the lower half of a byte must be stored first: it clears the upper one. inside : as of `store_mask`.
        """
        for plane in range(self.dtype.bits):
            one = tirx.bitwise_and(value, const(1 << plane, lanes=lanes))
            at = self.byte(pixel, plane, channel)
            if lanes >= 8:
                self.store_mask(at, one != const(0, lanes=lanes), lanes, lanes if used is None else used, inside)
                continue
            row = T.alloc_buffer((lanes,), "int32", scope="local")
            store(row, 0, one, lanes)
            nibble = const(0)
            for i in range(lanes if used is None else used):
                nibble = tirx.bitwise_or(nibble, tirx.shift_left(tirx.shift_right(row[i], const(plane)), const(i)))
            self._merge(at, channel, nibble)

    def store_mask(self, at: Expr, mask: Expr, lanes: int, used: int, inside: bool = False) -> None:
        """Store the first ``used`` of 8, 16 or 32 booleans in a plane's bytes from ``at`` on, zeros for the others.

        inside : other channels follow; of the bytes behind those of ``used`` none is touched.
        """
        bits = mask_bits(mask, lanes)
        if used < lanes:
            bits = tirx.bitwise_and(bits, const((1 << used) - 1, f"uint{lanes}"))
        filled = -(-used // 8)
        if inside and filled < lanes // 8:
            for i in range(filled):
                byte = tirx.shift_right(bits, const(8 * i, f"uint{lanes}"))
                T.buffer_store(self.buffer, tirx.Cast("uint8", byte), [at + i])
            return
        store(self.buffer, at, bits if lanes == 8 else tirx.reinterpret(f"uint8x{lanes // 8}", bits), lanes // 8)

    def store_one(self, pixel: Expr, channel: Expr, value: Expr, keep: bool = False) -> None:
        """Store an int32 scalar. The first channel of a byte must be stored first: it clears the others, but for
        ``keep``, with which they stay as they were."""
        for plane in range(self.dtype.bits):
            one = tirx.bitwise_and(tirx.shift_right(value, const(plane)), const(1))
            self._merge(self.byte(pixel, plane, channel), channel, one, keep)

    def _merge(self, at: Expr, channel: Expr, bits: Expr, keep: bool = False) -> None:
        place = tirx.floormod(channel, 8)
        one = tirx.shift_left(const(1), place)
        kept = tirx.bitwise_and(
            tirx.Cast("int32", self.buffer[at]), tirx.bitwise_not(one) if keep else one - const(1)
        )  # of the channels ahead, if there are none behind yet
        byte = tirx.bitwise_or(kept, tirx.shift_left(bits, place))
        T.buffer_store(self.buffer, tirx.Cast("uint8", byte), [at])

    def clear_behind(self, pixel: Expr, channels: int) -> None:
        """Zero the bytes behind those that the first ``channels`` channels take, to the planes' ends."""
        self.clear(pixel, channels, 8 * self.plane_bytes - channels)

    def clear(self, pixel: Expr, channels: int, count: int) -> None:
        """Zero the bytes of ``count`` channels behind the first ones, but for a byte that these begin."""
        first, end = -(-channels // 8), (channels + count) // 8
        for plane in range(self.dtype.bits):
            start = pixel * self.pitch + (plane * self.plane_bytes + first)
            for i in range(end - first):
                T.buffer_store(self.buffer, const(0, "uint8"), [start + i])
