"""Config spaces of kernels on one to three bits: valid, never empty without a reason, and a default worth its name."""

from __future__ import annotations

import pytest

from profiler.errors import InvalidConfig
from profiler.hardware import GPUS, CpuSpec, DotIsa, parse_cpuinfo
from profiler.space import gpu, gpu_limits
from profiler.space.config import (
    DotConfig,
    LookupConfig,
    LoopOrder,
    ParallelAxis,
    PopcountConfig,
    parse_config,
    to_text,
)
from profiler.space.cpu import check_config, config_space, lookup_register_demand
from profiler.space.cpu_default import default_config
from profiler.space.gpu_model import analytic_latency_s as gpu_latency_s
from profiler.space.gpu_model import limit_s as gpu_limit_s
from profiler.space.lookup_plan import LookupPlan
from profiler.space.mma_plan import Counted, counted_bits
from profiler.space.model import analytic_latency_s, limit_s
from profiler.workload import DType, Epilogue, KernelSpec, Op, Precision, Workload

AVX512 = "avx2 avx512f avx512bw avx512vl avx512dq avx512_vnni"
COUNTING = parse_cpuinfo(f"processor : 0\nflags : {AVX512} avx512_vpopcntdq\n", "x86_64")
NOT_COUNTING = parse_cpuinfo(f"processor : 0\nflags : {AVX512}\n", "x86_64")
NARROW = parse_cpuinfo("processor : 0\nflags : avx2\n", "x86_64")
MIDDLE = Workload(Op.CONV2D, 1, 14, 14, 256, 256, 3, 3, 1, 1, 1, 1, 1, 1)
SHORTCUT = Workload(Op.CONV2D, 1, 56, 56, 64, 128, 1, 1, 2, 2)
DENSE = Workload(Op.DENSE, 1, 1, 1, 512, 1000)
LAYERS = [MIDDLE, SHORTCUT, DENSE, Workload(Op.CONV2D, 1, 1, 1, 1, 1)]
BELOW = ["a1w1", "a2w1", "a2w2", "a3w3", "a4w1"]


def spec(workload: Workload, precision: str) -> KernelSpec:
    chosen = Precision.parse(precision)
    dtype = chosen.activation_dtype(signed=False)
    return KernelSpec(workload, dtype, dtype, chosen.weight_dtype, epilogue=Epilogue.REQUANT_RELU)


@pytest.mark.parametrize("workload", LAYERS, ids=lambda w: w.text)
@pytest.mark.parametrize("precision", BELOW)
def test_every_config_of_a_space_is_valid(workload: Workload, precision: str) -> None:
    kernel = spec(workload, precision)
    for isa in DotIsa:
        space = config_space(kernel, isa, 1)
        assert space
        assert len(set(space)) == len(space)
        for config in space:
            check_config(kernel, config, isa)
            assert parse_config(to_text(config)) == config
            if isinstance(config, LookupConfig):
                assert lookup_register_demand(LookupPlan.of(kernel, isa), config) <= isa.registers


def test_more_threads_split_the_work() -> None:
    for workload in (MIDDLE, DENSE):
        split = {c.parallel for c in config_space(spec(workload, "a2w1"), DotIsa.AVX2, 2)}  # type: ignore[union-attr]
        assert split == {ParallelAxis.PIXELS, ParallelAxis.CHANNELS}


def test_bits_are_counted_where_few_planes_meet() -> None:
    def templates(precision: str, isa: DotIsa) -> set[type]:
        return {type(config) for config in config_space(spec(MIDDLE, precision), isa, 1)}

    everywhere = {LookupConfig, DotConfig}
    assert templates("a1w1", DotIsa.AVX512_VNNI) == {*everywhere, PopcountConfig}
    assert templates("a2w1", DotIsa.AVX512_VNNI) == {*everywhere, PopcountConfig}
    assert templates("a2w2", DotIsa.AVX512_VNNI) == everywhere
    assert templates("a1w1", DotIsa.AVX2) == templates("a1w1", DotIsa.NEON_DOT) == everywhere


@pytest.mark.parametrize(
    ("config", "isa", "reason"),
    [
        (LookupConfig(1, 15, 1, LoopOrder.IMAGES), DotIsa.AVX2, "larger than the output"),
        (LookupConfig(1, 7, 2, LoopOrder.IMAGES), DotIsa.AVX2, "14 sums do not fit 16 registers"),
        (LookupConfig(1, 1, 9, LoopOrder.IMAGES), DotIsa.AVX2, "more than the 256 output channels"),
        (LookupConfig(1, 1, 1, LoopOrder.IMAGES, unroll=65), DotIsa.AVX2, "do not fill an iteration"),
        (PopcountConfig(1, 14, 4, LoopOrder.IMAGES), DotIsa.AVX512_VNNI, "do not fit 32 registers"),
        (PopcountConfig(1, 1, 33, LoopOrder.IMAGES), DotIsa.AVX512_VNNI, "more than the 256 output channels"),
        (PopcountConfig(15, 1, 1, LoopOrder.IMAGES), DotIsa.AVX512_VNNI, "larger than the output"),
    ],
)
def test_invalid_configs_say_why(config: LookupConfig | PopcountConfig, isa: DotIsa, reason: str) -> None:
    with pytest.raises(InvalidConfig, match=reason):
        check_config(spec(MIDDLE, "a1w1"), config, isa)


