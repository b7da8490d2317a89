"""The arguments of a kernel as a packing lays them out, in call order: which there are, their sizes, their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.bit_mma import BLOCK, differing_bias
from profiler.quantize.dyadic import requantize
from profiler.quantize.lookup import (
    WEIGHT_BITS_MAX,
    by_thresholds,
    raw_bits,
    raw_range,
    residual_codes,
    threshold_rows,
    thresholds,
)
from profiler.quantize.operands import Operand, operands
from profiler.quantize.packed_weights import pack_weight, padded_channels, weight_nbytes, weights_in_nibbles
from profiler.quantize.packing import BITWISE, Packing
from profiler.quantize.stored import pack_activation
from profiler.quantize.whole_bytes import activation_nbytes
from profiler.workload import DType, KernelSpec, Op

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def packed_operands(spec: KernelSpec, packing: Packing) -> tuple[Operand, ...]:
    """The arguments that a kernel with this packing takes ahead of its output, in call order.

    The logical ones, a bias that only the activation offset calls for, and at the end the contents of an output that
    is written in part (`concat`). Of a ``lookup`` or ``popcount`` kernel that compares: input, weight, thresholds and,
    if there is one, residual.
    """
    found = [operand for operand in operands(spec) if operand.name != "output" or spec.workload.op is Op.CONCAT]
    if packing.kind in BITWISE and by_thresholds(spec):
        shape = (threshold_rows(spec), spec.workload.out_channels)
        limits = Operand("thresholds", shape, DType.integer(raw_bits(spec), signed=True), per_output_channel=True)
        return (found[0], found[1], limits, *(operand for operand in found if operand.name == "residual"))
    if (_offset(spec, packing) or packing.activation_weight) and all(operand.name != "bias" for operand in found):
        at = next(i for i, operand in enumerate(found) if operand.name == "weight")
        found.insert(at + 1, Operand("bias", (spec.workload.out_channels,), DType.INT32, per_output_channel=True))
    return tuple(found)


def argument_nbytes(spec: KernelSpec, packing: Packing) -> dict[str, int]:
    """Bytes of each argument as `pack_arguments` returns it, by name in call order, without any data.

    The output is among them only for `concat`, where its initial contents matter; see `stored.output_nbytes`.
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
            packed["weight"] = pack_weight(spec, packing, np.asarray(arguments["weight"]))
        elif operand.name == "thresholds":
            packed["thresholds"] = pack_activation(_thresholds(spec, packing, arguments), operand.dtype)
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
    if packing.kind in BITWISE:
        assert spec.weight_dtype is not None
        if spec.weight_dtype.bits > WEIGHT_BITS_MAX or workload.groups > 1:
            raise ValueError(f"packing '{packing.kind}' is for weights of up to {WEIGHT_BITS_MAX} bits, without groups")
    elif packing.kind in ("dot", "depthwise") and weights_in_nibbles(spec.weight_dtype):
        return
    elif packing.kind == "mma" and weights_in_nibbles(spec.weight_dtype) and spec.input_dtype.bits <= 4:
        if spec.input_dtype.in_planes and packing.channel_block % BLOCK:
            raise ValueError(f"packing 'mma' of bit planes has blocks of a multiple of {BLOCK} channels")
    elif packing.kind != "plain" and spec.weight_dtype not in (DType.INT8, DType.INT4):
        raise ValueError(f"packing '{packing.kind}' is for int8 and int4 weights")


def _offset(spec: KernelSpec, packing: Packing) -> int:
    return packing.activation_offset if spec.workload.op.has_weights else 0


def _nbytes(spec: KernelSpec, packing: Packing, operand: Operand) -> int:
    if packing.kind == "plain" or not (operand.name == "weight" or operand.per_output_channel):
        return activation_nbytes(operand.shape, operand.dtype)
    groups, _, padded = padded_channels(spec, packing)
    if operand.name == "thresholds":
        return operand.shape[0] * padded * operand.dtype.bits // 8
    if operand.per_output_channel:
        return 4 * groups * padded
    return weight_nbytes(spec, packing)


def _vector(spec: KernelSpec, packing: Packing, operand: Operand, arguments: Mapping[str, Array]) -> Array:
    if operand.name == "bias":
        values = _shifted_bias(spec, packing, arguments)
    else:
        values = np.asarray(arguments[operand.name], np.int64).reshape(operand.shape)
    groups, each, padded = padded_channels(spec, packing)
    stored = np.full((groups, padded), 1 if operand.name.endswith("shift") else 0, np.int64)
    stored[:, :each] = values.reshape(groups, each)
    return stored.ravel()


def _shifted_bias(spec: KernelSpec, packing: Packing, arguments: Mapping[str, Array]) -> Array:
    """The bias without what the activation offset adds to the sums: int64 [O]."""
    given, offset = arguments.get("bias"), _offset(spec, packing)
    channels = spec.workload.out_channels
    values = np.zeros(channels, np.int64) if given is None else np.asarray(given, np.int64).reshape(channels)
    if offset:
        weight = np.asarray(arguments["weight"]).reshape(spec.workload.weight_shape)
        values = values - offset * weight.sum(axis=(1, 2, 3), dtype=np.int64)
    if packing.activation_weight:
        assert spec.weight_dtype is not None
        weight = np.asarray(arguments["weight"]).reshape(spec.workload.weight_shape)
        values = values + differing_bias(weight, spec.weight_dtype, packing.activation_weight)
    return values


def _thresholds(spec: KernelSpec, packing: Packing, arguments: Mapping[str, Array]) -> Array:
    """Rows of thresholds [code of the residual, if any][levels], each with the output channels, padded."""
    multiplier, shift = (np.asarray(arguments[name], np.int64).reshape(-1) for name in ("multiplier", "shift"))
    bias = _shifted_bias(spec, packing, arguments)
    if spec.input2_dtype is None:
        found = thresholds(spec, bias, multiplier, shift)
    else:
        rescale = [np.asarray(arguments[f"residual_{name}"], np.int64).reshape(-1) for name in ("multiplier", "shift")]
        added = [requantize(np.full_like(bias, value), *rescale) for value in residual_codes(spec).tolist()]
        found = np.concatenate([thresholds(spec, bias, multiplier, shift, each) for each in added])
    missing = -found.shape[1] % packing.channel_block
    return np.pad(found, [(0, 0), (0, missing)], constant_values=raw_range(spec)[1])
