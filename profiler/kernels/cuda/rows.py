"""Tensors as the threads of a SIMT template see them: rows of channels, read and written in blocks, as wide as can be.

A row is a pixel of an activation, a tap of depthwise weights, or the whole of a vector of parameters. Blocks are loaded
into registers as words of 32 bits (words of 16 or 8 bits where alignment allows no more) and taken apart there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil, gcd

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.codegen import call
from profiler.kernels.cuda.work_items import Condition, both, when
from profiler.kernels.tir import Buffer, Expr, const, load, local, store
from profiler.workload import DType

WIDEST_BYTES = 16
"""Of one load or store of a thread."""
_ELEMENTS = {1: "int8", 2: "int16", 4: "int32"}


@dataclass(frozen=True)
class Place:
    """Where a block of channels is: row, section of the row, block of the section."""

    row: Expr
    block: Expr
    section: Expr = 0


@dataclass(frozen=True)
class Rows:
    """A tensor in memory: rows of ``channels``, each a whole number of bytes long.

    The channels from the start of a row are cut into sections of ``section`` channels (all of them; the groups of a
    convolution; the slice of a concatenation), those into blocks of ``block``, the last of which may be cut off; a
    thread reads or writes one block. Blocks are whole bytes; so are sections, but for one that ends the row or is a
    slice. ``reach``: channels that blocks go up to, where another argument's padding makes them go beyond the section.
    """

    dtype: DType
    channels: int
    block: int
    section: int
    reach: int = 0

    def __post_init__(self) -> None:
        if self.block * self.dtype.bits % 8:
            raise ValueError(f"a block of {self.block} channels of {self.dtype.value} is no whole number of bytes")

    @staticmethod
    def of(dtype: DType, channels: int, block: int, section: int | None = None, reach: int = 0) -> Rows:
        """One section of all channels, where no other is given."""
        return Rows(dtype, channels, block, channels if section is None else section, reach)

    @property
    def blocks(self) -> int:
        """Of a section."""
        return ceil(max(self.section, self.reach) / self.block)

    @property
    def splits_byte(self) -> bool:
        """Whether the section's last byte holds a channel that lies behind it, and must be kept as it is."""
        return self.section < self.channels and self.section * self.dtype.bits % 8 != 0

    @property
    def unit_bytes(self) -> int:
        """Width of one load or store: what the starts of rows, sections and blocks are multiples of."""
        if self.splits_byte:
            return 1
        starts = (self._bytes(self.channels), self._bytes(self.section), self._bytes(self.block))
        return gcd(*starts, WIDEST_BYTES)

    @property
    def word_bytes(self) -> int:
        return min(self.unit_bytes, 4)

    @property
    def element(self) -> str:
        """Element type of the buffer that stands for the tensor."""
        return _ELEMENTS[self.word_bytes]

    @property
    def word_channels(self) -> int:
        return 8 * self.word_bytes // self.dtype.bits

    @property
    def words(self) -> int:
        """Of a block."""
        return self.block // self.word_channels

    def load(self, buffer: Buffer, place: Place, inside: Condition = None, fill: int = 0) -> Block:
        """The block in registers; words that lie behind the section's end, or not ``inside``, hold ``fill``."""
        words = local(self.words)
        start = self._start(place)
        for word, width in self._units():
            present = both(inside, self._present(place, word))
            value = load(buffer, start + word, width)
            if self.word_bytes < 4:
                value = tirx.Cast("int32", value)
            if present is not None:
                constant = const(fill)
                value = T.if_then_else(present, value, constant if width == 1 else tirx.Broadcast(constant, width))
            store(words, word, value, width)
        return Block(self, words)

    def store(
        self,
        buffer: Buffer,
        places: Sequence[Place],
        value: Callable[[int, int], Expr],
        inside: Sequence[Condition] | None = None,
    ) -> None:
        """Store a block at each place; the places differ in their row alone.

        value : of a place (its index) and a channel of the block, int32, clamped to the type. inside : which of the
        places there are. Channels behind the section's end are not stored; the nibble behind a row of an odd number of
        4-bit channels becomes 0. A word is made for all places before the next one is, so that what its channels need
        (parameters in registers) is needed only then.
        """
        room = self._room(places[0])
        stored = [local(self.words) for _ in places]
        for word in range(self.words):
            channels = range(word * self.word_channels, (word + 1) * self.word_channels)
            for i, words in enumerate(stored):
                values = [value(i, channel) for channel in channels]
                if self.dtype.bits == 4 and self.section % 2:
                    values = [
                        v if c % 2 == 0 else tirx.Select(room > c, v, const(0))
                        for c, v in zip(channels, values, strict=True)
                    ]
                store(words, word, self._packed(values))
        for i, place in enumerate(places):
            with when(inside[i] if inside else None):
                for word, width in self._units():
                    with when(self._present(place, word)):
                        self._store_unit(buffer, place, stored[i], word, width)

    def _store_unit(self, buffer: Buffer, place: Place, words: Buffer, word: int, width: int) -> None:
        at, value = self._start(place) + word, load(words, word, width)
        if self.splits_byte:
            kept = tirx.bitwise_or(value, tirx.bitwise_and(tirx.Cast("int32", buffer[at]), const(0xF0)))
            value = T.if_then_else(self._room(place) == word * self.word_channels + 1, kept, value)
        if self.word_bytes < 4:
            value = tirx.Cast(self.element, value)
        store(buffer, at, value, width)

    def _packed(self, values: Sequence[Expr]) -> Expr:
        """A word of its channels."""
        if len(values) == 1:
            return values[0]
        bits = self.dtype.bits
        mask = const((1 << bits) - 1)
        fields = [tirx.bitwise_and(value, mask) << (bits * i) for i, value in enumerate(values)]
        return reduce(tirx.bitwise_or, fields)

    def _units(self) -> list[tuple[int, int]]:
        """First word and number of words of each load or store."""
        width = self.unit_bytes // self.word_bytes
        return [(word, width) for word in range(0, self.words, width)]

    def _start(self, place: Place) -> Expr:
        """Buffer element at which the block starts."""
        row, section, block = (
            self._bytes(count) // self.word_bytes for count in (self.channels, self.section, self.block)
        )
        return place.row * row + place.section * section + place.block * block

    def _room(self, place: Place) -> Expr:
        """Channels from the start of the block to the end of the section."""
        return self.section - place.block * self.block

    def _present(self, place: Place, word: int) -> Condition:
        """Whether a word of the block holds channels of the section."""
        beyond = self.blocks > ceil(self.section / self.block)
        if not beyond and (word == 0 or self.section % self.block == 0):
            return None
        return self._room(place) > word * self.word_channels

    def _bytes(self, channels: int) -> int:
        return ceil(channels * self.dtype.bits / 8)


