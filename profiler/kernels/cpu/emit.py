"""Building blocks of the CPU templates: short TIR expressions on vectors, and views on activations in memory.

Templates are plain Python that emits TIR through TVM's IR builder: a Python loop is an unrolled loop, `serial` is a
loop of the kernel. All arithmetic is on vectors of 32-bit lanes; 8- and 4-bit values are widened as they are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cpu.planes import PlanePixels
from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.workload import DType


def vector(dtype: str, lanes: int) -> str:
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def loop(extent: int, parallel: bool = False) -> Any:
    """A loop of the kernel; use as ``with loop(n) as i``."""
    return T.parallel(extent) if parallel else T.serial(extent)


def clipped_start(index: Expr, tile: int, extent: int) -> Expr:
    """First element of a tile; the last tile is moved back to end at ``extent``, so it overlaps its neighbour."""
    return index * tile if extent % tile == 0 else tirx.min(index * tile, extent - tile)


@dataclass(frozen=True)
class Requantization:
    """Multiplier, shift and rounding term of a vector of channels, widened to 64 bits."""

    multiplier: Expr
    shift: Expr
    rounding: Expr
    lanes: int

    @staticmethod
    def of(multiplier: Expr, shift: Expr, lanes: int) -> Requantization:
        """From int32 vectors; ``shift`` is at least 1."""
        wide = tirx.Cast(vector("int64", lanes), shift)
        one = const(1, "int64", lanes)
        return Requantization(
            tirx.Cast(vector("int64", lanes), multiplier), wide, tirx.shift_left(one, wide - one), lanes
        )

    def apply(self, value: Expr, *, negative: bool) -> Expr:
        """int32 vector to int64: value * multiplier / 2**shift, rounded half away from zero.

        (p + r + (p >> 63)) >> s with r = 2**(s-1). The term for the sign is left out where ``negative`` is false:
        where there are no negative values, or a clamp at zero follows directly, so that their rounding is not seen.
        """
        product = tirx.Cast(vector("int64", self.lanes), value) * self.multiplier
        rounded = product + self.rounding
        if negative:
            rounded = rounded + tirx.shift_right(product, const(63, "int64", self.lanes))
        return tirx.shift_right(rounded, self.shift)


def clamp(value: Expr, low: int, high: int, lanes: int) -> Expr:
    """int64 vector clamped, as int32."""
    limited = tirx.max(tirx.min(value, const(high, "int64", lanes)), const(low, "int64", lanes))
    return tirx.Cast(vector("int32", lanes), limited)


@dataclass(frozen=True)
class Activation:
    """A view on an activation tensor in memory: pixels (batch, rows and columns flattened) x channels, NHWC.

    ``buffer`` holds bytes for types of up to 8 bits and int32 elements for int32. 4-bit channels lie two to a byte, the
    even one in the low nibble; every pixel starts at a whole byte. Narrower types are bit planes (`PlanePixels`).
    """

    buffer: Buffer
    dtype: DType
    channels: int

    @property
    def pitch(self) -> int:
        """Buffer elements from one pixel to the next."""
        if self.planes is not None:
            return self.planes.pitch
        return (self.channels + 1) // 2 if self.dtype.bits == 4 else self.channels

    @property
    def planes(self) -> PlanePixels | None:
        """The view on its bit planes, if it lies in such."""
        return PlanePixels(self.buffer, self.dtype, self.channels) if self.dtype.in_planes else None

    def load(self, pixel: Expr, channel: Expr, lanes: int) -> Expr:
        """int32 vector of ``lanes`` channels; for 4-bit types ``channel`` and ``lanes`` must be even."""
        if self.planes is not None:
            return self.planes.load(pixel, channel, lanes)
        if self.dtype.bits != 4:
            value = load(self.buffer, pixel * self.pitch + channel, lanes)
            return value if self.dtype is DType.INT32 else tirx.Cast(vector("int32", lanes), value)
        half = lanes // 2
        packed = load(self.buffer, pixel * self.pitch + tirx.floordiv(channel, 2), half)
        wide = tirx.Cast(vector("int64", half), packed)  # byte: 0 <= wide <= 255
        low = tirx.bitwise_and(wide, const(15, "int64", half))
        high = tirx.shift_left(tirx.shift_right(wide, const(4, "int64", half)), const(32, "int64", half))
        nibbles = tirx.reinterpret(vector("int32", lanes), tirx.bitwise_or(low, high))
        return self._sign_extended(nibbles, lanes)

    def load_one(self, pixel: Expr, channel: Expr) -> Expr:
        """int32 scalar of any channel."""
        if self.planes is not None:
            return self.planes.load_one(pixel, channel)
        if self.dtype.bits != 4:
            return tirx.Cast("int32", self.buffer[pixel * self.pitch + channel])
        byte = tirx.Cast("int32", self.buffer[pixel * self.pitch + tirx.floordiv(channel, 2)])
        nibble = tirx.bitwise_and(tirx.shift_right(byte, tirx.floormod(channel, 2) * 4), const(15))
        return self._sign_extended(nibble, 1)

    def _sign_extended(self, nibbles: Expr, lanes: int) -> Expr:
        if not self.dtype.signed:
            return nibbles
        return tirx.shift_right(tirx.shift_left(nibbles, const(28, lanes=lanes)), const(28, lanes=lanes))

    def store(self, pixel: Expr, channel: Expr, lanes: int, value: Expr) -> None:
        """Store an int32 vector that was clamped to the type; conditions as for `load`."""
        if self.planes is not None:
            self.planes.store(pixel, channel, lanes, value)
            return
        if self.dtype.bits != 4:
            store(self.buffer, pixel * self.pitch + channel, self._narrowed(value, lanes), lanes)
            return
        half = lanes // 2
        pairs = tirx.reinterpret(vector("int64", half), tirx.bitwise_and(value, const(15, lanes=lanes)))
        packed = tirx.bitwise_or(pairs, tirx.shift_right(pairs, const(28, "int64", half)))
        offset = pixel * self.pitch + tirx.floordiv(channel, 2)
        store(self.buffer, offset, tirx.Cast(vector("uint8", half), packed), half)

    def store_one(self, pixel: Expr, channel: Expr, value: Expr, keep: bool = False) -> None:
        """Store an int32 scalar.

        Of two 4-bit channels that share a byte the even one must be stored first: it clears the other, but for
        ``keep``, with which a slice leaves the channel behind its last one as it was. Likewise the first channel of a
        byte of a bit plane.
        """
        if self.planes is not None:
            self.planes.store_one(pixel, channel, value, keep)
            return
        if self.dtype.bits != 4:
            T.buffer_store(self.buffer, self._narrowed(value, 1), [pixel * self.pitch + channel])
            return
        offset = pixel * self.pitch + tirx.floordiv(channel, 2)
        nibble = tirx.bitwise_and(value, const(15))
        stored = tirx.Cast("int32", self.buffer[offset])
        odd = tirx.bitwise_or(tirx.bitwise_and(stored, const(15)), tirx.shift_left(nibble, const(4)))
        even = tirx.bitwise_or(nibble, tirx.bitwise_and(stored, const(0xF0))) if keep else nibble
        byte = tirx.Select(tirx.floormod(channel, 2) == 0, even, odd)
        T.buffer_store(self.buffer, tirx.Cast("uint8", byte), [offset])

    def load_some(self, pixel: Expr, channel: Expr, lanes: int, used: int, group: int = 0) -> Expr:
        """Like `load`, but only ``used`` lanes are wanted.

        group : channels of each group, if there are several; the vector lies in one of them, and need not begin where
        `load` can.
        """
        if self._at_once(lanes, used, group):
            return self.load(pixel, channel, lanes)
        values = T.alloc_buffer((lanes,), "int32", scope="local")
        store(values, 0, const(0, lanes=lanes), lanes)
        for i in range(used):
            T.buffer_store(values, self.load_one(pixel, channel + i), [i])
        return load(values, 0, lanes)

    def store_used(self, pixel: Expr, channel: Expr, lanes: int, used: int, value: Expr, group: int = 0) -> None:
        """Like `store`, but only the first ``used`` lanes are written; ``group`` as of `load_some`, of bit planes whole
        bytes."""
        if self.planes is not None:
            self.planes.store(pixel, channel, lanes, value, used, inside=group > 0)
            return
        if self._at_once(lanes, used, group):
            self.store(pixel, channel, lanes, value)
            return
        values = T.alloc_buffer((lanes,), "int32", scope="local")
        store(values, 0, value, lanes)
        if group % 2 == 0:
            self._store_pairs(pixel, channel, [values[i] for i in range(used)])
            return
        for i in range(used):
            self.store_one(pixel, channel + i, values[i])

    def _at_once(self, lanes: int, used: int, group: int) -> bool:
        """Whether one access will do. Planes without groups have whole words behind the last channel."""
        if self.planes is not None:
            return group % min(lanes, 8) == 0 and (used == lanes or not group)
        return used == lanes and (group % 2 == 0 or self.dtype.bits != 4)

    def _store_pairs(self, pixel: Expr, channel: Expr, values: list[Expr]) -> None:
        """Scalars of consecutive channels, the first of them even; a last odd nibble is zero."""
        if self.dtype.bits != 4:
            for i, value in enumerate(values):
                self.store_one(pixel, channel + i, value)
            return
        for i in range(0, len(values), 2):
            byte = tirx.bitwise_and(values[i], const(15))
            if i + 1 < len(values):
                byte = tirx.bitwise_or(byte, tirx.shift_left(tirx.bitwise_and(values[i + 1], const(15)), const(4)))
            offset = pixel * self.pitch + tirx.floordiv(channel, 2) + i // 2
            T.buffer_store(self.buffer, tirx.Cast("uint8", byte), [offset])

    def clear_behind(self, pixel: Expr, channels: int) -> None:
        """Zero what the first ``channels`` channels leave of the words of bit planes."""
        if self.planes is not None:
            self.planes.clear_behind(pixel, channels)

    def clear(self, pixel: Expr, channels: int, count: int) -> None:
        """Zero ``count`` channels behind the first ones, which bit planes alone have (`PlanePixels.clear`)."""
        if self.planes is not None:
            self.planes.clear(pixel, channels, count)

    def _narrowed(self, value: Expr, lanes: int) -> Expr:
        return value if self.dtype is DType.INT32 else tirx.Cast(vector(self.dtype.value, lanes), value)


def argument(name: str, dtype: str) -> Expr:
    """A pointer argument of the kernel; all of them must be declared ahead of the first buffer."""
    return T.arg(name, T.handle(dtype))


def flat_buffer(pointer: Expr, dtype: str, nbytes: int) -> Buffer:
    """A flat buffer of ``dtype`` over the ``nbytes`` bytes that a pointer argument points to."""
    size = {"uint64": 8, "int32": 4, "int16": 2}.get(dtype, 1)
    return T.decl_buffer((max(1, nbytes // size),), dtype, data=pointer)
