"""Parameters of kernels that multiply bit planes on a GPU's binary tensor cores.

For each pair of planes the instruction counts, over K, the bits that two words share (AND) or in which they differ
(XOR). With the place values c_p of the activations' planes and d_q of the weights', an accumulator is

    sum = S                       S = sum of c_p * d_q * shared(p, q)
    sum = 2 * S - A               weights -1 and +1, of which d_0 = 1 is the only place; A = sum of the activations
    sum = (C * W - A - X) / 2     X = sum of c_p * d_q * differing(p, q); C = sum of all c_p, W = sum of the weights
    sum = C * ones - X            weights -1 and +1, of which `ones` are +1

because 2 * shared = ones(a) + ones(w) - differing. What depends on the weights alone is added to the bias here. C * W
and A + X are even or odd together, so that the kernel can halve them separately, rounding down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.padding import padded
from profiler.quantize.planes import codes_of, pack_planes, plane_bytes
from profiler.workload import DType

Array = npt.NDArray[Any]

BLOCK = 8
"""Channels (of activations: pixels) whose rows of one plane lie together, before those of the next plane."""


def place_values(dtype: DType) -> tuple[int, ...]:
    """What a set bit of each plane stands for; of -1 and +1: 1."""
    places = [1 << p for p in range(dtype.bits)]
    if dtype.signed and dtype is not DType.INT1:
        places[-1] = -places[-1]
    return tuple(places)


def plane_words(channels: int) -> int:
    """32-bit words of a plane of a pixel or of a tap of weights."""
    return plane_bytes(channels) // 4


def pack_plane_rows(weight: Array, dtype: DType, groups: int, channel_block: int) -> Array:
    """Weights [O, KH, KW, I] as rows of 32-bit words: [groups][channel rows][KH * KW * words of a plane].

    The output channels of a group are padded with zero bits to a multiple of ``channel_block`` (of 8 at least). Their
    rows go by 8 channels, then planes, then the channels of the 8.
    """
    planes = pack_planes(codes_of(weight, dtype), dtype.bits).view("<u4")  # [O, KH, KW, plane, word]
    outputs, height, width, _, words = planes.shape
    rows = planes.transpose(0, 3, 1, 2, 4).reshape(groups, outputs // groups, dtype.bits, height * width * words)
    rows = padded(rows, 1, channel_block)
    blocks = rows.reshape(groups, -1, BLOCK, dtype.bits, rows.shape[-1]).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(blocks).reshape(groups, -1, rows.shape[-1])


def differing_bias(weight: Array, dtype: DType, activation_weight: int) -> Array:
    """What the weights [O, KH, KW, I] alone add to the accumulators where differing bits are counted: int64 [O].

    activation_weight : C, the sum of the activations' place values.
    """
    flat = weight.reshape(weight.shape[0], -1)
    if dtype is DType.INT1:
        ones: Array = (flat > 0).sum(axis=1, dtype=np.int64)
        return activation_weight * ones
    halves: Array = (activation_weight * flat.sum(axis=1, dtype=np.int64)) >> 1
    return halves
