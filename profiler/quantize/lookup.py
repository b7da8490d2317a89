"""Parameters of kernels that look sums up: weights of up to 3 bits as indices, requantization as thresholds.

A kernel of this kind has, for each pixel and 4 of its channels (a *group*), a table of the sums over all 16 subsets of
their values. One bit plane of the weights of a group is then the index of the sum that it selects. Where 64 bytes can
be looked up in, a group has 6 channels. No group reaches from one 64-bit word of the planes into the next, so that such
a word has 16 groups of 4, or 11 of up to 6. Activations are made unsigned ahead of that by the packing's activation
offset. From the looked-up sums S_p of the planes the kernel has

    raw = 2 * S_0 - (the sum of all activations)                  weights -1 and +1
    raw = S_0 + 2 * S_1 + ... - 2**(bits - 1) * S_(bits - 1)      two's complement

which is the accumulator but for what the activation offset adds. Outputs of few values need no multiplication: the
dyadic requantization never decreases, so each output value has a least accumulator, its threshold. Where a residual of
few values is added, each of them has thresholds of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.dyadic import requantize
from profiler.quantize.padding import padded
from profiler.quantize.planes import WORD_BITS, codes_of, values_of
from profiler.workload import DType, KernelSpec

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

GROUP = 4
"""Channels of a table: 16 subsets fill the 16 bytes that a byte shuffle looks up in."""
WIDE_GROUP = 6
"""Of a table that fills a vector of 64 bytes."""
WEIGHT_BITS_MAX = 3
"""Beyond, dot products are faster."""
THRESHOLD_BITS_MAX = 4
"""Of outputs that are found by comparing."""
RESIDUAL_THRESHOLDS_MAX = 16
"""Of a channel where a residual is added: more take longer than multiplying."""
_INT32 = np.iinfo(np.int32)


def table_bytes(group: int) -> int:
    """A sum for each subset of the group, one byte each."""
    return 1 << group


def groups_of(channels: int, group: int = GROUP) -> int:
    """Groups of a pixel; the last one of each 64-bit word is filled up with zeros."""
    words, rest = divmod(channels, WORD_BITS)
    return words * -(-WORD_BITS // group) + -(-rest // group)


def activation_high(spec: KernelSpec) -> int:
    """Largest activation, made unsigned."""
    return (1 << spec.input_dtype.bits) - 1


def raw_range(spec: KernelSpec) -> tuple[int, int]:
    """Least and largest raw accumulator."""
    assert spec.weight_dtype is not None
    largest = spec.workload.reduction * activation_high(spec)
    return spec.weight_dtype.low * largest, spec.weight_dtype.high * largest


def raw_bits(spec: KernelSpec) -> int:
    """Width of the raw accumulators and of their thresholds: 16 where those fit (one less than the least, too)."""
    low, high = raw_range(spec)
    return 16 if low > -(1 << 15) and high < 1 << 15 else 32


def by_thresholds(spec: KernelSpec) -> bool:
    """Whether the epilogue is comparisons only."""
    if not spec.epilogue.requantizes or spec.output_dtype.bits > THRESHOLD_BITS_MAX:
        return False
    if spec.input2_dtype is None:
        return True
    return spec.input2_dtype.in_planes and threshold_rows(spec) <= RESIDUAL_THRESHOLDS_MAX


def levels(spec: KernelSpec) -> int:
    """Output values but the least."""
    low, high = spec.output_range
    return high - low


def threshold_rows(spec: KernelSpec) -> int:
    """Thresholds of a channel: `levels` for each code of the residual, if there is one."""
    return levels(spec) << (0 if spec.input2_dtype is None else spec.input2_dtype.bits)


def pack_lookup_weight(weight: Array, dtype: DType, channel_block: int, lanes: int, group: int = GROUP) -> Bytes:
    """Indices of weights [O, KH, KW, I], one byte each:

    [O / channel_block][KH][KW][group][plane][channel_block / lanes][lanes], output channels padded with zero bits. The
    bytes of a vector alternate between its first and its second half of channels, so that its even bytes, and its odd
    ones, are consecutive channels.
    """
    codes = padded(padded(codes_of(weight, dtype), 0, channel_block), -1, WORD_BITS)
    words = padded(codes.reshape(*codes.shape[:3], -1, WORD_BITS), -1, group)
    grouped = words.reshape(*codes.shape[:3], -1, group)[..., : groups_of(weight.shape[-1], group), :]
    bits = (grouped[..., None, :] >> np.arange(dtype.bits, dtype=np.uint8)[:, None]) & np.uint8(1)
    indices = (bits << np.arange(group, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8)  # [O, KH, KW, group, plane]
    halves = indices.reshape(-1, channel_block // lanes, 2, lanes // 2, *indices.shape[1:])
    # block, vector, half, channel, KH, KW, group, plane
    return np.ascontiguousarray(halves.transpose(0, 4, 5, 6, 7, 1, 3, 2)).reshape(-1)


def residual_codes(spec: KernelSpec) -> Array:
    """The values that the codes of the residual stand for, in their order."""
    assert spec.input2_dtype is not None
    return values_of(np.arange(1 << spec.input2_dtype.bits, dtype=np.uint8), spec.input2_dtype)


def thresholds(spec: KernelSpec, bias: Array, multiplier: Array, shift: Array, added: Array | None = None) -> Array:
    """One less than the least raw accumulator that yields each output value but the lowest: int64 [levels, O].

    bias : with the activation offset taken out of it. added : int64 [O], what is added to the rescaled accumulators.
    A value that no accumulator yields has the largest one there.
    """
    low, high = raw_range(spec)
    goal = np.arange(spec.output_range[0] + 1, spec.output_range[1] + 1, dtype=np.int64)[:, None]
    goal = goal - (np.zeros_like(bias) if added is None else added)
    below = np.full(goal.shape, low - 1, np.int64)  # yields less than the goal, or is out of range
    above = np.full_like(below, high + 1)  # yields the goal, or is out of range
    for _ in range((high - low + 2).bit_length()):
        middle = (below + above) // 2
        sums = np.clip(middle + bias, _INT32.min, _INT32.max)
        reached = requantize(sums, multiplier, shift) >= goal
        inside = (below < middle) & (middle < above)
        above = np.where(inside & reached, middle, above)
        below = np.where(inside & ~reached, middle, below)
    return above - 1
