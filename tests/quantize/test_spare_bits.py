"""Which bits at the end of a pixel count."""

from __future__ import annotations

import numpy as np
import pytest

from profiler.quantize.spare_bits import SpareBits, spare_bits
from profiler.quantize.stored import pack_activation, unpack_activation
from profiler.workload import DType

U4, S4, U8, U2 = DType.UINT4, DType.INT4, DType.UINT8, DType.UINT2


@pytest.mark.parametrize(
    ("channels", "dtype", "filled", "every", "bits"),
    [
        (1, U4, 1, 1, 4),
        (13, S4, 13, 7, 4),
        (13, S4, 8, 7, 4),
        (13, U4, None, 0, 0),
        (12, U4, 12, 0, 0),
        (13, U8, 13, 0, 0),
        (13, U2, 8, 8, 51),
        (13, U2, 13, 0, 0),  # the last slice clears them
        (13, U2, None, 0, 0),
        (128, U2, 64, 0, 0),
        (288, U2, 64, 40, 32),
    ],
)
def test_where_bits_are_spare(channels: int, dtype: DType, filled: int | None, every: int, bits: int) -> None:
    assert spare_bits(channels, dtype, filled) == SpareBits(every, bits)


@pytest.mark.parametrize("dtype", [U4, S4])
def test_what_lies_there_is_cleared_and_nothing_else(dtype: DType) -> None:
    values = np.random.default_rng(1).integers(dtype.low, dtype.high + 1, (2, 3, 3, 13))
    clean = pack_activation(values, dtype)
    dirty = clean.copy()
    dirty[6::7] |= 0xA0
    given = dirty.copy()
    np.testing.assert_array_equal(spare_bits(13, dtype, 13).cleared(dirty), clean)
    np.testing.assert_array_equal(dirty, given)
    np.testing.assert_array_equal(unpack_activation(dirty.tobytes(), values.shape, dtype), values)
    np.testing.assert_array_equal(SpareBits().cleared(dirty), dirty)


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 56, 63, 64, 65, 100])
def test_planes_are_cleared_behind_their_channels(channels: int) -> None:
    rng = np.random.default_rng(channels)
    shape = (2, 3, 3, channels)
    values = rng.integers(0, 4, shape).astype(np.uint8)
    clean = pack_activation(values, U2)
    words = 64 * -(-channels // 64)
    noise = np.zeros((*shape[:-1], 2, words), np.uint8)
    noise[..., channels:] = rng.integers(0, 2, (*shape[:-1], 2, words - channels))
    dirty = clean | np.packbits(noise, axis=-1, bitorder="little").ravel()
    np.testing.assert_array_equal(spare_bits(channels, U2, channels - 1).cleared(dirty), clean)


@pytest.mark.parametrize(("every", "bits"), [(0, 1), (1, 8), (7, -1), (7, 56)])
def test_no_more_bits_are_spare_than_there_are(every: int, bits: int) -> None:
    with pytest.raises(ValueError, match="cannot be spare"):
        SpareBits(every, bits)
