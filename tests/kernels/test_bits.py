"""Kernels on one to three bits against the integer oracle, bit for bit: lookups, and planes in all other templates."""

from __future__ import annotations

import platform
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from profiler.errors import CompilerError, InvalidConfig
from profiler.hardware import WIDE_PERMUTATION, WIDE_POPCOUNT, DotIsa, host_cpu
from profiler.kernels.cpu import dot, lookup
from profiler.kernels.cpu.build import Toolchain, assembly, build
from profiler.kernels.cpu.byte_shuffle import Masking
from profiler.kernels.cpu.dot_product import Multiplying
from profiler.kernels.cpu.lower import lower
from profiler.kernels.cpu.target import CpuTarget
from profiler.quantize.samples import expected_output
from profiler.space.config import (
    DepthwiseConfig,
    DotConfig,
    LookupConfig,
    LoopOrder,
    ParallelAxis,
    PopcountConfig,
    ScheduleConfig,
    Tables,
    to_text,
)
from profiler.space.cpu import config_space, reason_invalid, reason_unsupported, table_kinds
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.kernels.launch import launch
from tests.kernels.specs import CHANNELS, convolutions, unweighted_specs, weighted_specs
from tests.kernels.test_exact import FEW, ISAS, PICK, TWO_CPUS

pytestmark = pytest.mark.compile

MACHINE = platform.machine()
PLANES = st.sampled_from([DType.UINT1, DType.INT2, DType.UINT2, DType.INT3, DType.UINT3])
LOOKED_UP = st.one_of(PLANES, st.sampled_from([DType.UINT4, DType.INT4]))
REQUANT = (Epilogue.REQUANT, Epilogue.REQUANT_RELU)
ANY = st.one_of(PLANES, st.sampled_from([DType.UINT4, DType.INT4, DType.UINT8, DType.INT8]))


@st.composite
def lookup_specs(draw: st.DrawFn) -> KernelSpec:
    wide = st.sampled_from([1, 3, 8, 60, 64, 65, 130])
    dense = st.builds(lambda n, c, o: Workload(Op.DENSE, n, 1, 1, c, o), st.integers(1, 9), wide, CHANNELS)
    workload = draw(st.one_of(convolutions(), convolutions(), dense))
    workload = replace(workload, groups=1)
    epilogue = draw(st.sampled_from([*Epilogue, Epilogue.REQUANT, Epilogue.REQUANT_RELU]))
    return KernelSpec(
        workload,
        input_dtype=draw(LOOKED_UP),
        output_dtype=draw(ANY) if epilogue.requantizes else DType.INT32,
        weight_dtype=draw(st.sampled_from([DType.INT1, DType.INT2, DType.INT3])),
        input2_dtype=draw(ANY) if epilogue.adds else None,
        epilogue=epilogue,
    )


def assert_exact(spec: KernelSpec, pick: float, isa: DotIsa, threads: int, toolchain: Toolchain) -> None:
    space = config_space(spec, isa, threads, host_cpu().features)
    assert space, f"no config for {spec.key}: {reason_unsupported(spec, isa)}"
    assert_exact_with(spec, space[int(pick * len(space))], isa, threads, toolchain)


def assert_exact_with(
    spec: KernelSpec, config: ScheduleConfig, isa: DotIsa, threads: int, toolchain: Toolchain
) -> None:
    artifact = build(spec, config, CpuTarget(isa, MACHINE), threads, toolchain)
    expected = np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)
    wrong = np.flatnonzero(launch(artifact) != expected)
    assert not wrong.size, f"{isa.value} {spec.key} {to_text(config)}: {wrong.size} of {expected.size} bytes differ"


@settings(FEW, max_examples=150)
@given(lookup_specs(), PICK, st.sampled_from(ISAS))
def test_lookups(toolchain: Toolchain, spec: KernelSpec, pick: float, isa: DotIsa) -> None:
    assert_exact(spec, pick, isa, 1, toolchain)


@TWO_CPUS
@settings(FEW, max_examples=30)
@given(lookup_specs(), PICK)
def test_two_threads(toolchain: Toolchain, spec: KernelSpec, pick: float) -> None:
    assert_exact(spec, pick, ISAS[0], 2, toolchain)


