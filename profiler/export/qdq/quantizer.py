"""From real numbers to integers and scales, symmetric: zero is zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.workload import DType


@dataclass(frozen=True)
class QuantizedWeight:
    """values : ndarray of int8, of the shape of the weight, output channels first. scales : ndarray of shape (output
    channels,), float32. A weight is ``values * scale``."""

    values: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    bits: int


def quantize_weight(weight: npt.NDArray[np.float64], bits: int) -> QuantizedWeight:
    """Per output channel (the first axis), by the largest magnitude: integers within ±(2^(bits-1) - 1), rounded half to
    even. A channel of zeros has scale 1."""
    high = 2 ** (bits - 1) - 1
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    tiny = np.finfo(np.float32).tiny
    with np.errstate(over="ignore"):  # a scale beyond float32 is infinite, for the caller to refuse
        scales = np.where(largest > 0, np.maximum(largest / high, tiny), 1.0).astype(np.float32)
    per_channel = scales.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    # The scale is rounded to float32, so that the largest weight may come out a hair above `high`.
    values = np.clip(np.rint(weight / per_channel), -high, high).astype(np.int8)
    return QuantizedWeight(values, scales, bits)


def activation_scale(low: float, high: float, dtype: DType) -> np.float32:
    """The scale with which the type just holds the range; 0 for a range that is nothing but zero."""
    magnitude = max(high, -low) if dtype.signed else high
    return np.float32(magnitude / dtype.high)


def packed(values: npt.NDArray[Any], bits: int) -> bytes:
    """As ONNX stores them: 8 bits as they are, 4 bits two to a byte, the first one low."""
    flat = np.ascontiguousarray(values).reshape(-1).astype(np.uint8)
    if bits == 8:
        return flat.tobytes()
    nibbles = np.append(flat, np.zeros(flat.size % 2, np.uint8)) & 0xF
    return bytes(nibbles[::2] | nibbles[1::2] << 4)
