"""The population: kernels that exist, of all kinds that networks have, always the same ones."""

from __future__ import annotations

import hashlib
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.predictor.population import BATCHES, draws
from profiler.quantize.operands import operands
from profiler.workload import INT4, INT8, DType, Epilogue, Op, Precision

BOTH = (INT8, INT4)
ACTIVATIONS = 224 * 224 * 16
"""Elements of an image that networks do not exceed."""


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 60),
    st.lists(st.sampled_from(BOTH), min_size=1, max_size=2, unique=True),
    st.integers(0, 2**31),
    st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True),
)
def test_every_draw_can_be_computed(count: int, precisions: list[Precision], seed: int, batches: list[int]) -> None:
    drawn = draws(count, precisions, seed, batches)
    assert len(drawn) == count
    assert len({draw.workload for draw in drawn}) == count
    for draw in drawn:
        w = draw.workload
        assert w.batch in batches
        assert max(w.in_height * w.in_width * w.in_channels, w.out_height * w.out_width * w.out_channels) <= ACTIVATIONS
        assert [spec.workload for spec in draw.specs] == [w] * len(precisions), "a kernel for each precision"
        for spec, precision in zip(draw.specs, precisions, strict=True):
            assert operands(spec)[-1].shape == w.output_shape
            if spec.weight_dtype is not None:
                assert (spec.weight_dtype.bits, spec.input_dtype.bits) == (
                    precision.weight_bits,
                    precision.activation_bits,
                )
        assert len({(spec.epilogue, spec.input_dtype.signed) for spec in draw.specs}) == 1, "they differ in width alone"


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 80), st.integers(0, 80), st.integers(0, 99))
def test_fewer_draws_are_the_first_of_more(count: int, more: int, seed: int) -> None:
    assert draws(count, BOTH, seed) == draws(count + more, BOTH, seed)[:count]


def test_the_workloads_do_not_depend_on_the_precisions() -> None:
    assert [d.workload for d in draws(50, (INT8,))] == [d.workload for d in draws(50, BOTH)]


def test_seeds_differ() -> None:
    assert not {d.workload for d in draws(50, BOTH, 1)} & {d.workload for d in draws(50, BOTH, 2)}


def test_the_sequence_that_was_recorded() -> None:
    """Measurements of it ship in lut/recorded; what changes the sequence makes a sample of other workloads."""
    keys = "\n".join(spec.key for draw in draws(700, BOTH) for spec in draw.specs)
    assert hashlib.sha256(keys.encode()).hexdigest()[:16] == "2076df5ffdcb95ad"


def test_all_that_networks_have_occurs() -> None:
    drawn = draws(1000, BOTH)
    workloads = [draw.workload for draw in drawn]
    specs = [spec for draw in drawn for spec in draw.specs]
    assert {w.op for w in workloads} == set(Op) - {Op.RELAYOUT}
    assert {w.batch for w in workloads} == set(BATCHES)
    convolutions = [w for w in workloads if w.op is Op.CONV2D and not w.is_depthwise]
    assert len(convolutions) > 600, "most of them"
    assert {(w.kernel_h, w.kernel_w) for w in convolutions} == {
        (1, 1), (3, 3), (5, 5), (7, 7), (1, 7), (7, 1), (1, 3), (3, 1),
    }  # fmt: skip
    assert {w.stride_h for w in convolutions} == {1, 2}
    assert {w.groups for w in convolutions} == {1, 4}
    assert any(w.is_depthwise for w in workloads)
    assert any(w.in_channels == 3 for w in convolutions), "stems"
    assert any(w.in_height != w.in_width for w in convolutions)
    forms = {(spec.epilogue, spec.input_dtype.signed) for spec in specs if spec.workload.op is Op.CONV2D}
    assert {epilogue for epilogue, _ in forms} == {
        Epilogue.REQUANT_RELU, Epilogue.ADD_REQUANT_RELU, Epilogue.BIAS, Epilogue.REQUANT,
    }  # fmt: skip
    assert {signed for _, signed in forms} == {False, True}
    assert {spec.output_dtype for spec in specs} >= {DType.UINT8, DType.UINT4, DType.INT32, DType.INT8, DType.INT4}


def test_odd_channel_counts_occur_on_both_sides() -> None:
    """Most channels are multiples of 8 as in hand-made networks; one in ten and more is not, and some are odd."""
    convolutions = [d.workload for d in draws(1000, BOTH) if d.workload.op is Op.CONV2D and d.workload.in_channels > 3]
    for channels in ([w.in_channels for w in convolutions], [w.out_channels for w in convolutions]):
        kinds = Counter("odd" if c % 2 else "even" if c % 8 else "whole" for c in channels)
        assert kinds["odd"] > 0.05 * len(channels)
        assert kinds["odd"] + kinds["even"] > 0.1 * len(channels)
        assert kinds["whole"] > 0.6 * len(channels)
        assert max(channels) > 500
        assert min(channels) < 20
