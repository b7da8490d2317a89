"""Packings against index formulas written out from their documentation, one byte at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.quantize.oracle import reference
from profiler.quantize.packed_arguments import argument_nbytes, pack_arguments
from profiler.quantize.packing import Packing
from profiler.quantize.samples import sample_arguments
from profiler.quantize.stored import (
    numpy_dtype,
    output_nbytes,
    pack_activation,
    pack_nibbles,
    pack_output,
    unpack_activation,
    unpack_nibbles,
    unpack_output,
)
from profiler.quantize.whole_bytes import activation_nbytes
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

PLAIN = Packing("plain")
STORED = (
    DType.UINT1, DType.INT2, DType.UINT2, DType.INT3, DType.UINT3,
    DType.INT4, DType.UINT4, DType.INT8, DType.UINT8, DType.INT16, DType.INT32,
)  # fmt: skip


def signed_nibble(value: int) -> int:
    return value - 16 if value >= 8 else value


def signed_byte(value: int) -> int:
    return value - 256 if value >= 128 else value


def int32s(raw: Any) -> list[int]:
    return [int.from_bytes(bytes(raw[i : i + 4]), "little", signed=True) for i in range(0, len(raw), 4)]


def test_nibble_order() -> None:
    assert pack_nibbles(np.array([1, 2, 3])).tolist() == [0x21, 0x03]
    assert pack_nibbles(np.array([-1, -8, 7], np.int8)).tolist() == [0x8F, 0x07]
    assert pack_nibbles(np.array([[15], [9]], np.uint8)).tolist() == [[0x0F], [0x09]]
    assert unpack_nibbles(np.array([0x8F, 0xF7], np.uint8), 3, signed=True).tolist() == [-1, -8, 7]
    assert unpack_nibbles(np.array([0x8F, 0xF7], np.uint8), 3, signed=False).tolist() == [15, 8, 7]


@pytest.mark.parametrize("values", [[16], [-9], [300]])
def test_values_wider_than_a_nibble_are_refused(values: list[int]) -> None:
    with pytest.raises(ValueError, match="do not fit 4 bits"):
        pack_nibbles(np.array(values))


@settings(max_examples=100)
@given(
    dtype=st.sampled_from(STORED),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 9),
)
def test_activations_round_trip(dtype: DType, shape: tuple[int, ...], seed: int) -> None:
    values = np.random.default_rng(seed).integers(dtype.low, dtype.high, size=shape, endpoint=True)
    raw = pack_activation(values, dtype)
    assert raw.dtype == np.uint8
    assert raw.ndim == 1
    back = unpack_activation(raw.tobytes(), shape, dtype)
    assert back.dtype == numpy_dtype(dtype)
    np.testing.assert_array_equal(back, values)
    if dtype.bits == 4:
        per_pixel = -(-shape[-1] // 2)
        for number, pixel in enumerate(values.reshape(-1, shape[-1])):
            stored = raw[number * per_pixel : (number + 1) * per_pixel].tolist()
            for channel, value in enumerate(pixel):
                assert stored[channel // 2] >> (4 * (channel % 2)) & 15 == value % 16
            if shape[-1] % 2:
                assert stored[-1] >> 4 == 0

    elif not dtype.in_planes:
        size = dtype.bits // 8
        for number, value in enumerate(values.ravel()):
            assert int.from_bytes(raw[number * size : (number + 1) * size].tobytes(), "little") == value % 2**dtype.bits


@settings(max_examples=60)
@given(
    dtype=st.sampled_from((DType.UINT1, DType.INT2, DType.UINT2, DType.INT3, DType.UINT3)),
    pixels=st.integers(1, 3),
    channels=st.sampled_from([1, 7, 8, 63, 64, 65, 130]),
    seed=st.integers(0, 9),
)
def test_bit_planes(dtype: DType, pixels: int, channels: int, seed: int) -> None:
    """Bit by bit: word c // 64 of a plane has channel c at bit c % 64, and nothing else is set."""
    values = np.random.default_rng(seed).integers(dtype.low, dtype.high, size=(pixels, channels), endpoint=True)
    words = pack_activation(values, dtype).view("<u8").reshape(pixels, dtype.bits, -1)
    assert words.shape[-1] == -(-channels // 64)
    for pixel, plane, bit in np.ndindex(pixels, dtype.bits, 64 * words.shape[-1]):
        expected = values[pixel, bit] % (1 << dtype.bits) >> plane & 1 if bit < channels else 0
        assert int(words[pixel, plane, bit // 64]) >> (bit % 64) & 1 == expected
    assert words.nbytes == activation_nbytes((pixels, channels), dtype)


def test_weights_of_one_bit_are_set_for_plus_one() -> None:
    assert pack_activation(np.array([1, -1, -1, 1]), DType.INT1).tolist() == [0b1001, *[0] * 7]
    assert unpack_activation(bytes([0b1001, *[0] * 7]), (4,), DType.INT1).tolist() == [1, -1, -1, 1]


@pytest.mark.parametrize(
    ("dtype", "value"), [(DType.INT4, 8), (DType.UINT4, -1), (DType.INT8, 128), (DType.UINT8, 256)]
)
def test_values_out_of_range_are_refused(dtype: DType, value: int) -> None:
    with pytest.raises(ValueError, match=f"do not fit {dtype.value}"):
        pack_activation(np.array([0, value]), dtype)


def test_a_buffer_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes are not 4"):
        unpack_activation(b"123", (2, 3), DType.INT4)


def test_memory_that_is_not_contiguous() -> None:
    values = np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)
    assert pack_activation(values, DType.INT8).tolist() == values.ravel().tolist()


@st.composite
def cases(draw: st.DrawFn) -> tuple[KernelSpec, Packing]:
    kind = draw(st.sampled_from(["plain", "dot", "depthwise", "mma"]))
    groups = draw(st.integers(2, 9)) if kind == "depthwise" else draw(st.integers(1, 3))
    inputs = 1 if kind == "depthwise" else draw(st.integers(1, 11))
    outputs = draw(st.integers(1, 2)) if kind == "depthwise" else draw(st.integers(1, 11))
    kernel_h, kernel_w = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    workload = Workload(
        Op.CONV2D, 1, kernel_h, kernel_w, groups * inputs, groups * outputs, kernel_h, kernel_w, groups=groups
    )
    epilogue = draw(st.sampled_from(Epilogue))
    spec = KernelSpec(
        workload,
        input_dtype=draw(st.sampled_from([DType.INT8, DType.UINT8, DType.INT4, DType.UINT4])),
        weight_dtype=draw(st.sampled_from([DType.INT8, DType.INT4])),
        output_dtype=DType.INT8 if epilogue.requantizes else DType.INT32,
        input2_dtype=DType.INT8 if epilogue.adds else None,
        epilogue=epilogue,
    )
    offset = draw(st.sampled_from([0, 0, 128, 8]))
    if kind == "plain":
        return spec, Packing("plain", activation_offset=offset)
    if kind == "depthwise":
        return spec, Packing("depthwise", channel_block=draw(st.integers(1, 8)), activation_offset=offset)
    if kind == "mma":
        block, step = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        return spec, Packing("mma", channel_block=block, step_words=step, tiled=draw(st.booleans()))
    lanes, vectors = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    return spec, Packing("dot", lanes * vectors, lanes, draw(st.booleans()), offset)


def read_weight(raw: list[int], spec: KernelSpec, packing: Packing, o: int, i: int, j: int, c: int) -> int:
    """The weight [o, i, j, c] out of packed bytes."""
    w = spec.workload
    four = spec.weight_dtype is DType.INT4
    inputs = w.in_channels // w.groups
    if packing.kind == "plain":
        if not four:
            return signed_byte(raw[((o * w.kernel_h + i) * w.kernel_w + j) * inputs + c])
        byte = raw[((o * w.kernel_h + i) * w.kernel_w + j) * ((inputs + 1) // 2) + c // 2]
        return signed_nibble(byte >> (4 * (c % 2)) & 15)
    block = packing.channel_block
    if packing.kind == "depthwise":
        padded = (w.out_channels + block - 1) // block * block
        tap = i * w.kernel_w + j
        if not four:
            return signed_byte(raw[tap * padded + o])
        return signed_nibble(raw[tap * ((padded + 1) // 2) + o // 2] >> (4 * (o % 2)) & 15)
    run = 8 if four else 4
    if packing.kind == "mma":
        return read_mma_weight(raw, spec, packing, o, (i * w.kernel_w + j) * ((inputs + run - 1) // run) + c // run, c)
    if packing.merged_rows:
        row = (w.kernel_w * inputs + run - 1) // run * run
        k = j * inputs + c
    else:
        pixel = (inputs + run - 1) // run * run
        row, k = w.kernel_w * pixel, j * pixel + c
    each = w.out_channels // w.groups
    group, channel = o // each, o % each
    blocks = (each + block - 1) // block
    runs_stored = row // run  # in 4-bit weights two runs of 4 share their bytes
    position = (group * blocks + channel // block) * w.kernel_h + i
    position = position * runs_stored + k // run
    position = position * (block // packing.lanes) + channel % block // packing.lanes
    position = position * packing.lanes + channel % packing.lanes
    byte = raw[position * 4 + k % 4]
    return signed_nibble(byte >> (4 * (k // 4 % 2)) & 15) if four else signed_byte(byte)


def read_mma_weight(raw: list[int], spec: KernelSpec, packing: Packing, o: int, word: int, c: int) -> int:
    """The weight of output channel ``o`` in a word of its row, element ``c`` modulo the elements of a word."""
    w, block, step = spec.workload, packing.channel_block, packing.step_words
    elements = 8 if spec.weight_dtype is DType.INT4 else 4
    taps = w.kernel_h * w.kernel_w * ((w.in_channels // w.groups + elements - 1) // elements)
    steps = (taps + step - 1) // step
    each = w.out_channels // w.groups
    blocks = (each + block - 1) // block
    group, channel = o // each, o % each
    position = (group * blocks * block + channel) * steps * step + word
    if packing.tiled:
        tile = (group * blocks + channel // block) * steps + word // step
        position = (tile * block + channel % block) * step + word % step
    at = c % elements
    if elements == 4:
        return signed_byte(raw[position * 4 + at])
    return signed_nibble(raw[position * 4 + at // 2] >> (4 * (at % 2)) & 15)


@settings(max_examples=200, deadline=None)
@given(cases())
def test_every_weight_is_where_the_documentation_says(case: tuple[KernelSpec, Packing]) -> None:
    spec, packing = case
    arguments = sample_arguments(spec, 0)
    raw = pack_arguments(spec, packing, arguments)["weight"].tolist()
    weight = arguments["weight"]
    for o, i, j, c in np.ndindex(*weight.shape):
        assert read_weight(raw, spec, packing, o, i, j, c) == weight[o, i, j, c]
    # What is left over is zero: the bytes hold no more than the weights do.
    values = [signed_nibble(b >> s & 15) for b in raw for s in (0, 4)] if spec.weight_dtype is DType.INT4 else raw
    assert sorted(v for v in map(signed_byte, values) if v) == sorted(v for v in weight.ravel().tolist() if v)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_vectors_are_padded_and_the_bias_compensates_the_offset(case: tuple[KernelSpec, Packing]) -> None:
    spec, packing = case
    w, arguments = spec.workload, sample_arguments(spec, 0)
    packed = pack_arguments(spec, packing, arguments)
    offset = packing.activation_offset
    assert ("bias" in packed) == (spec.epilogue is not Epilogue.NONE or offset != 0)
    groups = w.groups if packing.kind in ("dot", "mma") else 1
    each = w.out_channels // groups
    padded = (each + packing.channel_block - 1) // packing.channel_block * packing.channel_block
    for name in packed:
        if name in ("input", "weight", "residual"):
            continue
        values = int32s(packed[name])
        assert len(values) == groups * padded
        for o in range(w.out_channels):
            expected = int(arguments[name][o]) if name in arguments else 0
            if name == "bias":
                expected -= offset * sum(int(v) for v in arguments["weight"][o].ravel())
            assert values[o // each * padded + o % each] == expected
        spare = [v for position, v in enumerate(values) if position % padded >= each]
        assert set(spare) <= {1 if name.endswith("shift") else 0}


@settings(max_examples=100, deadline=None)
@given(cases())
def test_sizes_and_order_are_known_without_data(case: tuple[KernelSpec, Packing]) -> None:
    spec, packing = case
    packed = pack_arguments(spec, packing, sample_arguments(spec, 0))
    sizes = argument_nbytes(spec, packing)
    assert list(sizes.items()) == [(name, raw.size) for name, raw in packed.items()]
    assert all(raw.dtype == np.uint8 and raw.ndim == 1 for raw in packed.values())
    order = ["input", "weight", "bias", "multiplier", "shift", "residual", "residual_multiplier", "residual_shift"]
    assert list(sizes) == [name for name in order if name in sizes]


def test_a_dot_block_written_out() -> None:
    # One group, 3 output channels in blocks of 2 x 2 lanes, a 1x2 kernel over 3 input channels.
    spec = KernelSpec(Workload(Op.CONV2D, 1, 1, 2, 3, 3, 1, 2), DType.UINT8, DType.INT32, DType.INT8)
    weight = np.arange(1, 19, dtype=np.int8).reshape(3, 1, 2, 3)
    arguments = {"input": np.zeros((1, 1, 2, 3), np.uint8), "weight": weight}
    separate = pack_arguments(spec, Packing("dot", 4, 2), arguments)["weight"]
    assert separate.tolist() == [
        *[1, 2, 3, 0, 7, 8, 9, 0, 13, 14, 15, 0, 0, 0, 0, 0],
        *[4, 5, 6, 0, 10, 11, 12, 0, 16, 17, 18, 0, 0, 0, 0, 0],
    ]
    merged = pack_arguments(spec, Packing("dot", 4, 2, merged_rows=True), arguments)["weight"]
    assert merged.tolist() == [
        *[1, 2, 3, 4, 7, 8, 9, 10, 13, 14, 15, 16, 0, 0, 0, 0],
        *[5, 6, 0, 0, 11, 12, 0, 0, 17, 18, 0, 0, 0, 0, 0, 0],
    ]


def test_a_nibble_block_written_out() -> None:
    spec = KernelSpec(Workload(Op.DENSE, 1, 1, 1, 6, 1), DType.UINT4, DType.INT32, DType.INT4)
    weight = np.array([1, 2, 3, 4, -5, -6]).reshape(1, 1, 1, 6)
    arguments = {"input": np.zeros((1, 1, 1, 6), np.uint8), "weight": weight}
    packed = pack_arguments(spec, Packing("dot", 2, 2), arguments)["weight"]
    assert packed.tolist() == [0xB1, 0xA2, 0x03, 0x04, 0, 0, 0, 0]


@pytest.mark.parametrize("offset", [8, 128])
def test_offset_activations_with_the_packed_bias_give_the_same_accumulators(offset: int) -> None:
    workload = Workload(Op.CONV2D, 1, 4, 4, 5, 3, 3, 3)
    spec = KernelSpec(workload, DType.INT4, DType.INT32, DType.INT8)
    arguments = sample_arguments(spec, 0)
    packed = pack_arguments(spec, Packing("dot", 4, 4, activation_offset=offset), arguments)
    shifted = KernelSpec(workload, DType.UINT8, DType.INT32, DType.INT8, None, Epilogue.BIAS)
    bias = np.array(int32s(packed["bias"])[:3], np.int32)
    x = arguments["input"].astype(np.int32) + offset
    got = reference(shifted, {"input": x, "weight": arguments["weight"], "bias": bias})
    np.testing.assert_array_equal(got, reference(spec, arguments))


def test_a_compensated_bias_must_fit_int32() -> None:
    spec = KernelSpec(Workload(Op.DENSE, 1, 1, 1, 1, 1), DType.INT8, DType.INT32, DType.INT8, None, Epilogue.BIAS)
    arguments = {name: np.full((1, 1, 1, 1), -1, np.int8) for name in ("input", "weight")}
    arguments["bias"] = np.array([2**31 - 1], np.int32)
    with pytest.raises(ValueError, match="do not fit int32"):
        pack_arguments(spec, Packing("plain", activation_offset=128), arguments)


@pytest.mark.parametrize("dtype", [DType.INT4, DType.UINT8, DType.INT32])
def test_outputs_round_trip(dtype: DType) -> None:
    spec = KernelSpec(Workload(Op.CONVERT, 2, 3, 2, 5, 5), DType.INT8, dtype, epilogue=Epilogue.REQUANT)
    output = reference(spec, sample_arguments(spec, 0))
    raw = pack_output(spec, output)
    assert len(raw) == output_nbytes(spec) == 12 * {4: 3, 8: 5, 32: 20}[dtype.bits]
    for buffer in (raw, bytearray(raw), memoryview(raw), np.frombuffer(raw, np.uint8)):
        back = unpack_output(spec, buffer)
        assert back.dtype == output.dtype
        np.testing.assert_array_equal(back, output)


def test_arguments_of_operators_without_weights() -> None:
    add = KernelSpec(Workload(Op.ADD, 1, 2, 2, 3, 3), DType.INT4, DType.INT4, None, DType.INT32, Epilogue.REQUANT)
    sizes = {"input": 8, "input2": 48, "multiplier": 12, "shift": 12, "multiplier2": 12, "shift2": 12}
    assert list(argument_nbytes(add, PLAIN).items()) == list(sizes.items())
    max_pool = KernelSpec(Workload(Op.MAX_POOL, 1, 4, 4, 3, 3, 2, 2), DType.INT4, DType.INT4)
    assert argument_nbytes(max_pool, PLAIN) == {"input": 32}
    avg_pool = KernelSpec(Workload(Op.AVG_POOL, 1, 4, 5, 3, 3, 2, 2), DType.INT8, DType.INT8, epilogue=Epilogue.REQUANT)
    assert argument_nbytes(avg_pool, PLAIN) == {"input": 60, "multiplier": 48, "shift": 48}


def test_concat_carries_the_initial_contents_of_its_output() -> None:
    spec = KernelSpec(Workload(Op.CONCAT, 1, 2, 2, 3, 7), DType.INT8, DType.INT4, epilogue=Epilogue.REQUANT)
    assert argument_nbytes(spec, PLAIN) == {"input": 12, "multiplier": 12, "shift": 12, "output": 16}
    arguments = sample_arguments(spec, 0)
    packed = pack_arguments(spec, PLAIN, arguments)
    np.testing.assert_array_equal(unpack_output(spec, packed["output"]), arguments["output"])


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "tiled"},
        {"kind": "dot", "channel_block": 8, "lanes": 3},
        {"kind": "dot", "channel_block": 0},
        {"kind": "plain", "channel_block": 4},
        {"kind": "depthwise", "channel_block": 4, "lanes": 2},
        {"kind": "depthwise", "merged_rows": True},
        {"kind": "dot", "step_words": 4},
        {"kind": "plain", "tiled": True},
        {"kind": "mma", "step_words": 0},
        {"kind": "mma", "activation_offset": 128},
        {"kind": "mma", "lanes": 4, "channel_block": 8},
    ],
)
def test_a_packing_checks_itself(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="packing"):
        Packing(**fields)


def test_a_packing_that_does_not_fit_the_kernel_is_refused() -> None:
    add = KernelSpec(Workload(Op.ADD, 1, 2, 2, 3, 3), DType.INT8, DType.INT8, None, DType.INT8, Epilogue.REQUANT)
    conv = KernelSpec(Workload(Op.CONV2D, 1, 2, 2, 4, 4, groups=2), DType.INT8, DType.INT32, DType.INT8)
    wide = KernelSpec(Workload(Op.CONV2D, 1, 2, 2, 4, 4), DType.INT8, DType.INT32, DType.INT16)
    for spec, kind in ((add, "dot"), (conv, "depthwise"), (wide, "dot"), (add, "mma"), (wide, "mma")):
        with pytest.raises(ValueError, match=kind):
            argument_nbytes(spec, Packing(kind))
