"""How tensors and parameters lie in memory.

Activations are NHWC in C order, little endian. 4-bit activations lie two per byte along the channels: the even channel
in the low nibble, the odd one in the high nibble, signed nibbles in two's complement. With an odd number of channels
each pixel takes ceil(C / 2) bytes and the spare high nibble is 0. In NumPy a 4-bit value is one int8 or uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.operands import Operand, operands
from profiler.workload import DType, KernelSpec, Op

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

KINDS = ("plain", "dot", "depthwise", "mma")
WORD_BYTES = 4
DOT_WIDTH = 4
"""Products that one lane of a dot-product instruction sums (VNNI's vpdpbusd, Arm's sdot)."""


@dataclass(frozen=True)
class Packing:
    """How the parameters of one kernel lie in memory (weights, and vectors of one value per output channel).

    kind:

    - ``plain``: weights as OHWI (4-bit: two per byte along I, as activations), vectors unpadded.
    - ``dot``: blocks for dot-product instructions. Per group, all groups one after another, with O_g output channels
      (padded with zero weights to a multiple of ``channel_block``): int8 of shape
      [O_g / channel_block][kernel_h][R][channel_block / lanes][lanes][4], R being over runs of 4 consecutive elements
      of a kernel row. With ``merged_rows`` that row is the kernel_w * I elements (I inner), padded with zeros to a
      multiple of 4 (4-bit weights: 8); otherwise each of its kernel_w pixels is padded by itself (kernel_w outer).
      4-bit weights: runs 2j and 2j + 1 share bytes, 2j in the low nibble: [..][R / 2][..][lanes][4] bytes.
    - ``depthwise``: weights [kernel_h, kernel_w, O] (4-bit: two per byte along O), O padded with zeros to a multiple
      of ``channel_block``, like the vectors.

    - ``mma``: rows of 32-bit words for tensor cores. Per group, all groups one after another, with O_g output channels
      (padded with zero weights to a multiple of ``channel_block``): a row is kernel_h x kernel_w taps, each padded with
      zeros to whole words, and the row itself to a multiple of ``step_words``. In a word the first element is lowest.
      Shape [O_g][row], or ``tiled`` [O_g / channel_block][row / step_words][channel_block][step_words].

    Vectors (bias, multiplier, shift, residual_multiplier, residual_shift) are padded as the output channels of their
    kind are: bias and multiplier with 0, shift with 1.

    channel_block : output channels of one block. lanes : ``dot``: output channels of one vector register.
    step_words, tiled : ``mma``: as above.
    activation_offset : what the kernel adds to the activations, so that they have the sign that the instruction wants;
    the bias is packed as bias - activation_offset * sum(weights), also where the epilogue has no bias argument.
    """

    kind: str
    channel_block: int = 1
    lanes: int = 1
    merged_rows: bool = False
    activation_offset: int = 0
    step_words: int = 1
    tiled: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown packing '{self.kind}'; known are: {', '.join(KINDS)}")
        if self.channel_block < 1 or self.lanes < 1 or self.channel_block % self.lanes:
            raise ValueError(f"packing: blocks of {self.channel_block} channels do not divide into {self.lanes} lanes")
        if self.kind != "dot" and (self.lanes, self.merged_rows) != (1, False):
            raise ValueError(f"packing '{self.kind}' has neither lanes nor merged rows")
        if self.step_words < 1 or (self.kind != "mma" and (self.step_words, self.tiled) != (1, False)):
            raise ValueError(f"packing '{self.kind}' cannot have steps of {self.step_words} words, tiled {self.tiled}")
        if self.kind == "mma" and self.activation_offset:
            raise ValueError("packing 'mma' has no activation offset")
        if self.kind == "plain" and self.channel_block != 1:
            raise ValueError("packing 'plain' has no channel blocks")


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """The type that holds logical values: 4-bit ones are widened to 8 bits."""
    return np.dtype(f"{'' if dtype.signed else 'u'}int{max(dtype.bits, 8)}")


def pack_nibbles(values: Array) -> Bytes:
    """Two values per byte along the last axis: integers [..., C] in [-8, 15] to uint8 [..., ceil(C / 2)]."""
    if values.size and (values.min() < -8 or values.max() > 15):
        raise ValueError(f"values from {values.min()} to {values.max()} do not fit 4 bits")
    nibbles = _pad(values.astype(np.uint8) & np.uint8(15), -1, 2)
    packed: Bytes = nibbles[..., 0::2] | (nibbles[..., 1::2] << np.uint8(4))
    return packed


def unpack_nibbles(packed: Bytes, count: int, signed: bool) -> Array:
    """Inverse of `pack_nibbles`: uint8 [..., ceil(count / 2)] to int8 or uint8 [..., count]."""
    nibbles = np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1)
    values = nibbles.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :count]
    return ((values ^ np.uint8(8)) - np.uint8(8)).view(np.int8) if signed else values


def pack_activation(values: Array, dtype: DType) -> Bytes:
    """Storage of a tensor [..., C]: 1-d bytes. Raises `ValueError` for values outside of the type."""
    if values.size and (values.min() < dtype.low or values.max() > dtype.high):
        raise ValueError(f"values from {values.min()} to {values.max()} do not fit {dtype.value}")
    if dtype.bits == 4:
        return pack_nibbles(values).ravel()
    stored = np.ascontiguousarray(values, dtype=numpy_dtype(dtype).newbyteorder("<"))
    return stored.reshape(-1).view(np.uint8)


def unpack_activation(raw: Any, shape: tuple[int, ...], dtype: DType) -> Array:
    """Inverse of `pack_activation`; ``raw`` is bytes-like. Raises `ValueError` if its size is not that of the shape."""
    data: Bytes = np.frombuffer(raw, dtype=np.uint8)
    if data.size != activation_nbytes(shape, dtype):
        raise ValueError(f"{data.size} bytes are not {activation_nbytes(shape, dtype)}, as {dtype.value} {shape} has")
    if dtype.bits == 4:
        return unpack_nibbles(data.reshape(*shape[:-1], (shape[-1] + 1) // 2), shape[-1], dtype.signed)
    return data.view(numpy_dtype(dtype).newbyteorder("<")).astype(numpy_dtype(dtype)).reshape(shape)


def activation_nbytes(shape: tuple[int, ...], dtype: DType) -> int:
    """Bytes of a stored tensor of that shape."""
    return prod(shape[:-1]) * ((shape[-1] * dtype.bits + 7) // 8)


def output_nbytes(spec: KernelSpec) -> int:
    """Bytes of the stored output."""
    return activation_nbytes(spec.workload.output_shape, spec.output_dtype)


def pack_output(spec: KernelSpec, values: Array) -> bytes:
    """A logical output [N, OH, OW, O] as it is stored; inverse of `unpack_output`."""
    return pack_activation(values.reshape(spec.workload.output_shape), spec.output_dtype).tobytes()


def unpack_output(spec: KernelSpec, raw: Any) -> Array:
    """The logical output [N, OH, OW, O] from its stored bytes (bytes-like)."""
    return unpack_activation(raw, spec.workload.output_shape, spec.output_dtype)


def packed_operands(spec: KernelSpec, packing: Packing) -> tuple[Operand, ...]:
    """The arguments that a kernel with this packing takes ahead of its output, in call order.

    The logical ones, a bias that only the activation offset calls for, and at the end the contents of an output that
    is written in part (`concat`).
    """
    found = [operand for operand in operands(spec) if operand.name != "output" or spec.workload.op is Op.CONCAT]
    if _offset(spec, packing) and all(operand.name != "bias" for operand in found):
        at = next(i for i, operand in enumerate(found) if operand.name == "weight")
        found.insert(at + 1, Operand("bias", (spec.workload.out_channels,), DType.INT32, per_output_channel=True))
    return tuple(found)


def argument_nbytes(spec: KernelSpec, packing: Packing) -> dict[str, int]:
    """Bytes of each argument as `pack_arguments` returns it, by name in call order, without any data.

    The output is among them only for `concat`, where its initial contents matter; see `output_nbytes`.
    """
    _check(spec, packing)
    return {operand.name: _nbytes(spec, packing, operand) for operand in packed_operands(spec, packing)}


def pack_arguments(spec: KernelSpec, packing: Packing, arguments: Mapping[str, Array]) -> dict[str, Bytes]:
    """Every argument as it lies in memory: 1-d uint8 arrays by name, in call order, as `packed_operands` lists them.

    arguments : logical arguments by name, as `samples.sample_arguments` draws them.
    """
    _check(spec, packing)
    packed: dict[str, Bytes] = {}
    for operand in packed_operands(spec, packing):
        if operand.name == "weight":
            packed["weight"] = _pack_weight(spec, packing, np.asarray(arguments["weight"]))
        elif operand.per_output_channel:
            values = _vector(spec, packing, operand, arguments)
            packed[operand.name] = pack_activation(values, DType.INT32)
        else:
            values = np.asarray(arguments[operand.name]).reshape(operand.shape)
            packed[operand.name] = pack_activation(values, operand.dtype)
    return packed


def _check(spec: KernelSpec, packing: Packing) -> None:
    workload = spec.workload
    if packing.kind != "plain" and not workload.op.has_weights:
        raise ValueError(f"{workload.op.value} has no weights to pack as '{packing.kind}'")
    if packing.kind == "depthwise" and not workload.is_depthwise:
        raise ValueError(f"packing 'depthwise' is not for {workload.text}")
    if packing.kind != "plain" and spec.weight_dtype not in (DType.INT8, DType.INT4):
        raise ValueError(f"packing '{packing.kind}' is for int8 and int4 weights")


def _offset(spec: KernelSpec, packing: Packing) -> int:
    return packing.activation_offset if spec.workload.op.has_weights else 0


def _channels(spec: KernelSpec, packing: Packing) -> tuple[int, int, int]:
    """Groups, output channels of each, and the same padded: the units in which output channels are padded."""
    groups = 1 if packing.kind == "depthwise" else spec.workload.groups
    each = spec.workload.out_channels // groups
    return groups, each, _round_up(each, packing.channel_block)


def _nbytes(spec: KernelSpec, packing: Packing, operand: Operand) -> int:
    if packing.kind == "plain" or not (operand.name == "weight" or operand.per_output_channel):
        return activation_nbytes(operand.shape, operand.dtype)
    groups, _, padded = _channels(spec, packing)
    if operand.per_output_channel:
        return 4 * groups * padded
    workload, bits = spec.workload, operand.dtype.bits
    if packing.kind == "depthwise":
        return workload.kernel_h * workload.kernel_w * ((padded * bits + 7) // 8)
    width, inputs = workload.kernel_w, workload.group_inputs
    if packing.kind == "mma":
        taps = workload.kernel_h * width * _round_up(inputs, _word_elements(operand.dtype))
        row_bytes = _round_up(taps * bits // 8, WORD_BYTES * packing.step_words)
        return groups * padded * row_bytes
    run = _run(operand.dtype)
    row = _round_up(width * inputs, run) if packing.merged_rows else width * _round_up(inputs, run)
    return groups * padded * workload.kernel_h * row * bits // 8


def _pack_weight(spec: KernelSpec, packing: Packing, weight: Array) -> Bytes:
    workload, dtype = spec.workload, spec.weight_dtype
    assert dtype is not None
    weight = weight.reshape(workload.weight_shape)
    if packing.kind == "plain":
        return pack_activation(weight, dtype)
    if packing.kind == "depthwise":
        return pack_activation(_pad(np.moveaxis(weight[..., 0], 0, -1), -1, packing.channel_block), dtype)
    if packing.kind == "mma":
        return _pack_mma(weight, dtype, workload.groups, packing)
    return _pack_dot(weight, dtype, workload.groups, packing)


def _pack_mma(weight: Array, dtype: DType, groups: int, packing: Packing) -> Bytes:
    outputs = weight.shape[0]
    taps = pack_activation(_pad(weight, -1, _word_elements(dtype)), dtype).view("<u4")
    rows = _pad(taps.reshape(groups, outputs // groups, -1), 1, packing.channel_block)
    rows = _pad(rows, -1, packing.step_words)
    if packing.tiled:
        steps = rows.shape[-1] // packing.step_words
        rows = rows.reshape(groups, -1, packing.channel_block, steps, packing.step_words).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8)


def _pack_dot(weight: Array, dtype: DType, groups: int, packing: Packing) -> Bytes:
    _, height, width, inputs = weight.shape
    rows = _pad(weight.reshape(groups, -1, height, width, inputs), 1, packing.channel_block)
    if packing.merged_rows:
        rows = rows.reshape(*rows.shape[:3], width * inputs)
    rows = _pad(rows, -1, _run(dtype))
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


def _vector(spec: KernelSpec, packing: Packing, operand: Operand, arguments: Mapping[str, Array]) -> Array:
    given = arguments.get(operand.name) if operand.name == "bias" else arguments[operand.name]
    values = np.zeros(operand.shape, np.int64) if given is None else np.asarray(given, np.int64).reshape(operand.shape)
    offset = _offset(spec, packing)
    if operand.name == "bias" and offset:
        weight = np.asarray(arguments["weight"]).reshape(spec.workload.weight_shape)
        values = values - offset * weight.sum(axis=(1, 2, 3), dtype=np.int64)
    groups, each, padded = _channels(spec, packing)
    stored = np.full((groups, padded), 1 if operand.name.endswith("shift") else 0, np.int64)
    stored[:, :each] = values.reshape(groups, each)
    return stored.ravel()


def _word_elements(dtype: DType) -> int:
    return 8 * WORD_BYTES // dtype.bits


def _run(dtype: DType) -> int:
    return DOT_WIDTH * (8 // dtype.bits)


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _pad(values: Array, axis: int, multiple: int) -> Array:
    """Zeros behind the axis, up to a multiple; the array itself where nothing is missing."""
    missing = -values.shape[axis] % multiple
    if not missing:
        return values
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, missing)
    return np.pad(values, widths)
