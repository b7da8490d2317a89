"""Dyadic requantization: a real scale as an integer multiplier and a shift, applied in integers only.

rq(x, m, s) = x * m / 2**s, rounded to the nearest integer, halves away from zero, with 0 <= m < 2**31 and 1 <= s <= 62
(the dyadic numbers of HAWQ-V3, arXiv 2011.10680, which likewise takes 31 bits). Kernels compute it in int64 as

    p = x * m;  (p + (1 << (s - 1)) + (p >> 63)) >> s

where the arithmetic ``p >> 63`` is -1 for negative products, which turns rounding half up into half away from zero.
Nothing overflows: |p| <= 2**31 * (2**31 - 1) and the rounding term is at most 2**61.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

MULTIPLIER_BITS = 31
"""Multipliers are below 2**31, so that they fit a non-negative int32."""
SHIFT_MIN = 1
SHIFT_MAX = 62

_INT32 = np.iinfo(np.int32)


def requantize(x: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """``x * multiplier / 2**shift``, rounded half away from zero.

    x : integers in the range of int32; multiplier : integers in [0, 2**31); shift : integers in [1, 62]. The three
    broadcast against each other. Raises `ValueError` outside those ranges, `TypeError` for what is not an integer.
    """
    values = _integers("x", x, int(_INT32.min), int(_INT32.max))
    factor = _integers("multiplier", multiplier, 0, 2**MULTIPLIER_BITS - 1)
    right = _integers("shift", shift, SHIFT_MIN, SHIFT_MAX)
    product = values * factor
    product = np.broadcast_to(product, np.broadcast_shapes(product.shape, right.shape))
    # In place from here on: the products of a whole layer are the largest arrays of the oracle.
    result = np.array(product >> 63)
    result += product
    result += np.left_shift(np.int64(1), right - 1)
    result >>= right
    return result


def dyadic(scale: float) -> tuple[int, int]:
    """Multiplier and shift of a real scale > 0, so that ``multiplier / 2**shift`` is as near to it as the range admits.

    The multiplier has all of its 31 bits (it lies in [2**30, 2**31), relative error at most 2**-31) for scales in
    [2**-32, 2**30); below, the shift stays at 62 and bits are lost, which ends in a multiplier of 0. Raises
    `ValueError` for a scale that is not positive and finite, or too large for a shift of 1.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"a scale must be positive and finite, not {scale!r}")
    shift = MULTIPLIER_BITS - math.frexp(scale)[1]
    shift = min(shift, SHIFT_MAX)
    multiplier = _nearest(scale, shift)
    if multiplier >> MULTIPLIER_BITS:  # rounded up to 2**31
        shift -= 1
        multiplier = _nearest(scale, shift)
    if shift < SHIFT_MIN:
        raise ValueError(f"scale {scale!r} is too large: a dyadic number here is below 2**30")
    return multiplier, shift


def _nearest(scale: float, shift: int) -> int:
    """``scale * 2**shift`` to the nearest integer, halves up: exact, a float being an integer of 53 bits, shifted."""
    fraction, exponent = math.frexp(scale)
    digits, right = int(math.ldexp(fraction, 53)), 53 - exponent - shift
    return digits << -right if right <= 0 else (digits + (1 << (right - 1))) >> right


def _integers(name: str, values: npt.ArrayLike, low: int, high: int) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        raise ValueError(f"{name} must lie in [{low}, {high}], not [{array.min()}, {array.max()}]")
    return array.astype(np.int64)
