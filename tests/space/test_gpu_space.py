"""The config space of a GPU: enough to choose from, nothing in it that cannot be built, and reasons that say why."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from profiler.errors import InvalidConfig
from profiler.frontend import load_network
from profiler.hardware import GPUS, GpuSpec
from profiler.lut.demand import demand
from profiler.space.config import (
    MmaConfig,
    SharedLayout,
    SimtDepthwiseConfig,
    SimtDirectConfig,
    SimtVectorConfig,
    Unroll,
    VectorConfig,
    WeightLayout,
    parse_config,
    to_text,
)
from profiler.space.gpu import config_space, default_config, valid_configs
from profiler.space.gpu_limits import check_config, reason_invalid, reason_unsupported, template_for
from profiler.space.mma_plan import MmaPlan
from profiler.space.occupancy import blocks_per_sm
from profiler.space.registers import register_estimate
from profiler.workload import INT4, INT8, DType, Epilogue, KernelSpec, Op, Workload

T4, A100, H200 = (GPUS[slug] for slug in ("t4", "a100", "h200"))
MIDDLE = Workload(Op.CONV2D, 8, 14, 14, 256, 256, 3, 3, 1, 1, 1, 1, 1, 1)
LAST = Workload(Op.CONV2D, 1, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1)
STEM = Workload(Op.CONV2D, 1, 224, 224, 3, 64, 7, 7, 2, 2, 3, 3, 3, 3)
DEPTHWISE = Workload(Op.CONV2D, 1, 14, 14, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, groups=32)


def spec(workload: Workload, dtype: DType = DType.UINT8, output: DType | None = None) -> KernelSpec:
    weight = DType.integer(dtype.bits, signed=True)
    return KernelSpec(workload, dtype, output or dtype, weight, epilogue=Epilogue.REQUANT_RELU)


def grouped(groups: int, inputs: int, outputs: int) -> Workload:
    """A 3x3 convolution with that many channels per group."""
    return replace(MIDDLE, in_channels=groups * inputs, out_channels=groups * outputs, groups=groups)


CONFIG = MmaConfig(64, 64, 16, 32, 32, 2, 16)
CHANGES: list[tuple[GpuSpec, KernelSpec, dict[str, object], str]] = [
    (T4, spec(MIDDLE), {"warp_m": 24, "block_m": 48}, "not made of 8x8"),
    (A100, spec(MIDDLE), {"warp_m": 8, "block_m": 8}, "not made of 16x8"),
    (T4, spec(MIDDLE), {"warp_m": 128, "block_m": 128}, "not made of 8x8"),
    (T4, spec(MIDDLE), {"block_m": 96}, "1, 2 or 4 warp tiles"),
    (T4, spec(MIDDLE), {"block_m": 256, "block_n": 256}, "1, 2 or 4 warp tiles"),
    (A100, spec(MIDDLE), {"block_k": 4}, "power of two from 8 to 32"),
    (T4, spec(MIDDLE), {"block_k": 12}, "power of two from 4 to 32"),
    (T4, spec(MIDDLE), {"block_k": 64}, "power of two from 4 to 32"),
    (T4, spec(MIDDLE), {"stages": 3}, "3 stages"),
    (T4, spec(MIDDLE), {"warp_m": 64, "warp_n": 64, "unroll": Unroll.FULL}, "too many to unroll"),
    (T4, spec(MIDDLE), {"load_bytes": 2}, "loads of 2 bytes"),
    (T4, spec(MIDDLE), {"load_bytes": 1}, "need no gathering"),
    (T4, spec(STEM), {"load_bytes": 4}, "aligned to 3 bytes are not read 4 at a time"),
    (T4, spec(replace(MIDDLE, in_channels=24)), {"load_bytes": 16}, "aligned to 24 bytes are not read 16 at a time"),
    (T4, spec(grouped(8, 8, 16)), {"load_bytes": 16}, "aligned to 8 bytes are not read 16 at a time"),
    (T4, spec(MIDDLE), {"block_m": 32, "block_n": 32, "block_k": 32, "load_bytes": 4}, "32 loads of 1 words"),
    (T4, spec(MIDDLE), {"split_k": 3}, "not in a power of two"),
    (T4, spec(MIDDLE), {"split_k": 64}, "not in a power of two up to 32"),
    (T4, spec(MIDDLE), {"block_k": 32, "split_k": 16}, "18 steps over K do not give each of 16 splits one"),
    (T4, spec(MIDDLE), {"block_m": 256, "block_n": 256, "warp_m": 64, "warp_n": 64, "block_k": 32},
     "bytes of shared memory are more than the 65536"),
    (A100, spec(MIDDLE), {"block_m": 256, "block_n": 256, "warp_m": 64, "warp_n": 64, "block_k": 8},
     "do not fit an SM"),
    (T4, spec(replace(MIDDLE, out_channels=1 << 22, in_channels=16), output=DType.INT8), {}, "beyond 65535"),
]  # fmt: skip


@pytest.mark.parametrize(("gpu", "of", "change", "reason"), CHANGES, ids=[c[3][:24] for c in CHANGES])
def test_an_invalid_mma_config_says_why(gpu: GpuSpec, of: KernelSpec, change: dict[str, object], reason: str) -> None:
    config = replace(CONFIG, **change)  # type: ignore[arg-type]
    if "beyond 65535" in reason:
        of = replace(of, workload=replace(of.workload, batch=1, in_height=1, in_width=1, pad_top=1, pad_left=1))
    with pytest.raises(InvalidConfig, match=reason):
        check_config(of, config, gpu)


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_what_the_invalid_ones_differ_from_is_valid(gpu: GpuSpec) -> None:
    assert reason_invalid(spec(MIDDLE), CONFIG, gpu) is None
    assert reason_invalid(spec(MIDDLE), replace(CONFIG, split_k=8), gpu) is None
    assert reason_invalid(spec(MIDDLE), replace(CONFIG, load_bytes=8), gpu) is None  # valid, if dominated


def test_the_largest_tile_wants_the_registers_of_its_threads() -> None:
    """16 warps of 64x64 outputs: 128 sums a thread, and 65536 / 512 registers."""
    config = MmaConfig(256, 256, 8, 64, 64, 1, 16)
    assert register_estimate(spec(MIDDLE), config, A100) > 128
    assert reason_invalid(spec(MIDDLE), config, A100) is not None
    assert reason_invalid(spec(MIDDLE), replace(config, block_m=128), A100) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (VectorConfig(1), "another template than SimtDepthwiseConfig"),
        (SimtDepthwiseConfig(48, 4, 2), "48 threads are not whole warps"),
        (SimtDepthwiseConfig(2048, 4, 2), "up to 1024"),
        (SimtDepthwiseConfig(64, 3, 2), "not a power of two up to 32"),
        (SimtDepthwiseConfig(64, 64, 2), "not a power of two up to 32"),
        (SimtDepthwiseConfig(64, 1, 2), "even number of channels"),
        (SimtDepthwiseConfig(64, 4, 17), "17 pixels"),
        (SimtDepthwiseConfig(64, 16, 8), "128 sums of a thread are more than 64"),
    ],
)
def test_an_invalid_depthwise_config_says_why(config: SimtDepthwiseConfig, reason: str) -> None:
    with pytest.raises(InvalidConfig, match=reason):
        check_config(spec(DEPTHWISE, DType.UINT4), config, T4)


@pytest.mark.parametrize(
    ("of", "template"),
    [
        (spec(MIDDLE), MmaConfig),
        (spec(STEM, DType.INT4), MmaConfig),
        (spec(Workload(Op.DENSE, 1, 1, 1, 3, 5)), MmaConfig),
        (spec(grouped(32, 8, 8)), MmaConfig),
        (spec(grouped(32, 8, 8), DType.UINT4), MmaConfig),
        (spec(grouped(32, 4, 4)), SimtDirectConfig),  # half of the columns would be idle
        (spec(grouped(32, 4, 8), DType.UINT4), SimtDirectConfig),  # half a word of K
        (spec(grouped(2, 9, 8), DType.UINT4), SimtDirectConfig),  # the second group begins inside of a byte
        (spec(grouped(2, 16, 9), output=DType.UINT4), SimtDirectConfig),
        (spec(grouped(2, 16, 9)), MmaConfig),
        (KernelSpec(MIDDLE, DType.UINT8, DType.UINT8, DType.INT4, epilogue=Epilogue.REQUANT_RELU), SimtDirectConfig),
        (spec(DEPTHWISE), SimtDepthwiseConfig),
        (spec(replace(DEPTHWISE, out_channels=64)), SimtDirectConfig),
        (KernelSpec(Workload(Op.MAX_POOL, 1, 8, 8, 4, 4, 2, 2), DType.UINT4, DType.UINT4), SimtVectorConfig),
    ],
)
def test_the_template_of_a_spec(of: KernelSpec, template: type) -> None:
    assert template_for(of) is template
    space = config_space(of, T4)
    assert space
    assert {type(config) for config in space} == {template}


@pytest.mark.parametrize(
    ("of", "gpu", "reason"),
    [
        (spec(Workload(Op.DENSE, 1, 1, 1, 1 << 17, 16)), T4, "a sum of 131072 products can leave 32 bits"),
        (spec(replace(MIDDLE, batch=1 << 16)), T4, "its input of 3288334336 bytes is beyond 32-bit offsets"),
        (spec(replace(MIDDLE, batch=20000), output=DType.INT32), T4, "its output of 4014080000 bytes"),
        (KernelSpec(MIDDLE, DType.FLOAT16, DType.FLOAT16, DType.FLOAT16, epilogue=Epilogue.REQUANT), T4, "float16"),
        (KernelSpec(Workload(Op.RELAYOUT, 1, 4, 4, 8, 8), DType.INT8, DType.INT8), T4, "no integer kernel"),
        (spec(MIDDLE), replace(T4, arch="sm_70"), "sm_75 is the oldest"),
    ],
)
def test_what_no_config_can_compute(of: KernelSpec, gpu: GpuSpec, reason: str) -> None:
    found = reason_unsupported(of, gpu)
    assert found is not None
    assert reason in found
    assert config_space(of, gpu) == ()
    with pytest.raises(InvalidConfig, match=r"has no valid config on t4: "):
        default_config(of, gpu)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_every_weighted_layer_has_at_least_50_configs(gpu: GpuSpec, batch: int) -> None:
    """Of all three networks in both precisions; one of the specs that differ only in output and epilogue."""
    seen = set()
    for name in ("resnet18", "resnet50", "inceptionv3"):
        for wanted in demand(load_network(name, batch), (INT8, INT4), mixed=False):
            key = (wanted.spec.workload, wanted.spec.weight_dtype)
            if wanted.spec.workload.op.has_weights and key not in seen:
                seen.add(key)
                assert len(list(islice(valid_configs(wanted.spec, gpu), 50))) == 50, wanted.spec.key
    assert len(seen) == 142


@pytest.mark.parametrize("of", [spec(MIDDLE), spec(LAST, DType.UINT4), spec(STEM), spec(DEPTHWISE, DType.UINT4)])
@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_all_configs_are_valid_distinct_and_have_a_text(of: KernelSpec, gpu: GpuSpec) -> None:
    space = config_space(of, gpu)
    assert len(set(space)) == len(space)
    assert space == tuple(valid_configs(of, gpu))
    for config in space:
        check_config(of, config, gpu)
        assert parse_config(to_text(config)) == config
        if isinstance(config, MmaConfig):
            plan = MmaPlan.of(of, config, gpu)
            assert blocks_per_sm(gpu, config.threads, register_estimate(of, config, gpu), plan.shared_bytes) >= 1
            assert config.threads % (config.block_k // plan.activation_loads.words) == 0
            assert (config.split_k - 1) * plan.split_steps < plan.steps


def test_a_space_offers_every_kind_of_choice() -> None:
    space = [config for config in config_space(spec(LAST), T4) if isinstance(config, MmaConfig)]
    assert {config.stages for config in space} == {1, 2}
    assert {config.block_k for config in space} == {4, 8, 16, 32}
    assert {config.weight_layout for config in space} == set(WeightLayout)
    assert {config.shared_layout for config in space} == set(SharedLayout)
    assert {config.unroll for config in space} == set(Unroll)
    assert {config.split_k for config in space} >= {1, 2, 4, 8}
    assert {config.load_bytes for config in space} == {16}


def test_tiles_that_fill_the_card_are_not_split() -> None:
    large = spec(replace(MIDDLE, batch=64))
    assert {c.split_k for c in config_space(large, T4) if isinstance(c, MmaConfig) and c.block_m <= 32} == {1}


@pytest.mark.parametrize(
    "workload",
    [
        Workload(Op.CONV2D, 1, 1, 1, 1, 1),
        Workload(Op.DENSE, 1, 1, 1, 1, 1),
        Workload(Op.CONV2D, 3, 5, 7, 5, 3, 3, 2, 2, 1, dilation_h=2),
        grouped(3, 5, 7),
        replace(DEPTHWISE, in_channels=3, out_channels=3, groups=3),
    ],
    ids=lambda w: w.text,
)
@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT4])
def test_a_space_is_never_empty(workload: Workload, dtype: DType) -> None:
    for gpu in GPUS.values():
        assert config_space(spec(workload, dtype), gpu)