@settings(FEW, max_examples=100)
@given(lookup_specs(), st.sampled_from(Tables), PICK)
def test_lookups_in_the_widest_vectors(
    toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch, spec: KernelSpec, tables: Tables, pick: float
) -> None:
    """As for AVX512, with its shuffles alone put together from what this CPU has."""
    space = [c for c in config_space(spec, DotIsa.AVX512_VNNI, 1) if isinstance(c, LookupConfig) and c.tables is tables]
    assume(space)
    config = space[int(pick * len(space))]
    with monkeypatch.context() as patch:
        patch.setattr(lookup, "byte_shuffle", lambda isa, wide: Masking(4 * isa.lanes, 6 if wide else 4))
        patch.setattr("profiler.kernels.cpu.build.lower", lambda s, c, isa: lower(s, c, DotIsa.AVX512_VNNI))
        artifact = build(spec, config, CpuTarget(ISAS[0], MACHINE), 1, toolchain)
    expected = np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)
    assert (launch(artifact) == expected).all(), f"{spec.key} {to_text(config)}"


@st.composite
def popcount_specs(draw: st.DrawFn) -> KernelSpec:
    types = st.sampled_from([(DType.UINT1, DType.INT1), (DType.UINT2, DType.INT1), (DType.UINT1, DType.INT2)])
    source, weight = draw(types)
    return replace(draw(lookup_specs()), input_dtype=source, weight_dtype=weight)


@settings(FEW, max_examples=80)
@given(popcount_specs(), PICK)
def test_popcounts_as_for_avx512(
    toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch, spec: KernelSpec, pick: float
) -> None:
    """The template has no instruction of its own, so what it emits for AVX512 runs wherever LLVM compiles it for."""
    space = [c for c in config_space(spec, DotIsa.AVX512_VNNI, 1) if isinstance(c, PopcountConfig)]
    config = space[int(pick * len(space))]
    with monkeypatch.context() as patch:
        patch.setattr("profiler.kernels.cpu.build.lower", lambda s, c, isa: lower(s, c, DotIsa.AVX512_VNNI))
        artifact = build(spec, config, CpuTarget(ISAS[0], MACHINE), 1, toolchain)
    expected = np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)
    assert (launch(artifact) == expected).all(), f"{spec.key} {to_text(config)}"


@settings(FEW, max_examples=80)
@given(weighted_specs(), PICK, st.sampled_from(ISAS), PLANES, ANY, st.booleans())
def test_planes_under_dot_products(
    toolchain: Toolchain, spec: KernelSpec, pick: float, isa: DotIsa, first: DType, second: DType, swap: bool
) -> None:
    source, target = (second, first) if swap else (first, second)
    spec = replace(
        spec,
        input_dtype=source,
        output_dtype=target if spec.epilogue.requantizes else DType.INT32,
        input2_dtype=first if spec.epilogue.adds else None,
    )
    assume(reason_unsupported(spec, isa) is None)
    assert_exact(spec, pick, isa, 1, toolchain)


@settings(FEW, max_examples=80)
@given(lookup_specs(), PICK, st.sampled_from(ISAS))
def test_few_bits_unpacked_for_dot_products(toolchain: Toolchain, spec: KernelSpec, pick: float, isa: DotIsa) -> None:
    space = [config for config in config_space(spec, isa, 1) if isinstance(config, DotConfig)]
    assert_exact_with(spec, space[int(pick * len(space))], isa, 1, toolchain)


@settings(FEW, max_examples=60)
@given(weighted_specs(), PICK, st.sampled_from(ISAS), LOOKED_UP, st.sampled_from([DType.INT1, DType.INT2, DType.INT3]))
def test_groups_take_dot_products(
    toolchain: Toolchain, spec: KernelSpec, pick: float, isa: DotIsa, source: DType, weight: DType
) -> None:
    spec = replace(spec, input_dtype=source, weight_dtype=weight)
    assume(spec.workload.groups > 1)
    assert not isinstance(config_space(spec, isa, 1)[0], LookupConfig)
    assert_exact(spec, pick, isa, 1, toolchain)


def test_groups_may_begin_within_a_byte_of_the_residuals_planes(toolchain: Toolchain) -> None:
    workload = Workload(Op.CONV2D, 1, 5, 5, 4, 6, 3, 3, groups=2)
    spec = KernelSpec(workload, DType.UINT8, DType.UINT8, DType.INT8, DType.INT3, Epilogue.ADD_REQUANT)
    for isa in ISAS:
        assert_exact(spec, 0.5, isa, 1, toolchain)


