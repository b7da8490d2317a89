"""Tensors of less than four bits in memory: bit planes in 64-bit words along the channels.

A pixel has one row of words per bit, the lowest bit first; channel c is bit c % 64 of word c // 64. Words are little
endian, and bits behind the last channel are 0. Signed values are two's complement; of -1 and +1 the bit is set for +1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.padding import padded
from profiler.quantize.whole_bytes import WORD_BITS, plane_bytes
from profiler.workload import DType

__all__ = ["WORD_BITS", "codes_of", "pack_planes", "plane_bytes", "unpack_planes", "values_of"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def codes_of(values: Array, dtype: DType) -> Bytes:
    """The bits that stand for values of a type of up to 4 bits, as the low bits of a byte each."""
    if dtype is DType.INT1:
        return (values > 0).astype(np.uint8)
    return values.astype(np.uint8) & np.uint8((1 << dtype.bits) - 1)


def values_of(codes: Bytes, dtype: DType) -> Array:
    """Inverse of `codes_of`: int8 or uint8."""
    if dtype is DType.INT1:
        return 2 * codes.view(np.int8) - np.int8(1)
    if not dtype.signed:
        return codes
    sign = np.uint8(1 << (dtype.bits - 1))
    return ((codes ^ sign) - sign).view(np.int8)


def pack_planes(codes: Bytes, bits: int) -> Bytes:
    """Codes [..., C] to planes [..., bits, plane_bytes(C)]."""
    planes = (codes[..., None, :] >> np.arange(bits, dtype=np.uint8)[:, None]) & np.uint8(1)
    packed = np.packbits(planes, axis=-1, bitorder="little")
    return padded(packed, -1, WORD_BITS // 8)


def unpack_planes(packed: Bytes, channels: int) -> Bytes:
    """Inverse of `pack_planes`: [..., bits, plane_bytes(channels)] to codes [..., channels]."""
    planes = np.unpackbits(packed, axis=-1, count=channels, bitorder="little")
    weights = np.left_shift(np.uint8(1), np.arange(packed.shape[-2], dtype=np.uint8))
    codes: Bytes = (planes * weights[:, None]).sum(axis=-2, dtype=np.uint8)
    return codes
