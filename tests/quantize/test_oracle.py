"""The oracle against loops over Python integers that share no code with it."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidWorkload
from profiler.quantize import oracle
from profiler.quantize.dyadic import dyadic
from profiler.quantize.oracle import accumulate_blas, accumulate_plain, reference
from profiler.quantize.samples import sample_arguments
from profiler.quantize.stored import pack_output, unpack_activation
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

NARROW = (DType.UINT1, DType.INT2, DType.UINT2, DType.INT3, DType.UINT3)
ACTIVATIONS = (DType.UINT8, DType.INT8, DType.UINT4, DType.INT4, *NARROW)
RANGES = {
    DType.UINT1: (0, 1),
    DType.INT2: (-2, 1),
    DType.UINT2: (0, 3),
    DType.INT3: (-4, 3),
    DType.UINT3: (0, 7),
    DType.UINT8: (0, 255),
    DType.INT8: (-128, 127),
    DType.UINT4: (0, 15),
    DType.INT4: (-8, 7),
    DType.INT32: (-(2**31), 2**31 - 1),
}


def rescale(x: Any, multiplier: Any, shift: Any) -> int:
    value = Fraction(int(x) * int(multiplier), 2 ** int(shift))
    magnitude = floor(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


def clamp(spec: KernelSpec, value: int) -> int:
    low, high = RANGES[spec.output_dtype]
    if spec.epilogue.value.endswith("relu"):
        low = max(low, 0)
    return min(max(value, low), high)


def inside(w: Workload, y: int, x: int, i: int, j: int) -> tuple[int, int] | None:
    """Input pixel under tap (i, j) of output pixel (y, x); None in the padding."""
    row, column = y * w.stride_h - w.pad_top + i * w.dilation_h, x * w.stride_w - w.pad_left + j * w.dilation_w
    return (row, column) if 0 <= row < w.in_height and 0 <= column < w.in_width else None


def output_size(size: int, before: int, after: int, kernel: int, stride: int, dilation: int) -> int:
    """By counting the positions where the kernel fits."""
    reach = dilation * (kernel - 1) + 1
    return len(range(0, size + before + after - reach + 1, stride))


def naive_shape(w: Workload) -> tuple[int, int, int, int]:
    height = output_size(w.in_height, w.pad_top, w.pad_bottom, w.kernel_h, w.stride_h, w.dilation_h)
    width = output_size(w.in_width, w.pad_left, w.pad_right, w.kernel_w, w.stride_w, w.dilation_w)
    return w.batch, height, width, w.out_channels


def naive_conv(spec: KernelSpec, a: dict[str, Any]) -> np.ndarray[Any, Any]:
    w = spec.workload
    result = np.zeros(naive_shape(w), np.int64)
    group_in, group_out = w.in_channels // w.groups, w.out_channels // w.groups
    for n, y, x, o in np.ndindex(*result.shape):
        total = 0
        for i, j in itertools.product(range(w.kernel_h), range(w.kernel_w)):
            pixel = inside(w, y, x, i, j)
            if pixel is None:
                continue
            for c in range(group_in):
                channel = o // group_out * group_in + c
                total += int(a["input"][n, pixel[0], pixel[1], channel]) * int(a["weight"][o, i, j, c])
        if spec.epilogue is not Epilogue.NONE:
            total += int(a["bias"][o])
        if spec.epilogue not in (Epilogue.NONE, Epilogue.BIAS):
            total = rescale(total, a["multiplier"][o], a["shift"][o])
            if spec.epilogue in (Epilogue.ADD_REQUANT, Epilogue.ADD_REQUANT_RELU):
                residual = a["residual"][n, y, x, o]
                total += rescale(residual, a["residual_multiplier"][o], a["residual_shift"][o])
            total = clamp(spec, total)
        result[n, y, x, o] = total
    return result


def assert_same(spec: KernelSpec, got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    held = {"32": "int32"}.get(spec.output_dtype.value[-2:], "uint8" if spec.output_dtype.value[0] == "u" else "int8")
    assert got.dtype == np.dtype(held)
    np.testing.assert_array_equal(got, expected)


@st.composite
def window(draw: st.DrawFn) -> dict[str, int]:
    """Kernel, stride, padding, dilation, and an input that the kernel fits."""
    fields: dict[str, int] = {"batch": draw(st.integers(1, 2))}
    for axis, extent, before, after in (("h", "in_height", "top", "bottom"), ("w", "in_width", "left", "right")):
        kernel, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        pads = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        least = max(1, dilation * (kernel - 1) + 1 - sum(pads))
        fields |= {
            f"kernel_{axis}": kernel,
            f"dilation_{axis}": dilation,
            f"stride_{axis}": draw(st.integers(1, 3)),
            f"pad_{before}": pads[0],
            f"pad_{after}": pads[1],
            extent: least + draw(st.integers(0, 3)),
        }
    return fields


@st.composite
def convolutions(draw: st.DrawFn) -> KernelSpec:
    groups = draw(st.sampled_from([1, 1, 2, 3, 5]))
    inputs, outputs = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    if draw(st.booleans()):
        workload = Workload(Op.CONV2D, in_channels=inputs, out_channels=outputs, groups=groups, **draw(window()))
    else:
        workload = Workload(Op.DENSE, draw(st.integers(1, 3)), 1, 1, inputs, outputs, groups=groups)
    epilogue = draw(st.sampled_from(Epilogue))
    quantized = epilogue not in (Epilogue.NONE, Epilogue.BIAS)
    return KernelSpec(
        workload,
        input_dtype=draw(st.sampled_from(ACTIVATIONS)),
        weight_dtype=draw(st.sampled_from((DType.INT8, DType.INT4, DType.INT3, DType.INT2, DType.INT1))),
        output_dtype=draw(st.sampled_from((*ACTIVATIONS, DType.INT32))) if quantized else DType.INT32,
        input2_dtype=draw(st.sampled_from((*ACTIVATIONS, DType.INT32))) if epilogue.adds else None,
        epilogue=epilogue,
    )


@settings(max_examples=150, deadline=None)
@given(convolutions(), st.integers(0, 3))
def test_conv2d_and_dense(spec: KernelSpec, seed: int) -> None:
    arguments = sample_arguments(spec, seed)
    assert_same(spec, reference(spec, arguments), naive_conv(spec, arguments))


def test_zero_is_no_weight_of_one_bit() -> None:
    spec = KernelSpec(Workload(Op.DENSE, 1, 1, 1, 2, 1), DType.UINT1, DType.INT32, DType.INT1)
    arguments = {"input": np.ones((1, 1, 1, 2), np.uint8), "weight": np.array([[[[1, 0]]]], np.int8)}
    with pytest.raises(ValueError, match="between those of int1"):
        reference(spec, arguments)


@pytest.mark.parametrize("outputs", [4, 12])
def test_depthwise_with_every_attribute(outputs: int) -> None:
    workload = Workload(Op.CONV2D, 2, 7, 6, 4, outputs, 3, 2, 2, 1, 2, 0, 1, 1, 2, 3, groups=4)
    for epilogue in (Epilogue.REQUANT, Epilogue.ADD_REQUANT_RELU):
        second = DType.UINT8 if epilogue.adds else None
        spec = KernelSpec(workload, DType.INT8, DType.INT8, DType.INT8, second, epilogue)
        arguments = sample_arguments(spec, 1)
        assert_same(spec, reference(spec, arguments), naive_conv(spec, arguments))


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.sampled_from([1, 600, 3000, 1 << 27]))
def test_both_accumulators_agree_whatever_the_steps(spec: KernelSpec, chunk_bytes: int) -> None:
    arguments = sample_arguments(spec, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "_CHUNK_BYTES", chunk_bytes)
        fast = accumulate_blas(spec.workload, arguments["input"], arguments["weight"])
    plain = accumulate_plain(spec.workload, arguments["input"], arguments["weight"])
    assert fast.dtype == plain.dtype == np.int32
    np.testing.assert_array_equal(fast, plain)


@pytest.mark.parametrize("groups", [1, 4])
def test_both_accumulators_agree_on_a_large_layer(groups: int) -> None:
    workload = Workload(Op.CONV2D, 2, 14, 14, 256, 64, 3, 3, 1, 1, 1, 1, 1, 1, groups=groups)
    spec = KernelSpec(workload, DType.UINT8, DType.INT32, DType.INT8)
    arguments = sample_arguments(spec, 0)
    plain = accumulate_plain(workload, arguments["input"], arguments["weight"])
    np.testing.assert_array_equal(accumulate_blas(workload, arguments["input"], arguments["weight"]), plain)
    np.testing.assert_array_equal(reference(spec, arguments), plain)


def extreme_dense(inputs: int, epilogue: Epilogue = Epilogue.NONE) -> tuple[KernelSpec, dict[str, Any]]:
    """All products are 255 * -128: the largest magnitude of 8-bit types."""
    spec = KernelSpec(Workload(Op.DENSE, 1, 1, 1, inputs, 1), DType.UINT8, DType.INT32, DType.INT8, None, epilogue)
    x = np.full((1, 1, 1, inputs), 255, np.uint8)
    return spec, {"input": x, "weight": np.full((1, 1, 1, inputs), -128, np.int8), "bias": np.zeros(1, np.int32)}


@pytest.mark.parametrize("accumulate", [accumulate_plain, accumulate_blas])
def test_sums_beyond_int32_are_refused(accumulate: Any) -> None:
    fits = 2**31 // (255 * 128)
    spec, arguments = extreme_dense(fits)
    assert accumulate(spec.workload, arguments["input"], arguments["weight"]).item() == -255 * 128 * fits
    spec, arguments = extreme_dense(fits + 1)
    with pytest.raises(OverflowError, match="accumulator"):
        accumulate(spec.workload, arguments["input"], arguments["weight"])


def test_a_bias_beyond_int32_is_refused() -> None:
    spec, arguments = extreme_dense(1, Epilogue.BIAS)
    arguments["bias"][:] = -(2**31) + 255 * 128
    assert reference(spec, arguments).item() == -(2**31)
    arguments["bias"] -= 1
    with pytest.raises(OverflowError, match="with bias"):
        reference(spec, arguments)


def test_blas_is_refused_where_it_is_not_exact() -> None:
    workload = Workload(Op.DENSE, 1, 1, 1, 8, 1)
    wide = np.ones((1, 1, 1, 8), np.int32)
    with pytest.raises(OverflowError, match="not exact"):
        accumulate_blas(workload, wide, wide)


@st.composite
def pools(draw: st.DrawFn, op: Op) -> KernelSpec:
    channels = draw(st.integers(1, 5))
    workload = Workload(op, in_channels=channels, out_channels=channels, **draw(window()))
    dtype = draw(st.sampled_from(ACTIVATIONS))
    if op is Op.MAX_POOL:
        return KernelSpec(workload, dtype, dtype)
    epilogue = draw(st.sampled_from((Epilogue.REQUANT, Epilogue.REQUANT_RELU)))
    return KernelSpec(workload, dtype, draw(st.sampled_from(ACTIVATIONS)), epilogue=epilogue)


@settings(max_examples=60, deadline=None)
@given(pools(Op.MAX_POOL))
def test_max_pool(spec: KernelSpec) -> None:
    w, arguments = spec.workload, sample_arguments(spec, 0)
    expected = np.zeros(naive_shape(w), np.int64)
    for n, y, x, c in np.ndindex(*expected.shape):
        taps = [inside(w, y, x, i, j) for i in range(w.kernel_h) for j in range(w.kernel_w)]
        seen = [int(arguments["input"][n, p[0], p[1], c]) for p in taps if p is not None]
        expected[n, y, x, c] = max(seen, default=RANGES[spec.input_dtype][0])
    assert_same(spec, reference(spec, arguments), expected)


def test_padding_of_a_max_pool_never_wins() -> None:
    spec = KernelSpec(Workload(Op.MAX_POOL, 1, 2, 2, 1, 1, 3, 3, 1, 1, 1, 1, 1, 1), DType.INT8, DType.INT8)
    x = np.full((1, 2, 2, 1), -100, np.int8)
    assert (reference(spec, {"input": x}) == -100).all()


@settings(max_examples=60, deadline=None)
@given(pools(Op.AVG_POOL))
def test_avg_pool(spec: KernelSpec) -> None:
    w, a = spec.workload, sample_arguments(spec, 0)
    expected = np.zeros(naive_shape(w), np.int64)
    for n, y, x, c in np.ndindex(*expected.shape):
        taps = [inside(w, y, x, i, j) for i in range(w.kernel_h) for j in range(w.kernel_w)]
        total = sum(int(a["input"][n, p[0], p[1], c]) for p in taps if p is not None)
        expected[n, y, x, c] = clamp(spec, rescale(total, a["multiplier"][y, x], a["shift"][y, x]))
    assert_same(spec, reference(spec, a), expected)


def test_avg_pool_without_the_padding_in_its_count() -> None:
    spec = KernelSpec(
        Workload(Op.AVG_POOL, 1, 3, 3, 1, 1, 3, 3, 1, 1, 1, 1, 1, 1),
        DType.UINT8,
        DType.UINT8,
        epilogue=Epilogue.REQUANT,
    )
    counts = np.array([[4, 6, 4], [6, 9, 6], [4, 6, 4]])
    multiplier, shift = np.vectorize(dyadic)(1 / counts)
    x = np.full((1, 3, 3, 1), 200, np.uint8)
    got = reference(spec, {"input": x, "multiplier": multiplier, "shift": shift})
    assert (got == 200).all()


ELEMENTWISE = [
    (DType.INT8, DType.UINT8, DType.INT8),
    (DType.UINT4, DType.INT32, DType.UINT4),
    (DType.INT32, DType.INT4, DType.INT4),
    (DType.INT32, DType.INT32, DType.UINT8),
]


@pytest.mark.parametrize("epilogue", [Epilogue.REQUANT, Epilogue.REQUANT_RELU])
@pytest.mark.parametrize(("first", "second", "output"), ELEMENTWISE)
def test_add(first: DType, second: DType, output: DType, epilogue: Epilogue) -> None:
    spec = KernelSpec(Workload(Op.ADD, 2, 3, 2, 5, 5), first, output, None, second, epilogue)
    a = sample_arguments(spec, 0)
    expected = np.zeros((2, 3, 2, 5), np.int64)
    for index in np.ndindex(*expected.shape):
        c = index[-1]
        total = rescale(a["input"][index], a["multiplier"][c], a["shift"][c])
        total += rescale(a["input2"][index], a["multiplier2"][c], a["shift2"][c])
        expected[index] = clamp(spec, total)
    assert_same(spec, reference(spec, a), expected)


@pytest.mark.parametrize(
    ("source", "target"),
    [(DType.INT8, DType.INT4), (DType.INT4, DType.INT8), (DType.UINT8, DType.UINT4), (DType.UINT4, DType.UINT8)]
    + [(DType.INT32, target) for target in ACTIVATIONS],
)
def test_convert(source: DType, target: DType) -> None:
    spec = KernelSpec(Workload(Op.CONVERT, 2, 3, 2, 5, 5), source, target, epilogue=Epilogue.REQUANT)
    a = sample_arguments(spec, 0)
    expected = np.zeros((2, 3, 2, 5), np.int64)
    for index in np.ndindex(*expected.shape):
        expected[index] = clamp(spec, rescale(a["input"][index], a["multiplier"][index[-1]], a["shift"][index[-1]]))
    assert_same(spec, reference(spec, a), expected)


def test_concat_rewrites_its_slice_and_keeps_the_rest() -> None:
    spec = KernelSpec(Workload(Op.CONCAT, 2, 3, 2, 3, 7), DType.UINT8, DType.UINT4, epilogue=Epilogue.REQUANT)
    a = sample_arguments(spec, 0)
    before = a["output"].copy()
    got = reference(spec, a)
    for index in np.ndindex(2, 3, 2, 3):
        c = index[-1]
        assert got[index] == clamp(spec, rescale(a["input"][index], a["multiplier"][c], a["shift"][c]))
    np.testing.assert_array_equal(got[..., 3:], before[..., 3:])
    np.testing.assert_array_equal(a["output"], before)


@pytest.mark.parametrize("parts", [(64, 64), (64, 64, 96, 64), (32, 8), (40, 5), (8, 16, 40, 3)])
@pytest.mark.parametrize("dtype", NARROW)
def test_slices_fill_the_bit_planes_of_a_concatenation(parts: tuple[int, ...], dtype: DType) -> None:
    """One after the other, each on the pixels from its first byte on, in memory that held anything: then every byte is
    what one kernel would have stored of all, the end of the last words too."""
    rng, total, pixels = np.random.default_rng(sum(parts)), sum(parts), 6
    words = -(-total // 64)
    memory = rng.integers(0, 2, (pixels, dtype.bits, 64 * words), dtype=np.uint8)  # a bit each
    wanted = np.zeros_like(memory)
    first = 0
    for channels in parts:
        spec = KernelSpec(Workload(Op.CONCAT, 1, 2, 3, channels, total), DType.INT8, dtype, epilogue=Epilogue.REQUANT)
        a = sample_arguments(spec, first)
        given = memory[:, :, first : first + total]
        given = np.pad(given, ((0, 0), (0, 0), (0, total - given.shape[-1])))
        stored = np.packbits(np.pad(given, ((0, 0), (0, 0), (0, 64 * words - total))), axis=-1, bitorder="little")
        a["output"] = unpack_activation(stored.tobytes(), (1, 2, 3, total), dtype)
        after = np.frombuffer(pack_output(spec, reference(spec, a)), np.uint8).reshape(pixels, dtype.bits, -1)
        bits = np.unpackbits(after, axis=-1, bitorder="little")
        memory[:, :, first : first + total] = bits[:, :, : min(total, 64 * words - first)]
        for pixel, c in np.ndindex(pixels, channels):
            x = a["input"].reshape(pixels, channels)[pixel, c]
            value = clamp(spec, rescale(x, a["multiplier"][c], a["shift"][c]))
            wanted[pixel, :, first + c] = [value >> plane & 1 for plane in range(dtype.bits)]
        first += channels
    np.testing.assert_array_equal(memory, wanted)


def small() -> tuple[KernelSpec, dict[str, Any]]:
    workload = Workload(Op.DENSE, 2, 1, 1, 3, 4)
    spec = KernelSpec(workload, DType.UINT4, DType.UINT4, DType.INT4, None, Epilogue.REQUANT)
    return spec, sample_arguments(spec, 0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input", np.full((2, 1, 1, 3), 16), "out of the range of uint4"),
        ("weight", np.full((4, 1, 1, 3), -9), "out of the range of int4"),
        ("bias", np.zeros(3, np.int32), "must be integers of shape"),
        ("bias", np.zeros(4, np.float32), "must be integers"),
        ("shift", np.zeros(4, np.int32), "shift must lie in"),
        ("multiplier", np.full(4, -1, np.int32), "multiplier must lie in"),
    ],
)
def test_bad_arguments_are_refused(name: str, value: Any, message: str) -> None:
    spec, arguments = small()
    with pytest.raises(ValueError, match=message):
        reference(spec, {**arguments, name: value})


def test_a_missing_argument_is_named() -> None:
    spec, arguments = small()
    del arguments["bias"]
    with pytest.raises(ValueError, match="'bias' is missing"):
        reference(spec, arguments)


@pytest.mark.parametrize(
    "spec",
    [
        KernelSpec(Workload(Op.RELAYOUT, 1, 2, 2, 3, 3), DType.INT8, DType.INT8),
        KernelSpec(Workload(Op.AVG_POOL, 1, 2, 2, 3, 3), DType.INT8, DType.INT8),
        KernelSpec(Workload(Op.CONVERT, 1, 2, 2, 3, 3), DType.FLOAT32, DType.INT8, epilogue=Epilogue.REQUANT),
    ],
    ids=lambda spec: spec.key,
)
def test_what_has_no_integer_semantics_is_named(spec: KernelSpec) -> None:
    with pytest.raises(InvalidWorkload, match=spec.workload.op.value):
        reference(spec, {})
