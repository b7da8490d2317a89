"""Weights as a packing lays them out: their size, and their bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.bit_mma import pack_plane_rows, plane_words
from profiler.quantize.lookup import groups_of, pack_lookup_weight
from profiler.quantize.packing import Packing
from profiler.quantize.padding import padded, round_up
from profiler.quantize.planes import plane_bytes
from profiler.quantize.popcount import pack_popcount_weight
from profiler.quantize.stored import pack_activation, pack_nibbles
from profiler.workload import DType, KernelSpec

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

WORD_BYTES = 4
DOT_WIDTH = 4
"""Products that one lane of a dot-product instruction sums (VNNI's vpdpbusd, Arm's sdot)."""


def weights_in_nibbles(dtype: DType | None) -> bool:
    """Whether kernels on dot products read such weights as nibbles: those of 4 bits, and narrower ones widened."""
    return dtype is not None and dtype.is_integer and dtype.bits <= 4


def padded_channels(spec: KernelSpec, packing: Packing) -> tuple[int, int, int]:
    """Groups, output channels of each, and the same padded: the units in which output channels are padded."""
    groups = 1 if packing.kind == "depthwise" else spec.workload.groups
    each = spec.workload.out_channels // groups
    return groups, each, round_up(each, packing.channel_block)


def weight_nbytes(spec: KernelSpec, packing: Packing) -> int:
    """Bytes of the packed weights, of any packing but ``plain``."""
    groups, _, channels = padded_channels(spec, packing)
    assert spec.weight_dtype is not None
    dtype = _stored(spec, spec.weight_dtype, packing)
    workload, bits = spec.workload, dtype.bits
    if packing.kind == "depthwise":
        return workload.kernel_h * workload.kernel_w * ((channels * bits + 7) // 8)
    width, inputs = workload.kernel_w, workload.group_inputs
    if packing.kind == "lookup":
        return channels * workload.kernel_h * width * groups_of(inputs, packing.group) * bits
    if packing.kind == "popcount":
        return channels * workload.kernel_h * width * plane_bytes(inputs) * bits
    if packing.kind == "mma" and spec.input_dtype.in_planes:
        row_words = round_up(workload.kernel_h * width * plane_words(inputs), packing.step_words)
        return groups * channels * bits * row_words * WORD_BYTES
    if packing.kind == "mma":
        taps = workload.kernel_h * width * round_up(inputs, _word_elements(dtype))
        row_bytes = round_up(taps * bits // 8, WORD_BYTES * packing.step_words)
        return groups * channels * row_bytes
    run = _run(dtype)
    row = round_up(width * inputs, run) if packing.merged_rows else width * round_up(inputs, run)
    return groups * channels * workload.kernel_h * row * bits // 8


def pack_weight(spec: KernelSpec, packing: Packing, weight: Array) -> Bytes:
    """Weights OHWI, of any integer type that holds them, as they lie in memory: 1-d."""
    workload, dtype = spec.workload, spec.weight_dtype
    assert dtype is not None
    dtype = _stored(spec, dtype, packing)
    weight = weight.reshape(workload.weight_shape)
    if packing.kind == "plain":
        return pack_activation(weight, dtype)
    if packing.kind == "depthwise":
        return pack_activation(padded(np.moveaxis(weight[..., 0], 0, -1), -1, packing.channel_block), dtype)
    if packing.kind == "mma":
        if spec.input_dtype.in_planes:
            rows = pack_plane_rows(weight, dtype, workload.groups, packing.channel_block)
            return _in_steps(rows, packing.channel_block * dtype.bits, packing)
        return _pack_mma(weight, dtype, workload.groups, packing)
    if packing.kind == "lookup":
        return pack_lookup_weight(weight, dtype, packing.channel_block, packing.lanes, packing.group)
    if packing.kind == "popcount":
        return pack_popcount_weight(weight, dtype, packing.channel_block, packing.lanes)
    return _pack_dot(weight, dtype, workload.groups, packing)


def _pack_mma(weight: Array, dtype: DType, groups: int, packing: Packing) -> Bytes:
    outputs = weight.shape[0]
    taps = pack_activation(padded(weight, -1, _word_elements(dtype)), dtype).view("<u4")
    rows = padded(taps.reshape(groups, outputs // groups, -1), 1, packing.channel_block)
    return _in_steps(rows, packing.channel_block, packing)


def _in_steps(rows: Array, block_rows: int, packing: Packing) -> Bytes:
    """Rows of words [groups, rows, words] padded to whole steps, and cut into tiles of ``block_rows`` if need be."""
    rows = padded(rows, -1, packing.step_words)
    if packing.tiled:
        steps = rows.shape[-1] // packing.step_words
        rows = rows.reshape(rows.shape[0], -1, block_rows, steps, packing.step_words).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8)


def _pack_dot(weight: Array, dtype: DType, groups: int, packing: Packing) -> Bytes:
    _, height, width, inputs = weight.shape
    rows = padded(weight.reshape(groups, -1, height, width, inputs), 1, packing.channel_block)
    if packing.merged_rows:
        rows = rows.reshape(*rows.shape[:3], width * inputs)
    rows = padded(rows, -1, _run(dtype))
    blocks = rows.reshape(
        groups,
        -1,
        packing.channel_block // packing.lanes,
        packing.lanes,
        height,
        rows[0, 0, 0].size // DOT_WIDTH,
        DOT_WIDTH,
    ).transpose(0, 1, 4, 5, 2, 3, 6)  # group, block, kernel_h, run, vector, lane, element
    if dtype.bits == 8:
        return pack_activation(blocks, dtype)
    pairs = np.stack([blocks[:, :, :, 0::2], blocks[:, :, :, 1::2]], axis=-1)
    return pack_nibbles(pairs).ravel()


def _word_elements(dtype: DType) -> int:
    return 8 * WORD_BYTES // dtype.bits


def _stored(spec: KernelSpec, dtype: DType, packing: Packing) -> DType:
    """The type that weights have in memory."""
    widened = packing.kind in ("dot", "depthwise") or (packing.kind == "mma" and spec.input_dtype.bits == 4)
    return DType.INT4 if widened and weights_in_nibbles(dtype) else dtype


def _run(dtype: DType) -> int:
    return DOT_WIDTH * (8 // dtype.bits)
