"""How tensors lie in memory.

Activations are NHWC in C order, little endian. 4-bit activations lie two per byte along the channels: the even channel
in the low nibble, the odd one in the high nibble, signed nibbles in two's complement. With an odd number of channels
each pixel takes ceil(C / 2) bytes and the spare high nibble is 0. Narrower activations are bit planes (see `planes`).
In NumPy a value of up to 8 bits is one int8 or uint8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.padding import padded
from profiler.quantize.planes import codes_of, pack_planes, plane_bytes, unpack_planes, values_of
from profiler.quantize.whole_bytes import activation_nbytes
from profiler.workload import DType, KernelSpec

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """The type that holds logical values: narrow ones are widened to 8 bits."""
    return np.dtype(f"{'' if dtype.signed else 'u'}int{max(dtype.bits, 8)}")


def pack_nibbles(values: Array) -> Bytes:
    """Two values per byte along the last axis: integers [..., C] in [-8, 15] to uint8 [..., ceil(C / 2)]."""
    if values.size and (values.min() < -8 or values.max() > 15):
        raise ValueError(f"values from {values.min()} to {values.max()} do not fit 4 bits")
    nibbles = padded(values.astype(np.uint8) & np.uint8(15), -1, 2)
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
    if dtype.in_planes:
        return pack_planes(codes_of(values, dtype), dtype.bits).ravel()
    stored = np.ascontiguousarray(values, dtype=numpy_dtype(dtype).newbyteorder("<"))
    return stored.reshape(-1).view(np.uint8)


def unpack_activation(raw: Any, shape: tuple[int, ...], dtype: DType) -> Array:
    """Inverse of `pack_activation`; ``raw`` is bytes-like. Raises `ValueError` if its size is not that of the shape."""
    data: Bytes = np.frombuffer(raw, dtype=np.uint8)
    if data.size != activation_nbytes(shape, dtype):
        raise ValueError(f"{data.size} bytes are not {activation_nbytes(shape, dtype)}, as {dtype.value} {shape} has")
    if dtype.bits == 4:
        return unpack_nibbles(data.reshape(*shape[:-1], (shape[-1] + 1) // 2), shape[-1], dtype.signed)
    if dtype.in_planes:
        planes = data.reshape(*shape[:-1], dtype.bits, plane_bytes(shape[-1]))
        return values_of(unpack_planes(planes, shape[-1]), dtype)
    return data.view(numpy_dtype(dtype).newbyteorder("<")).astype(numpy_dtype(dtype)).reshape(shape)


def output_nbytes(spec: KernelSpec) -> int:
    """Bytes of the stored output."""
    return activation_nbytes(spec.workload.output_shape, spec.output_dtype)


def pack_output(spec: KernelSpec, values: Array) -> bytes:
    """A logical output [N, OH, OW, O] as it is stored; inverse of `unpack_output`."""
    return pack_activation(values.reshape(spec.workload.output_shape), spec.output_dtype).tobytes()


def unpack_output(spec: KernelSpec, raw: Any) -> Array:
    """The logical output [N, OH, OW, O] from its stored bytes (bytes-like)."""
    return unpack_activation(raw, spec.workload.output_shape, spec.output_dtype)