@pytest.mark.parametrize(("groups", "outputs"), [(8, 8), (8, 24), (3, 8)])
def test_groups_narrower_than_a_vector_keep_to_their_bytes(
    toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch, groups: int, outputs: int
) -> None:
    """As for AVX512, whose 16 channels of a vector are more than a group has; with other dot products. Planes that the
    channels fill to the end have no room behind them."""
    workload = Workload(Op.CONV2D, 1, 5, 5, groups, groups * outputs, 3, 3, groups=groups)
    spec = KernelSpec(workload, DType.UINT8, DType.UINT2, DType.INT8, DType.UINT2, Epilogue.ADD_REQUANT_RELU)
    with monkeypatch.context() as patch:
        patch.setattr(dot, "dot_product", lambda isa: Multiplying(isa.lanes))
        patch.setattr("profiler.kernels.cpu.build.lower", lambda s, c, isa: lower(s, c, DotIsa.AVX512_VNNI))
        config = DotConfig(1, 2, 1, LoopOrder.CHANNELS)
        artifact = build(spec, config, CpuTarget(ISAS[0], MACHINE), 1, toolchain)
    expected = np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)
    assert (launch(artifact) == expected).all()


@settings(FEW, max_examples=80)
@given(unweighted_specs(), PICK, st.sampled_from(ISAS), PLANES, ANY, st.booleans())
def test_planes_in_elementwise_kernels_and_pools(
    toolchain: Toolchain, spec: KernelSpec, pick: float, isa: DotIsa, first: DType, second: DType, swap: bool
) -> None:
    source, target = (second, first) if swap else (first, second)
    if spec.workload.op is Op.MAX_POOL:
        source = target = first
    spec = replace(spec, input_dtype=source, output_dtype=target)
    if spec.input2_dtype is not None:
        spec = replace(spec, input2_dtype=second)
    assert_exact(spec, pick, isa, 1, toolchain)


SLICES = [(64, 128), (64, 288), (8, 40), (5, 29), (8, 29), (1, 9), (3, 8), (70, 70), (33, 97)]


@pytest.mark.parametrize(("channels", "total"), SLICES)
def test_slices_of_planes(toolchain: Toolchain, channels: int, total: int) -> None:
    """Of words, of bytes, and with a last byte that is shared: with what can follow, or with nothing."""
    for number, (source, target) in enumerate(((DType.UINT2, DType.INT3), (DType.INT8, DType.UINT1))):
        work = Workload(Op.CONCAT, 2, 3, 2, channels, total)
        for isa in ISAS:
            assert_exact(KernelSpec(work, source, target, epilogue=REQUANT[number]), 0.3, isa, 1, toolchain)
    back = KernelSpec(Workload(Op.CONCAT, 2, 3, 2, channels, total), DType.INT2, DType.UINT4, epilogue=REQUANT[1])
    assert_exact(back, 0.3, ISAS[0], 1, toolchain)


@TWO_CPUS
def test_slices_of_planes_in_two_threads(toolchain: Toolchain) -> None:
    spec = KernelSpec(Workload(Op.CONCAT, 2, 3, 2, 24, 40), DType.UINT2, DType.UINT1, epilogue=REQUANT[0])
    assert_exact(spec, 0.3, ISAS[0], 2, toolchain)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (KernelSpec(Workload(Op.DENSE, 1, 1, 1, 8, 8), DType.UINT8, DType.INT32, DType.INT2), "not uint8"),
        (KernelSpec(Workload(Op.DENSE, 1, 1, 1, 1 << 25, 8), DType.UINT4, DType.INT32, DType.INT3), "leave 32 bits"),
    ],
)
def test_what_lookups_cannot_do_is_refused(spec: KernelSpec, reason: str) -> None:
    config = LookupConfig(1, 1, 1, LoopOrder.CHANNELS)
    assert config_space(spec, DotIsa.AVX2, 1) == ()
    assert reason in (reason_unsupported(spec, DotIsa.AVX2) or "")
    with pytest.raises(CompilerError, match=reason):
        lower(spec, config, DotIsa.AVX2)
    with pytest.raises(InvalidConfig, match="it wants a LookupConfig or PopcountConfig or DotConfig"):
        lower(spec, DepthwiseConfig(1, 1), DotIsa.AVX2)


