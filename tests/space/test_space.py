"""Config spaces: text form, validity, and that there is enough to choose from."""

from __future__ import annotations

import pytest

from profiler.errors import InvalidConfig
from profiler.hardware import DotIsa, parse_cpuinfo
from profiler.space.config import (
    DepthwiseConfig,
    DotConfig,
    LoopOrder,
    ParallelAxis,
    VectorConfig,
    parse_config,
    to_text,
)
from profiler.space.cpu import check_config, config_space, reason_unsupported
from profiler.space.model import analytic_latency_s, limit_s
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

STEM = Workload(Op.CONV2D, 1, 224, 224, 3, 64, 7, 7, 2, 2, 3, 3, 3, 3)
MIDDLE = Workload(Op.CONV2D, 1, 14, 14, 256, 256, 3, 3, 1, 1, 1, 1, 1, 1)
LAST = Workload(Op.CONV2D, 1, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1)
SHORTCUT = Workload(Op.CONV2D, 1, 56, 56, 64, 128, 1, 1, 2, 2)
DENSE = Workload(Op.DENSE, 1, 1, 1, 512, 1000)
CPU = parse_cpuinfo("processor : 0\nflags : avx2 avx512f avx512bw avx512vl avx512dq avx512_vnni\n", "x86_64")


def spec(workload: Workload, dtype: DType = DType.UINT8) -> KernelSpec:
    return KernelSpec(workload, dtype, dtype, DType.integer(dtype.bits, signed=True), epilogue=Epilogue.REQUANT_RELU)


@pytest.mark.parametrize("workload", [STEM, MIDDLE, LAST, SHORTCUT], ids=lambda w: w.text)
@pytest.mark.parametrize("dtype", [DType.UINT8, DType.UINT4])
@pytest.mark.parametrize("isa", [DotIsa.AVX512_VNNI, DotIsa.AVX2])
def test_convolutions_have_many_valid_configs(workload: Workload, dtype: DType, isa: DotIsa) -> None:
    space = config_space(spec(workload, dtype), isa, 1)
    assert len(space) >= 50
    assert len(set(space)) == len(space)
    for config in space:
        check_config(spec(workload, dtype), config, isa)


def test_a_space_is_never_empty() -> None:
    tiny = Workload(Op.CONV2D, 1, 1, 1, 1, 1)
    for isa in DotIsa:
        assert config_space(spec(tiny), isa, 1)
        assert config_space(spec(DENSE), isa, 4)


def test_more_threads_split_the_work() -> None:
    assert {c.parallel for c in config_space(spec(MIDDLE), DotIsa.AVX512_VNNI, 1)} == {ParallelAxis.NONE}
    assert ParallelAxis.NONE not in {c.parallel for c in config_space(spec(MIDDLE), DotIsa.AVX512_VNNI, 2)}


@pytest.mark.parametrize(
    "config",
    [
        DotConfig(2, 7, 1, LoopOrder.PIXELS, 4, ParallelAxis.CHANNELS),
        DepthwiseConfig(3, 2, ParallelAxis.PIXELS),
        VectorConfig(8),
    ],
)
def test_text_round_trip(config: DotConfig | DepthwiseConfig | VectorConfig) -> None:
    assert parse_config(to_text(config)) == config


@pytest.mark.parametrize(
    "text",
    ["", "dot", "dot()", "dot(tile_h=0,tile_w=1,vectors=1,order=images)", "conv(x=1)", "dot(tile_h=a)", "dot(1,2)"],
)
def test_damaged_text_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidConfig, match="config"):
        parse_config(text)


def test_what_is_no_parameter_is_named() -> None:
    with pytest.raises(InvalidConfig, match="'lookup': 'garbage' is no name=value"):
        parse_config("lookup(tile_h=1,garbage)")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (DotConfig(1, 15, 1, LoopOrder.IMAGES), "larger than the output"),
        (DotConfig(1, 14, 4, LoopOrder.IMAGES), "do not fit 32 registers"),
        (DotConfig(1, 1, 17, LoopOrder.IMAGES), "more than the 256 output channels"),
        (DotConfig(1, 1, 1, LoopOrder.IMAGES, unroll=7), "do not divide"),
        (VectorConfig(1), "another template"),
    ],
)
def test_invalid_configs_say_why(config: DotConfig | VectorConfig, reason: str) -> None:
    with pytest.raises(InvalidConfig, match=reason):
        check_config(spec(MIDDLE), config, DotIsa.AVX512_VNNI)


def test_the_model_knows_what_is_obviously_worse() -> None:
    """Single accumulators wait for themselves; the limit is below everything; waste of overlapping tiles costs."""
    s = spec(LAST)
    model = {c: analytic_latency_s(s, c, CPU) for c in config_space(s, CPU.isa, 1)}
    assert min(model.values()) > limit_s(s, CPU)
    assert model[DotConfig(1, 1, 1, LoopOrder.IMAGES)] > 3 * min(model.values())
    assert model[DotConfig(1, 4, 2, LoopOrder.IMAGES)] > model[DotConfig(1, 7, 2, LoopOrder.IMAGES)]


def test_more_work_takes_longer() -> None:
    config = DotConfig(1, 7, 2, LoopOrder.IMAGES)
    assert analytic_latency_s(spec(MIDDLE.with_batch(8)), config, CPU) > 7 * analytic_latency_s(
        spec(MIDDLE), config, CPU
    )


def test_a_reduction_that_can_overflow_has_an_empty_space_and_a_reason() -> None:
    deep = spec(Workload(Op.DENSE, 1, 1, 1, 1 << 17, 16))
    assert config_space(deep, DotIsa.AVX512_VNNI, 1) == ()
    assert reason_unsupported(deep, DotIsa.AVX512_VNNI) == "a sum of 131072 products can leave 32 bits"
    assert reason_unsupported(spec(MIDDLE), DotIsa.AVX512_VNNI) is None
