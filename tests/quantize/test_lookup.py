"""Parameters of lookup kernels against plain loops: indices weight by weight, thresholds against requantization."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.quantize.dyadic import requantize
from profiler.quantize.lookup import groups_of, levels, raw_bits, raw_range, thresholds
from profiler.quantize.operands import operands
from profiler.quantize.packed_arguments import argument_nbytes, pack_arguments
from profiler.quantize.packing import Packing
from profiler.quantize.samples import sample_arguments
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

CHANNELS = st.one_of(st.integers(1, 9), st.sampled_from([64, 65, 71]))
WEIGHTS = st.sampled_from([DType.INT1, DType.INT2, DType.INT3])
ACTIVATIONS = st.sampled_from([DType.UINT1, DType.INT2, DType.UINT2, DType.INT3, DType.UINT3, DType.UINT4])


@st.composite
def specs(draw: st.DrawFn) -> KernelSpec:
    workload = Workload(Op.CONV2D, 1, 5, 5, draw(CHANNELS), draw(st.integers(1, 40)), draw(st.integers(1, 3)), 2)
    output = draw(st.sampled_from([DType.UINT1, DType.INT2, DType.UINT2, DType.UINT3, DType.INT4]))
    epilogue = draw(st.sampled_from([Epilogue.REQUANT, Epilogue.REQUANT_RELU]))
    return KernelSpec(workload, draw(ACTIVATIONS), output, draw(WEIGHTS), epilogue=epilogue)


@settings(max_examples=40, deadline=None)
@given(specs(), st.sampled_from([2, 8, 16]), st.integers(1, 3), st.sampled_from([4, 6]))
def test_every_weight_is_found_where_the_documentation_says(
    spec: KernelSpec, lanes: int, vectors: int, group: int
) -> None:
    w, dtype = spec.workload, spec.weight_dtype
    assert dtype is not None
    block = lanes * vectors
    packing = Packing("lookup", block, lanes, group=group)
    of_word = {4: 16, 6: 11}[group]
    arguments = sample_arguments(spec, 3)
    packed = pack_arguments(spec, packing, arguments)["weight"]
    groups, blocks = groups_of(w.in_channels, group), -(-w.out_channels // block)
    indices = packed.reshape(blocks, w.kernel_h, w.kernel_w, groups, dtype.bits, vectors, lanes)
    used = np.zeros(indices.shape, np.uint8)
    for o, i, j, c in np.ndindex(*w.weight_shape):
        weight = int(arguments["weight"][o, i, j, c])
        code = (weight + 1) // 2 if dtype is DType.INT1 else weight % (1 << dtype.bits)
        half, at = divmod(o % lanes, lanes // 2)
        for plane in range(dtype.bits):
            entry = c // 64 * of_word + c % 64 // group
            where = (o // block, i, j, entry, plane, o % block // lanes, 2 * at + half)
            assert indices[where] >> (c % 64 % group) & 1 == code >> plane & 1
            used[where] |= 1 << (c % 64 % group)
    assert not (indices & ~used).any(), "bits are set that belong to no weight"


@settings(max_examples=40, deadline=None)
@given(specs(), st.sampled_from([2, 8]), st.integers(1, 3))
def test_every_weight_is_in_the_word_where_the_documentation_says(spec: KernelSpec, lanes: int, vectors: int) -> None:
    w, dtype = spec.workload, spec.weight_dtype
    assert dtype is not None
    block = lanes * vectors
    arguments = sample_arguments(spec, 3)
    packed = pack_arguments(spec, Packing("popcount", block, lanes), arguments)["weight"].view("<u8")
    blocks, words = -(-w.out_channels // block), -(-w.in_channels // 64)
    stored = packed.reshape(blocks, w.kernel_h, w.kernel_w, words, dtype.bits, vectors, lanes)
    left = stored.copy()
    for o, i, j, c in np.ndindex(*w.weight_shape):
        weight = int(arguments["weight"][o, i, j, c])
        code = (weight + 1) // 2 if dtype is DType.INT1 else weight % (1 << dtype.bits)
        for plane in range(dtype.bits):
            where = (o // block, i, j, c // 64, plane, o % block // lanes, o % lanes)
            assert int(stored[where]) >> (c % 64) & 1 == code >> plane & 1
            left[where] &= ~np.uint64(1 << (c % 64))
    assert not left.any(), "bits are set that belong to no weight"


@settings(max_examples=40, deadline=None)
@given(specs())
def test_thresholds_give_what_requantization_gives(spec: KernelSpec) -> None:
    arguments = sample_arguments(spec, 5)
    bias, multiplier, shift = (arguments[name].astype(np.int64) for name in ("bias", "multiplier", "shift"))
    found = thresholds(spec, bias, multiplier, shift)
    low, high = raw_range(spec)
    raw = np.unique(np.concatenate([np.arange(low, high + 1, max(1, (high - low) // 500)), [low, high]]))[:, None]
    expected = np.clip(requantize(raw + bias, multiplier, shift), *spec.output_range)
    compared = spec.output_range[0] + (raw[:, None] > found[None]).sum(axis=1)
    np.testing.assert_array_equal(compared, expected)
    assert found.shape == (levels(spec), spec.workload.out_channels)
    bits = raw_bits(spec)
    assert -(1 << (bits - 1)) <= found.min() <= found.max() < 1 << (bits - 1)


@settings(max_examples=20, deadline=None)
@given(specs(), st.sampled_from([DType.UINT1, DType.INT2, DType.UINT2]))
def test_each_value_of_a_residual_has_thresholds(spec: KernelSpec, residual: DType) -> None:
    spec = KernelSpec(
        spec.workload, spec.input_dtype, DType.UINT2, spec.weight_dtype, residual, Epilogue.ADD_REQUANT_RELU
    )
    arguments = sample_arguments(spec, 5)
    channels = spec.workload.out_channels
    packed = pack_arguments(spec, Packing("lookup", 16, 16), arguments)["thresholds"]
    dtype = np.dtype(f"<i{raw_bits(spec) // 8}")
    stored = packed.view(dtype).reshape(1 << residual.bits, levels(spec), -1)[..., :channels].astype(np.int64)
    low, high = raw_range(spec)
    raw = np.unique(np.concatenate([np.arange(low, high + 1, max(1, (high - low) // 200)), [low, high]]))[:, None]
    main = requantize(raw + arguments["bias"].astype(np.int64), arguments["multiplier"], arguments["shift"])
    for value in range(residual.low, residual.high + 1):
        each = np.full(channels, value)
        added = requantize(each, arguments["residual_multiplier"], arguments["residual_shift"])
        compared = (raw[:, None] > stored[value % (1 << residual.bits)][None]).sum(axis=1)
        np.testing.assert_array_equal(compared, np.clip(main + added, 0, 3))


def test_a_threshold_takes_the_activation_offset_into_account() -> None:
    spec = KernelSpec(Workload(Op.DENSE, 1, 1, 1, 6, 3), DType.INT2, DType.UINT2, DType.INT2, epilogue=Epilogue.REQUANT)
    arguments = sample_arguments(spec, 1)
    plain, offset = (
        pack_arguments(spec, Packing("lookup", 8, 8, activation_offset=a), arguments)["thresholds"]
        .view("<i2").reshape(3, 8)[:, :3].astype(int) for a in (0, 2)
    )  # fmt: skip
    low, high = raw_range(spec)
    moved = plain + 2 * arguments["weight"].sum(axis=(1, 2, 3))
    inside = (low <= plain) & (plain < high) & (low <= offset) & (offset < high)
    assert inside.any()
    assert (moved == offset)[inside].all()


@settings(max_examples=30, deadline=None)
@given(
    specs(),
    st.sampled_from(list(Epilogue)),
    st.sampled_from([DType.UINT2, DType.INT8]),
    st.sampled_from([Packing("lookup", 32, 16), Packing("popcount", 24, 8)]),
)
def test_sizes_are_known_ahead(spec: KernelSpec, epilogue: Epilogue, output: DType, packing: Packing) -> None:
    output = output if epilogue.requantizes else DType.INT32
    residual = DType.UINT2 if epilogue.adds else None
    spec = KernelSpec(spec.workload, spec.input_dtype, output, spec.weight_dtype, residual, epilogue)
    packed = pack_arguments(spec, packing, sample_arguments(spec, 0))
    assert {name: values.size for name, values in packed.items()} == argument_nbytes(spec, packing)
    if output is DType.UINT2:
        assert list(packed) == ["input", "weight", "thresholds"] + ["residual"] * epilogue.adds
    else:
        assert list(packed) == [operand.name for operand in operands(spec) if operand.name != "output"]


@pytest.mark.parametrize("weight", [DType.INT4, DType.INT8])
def test_wide_weights_and_groups_are_refused(weight: DType) -> None:
    spec = KernelSpec(Workload(Op.DENSE, 1, 1, 1, 8, 8), DType.UINT2, DType.INT32, weight)
    with pytest.raises(ValueError, match="up to 3 bits"):
        argument_nbytes(spec, Packing("lookup", 16, 16))
    grouped = KernelSpec(Workload(Op.DENSE, 1, 1, 1, 8, 8, groups=2), DType.UINT2, DType.INT32, DType.INT2)
    with pytest.raises(ValueError, match="without groups"):
        argument_nbytes(grouped, Packing("lookup", 16, 16))
