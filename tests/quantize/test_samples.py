"""Samples: the same everywhere, over the full range, and such that a wrong kernel shows."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from profiler.quantize.operands import operands
from profiler.quantize.oracle import reference
from profiler.quantize.samples import expected_output, expected_sha256, sample_arguments
from profiler.quantize.stored import numpy_dtype, output_nbytes, unpack_output
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

CONV = Workload(Op.CONV2D, 1, 12, 12, 24, 32, 3, 3, 1, 1, 1, 1, 1, 1)
PLANE = (1, 12, 12, 24, 24)


def conv(epilogue: Epilogue, activation: DType, weight: DType, output: DType, workload: Workload = CONV) -> KernelSpec:
    return KernelSpec(workload, activation, output, weight, activation if epilogue.adds else None, epilogue)


SPECS = [
    *(
        conv(epilogue, activation, weight, output if epilogue.requantizes else DType.INT32)
        for epilogue in Epilogue
        for activation, weight, output in (
            (DType.UINT8, DType.INT8, DType.INT8),
            (DType.INT8, DType.INT8, DType.UINT8),
            (DType.UINT4, DType.INT4, DType.UINT4),
            (DType.INT4, DType.INT4, DType.INT4),
            (DType.UINT2, DType.INT2, DType.UINT2),
            (DType.INT2, DType.INT1, DType.UINT8),
            (DType.UINT3, DType.INT3, DType.INT3),
        )
    ),
    KernelSpec(Workload(Op.ADD, *PLANE), DType.INT32, DType.UINT8, None, DType.UINT8, Epilogue.REQUANT_RELU),
    KernelSpec(Workload(Op.ADD, *PLANE), DType.INT4, DType.INT4, None, DType.INT4, Epilogue.REQUANT),
    KernelSpec(Workload(Op.MAX_POOL, *PLANE, 3, 3, 2, 2, 1, 1, 1, 1), DType.UINT4, DType.UINT4),
    KernelSpec(Workload(Op.AVG_POOL, *PLANE, 3, 3), DType.UINT8, DType.UINT8, epilogue=Epilogue.REQUANT),
    KernelSpec(Workload(Op.CONCAT, 1, 12, 12, 24, 40), DType.INT8, DType.INT4, epilogue=Epilogue.REQUANT),
    KernelSpec(Workload(Op.CONVERT, *PLANE), DType.INT8, DType.INT4, epilogue=Epilogue.REQUANT),
    KernelSpec(Workload(Op.CONVERT, *PLANE), DType.UINT4, DType.UINT8, epilogue=Epilogue.REQUANT),
    KernelSpec(Workload(Op.CONVERT, *PLANE), DType.INT32, DType.INT8, epilogue=Epilogue.REQUANT),
]
DEEP = Workload(Op.CONV2D, 1, 7, 7, 512, 64, 3, 3, 1, 1, 1, 1, 1, 1)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key)
def test_arguments_cover_the_range_of_their_types(spec: KernelSpec) -> None:
    arguments = sample_arguments(spec, 0)
    named = [o for o in operands(spec) if o.name != "output" or spec.workload.op is Op.CONCAT]
    assert list(arguments) == [operand.name for operand in named]
    for operand in named:
        values = arguments[operand.name]
        assert values.shape == operand.shape
        assert values.dtype == numpy_dtype(operand.dtype)
        if "multiplier" in operand.name:
            assert values.min() >= 2**30
        elif "shift" in operand.name:
            assert 1 <= values.min() < values.max() <= 62
        elif operand.name == "bias":
            assert np.unique(values).size > 1
        else:
            assert (values.min(), values.max()) == (operand.dtype.low, operand.dtype.high)


@pytest.mark.parametrize(
    "spec",
    [
        *SPECS,
        *(
            conv(Epilogue.REQUANT_RELU, *types, DEEP)
            for types in ((DType.UINT8, DType.INT8, DType.UINT8), (DType.UINT4, DType.INT4, DType.UINT4))
        ),
    ],
    ids=lambda spec: spec.key,
)
def test_outputs_spread_over_the_range_and_some_saturate(spec: KernelSpec) -> None:
    output = unpack_output(spec, expected_output(spec, 0))[..., : spec.workload.in_channels]
    dtype = spec.output_dtype
    if dtype is DType.INT32:
        assert np.unique(output).size > (1000 if spec.input_dtype.bits >= 4 else 100)
        return
    low = max(dtype.low, 0) if spec.epilogue.relu else dtype.low
    values, counts = np.unique(output, return_counts=True)
    if spec.workload.op is Op.MAX_POOL:  # nothing is rescaled; maxima of nine values are high
        return
    assert values.size >= 0.8 * min(dtype.high - low + 1, 2**spec.input_dtype.bits)
    assert values[-1] == dtype.high
    assert 0.005 < counts[-1] / output.size < (0.6 if dtype.bits >= 4 else 0.7)  # of 4 values one is a large part
    assert counts.max() / output.size < 0.7


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not() -> None:
    spec = SPECS[0]
    assert expected_output(spec, 3) == expected_output(spec, 3)
    assert expected_output(spec, 3) != expected_output(spec, 4)
    other = sample_arguments(SPECS[4], 3)["input"]
    assert not np.array_equal(sample_arguments(spec, 3)["input"], other)


# Drawn once; a change means that artifacts built before can no longer be checked.
GOLDEN = [
    (
        conv(Epilogue.REQUANT_RELU, DType.UINT8, DType.INT8, DType.UINT8),
        "bdb07ffe69222585228910c3c6e9e07c51ff7b2e8a468d61b4ee71dd581e804a",
    ),
    (
        conv(Epilogue.ADD_REQUANT, DType.INT4, DType.INT4, DType.INT4),
        "901f71a0933b0c651ccf30589e4b94e0de6ecc0ead4e2aebab66224482166d09",
    ),
    (
        KernelSpec(Workload(Op.ADD, *PLANE), DType.INT32, DType.UINT4, None, DType.UINT4, Epilogue.REQUANT_RELU),
        "39c22b5f32951eea292db6ec9e50f67d127307c0eaebc68ffcfa68b48203172a",
    ),
    (
        KernelSpec(Workload(Op.AVG_POOL, 2, 7, 7, 33, 33, 7, 7), DType.UINT4, DType.UINT4, epilogue=Epilogue.REQUANT),
        "0cf4d2a1702195d08cf50e2e4454c623bdfd5bc565490bb444764c01a66ba9f5",
    ),
]


@pytest.mark.parametrize(("spec", "digest"), GOLDEN, ids=lambda value: getattr(value, "key", ""))
def test_digests_do_not_change(spec: KernelSpec, digest: str) -> None:
    assert expected_sha256(spec, 0) == digest


def test_the_digest_is_that_of_the_stored_output() -> None:
    spec = SPECS[2]
    raw = expected_output(spec, 1)
    assert len(raw) == output_nbytes(spec)
    assert hashlib.sha256(raw).hexdigest() == expected_sha256(spec, 1)
    np.testing.assert_array_equal(unpack_output(spec, raw), reference(spec, sample_arguments(spec, 1)))


@pytest.mark.parametrize("dtype", [DType.UINT4, DType.UINT8, DType.INT8])
def test_a_pool_of_the_whole_plane_is_neither_empty_nor_saturated(dtype: DType) -> None:
    spec = KernelSpec(Workload(Op.AVG_POOL, 1, 7, 7, 64, 64, 7, 7), dtype, dtype, epilogue=Epilogue.REQUANT)
    output = unpack_output(spec, expected_output(spec, 0))
    assert output.any()
    assert (output == dtype.high).mean() < 0.5


@pytest.mark.parametrize("inputs", [1, 25088, 70000, 200000])
def test_no_reduction_overflows(inputs: int) -> None:
    for activation in (DType.UINT8, DType.INT8):
        spec = KernelSpec(
            Workload(Op.DENSE, 2, 1, 1, inputs, 4), activation, DType.UINT8, DType.INT8, None, Epilogue.REQUANT_RELU
        )
        assert len(expected_output(spec, 0)) == 8
