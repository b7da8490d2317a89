"""Where channels of fewer than 8 bits meet the bounds of bytes and words, in the order of `stored`."""

from __future__ import annotations

from math import prod

from profiler.workload import DType

WORD_BITS = 64
"""Of a word of a bit plane."""


def plane_bytes(channels: int) -> int:
    """Bytes of one plane of a pixel."""
    return -(-channels // WORD_BITS) * WORD_BITS // 8


def activation_nbytes(shape: tuple[int, ...], dtype: DType) -> int:
    """Bytes of a stored tensor of that shape."""
    if dtype.in_planes:
        return prod(shape[:-1]) * dtype.bits * plane_bytes(shape[-1])
    return prod(shape[:-1]) * ((shape[-1] * dtype.bits + 7) // 8)


def begins_on_byte(channel: int, dtype: DType) -> bool:
    """Whether the channel of a pixel does, so that a kernel can be given the pixel from there on. In bit planes it does
    in all of them or in none."""
    return _bits_ahead(channel, dtype) % 8 == 0


def byte_of(channel: int, dtype: DType) -> int:
    """Bytes from where a pixel begins to the byte of a channel that begins one; of bit planes in the first of them, and
    in each the same from where that begins."""
    return _bits_ahead(channel, dtype) // 8


def cleared_behind(channels: int, of_channels: int, dtype: DType) -> int:
    """Channels behind those of a slice of a pixel that its kernel writes zeros for.

    Bits behind the last channel of bit planes are 0. A slice does not know where in the pixel it lies. So each that can
    be the last one (it would begin on a byte) clears as many bits as its words have to spare: of the last one the spare
    bits, of others channels that the next slice writes, or spare bits.
    """
    if not dtype.in_planes or not begins_on_byte(of_channels - channels, dtype):
        return 0
    return 8 * plane_bytes(of_channels) - of_channels


def lies_in_a_row(height: int, width: int, channels: int, dtype: DType) -> bool:
    """Whether the pixels of an image follow each other without spare bits, so that it can be read flattened. Planes
    of several pixels do so where there is one of each, of whole words."""
    if height * width == 1:
        return True
    if dtype.in_planes:
        return dtype.bits == 1 and channels % WORD_BITS == 0
    return channels * dtype.bits % 8 == 0


def _bits_ahead(channel: int, dtype: DType) -> int:
    """Of a pixel, or of a plane of it."""
    return channel if dtype.in_planes else channel * dtype.bits
