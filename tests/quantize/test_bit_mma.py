"""Parameters for binary tensor cores: what lies where, and that counting bits gives the accumulators of the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.quantize.bit_mma import differing_bias, pack_plane_rows, place_values
from profiler.quantize.packed_arguments import argument_nbytes, pack_arguments
from profiler.quantize.packing import Packing
from profiler.quantize.samples import sample_arguments
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

PLANES = [DType.UINT1, DType.UINT2, DType.INT2, DType.UINT3, DType.INT3]
WEIGHTS = [DType.INT1, DType.INT2, DType.INT3, DType.INT4]


@st.composite
def cases(draw: st.DrawFn) -> tuple[KernelSpec, Packing]:
    groups = draw(st.sampled_from([1, 1, 2]))
    inputs = draw(st.sampled_from([1, 3, 64, 65, 130])) if groups == 1 else 64
    outputs = groups * draw(st.integers(1, 20))
    kernel = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    workload = Workload(Op.CONV2D, 1, *kernel, groups * inputs, outputs, *kernel, groups=groups)
    epilogue = draw(st.sampled_from([Epilogue.NONE, Epilogue.BIAS]))
    spec = KernelSpec(
        workload, draw(st.sampled_from(PLANES)), DType.INT32, draw(st.sampled_from(WEIGHTS)), None, epilogue
    )
    places = draw(st.sampled_from([0, sum(place_values(spec.input_dtype))]))
    block, step = 8 * draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return spec, Packing(
        "mma", channel_block=block, step_words=step, tiled=draw(st.booleans()), activation_weight=places
    )


def bit_of(weight: int, dtype: DType, plane: int) -> int:
    if dtype is DType.INT1:
        return 1 if weight == 1 else 0
    return weight % (1 << dtype.bits) >> plane & 1


@settings(max_examples=60, deadline=None)
@given(cases())
def test_every_bit_lies_where_the_kernel_reads_it(case: tuple[KernelSpec, Packing]) -> None:
    spec, packing = case
    w, dtype = spec.workload, spec.weight_dtype
    assert dtype is not None
    arguments = sample_arguments(spec, 0)
    packed = pack_arguments(spec, packing, arguments)
    assert argument_nbytes(spec, packing) == {name: raw.size for name, raw in packed.items()}
    words = packed["weight"].view("<u4").tolist()
    weight, each = arguments["weight"], w.group_outputs
    tap_words = 2 * -(-w.group_inputs // 64)
    row_words = w.kernel_h * w.kernel_w * tap_words
    row_words += -row_words % packing.step_words
    padded = each + -each % packing.channel_block
    block_rows, steps = packing.channel_block * dtype.bits, row_words // packing.step_words
    ones = 0
    for o, i, j, c in np.ndindex(*weight.shape):
        group, channel = divmod(o, each)
        k, bit = (i * w.kernel_w + j) * tap_words + c // 32, c % 32
        for plane in range(dtype.bits):
            row = (group * padded + channel // 8 * 8) * dtype.bits + plane * 8 + channel % 8
            at = row * row_words + k
            if packing.tiled:
                tile = (row // block_rows * steps + k // packing.step_words) * block_rows
                at = (tile + row % block_rows) * packing.step_words + k % packing.step_words
            expected = bit_of(int(weight[o, i, j, c]), dtype, plane)
            assert words[at] >> bit & 1 == expected
            ones += expected
    assert sum(word.bit_count() for word in words) == ones, "what is left over is zero"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PLANES), st.sampled_from(WEIGHTS), st.integers(1, 90), st.integers(0, 2**32))
def test_counted_bits_are_the_accumulators(planes: DType, dtype: DType, k: int, seed: int) -> None:
    """The four identities of the docstring, with Python's integers."""
    rng = np.random.default_rng(seed)
    a = [int(v) for v in rng.integers(planes.low, planes.high, k, endpoint=True)]
    weights = [-1, 1] if dtype is DType.INT1 else list(range(dtype.low, dtype.high + 1))
    w = [int(v) for v in rng.choice(weights, k)]
    wanted = sum(x * y for x, y in zip(a, w, strict=True))
    shared = differing = 0
    for p, of_pixel in enumerate(place_values(planes)):
        for q, of_channel in enumerate(place_values(dtype)):
            for x, y in zip(a, w, strict=True):
                one, other = x % (1 << planes.bits) >> p & 1, bit_of(y, dtype, q)
                shared += of_pixel * of_channel * (one & other)
                differing += of_pixel * of_channel * (one ^ other)
    row = np.array(w, np.int8).reshape(1, 1, 1, k)
    bias = int(differing_bias(row, dtype, sum(place_values(planes)))[0])
    if dtype is DType.INT1:
        assert 2 * shared - sum(a) == wanted
        assert bias - differing == wanted
    else:
        assert shared == wanted
        assert bias - ((sum(a) + differing) >> 1) == wanted


def test_rows_written_out() -> None:
    """Nine channels of one group of two bits: 8 channels of plane 0, those of plane 1, then the ninth and zeros."""
    weight = np.array([1, -2, -1, 0, 1, 1, -2, -2, -1], np.int8).reshape(9, 1, 1, 1)
    rows = pack_plane_rows(weight, DType.INT2, 1, 8)
    assert rows.shape == (1, 32, 2)
    assert rows[0, :8, 0].tolist() == [1, 0, 1, 0, 1, 1, 0, 0]
    assert rows[0, 8:16, 0].tolist() == [0, 1, 1, 0, 0, 0, 1, 1]
    assert rows[0, 16:24, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert rows[0, 24:, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


def test_what_does_not_fit_is_refused() -> None:
    spec = KernelSpec(Workload(Op.CONV2D, 1, 2, 2, 4, 4), DType.UINT1, DType.INT32, DType.INT1)
    with pytest.raises(ValueError, match="blocks of a multiple of 8 channels"):
        argument_nbytes(spec, Packing("mma", channel_block=4))
    with pytest.raises(ValueError, match="packing 'dot' counts no bits that differ"):
        Packing("dot", activation_weight=1)
