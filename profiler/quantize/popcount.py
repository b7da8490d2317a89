"""Weights of kernels that count the bits which two words share: bit planes, interleaved by output channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.padding import padded
from profiler.quantize.planes import codes_of, pack_planes
from profiler.workload import DType

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def pack_popcount_weight(weight: Array, dtype: DType, channel_block: int, lanes: int) -> Bytes:
    """Weights [O, KH, KW, I] as 64-bit words: [O / channel_block][KH][KW][word][plane][channel_block / lanes][lanes].

    Words are those of `planes`; output channels are padded with zero bits.
    """
    planes = pack_planes(codes_of(weight, dtype), dtype.bits).view("<u8")  # [O, KH, KW, plane, word]
    planes = padded(planes, 0, channel_block)
    blocks = planes.reshape(-1, channel_block // lanes, lanes, *planes.shape[1:])
    return np.ascontiguousarray(blocks.transpose(0, 3, 4, 6, 5, 1, 2)).reshape(-1).view(np.uint8)
