"""The analytic model of a GPU: that it knows what is obviously worse, and what others measured on a T4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.published import compare, rank_correlation
from profiler.hardware import GPUS, GpuSpec
from profiler.space.block_cost import BlockCost, overlapped
from profiler.space.config import (
    GpuConfig,
    MmaConfig,
    SharedLayout,
    SimtDepthwiseConfig,
    SimtDirectConfig,
    SimtVectorConfig,
)
from profiler.space.gpu import config_space, default_config
from profiler.space.gpu_limits import reason_invalid
from profiler.space.gpu_model import analytic_latency_s, limit_s
from profiler.workload import INT4, INT8, DType, Epilogue, KernelSpec, Op, Workload

T4, A100, H200 = (GPUS[slug] for slug in ("t4", "a100", "h200"))
MIDDLE = Workload(Op.CONV2D, 8, 14, 14, 256, 256, 3, 3, 1, 1, 1, 1, 1, 1)
LAST = Workload(Op.CONV2D, 1, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1)
STEM = Workload(Op.CONV2D, 1, 224, 224, 3, 64, 7, 7, 2, 2, 3, 3, 3, 3)
DENSE = Workload(Op.DENSE, 1, 1, 1, 2048, 1000)
DEPTHWISE = Workload(Op.CONV2D, 1, 56, 56, 128, 128, 3, 3, 1, 1, 1, 1, 1, 1, groups=128)
ADD = Workload(Op.ADD, 8, 56, 56, 256, 256)
POOL = Workload(Op.MAX_POOL, 8, 112, 112, 64, 64, 3, 3, 2, 2, 1, 1, 1, 1)


def conv(workload: Workload, dtype: DType = DType.UINT8, epilogue: Epilogue = Epilogue.REQUANT_RELU) -> KernelSpec:
    output = dtype if epilogue.requantizes else DType.INT32
    second = dtype if epilogue.adds else None
    return KernelSpec(workload, dtype, output, DType.integer(dtype.bits, True), second, epilogue)


SPECS = (
    conv(MIDDLE),
    conv(LAST, DType.UINT4),
    conv(STEM),
    conv(DENSE, DType.UINT4, Epilogue.BIAS),
    conv(DEPTHWISE),
    KernelSpec(ADD, DType.UINT8, DType.UINT8, input2_dtype=DType.INT32, epilogue=Epilogue.REQUANT_RELU),
    KernelSpec(POOL, DType.UINT4, DType.UINT4),
)


def best_s(spec: KernelSpec, gpu: GpuSpec = T4) -> float:
    return analytic_latency_s(spec, default_config(spec, gpu), gpu)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.workload.text)
@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_nothing_is_faster_than_the_limit(spec: KernelSpec, gpu: GpuSpec) -> None:
    limit = limit_s(spec, gpu)
    assert limit > 0
    for config in config_space(spec, gpu)[::7]:
        assert analytic_latency_s(spec, config, gpu) > limit + gpu.launch_s


@pytest.mark.parametrize(
    ("spec", "gpu", "expected"),
    [
        (conv(MIDDLE), T4, 2 * 8 * 14 * 14 * 256 * 256 * 9 / 130.2e12),
        (conv(MIDDLE, DType.UINT4), T4, 2 * 8 * 14 * 14 * 256 * 256 * 9 / 260.5e12),
        (conv(MIDDLE), H200, 2 * 8 * 14 * 14 * 256 * 256 * 9 / (0.629 * 1979e12)),  # mma.sync, not wgmma
        (conv(MIDDLE, DType.UINT4), H200, 2 * 8 * 14 * 14 * 256 * 256 * 9 / (0.629 * 1979e12)),  # as 8 bits
        (conv(DENSE, DType.UINT8, Epilogue.BIAS), T4, (2048 * 1000 + 4 * 1000) / 320e9),  # weights and bias
    ],
)
def test_limits_by_hand(spec: KernelSpec, gpu: GpuSpec, expected: float) -> None:
    assert limit_s(spec, gpu) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.workload.text)
def test_more_work_is_not_faster(spec: KernelSpec, gpu: GpuSpec) -> None:
    for config in config_space(spec, gpu)[::60]:
        latencies = []
        for batch in (1, 2, 3, 4, 7, 8, 16, 17, 64, 2048):
            larger = replace(spec, workload=spec.workload.with_batch(batch))
            latencies.append(analytic_latency_s(larger, config, gpu))
        assert latencies == sorted(latencies), config
        assert latencies[-1] > 2 * latencies[0]


@pytest.mark.parametrize("spec", SPECS[:3], ids=lambda s: s.workload.text)
def test_more_channels_and_taps_are_not_faster(spec: KernelSpec) -> None:
    config, w = default_config(spec, T4), spec.workload
    here = analytic_latency_s(spec, config, T4)
    wider = replace(w, out_channels=4 * w.out_channels)
    deeper = replace(w, kernel_h=w.kernel_h + 2, pad_top=w.pad_top + 1, pad_bottom=w.pad_bottom + 1)
    for workload in (wider, deeper):
        assert analytic_latency_s(replace(spec, workload=workload), config, T4) > here


def test_tiny_tiles_are_slow_for_a_large_layer() -> None:
    spec = conv(MIDDLE)
    assert analytic_latency_s(spec, MmaConfig(16, 16, 8, 16, 16, 2, 16), T4) > 3 * best_s(spec)


def test_a_tile_that_leaves_the_card_empty_is_slow() -> None:
    """The last 3x3 of a ResNet at batch 1: one tile of pixels, four of channels, 40 SMs."""
    spec = conv(LAST)
    whole = MmaConfig(64, 128, 16, 32, 64, 2, 16)
    split = replace(whole, split_k=8)
    assert reason_invalid(spec, split, T4) is None
    assert analytic_latency_s(spec, whole, T4) > 2 * analytic_latency_s(spec, split, T4)
    chosen = default_config(spec, T4)
    assert isinstance(chosen, MmaConfig)
    assert chosen.split_k > 1


def test_splitting_what_fills_the_card_does_not_pay() -> None:
    spec = conv(replace(MIDDLE, batch=64))
    config = MmaConfig(64, 64, 16, 32, 32, 2, 16)
    assert analytic_latency_s(spec, replace(config, split_k=4), T4) > analytic_latency_s(spec, config, T4)


def test_two_stages_pay_where_a_block_is_alone() -> None:
    spec, config = conv(LAST), MmaConfig(32, 32, 8, 16, 16, 1, 16)
    assert analytic_latency_s(spec, config, T4) > analytic_latency_s(spec, replace(config, stages=2), T4)


def test_bank_conflicts_of_short_padded_rows_cost() -> None:
    spec, config = conv(MIDDLE), MmaConfig(128, 64, 4, 32, 32, 2, 16)
    padded = replace(config, shared_layout=SharedLayout.PAD)
    assert analytic_latency_s(spec, padded, T4) > 1.2 * analytic_latency_s(spec, config, T4)


def test_four_bits_are_faster_where_they_are_native() -> None:
    assert best_s(conv(MIDDLE, DType.UINT4)) < 0.75 * best_s(conv(MIDDLE))
    assert best_s(conv(MIDDLE, DType.UINT4), A100) < best_s(conv(MIDDLE), A100)
    assert best_s(conv(MIDDLE, DType.UINT4), H200) > best_s(conv(MIDDLE), H200)


def test_the_epilogue_costs() -> None:
    config = MmaConfig(64, 64, 16, 32, 32, 2, 16)
    adding = conv(MIDDLE, epilogue=Epilogue.ADD_REQUANT_RELU)
    assert analytic_latency_s(adding, config, T4) > analytic_latency_s(conv(MIDDLE), config, T4)


@pytest.mark.parametrize(
    ("spec", "slow", "fast"),
    [
        (conv(DEPTHWISE), SimtDepthwiseConfig(64, 1, 1), SimtDepthwiseConfig(64, 4, 4)),
        (SPECS[5], SimtVectorConfig(64, 1), SimtVectorConfig(64, 4)),
        (
            conv(replace(MIDDLE, groups=64)),
            SimtDirectConfig(64, 16),  # a group has 4 channels: twelve of these are idle
            SimtDirectConfig(64, 4),
        ),
    ],
    ids=["depthwise", "add", "direct"],
)
def test_simt_configs_have_an_order(spec: KernelSpec, slow: GpuConfig, fast: GpuConfig) -> None:
    assert analytic_latency_s(spec, slow, T4) > analytic_latency_s(spec, fast, T4)


def test_large_elementwise_kernels_are_bound_by_memory() -> None:
    spec = SPECS[5]
    bytes_s = 8 * 56 * 56 * 256 * (1 + 1 + 4) / 320e9
    assert 0.7 * bytes_s < best_s(spec) < 2 * bytes_s


def test_what_only_a_stride_skips_is_not_read() -> None:
    """A 1x1 convolution with stride 2 reads a quarter of its pixels."""
    large = Workload(Op.CONV2D, 8, 112, 112, 256, 64, 1, 1, 1, 1)
    read = limit_s(conv(large), T4)
    assert limit_s(conv(replace(large, stride_h=2, stride_w=2)), T4) < 0.3 * read


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [(1, 100.0), (40, 100.0), (80, 100.0), (81, 200.0), (160, 200.0), (161, 300.0)],
)
def test_rounds_of_blocks_that_wait(blocks: int, expected: float) -> None:
    """Two blocks at once on each of 40 SMs, which wait most of the time."""
    assert BlockCost(blocks, 2, 1.0, 100.0).grid_clocks(40) == pytest.approx(expected, rel=1e-3)


def test_rounds_of_blocks_that_compete() -> None:
    busy = BlockCost(40 * 10, 4, 100.0, 110.0).grid_clocks(40)
    assert 10 * 100.0 <= busy < 1.05 * 10 * 100.0
    assert overlapped(3.0, 4.0) > 4.0


@pytest.mark.slow
def test_the_order_is_that_of_kernels_measured_on_a_t4() -> None:
    """HAWQ-V3's 70 convolutions. Found: 0.75 (INT8) and 0.76 (INT4); their kernels are not ours."""
    comparisons = compare()
    assert len(comparisons) == 70
    assert all(c.limit_s < c.published_s for c in comparisons)
    assert rank_correlation(comparisons, INT8) > 0.7
    assert rank_correlation(comparisons, INT4) > 0.7
