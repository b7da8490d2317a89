"""Arguments drawn from a seed, and the output that a kernel must produce from them, bit for bit.

Values cover the full range of each type. Multipliers and shifts are chosen from the size of the accumulators, so that
outputs spread over the range of their type and some of them saturate. Only bounded integers are drawn, in a fixed
order, so that a seed means the same arguments on every machine.
"""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.quantize.dyadic import MULTIPLIER_BITS, SHIFT_MAX, SHIFT_MIN
from profiler.quantize.operands import Operand, operands
from profiler.quantize.oracle import reference
from profiler.quantize.stored import numpy_dtype, pack_output
from profiler.workload import DType, KernelSpec, Op

Array = npt.NDArray[Any]

_SPREAD = Fraction(5, 4)
"""Largest ratio of the root mean square of rescaled values to the top of the output's range; above 1 many saturate."""
_POOL_SPREAD = Fraction(9, 10)
"""The same for average pools, whose sums have a large mean and little spread: most of them must not saturate."""


def sample_arguments(spec: KernelSpec, seed: int) -> dict[str, Array]:
    """Logical arguments by name in call order (see `operands.operands`); for `concat` also the initial ``output``.

    Raises `InvalidWorkload` for what has no integer kernel.
    """
    digest = hashlib.sha256(spec.key.encode()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    drawn: dict[str, Array] = {}
    for operand in operands(spec):
        if operand.name == "output" and spec.workload.op is not Op.CONCAT:
            continue
        if "multiplier" in operand.name:
            drawn[operand.name] = _uniform(
                rng, operand.shape, 1 << (MULTIPLIER_BITS - 1), (1 << MULTIPLIER_BITS) - 1, DType.INT32
            )
        elif "shift" in operand.name:
            drawn[operand.name] = _shifts(rng, operand, _centre_shift(spec, operand.name))
        elif operand.name == "bias":
            drawn[operand.name] = _biases(rng, spec, operand)
        else:
            drawn[operand.name] = _full_range(rng, operand)
    return drawn


def expected_output(spec: KernelSpec, seed: int) -> bytes:
    """What must lie in the output's memory after a launch on `sample_arguments` of that seed."""
    return pack_output(spec, reference(spec, sample_arguments(spec, seed)))


def expected_sha256(spec: KernelSpec, seed: int) -> str:
    """Digest of `expected_output`, in hex."""
    return hashlib.sha256(expected_output(spec, seed)).hexdigest()


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int, dtype: DType) -> Array:
    drawn: Array = rng.integers(low, high, size=shape, dtype=numpy_dtype(dtype).type, endpoint=True)
    return drawn


def _full_range(rng: np.random.Generator, operand: Operand) -> Array:
    """Uniform over the type, with both of its ends present (the upper one only where there is one element)."""
    dtype = operand.dtype
    if dtype is DType.INT1:
        values = 2 * _uniform(rng, operand.shape, 0, 1, dtype) - np.int8(1)
    else:
        values = _uniform(rng, operand.shape, dtype.low, dtype.high, dtype)
    values.flat[0] = dtype.low
    values.flat[-1] = dtype.high
    return values


def _shifts(rng: np.random.Generator, operand: Operand, centre: int) -> Array:
    """The fitting shift for the first, that one or a neighbour for the others."""
    around = _uniform(rng, operand.shape, -1, 1, DType.INT32)
    around.flat[0] = 0
    shifts: Array = np.clip(centre + around, SHIFT_MIN, SHIFT_MAX).astype(np.int32)
    return shifts


def _biases(rng: np.random.Generator, spec: KernelSpec, operand: Operand) -> Array:
    """Within one standard deviation of the accumulators, around what brings their mean to zero.

    Types reach further down than up, so products have a mean, which in a long reduction outgrows the spread.
    """
    mean = spec.workload.reduction * _mean(spec.input_dtype) * _mean(_weight(spec))
    spread = _root(_accumulator_square(spec))
    centre = round(-mean)
    limit = DType.INT32.high - spread
    centre = max(-limit, min(limit, centre))
    return _uniform(rng, operand.shape, centre - spread, centre + spread, DType.INT32)


def _centre_shift(spec: KernelSpec, name: str) -> int:
    """The least shift with which even the largest multiplier keeps the root mean square within the spread."""
    op = spec.workload.op
    spread = _SPREAD
    if name == "shift" and op.has_weights:
        square = 2 * _accumulator_square(spec)  # with the bias
    elif name == "shift" and op is Op.AVG_POOL:
        area = spec.workload.kernel_h * spec.workload.kernel_w
        mean = _mean(spec.input_dtype)
        square = area * (_square(spec.input_dtype) - mean**2) + (area * mean) ** 2
        spread = _POOL_SPREAD
    else:
        second = name in ("shift2", "residual_shift")
        dtype = spec.input2_dtype if second else spec.input_dtype
        assert dtype is not None
        square = _square(dtype)
    ratio = square * 4**MULTIPLIER_BITS / (spread * spec.output_dtype.high) ** 2
    return next((shift for shift in range(SHIFT_MIN, SHIFT_MAX) if 4**shift >= ratio), SHIFT_MAX)


def _accumulator_square(spec: KernelSpec) -> Fraction:
    """Mean square of the accumulators about their mean."""
    both = _square(spec.input_dtype) * _square(_weight(spec))
    return spec.workload.reduction * (both - (_mean(spec.input_dtype) * _mean(_weight(spec))) ** 2)


def _weight(spec: KernelSpec) -> DType:
    assert spec.weight_dtype is not None
    return spec.weight_dtype


def _mean(dtype: DType) -> Fraction:
    """Mean of the uniform distribution over the type."""
    return Fraction(dtype.low + dtype.high, 2)


def _square(dtype: DType) -> Fraction:
    """Mean square of the same."""
    count = (dtype.high - dtype.low) // dtype.step + 1
    return _mean(dtype) ** 2 + Fraction(dtype.step**2 * (count * count - 1), 12)


def _root(square: Fraction) -> int:
    """Square root, rounded down, at least 1."""
    return max(1, math.isqrt(int(square)))