@pytest.mark.parametrize("precision", ["a1w1", "a2w2", "a3w3", "a4w1"])
@pytest.mark.parametrize("slug", ["t4", "a100", "h200"])
def test_gpus_have_valid_configs_that_take_longer_than_the_limit(precision: str, slug: str) -> None:
    for workload in (SHORTCUT, DENSE, LAYERS[-1]):
        kernel, card = spec(workload, precision), GPUS[slug]
        space = gpu.config_space(kernel, card)
        assert space
        assert len(set(space)) == len(space)
        for config in space[:: max(1, len(space) // 50)]:
            gpu_limits.check_config(kernel, config, card)
            assert parse_config(to_text(config)) == config
            assert gpu_latency_s(kernel, config, card) > gpu_limit_s(kernel, card)


@pytest.mark.parametrize("slug", ["t4", "a100"])
def test_fewer_bits_are_modelled_faster_on_a_gpu(slug: str) -> None:
    card = GPUS[slug]

    def modelled(precision: str) -> float:
        kernel = spec(MIDDLE.with_batch(32), precision)
        return gpu_latency_s(kernel, gpu.usual_config(kernel, card), card)

    assert modelled("a1w1") < modelled("a2w1") < modelled("a2w2") < modelled("int4") < modelled("int8")


@pytest.mark.parametrize("slug", ["t4", "h200"])
def test_whatever_a_network_of_few_bits_needs_has_a_config_on_a_gpu(slug: str) -> None:
    two, one = DType.UINT2, DType.INT1
    rest = [
        KernelSpec(Workload(Op.MAX_POOL, 1, 9, 9, 70, 70, 3, 3), two, two),
        KernelSpec(Workload(Op.AVG_POOL, 1, 7, 7, 70, 70, 7, 7), two, DType.INT8, epilogue=Epilogue.REQUANT),
        KernelSpec(Workload(Op.ADD, 1, 9, 9, 5, 5), two, two, None, DType.INT8, Epilogue.REQUANT_RELU),
        KernelSpec(Workload(Op.CONVERT, 1, 9, 9, 70, 70), DType.UINT8, DType.UINT1, epilogue=Epilogue.REQUANT),
        KernelSpec(Workload(Op.CONCAT, 1, 9, 9, 9, 70), two, two, epilogue=Epilogue.REQUANT),
        KernelSpec(Workload(Op.CONV2D, 1, 9, 9, 5, 5, 3, 3, groups=5), two, two, one, epilogue=Epilogue.REQUANT),
        KernelSpec(Workload(Op.CONV2D, 1, 9, 9, 6, 9, 3, 3, groups=3), two, two, one, epilogue=Epilogue.REQUANT),
    ]
    for kernel in rest:
        config = gpu.default_config(kernel, GPUS[slug])
        gpu_limits.check_config(kernel, config, GPUS[slug])
        assert gpu_latency_s(kernel, config, GPUS[slug]) > gpu_limit_s(kernel, GPUS[slug])
    narrow = parse_config("simt_vector(threads=64,channels=4)")
    assert "do not fill a byte of a bit plane" in (gpu_limits.reason_invalid(rest[0], narrow, GPUS[slug]) or "")


def test_a_config_of_planes_says_what_it_is_short_of() -> None:
    kernel = spec(MIDDLE, "a1w1")
    bytes_each = parse_config("mma(block_m=16,block_n=16,block_k=8,warp_m=16,warp_n=16,stages=1,load_bytes=1)")
    assert "need no gathering" in (gpu_limits.reason_invalid(kernel, bytes_each, GPUS["t4"]) or "")
    small = parse_config("mma(block_m=8,block_n=16,block_k=8,warp_m=8,warp_n=16,stages=1,load_bytes=8)")
    assert "not made of 16x8 instructions" in (gpu_limits.reason_invalid(kernel, small, GPUS["a100"]) or "")
    two_planes = spec(MIDDLE, "a2w1")
    assert gpu_limits.reason_invalid(two_planes, small, GPUS["a100"]) is None, "two planes of 8 pixels fill 16 rows"


def test_the_instruction_counts_what_the_card_can_and_the_weights_want() -> None:
    counted = {
        (precision, slug): counted_bits(spec(MIDDLE, precision), GPUS[slug])
        for precision in ("a1w1", "a2w2")
        for slug in ("t4", "a100", "h200")
    }
    differing = {("a1w1", "t4"), ("a2w2", "t4"), ("a1w1", "a100")}
    assert {case for case, which in counted.items() if which is Counted.DIFFERING} == differing


@pytest.mark.parametrize("workload", LAYERS, ids=lambda w: w.text)
@pytest.mark.parametrize("precision", BELOW)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_default_is_valid_and_above_the_limit(workload: Workload, precision: str, threads: int) -> None:
    kernel = spec(workload, precision)
    for cpu in (COUNTING, NOT_COUNTING, NARROW):
        config = default_config(kernel, cpu, threads)
        check_config(kernel, config, cpu.isa)
        assert analytic_latency_s(kernel, config, cpu, threads) > limit_s(kernel, cpu, threads)


def test_what_no_template_computes_has_a_limit_and_no_config() -> None:
    wide = KernelSpec(MIDDLE, DType.UINT8, DType.UINT2, DType.INT2, epilogue=Epilogue.REQUANT_RELU)
    deep = KernelSpec(Workload(Op.DENSE, 1, 1, 1, 1 << 30, 8), DType.UINT2, DType.INT32, DType.INT1)
    for kernel, reason in ((wide, "up to 4 bits"), (deep, "leave 32 bits")):
        for cpu in (COUNTING, NARROW):
            assert 0 < limit_s(kernel, cpu) < float("inf")
            with pytest.raises(InvalidConfig, match=reason):
                default_config(kernel, cpu)


def test_bits_are_not_counted_where_the_cpu_cannot() -> None:
    assert isinstance(default_config(spec(MIDDLE, "a1w1"), NOT_COUNTING), LookupConfig)
    assert isinstance(default_config(spec(MIDDLE, "a1w1"), NARROW), LookupConfig)


def test_the_model_knows_that_planes_of_weights_cost_and_those_of_activations_hardly() -> None:
    def modelled(precision: str) -> float:
        kernel = spec(MIDDLE, precision)
        return analytic_latency_s(kernel, default_config(kernel, NARROW), NARROW)

    assert 1.7 < modelled("a2w2") / modelled("a2w1") < 2.3
    assert modelled("a1w1") < modelled("a2w1") < 1.5 * modelled("a1w1")
    assert modelled("a3w3") > modelled("a2w2")


@pytest.mark.parametrize("workload", LAYERS[:3], ids=lambda w: w.text)
@pytest.mark.parametrize("cpu", [COUNTING, NOT_COUNTING, NARROW], ids=["counting", "vnni", "avx2"])
def test_fewer_bits_are_modelled_hardly_slower_than_four(workload: Workload, cpu: CpuSpec) -> None:
    """They may be unpacked as INT4 is; more bits than those of a weight are not."""

    def modelled(precision: str) -> float:
        kernel = spec(workload, precision)
        return analytic_latency_s(kernel, default_config(kernel, cpu), cpu)

    assert max(map(modelled, BELOW)) < 1.01 * modelled("int4")
    if cpu is not NARROW:
        assert isinstance(default_config(spec(MIDDLE, "a3w3"), cpu), DotConfig)


def test_dot_products_that_could_leave_32_bits_are_no_candidates() -> None:
    deep = Workload(Op.DENSE, 1, 1, 1, 1 << 22, 8)
    kernel = KernelSpec(deep, DType.UINT4, DType.INT32, DType.INT3)
    assert {type(config) for config in config_space(kernel, DotIsa.AVX512_VNNI, 1)} == {LookupConfig}
    with pytest.raises(InvalidConfig, match="a sum of 4194304 products can leave 32 bits"):
        check_config(kernel, DotConfig(1, 1, 1, LoopOrder.CHANNELS), DotIsa.AVX512_VNNI)


def test_more_work_takes_longer() -> None:
    kernel, config = spec(MIDDLE, "a2w1"), LookupConfig(1, 4, 2, LoopOrder.CHANNELS)
    more = analytic_latency_s(spec(MIDDLE.with_batch(8), "a2w1"), config, NARROW)
    assert more > 7 * analytic_latency_s(kernel, config, NARROW)


def test_what_is_in_the_workspace_does_not_overlap() -> None:
    for kernel in (spec(MIDDLE, "a2w1"), spec(SHORTCUT, "a1w1"), spec(DENSE, "a4w1")):
        lookups = [config for config in config_space(kernel, DotIsa.AVX2, 1) if isinstance(config, LookupConfig)]
        for config in lookups[::7]:
            plan = LookupPlan.of(kernel, DotIsa.AVX2)
            places = [0, plan.sums_at(config), plan.indices_at(config), plan.master_at(config)]
            assert places == sorted(places)
            assert plan.sums_at(config) >= plan.image_pixels * plan.groups * 16
            assert plan.workspace_bytes(config) > places[-1]
            assert plan.master_at(config) % 16 == 0 or not plan.from_planes
