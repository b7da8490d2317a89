"""The stage: an image copied to the workspace as bytes, padded or gathered, so that tiles read it without tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cpu.emit import Activation, loop, vector
from profiler.kernels.cpu.planes import spread_bits
from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.workload import KernelSpec, Workload


@dataclass(frozen=True)
class Stage:
    """How the input of a convolution is staged.

    ``gathered``: only the pixels that a strided 1x1 kernel reads, side by side; otherwise whole padded rows.
    ``offset`` is added to every value, the padding's zeros included, so that bytes have the sign that is wanted.
    """

    spec: KernelSpec
    lanes: int
    gathered: bool
    offset: int

    @property
    def row_pitch(self) -> int:
        """Bytes of a staged row."""
        w = self.spec.workload
        return (w.out_width if self.gathered else w.in_width + w.pad_left + w.pad_right) * w.in_channels

    @property
    def rows(self) -> int:
        w = self.spec.workload
        return w.out_height if self.gathered else w.in_height + w.pad_top + w.pad_bottom

    @property
    def image_bytes(self) -> int:
        return self.rows * self.row_pitch

    def emit(self, source: Buffer, workspace: Buffer, image: Expr, slot: Expr, parallel: bool) -> None:
        """Copy ``image`` of the batch to place ``slot`` of the workspace; ``parallel``: rows split among threads."""
        w = self.spec.workload
        copy = _Copy(self, Activation(source, self.spec.input_dtype, w.in_channels), workspace)
        first = slot * self.image_bytes
        if self.gathered:
            with loop(self.rows, parallel) as y:
                row = first + y * self.row_pitch
                copy.pixels((image * w.in_height + y * w.stride_h) * w.in_width, w.out_width, w.stride_w, row)
            return
        emit_padded_rows(
            w,
            parallel,
            lambda y, above: copy.padded_row(image * w.in_height + y - above, first + y * self.row_pitch),
            lambda y: copy.fill(first + y * self.row_pitch, self.row_pitch),
        )


def emit_padded_rows(
    w: Workload, parallel: bool, real: Callable[[Expr, int], None], padding: Callable[[Expr], None]
) -> None:
    """A loop over the rows of an image and those of padding above and below it.

    real, padding : emit row y of all; ``real`` is told as well how many are above the image. parallel : split among
    threads.
    """
    with loop(w.in_height + w.pad_top + w.pad_bottom, parallel) as y:
        emit_padded_row(w, y, real, padding)


def emit_padded_row(w: Workload, y: Expr, real: Callable[[Expr, int], None], padding: Callable[[Expr], None]) -> None:
    """One row of those; arguments as of `emit_padded_rows`."""
    if w.pad_top + w.pad_bottom == 0:
        real(y, 0)
        return
    with T.If(tirx.all(y >= w.pad_top, y < w.pad_top + w.in_height)):
        with T.Then():
            real(y, w.pad_top)
        with T.Else():
            padding(y)


@dataclass(frozen=True)
class _Copy:
    stage: Stage
    source: Activation
    workspace: Buffer

    def padded_row(self, row: Expr, target: Expr) -> None:
        w = self.stage.spec.workload
        start = target + w.pad_left * w.in_channels
        self.fill(target, w.pad_left * w.in_channels)
        self.pixels(row * w.in_width, w.in_width, 1, start)
        self.fill(start + w.in_width * w.in_channels, w.pad_right * w.in_channels)

    def fill(self, target: Expr, elements: int) -> None:
        """The logical zero."""
        if elements:
            with loop(elements) as i:
                T.buffer_store(self.workspace, const(self.stage.offset & 255, "uint8"), [target + i])

    def pixels(self, first: Expr, count: int, step: int, target: Expr) -> None:
        """``count`` pixels, each ``step``-th one, side by side from byte ``target`` on."""
        channels, pitch = self.source.channels, self.source.pitch
        in_planes = self.source.dtype.in_planes
        if step == 1 and pitch * 8 == channels * self.source.dtype.bits and not in_planes:
            self._run(first * pitch, target, count * channels)
            return
        with loop(count) as x:
            self._run((first + x * step) * pitch, target + x * channels, channels)

    def _run(self, source: Expr, target: Expr, elements: int) -> None:
        """``elements`` values that lie side by side, from byte ``source`` of the input."""
        done = 0
        for width in (4 * self.stage.lanes, 8) if self.source.dtype.in_planes else (4 * self.stage.lanes, 8, 2):
            count = (elements - done) // width
            if count:
                with loop(count) as i:
                    self._vector(source, target, done + i * width, width)
                done += count * width
        for element in range(done, elements):
            self._vector(source, target, const(element), 1)

    def _vector(self, source: Expr, target: Expr, element: Expr, width: int) -> None:
        offset, dtype = self.stage.offset, self.source.dtype
        if dtype.in_planes:
            value = self._from_planes(source, element, width)
        elif dtype.bits == 8:
            value = tirx.reinterpret(vector("uint8", width), load(self.source.buffer, source + element, width))
            if offset:  # adding 128 or -128 turns the highest bit
                value = tirx.bitwise_xor(value, const(128, "uint8", width))
        else:
            packed = load(self.source.buffer, source + tirx.floordiv(element, 2), max(1, width // 2))
            value = nibbles_to_bytes(packed, width)
            if dtype.signed:  # x ^ 8 is x + 8 as an unsigned nibble; without an offset the 8 goes again: sign extension
                value = tirx.bitwise_xor(value, const(8, "uint8", width))
                value = value if offset else value - const(8, "uint8", width)
        store(self.workspace, target + element, value, width)

    def _from_planes(self, source: Expr, element: Expr, width: int) -> Expr:
        """``width`` channels, 1 or a multiple of 8, of the pixel at byte ``source``, as bytes."""
        dtype, offset = self.source.dtype, self.stage.offset
        planes = self.source.planes
        assert planes is not None
        value = const(0, "uint8", width)
        for plane in range(dtype.bits):
            at = source + plane * planes.plane_bytes + tirx.floordiv(element, 8)
            one = const(1 << plane, "uint8", width)
            if width == 1:
                bit = tirx.shift_right(self.source.buffer[at], tirx.Cast("uint8", tirx.floormod(element, 8)))
                value = value + tirx.bitwise_and(bit, const(1, "uint8")) * one
                continue
            raw = load(self.source.buffer, at, width // 8)
            bits = raw if width == 8 else tirx.reinterpret(f"uint{width}", raw)
            value = tirx.bitwise_or(value, tirx.Select(spread_bits(bits, width), one, const(0, "uint8", width)))
        if dtype.signed:
            sign = const(1 << (dtype.bits - 1), "uint8", width)
            value = tirx.bitwise_xor(value, sign)
            value = value if offset else value - sign
        return value


def nibbles_to_bytes(packed: Expr, width: int) -> Expr:
    """``width`` nibbles, low one first, as unsigned bytes; of a single one the low nibble."""
    if width == 1:
        return tirx.bitwise_and(packed, const(15, "uint8"))
    half = width // 2
    wide = tirx.Cast(vector("uint16", half), packed)
    spread = tirx.bitwise_or(wide, tirx.shift_left(wide, const(4, "uint16", half)))
    return tirx.reinterpret(vector("uint8", width), tirx.bitwise_and(spread, const(0x0F0F, "uint16", half)))