RESNET_LAYERS = [
    Workload(Op.CONV2D, 1, 14, 14, 256, 64, 3, 3, 1, 1, 1, 1, 1, 1),
    Workload(Op.CONV2D, 1, 28, 28, 128, 256, 1, 1, 2, 2),
    Workload(Op.CONV2D, 2, 40, 40, 128, 64, 3, 3, 1, 1, 1, 1, 1, 1),
    Workload(Op.CONV2D, 2, 7, 7, 512, 96, 3, 3, 2, 2, 1, 1, 1, 1),
    Workload(Op.DENSE, 8, 1, 1, 512, 1000),
]


@pytest.mark.parametrize("workload", RESNET_LAYERS, ids=lambda w: w.text)
@pytest.mark.parametrize(
    ("activation", "weight"),
    [
        (DType.UINT1, DType.INT1), (DType.UINT2, DType.INT1), (DType.UINT2, DType.INT2), (DType.INT3, DType.INT3),
        (DType.UINT4, DType.INT2),
    ],
)  # fmt: skip
def test_layers_of_real_networks(toolchain: Toolchain, workload: Workload, activation: DType, weight: DType) -> None:
    """The last one leaves 16 bits behind; wide tables of the large images come in bands of rows."""
    spec = KernelSpec(workload, activation, activation, weight, activation, Epilogue.ADD_REQUANT)
    for order, epilogue in ((LoopOrder.PIXELS, Epilogue.ADD_REQUANT), (LoopOrder.CHANNELS, Epilogue.REQUANT)):
        spec = replace(spec, epilogue=epilogue, input2_dtype=activation if epilogue.adds else None)
        for tables in table_kinds(host_cpu().features):
            config = LookupConfig(1, 2, 1, order, 2, tables=tables)
            if reason_invalid(spec, config, ISAS[0]) is not None:
                continue  # of signed activations, and of four bits
            artifact = build(spec, config, CpuTarget(ISAS[0], MACHINE), 1, toolchain)
            assert (launch(artifact) == np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)).all()


def test_a_second_launch_gives_the_same(toolchain: Toolchain) -> None:
    workload = Workload(Op.CONV2D, 2, 9, 9, 70, 40, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.INT2, DType.UINT2, DType.INT1, epilogue=Epilogue.REQUANT_RELU)
    artifact = build(spec, LookupConfig(2, 3, 1, LoopOrder.IMAGES), CpuTarget(ISAS[0], MACHINE), 1, toolchain)
    assert (launch(artifact, repeat=3) == np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)).all()


@pytest.mark.parametrize(
    ("isa", "machine", "instruction", "register"),
    [
        (DotIsa.AVX512_VNNI, "x86_64", "vpshufb", "%zmm"),
        (DotIsa.AVX2, "x86_64", "vpshufb", "%ymm"),
        (DotIsa.NEON_DOT, "aarch64", "tbl", ".16b"),
        (DotIsa.NEON, "aarch64", "tbl", ".16b"),
    ],
)
def test_sums_are_looked_up_by_the_instruction_for_it(
    isa: DotIsa, machine: str, instruction: str, register: str
) -> None:
    workload = Workload(Op.CONV2D, 1, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.UINT2, DType.UINT2, DType.INT1, epilogue=Epilogue.REQUANT_RELU)
    text = assembly(spec, LookupConfig(1, 4, 1, LoopOrder.CHANNELS, 2), CpuTarget(isa, machine))
    looked_up = [line for line in text.splitlines() if instruction in line and register in line]
    assert len(looked_up) >= 8  # 4 pixels x 2 groups, at least once in the innermost loop


def test_sums_of_six_are_looked_up_in_whole_vectors() -> None:
    workload = Workload(Op.CONV2D, 1, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.UINT2, DType.UINT2, DType.INT1, epilogue=Epilogue.REQUANT_RELU)
    target = CpuTarget(DotIsa.AVX512_VNNI, "x86_64")
    for tables in (Tables.SEXTETS, Tables.INDEXED):
        config = LookupConfig(1, 4, 1, LoopOrder.CHANNELS, 2, tables=tables)
        looked_up = [line for line in assembly(spec, config, target).splitlines() if "vpermb" in line]
        assert len(looked_up) >= 8  # 4 pixels x 2 groups
        assert all("%zmm" in line for line in looked_up)
        assert WIDE_PERMUTATION in target.for_config(config).features
    assert WIDE_PERMUTATION not in target.for_config(LookupConfig(1, 4, 1, LoopOrder.CHANNELS)).features


