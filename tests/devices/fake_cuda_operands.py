"""What a kernel makes of the bytes in its arguments: they are unpacked, the oracle computes, the output is packed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact, Role
from profiler.quantize.operands import Operand, operands
from profiler.quantize.oracle import reference
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.packing import Packing
from profiler.quantize.stored import numpy_dtype, pack_output, unpack_activation, unpack_nibbles
from profiler.workload import KernelSpec

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def computed(artifact: Artifact, views: Sequence[Bytes]) -> Bytes | None:
    """What the output holds then; None for arguments on which the kernel would compute anything at all."""
    spec, known = artifact.spec, {operand.name: operand for operand in operands(artifact.spec)}
    arguments: dict[str, Array] = {}
    for arg, view in zip(artifact.args, views, strict=True):
        if arg.role is Role.COUNTERS and view.any():
            return None
        if arg.role is Role.PARAMETER:
            arguments[arg.name] = unpacked(spec, artifact.packing, known[arg.name], view)
        elif arg.role in (Role.INPUT, Role.INOUT):
            operand = known[arg.name]
            arguments[arg.name] = unpack_activation(view.tobytes(), operand.shape, operand.dtype)
    try:
        return np.frombuffer(pack_output(spec, reference(spec, arguments)), np.uint8)
    except (ValueError, OverflowError):
        return None


def unpacked(spec: KernelSpec, packing: Packing, operand: Operand, raw: Bytes) -> Array:
    """A parameter from its bytes: inverse of `pack_arguments`, whose order is found by packing numbers."""
    assert not packing.activation_offset
    values = _elements(operand, raw)[_places(spec, packing, operand)]
    return values.astype(numpy_dtype(operand.dtype)).reshape(operand.shape)


def _elements(operand: Operand, raw: Bytes) -> Array:
    """All of them, padding too, in the order of memory."""
    if operand.dtype.bits == 4:
        return unpack_nibbles(raw, 2 * raw.size, operand.dtype.signed)
    return raw.view(numpy_dtype(operand.dtype))


@cache
def _places(spec: KernelSpec, packing: Packing, operand: Operand) -> Array:
    """Where each element lies. The numbers of all elements are packed, digit by digit, none of them 0 as padding is."""
    count = int(np.prod(operand.shape))
    base = {4: 7, 8: 127}.get(operand.dtype.bits, 1 << 30)
    numbers, found, digit = np.arange(count), None, 1
    others = {o.name: np.zeros(o.shape, numpy_dtype(o.dtype)) for o in operands(spec)}
    while found is None or digit < count:
        digits = (numbers // digit % base + 1).reshape(operand.shape).astype(numpy_dtype(operand.dtype))
        packed = pack_arguments(spec, packing, {**others, operand.name: digits})[operand.name]
        elements = _elements(operand, packed).astype(np.int64)
        if found is None:
            found = np.where(elements > 0, 0, -1)
        found = found + np.where(found >= 0, (elements - 1) * digit, 0)
        digit *= base
    if "shift" in operand.name:  # padded with ones, behind the channels of a group
        groups = spec.workload.groups if packing.kind != "depthwise" else 1
        each = count // groups
        padded = found.size // groups
        return (np.arange(groups)[:, None] * padded + np.arange(each)).ravel()
    places = np.empty(count, np.int64)
    places[found[found >= 0]] = np.flatnonzero(found >= 0)
    return places