@dataclass(frozen=True)
class Block:
    """A block of channels in registers."""

    rows: Rows
    words: Buffer

    def value(self, channel: int) -> Expr:
        """A channel of the block as int32."""
        dtype, (word, index) = self.rows.dtype, divmod(channel, self.rows.word_channels)
        return field(self.words[word], dtype.bits, dtype.bits * index, dtype.signed)

    def as_bytes(self) -> Bytes:
        """A block of 8- or 4-bit channels with each in a byte of its own."""
        rows = self.rows
        if rows.dtype.bits == 8:
            return Bytes(rows, self.words)
        expand = "lb_bytes_s4" if rows.dtype.signed else "lb_bytes_u4"
        words = local(2 * rows.words)
        for word in range(2 * rows.words):
            store(words, word, call(expand, self.words[word // 2], word % 2, returns="int32"))
        return Bytes(rows, words)


@dataclass(frozen=True)
class Bytes:
    """A block of channels in registers, one to a byte. Of 4-bit types the even channels of a word come first, then the
    odd ones. Bytes that belong to no channel have any value."""

    rows: Rows
    words: Buffer

    @property
    def count(self) -> int:
        """Number of words."""
        return self.rows.words * (8 // self.rows.dtype.bits)

    def position(self, channel: int) -> tuple[int, int]:
        """Word of a channel, and the bit at which its byte starts there."""
        word, index = divmod(channel, self.rows.word_channels)
        if self.rows.dtype.bits == 8:
            return word, 8 * index
        return 2 * word + index % 2, 8 * (index // 2)


def field(word: Expr, bits: int, offset: int, signed: bool) -> Expr:
    """Bits of an int32, as a number."""
    if bits == 32:
        return word
    if not signed:
        return tirx.bitwise_and(word >> offset, const((1 << bits) - 1))
    above = 32 - bits
    return (word << (above - offset)) >> above
