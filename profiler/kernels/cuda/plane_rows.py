"""Tensors in bit planes as the threads of a SIMT template see them: blocks of whole bytes of every plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.codegen import call
from profiler.kernels.cuda.rows import Block, Bytes, Place, Rows
from profiler.kernels.cuda.work_items import Condition, both, when
from profiler.kernels.tir import Buffer, Expr, const, load, local, store
from profiler.quantize.planes import plane_bytes
from profiler.workload import DType

_ELEMENTS = {1: "uint8", 2: "uint16", 4: "int32"}


def tensor_rows(dtype: DType, channels: int, block: int, section: int | None = None, reach: int = 0) -> Rows:
    """Rows of an activation, in bit planes or not; arguments as those of `Rows.of`."""
    kind = PlaneRows if dtype.in_planes else Rows
    return kind(dtype, channels, block, channels if section is None else section, reach)


@dataclass(frozen=True)
class PlaneRows(Rows):
    """As `Rows`; a word holds one bit each of ``word_channels`` channels. A section is the whole row, whose planes the
    blocks of an output fill up to their end with zeros, or the slice of a concatenation, behind which channels become 0
    as far as ``reach`` goes beyond it."""

    def __post_init__(self) -> None:
        if self.block % 8:
            raise ValueError(f"a block of {self.block} channels is no whole number of bytes of a plane")

    @property
    def splits_byte(self) -> bool:
        return self.section < self.channels and self.section % 8 != 0 and self.reach <= self.section

    @property
    def unit_bytes(self) -> int:
        return 1 if self.section < self.channels else gcd(self.block // 8, 4)

    @property
    def element(self) -> str:
        return _ELEMENTS[self.word_bytes]

    @property
    def word_channels(self) -> int:
        return 8 * self.word_bytes

    @property
    def pitch(self) -> int:
        """Elements of a plane of a row."""
        return plane_bytes(self.channels) // self.word_bytes

    def load(self, buffer: Buffer, place: Place, inside: Condition = None, fill: int = 0) -> Block:
        """As `Rows.load`; words of a plane lie together, the lowest plane first."""
        words = local(self.dtype.bits * self.words)
        # Blocks end with the row's planes at the latest, and zeros are there, or another argument's go further.
        whole = self.section == self.channels and self.reach <= 8 * plane_bytes(self.channels)
        for word in range(self.words):
            present = both(inside, None if whole else self._present(place, word))
            for plane in range(self.dtype.bits):
                value = tirx.Cast("int32", load(buffer, self._at(place, plane) + word))
                if present is not None:
                    value = T.if_then_else(present, value, const(fill))
                store(words, plane * self.words + word, value)
        return PlaneBlock(self, words)

    def store(
        self,
        buffer: Buffer,
        places: Sequence[Place],
        value: Callable[[int, int], Expr],
        inside: Sequence[Condition] | None = None,
    ) -> None:
        """As `Rows.store`; bits behind the last channel become 0, those behind a slice's reach stay as they are."""
        room = self._room(places[0])
        bits, whole = self.dtype.bits, self.section == self.channels
        stored = [local(bits * self.words) for _ in places]
        for word in range(self.words):
            channels = range(word * self.word_channels, (word + 1) * self.word_channels)
            for i, words in enumerate(stored):
                values = [T.bind(value(i, channel)) for channel in channels]
                if self.section % self.block or self.reach > self.section:
                    values = [T.bind(tirx.Select(room > c, v, const(0))) for c, v in zip(channels, values, strict=True)]
                for plane in range(bits):
                    fields = [((v >> plane) & const(1)) << i for i, v in enumerate(values)]
                    store(words, plane * self.words + word, reduce(tirx.bitwise_or, fields))
        for i, place in enumerate(places):
            with when(inside[i] if inside else None):
                for word in range(self.words):
                    with when(None if whole else self._written(place, word)):
                        for plane in range(bits):
                            self._store_word(buffer, place, stored[i], plane, word)

    def _written(self, place: Place, word: int) -> Condition:
        """Whether a word of the block holds channels of the section, or such behind it as become 0."""
        if self.reach <= self.section:
            return self._present(place, word)
        if word == 0 or self.reach % self.block == 0:
            return None
        return self.reach - place.block * self.block > word * self.word_channels

    def _store_word(self, buffer: Buffer, place: Place, words: Buffer, plane: int, word: int) -> None:
        at, value = self._at(place, plane) + word, words[plane * self.words + word]
        if self.splits_byte:
            room = self._room(place) - word * self.word_channels
            behind = const(-1) << tirx.max(tirx.min(room, const(8)), const(0))
            value = tirx.bitwise_or(value, tirx.bitwise_and(tirx.Cast("int32", buffer[at]), behind))
        store(buffer, at, value if self.word_bytes == 4 else tirx.Cast(self.element, value))

    def _at(self, place: Place, plane: int) -> Expr:
        start = (place.row * self.dtype.bits + plane) * self.pitch
        return start + (place.section * self.section + place.block * self.block) // self.word_channels


@dataclass(frozen=True)
class PlaneBlock(Block):
    """A block of channels in registers, plane by plane."""

    def value(self, channel: int) -> Expr:
        rows, (word, index) = self.rows, divmod(channel, self.rows.word_channels)
        return code_value([self.words[p * rows.words + word] >> index for p in range(rows.dtype.bits)], rows.dtype)

    def as_bytes(self) -> Bytes:
        rows = self.rows
        words = local(rows.block // 4)
        for four in range(rows.block // 4):
            word, index = divmod(4 * four, rows.word_channels)
            codes = None
            for p in range(rows.dtype.bits):
                spread = call("lb_bytes_of_bits", self.words[p * rows.words + word] >> index, returns="int32")
                codes = spread if codes is None else tirx.bitwise_or(codes, spread << p)
            if rows.dtype.signed:
                codes = call("lb_signed_bytes", codes, const(1 << (rows.dtype.bits - 1)), returns="int32")
            store(words, four, codes)
        return PlaneBytes(rows, words)


@dataclass(frozen=True)
class PlaneBytes(Bytes):
    """Channels in a byte each, in order."""

    @property
    def count(self) -> int:
        return self.rows.block // 4

    def position(self, channel: int) -> tuple[int, int]:
        return channel // 4, 8 * (channel % 4)


def code_value(planes: Sequence[Expr], dtype: DType) -> Expr:
    """The int32 whose code's bits are the lowest ones of each plane, the lowest plane first."""
    bits = [tirx.bitwise_and(plane, const(1)) for plane in planes]
    if dtype is DType.INT1:
        return bits[0] * 2 - 1
    terms = [bit << p if p else bit for p, bit in enumerate(bits)]
    if not dtype.signed:
        return reduce(tirx.bitwise_or, terms)
    return reduce(tirx.bitwise_or, terms[:-1]) - terms[-1]