@pytest.mark.parametrize(
    ("isa", "source", "reason"),
    [
        (DotIsa.AVX2, DType.UINT2, "avx2 looks nothing up in 64 bytes"),
        (DotIsa.AVX512_VNNI, DType.INT2, "unsigned bit planes, not of int2"),
        (DotIsa.AVX512_VNNI, DType.UINT4, "unsigned bit planes, not of uint4"),
    ],
)
def test_what_has_no_sums_of_six_is_refused(isa: DotIsa, source: DType, reason: str) -> None:
    spec = KernelSpec(Workload(Op.DENSE, 1, 1, 1, 64, 64), source, DType.INT32, DType.INT1)
    config = LookupConfig(1, 1, 1, LoopOrder.CHANNELS, tables=Tables.SEXTETS)
    assert reason in (reason_invalid(spec, config, isa) or "")
    with pytest.raises(CompilerError, match=reason):
        lower(spec, config, isa)


def test_bits_are_counted_in_wide_words_where_the_cpu_can() -> None:
    workload = Workload(Op.CONV2D, 1, 8, 8, 128, 64, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.UINT1, DType.UINT1, DType.INT1, epilogue=Epilogue.REQUANT_RELU)
    config = PopcountConfig(1, 4, 4, LoopOrder.CHANNELS)
    able = CpuTarget(DotIsa.AVX512_VNNI, "x86_64", wide_popcount=True)
    counted = [line for line in assembly(spec, config, able).splitlines() if "vpopcntq" in line]
    assert len(counted) >= 16
    assert all("%zmm" in line for line in counted)
    assert "vpopcntq" not in assembly(spec, config, replace(able, wide_popcount=False))
    assert WIDE_POPCOUNT in able.for_config(config).features
    assert WIDE_POPCOUNT not in able.for_config(LookupConfig(1, 4, 1, LoopOrder.CHANNELS)).features


def test_popcounts_are_for_wide_words() -> None:
    spec = KernelSpec(Workload(Op.DENSE, 1, 1, 1, 64, 8), DType.UINT1, DType.INT32, DType.INT1)
    config = PopcountConfig(1, 1, 1, LoopOrder.CHANNELS)
    assert "lookups are faster" in (reason_invalid(spec, config, DotIsa.AVX2) or "")
    assert "looked up" in (reason_invalid(replace(spec, input_dtype=DType.INT2), config, DotIsa.AVX512_VNNI) or "")
    assert "4 pairs" in (reason_invalid(
        replace(spec, input_dtype=DType.UINT2, weight_dtype=DType.INT2), config, DotIsa.AVX512_VNNI) or "")  # fmt: skip
    with pytest.raises(CompilerError, match="lookups are faster"):
        lower(spec, config, DotIsa.AVX2)


@pytest.mark.skipif(MACHINE != "x86_64", reason="looks at x86 code")
@pytest.mark.parametrize(
    "config", [LookupConfig(1, 4, 1, LoopOrder.CHANNELS), PopcountConfig(1, 14, 2, LoopOrder.IMAGES)]
)
def test_spilled_vectors_are_aligned(config: LookupConfig | PopcountConfig) -> None:
    workload = Workload(Op.CONV2D, 1, 14, 14, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.UINT1, DType.UINT8, DType.INT1, epilogue=Epilogue.REQUANT)
    text = assembly(spec, config, CpuTarget(DotIsa.AVX512_VNNI, "x86_64", wide_popcount=True))
    kernel = text[text.index("lowbit_kernel:") : text.index(".size\tlowbit_kernel")]
    assert re.search(r"andq\s+\$-64, %rsp", kernel)
    spilled = re.findall(r"(vmov\w+)\s+%[yz]mm\d+, -?\d*\(%rsp", kernel)
    assert all("mova" in instruction or "dqa" in instruction for instruction in spilled), set(spilled)


@TWO_CPUS
def test_parallel_kernels_split_their_work(toolchain: Toolchain) -> None:
    workload = Workload(Op.CONV2D, 1, 12, 12, 64, 128, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.UINT2, DType.UINT2, DType.INT1, epilogue=Epilogue.REQUANT_RELU)
    for axis in (ParallelAxis.PIXELS, ParallelAxis.CHANNELS):
        config = LookupConfig(1, 4, 1, LoopOrder.IMAGES, parallel=axis)
        artifact = build(spec, config, CpuTarget(ISAS[0], MACHINE), 2, toolchain)
        assert b"TVMBackendParallelLaunch" in artifact.code
        assert (launch(artifact) == np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)).all()
