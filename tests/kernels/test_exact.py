"""Every CPU template against the integer oracle, bit for bit, on every instruction set that this machine can run."""

from __future__ import annotations

import platform
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiler.hardware import DotIsa, dot_isa, host_cpu
from profiler.kernels.cpu.build import Toolchain, build
from profiler.kernels.cpu.target import CpuTarget
from profiler.quantize.samples import expected_output
from profiler.space.config import DotConfig, LoopOrder, ParallelAxis, to_text
from profiler.space.cpu import config_space
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.kernels.launch import CPUS, launch
from tests.kernels.specs import unweighted_specs, weighted_specs

pytestmark = pytest.mark.compile

MACHINE = platform.machine()
ISAS = [
    isa
    for isa in (DotIsa.AVX512_VNNI, DotIsa.AVX_VNNI, DotIsa.AVX2, DotIsa.NEON_DOT, DotIsa.NEON, DotIsa.GENERIC)
    if set(CpuTarget(isa, MACHINE).features) <= host_cpu().features
    and (isa in (DotIsa.NEON_DOT, DotIsa.NEON)) <= (MACHINE == "aarch64")
    and (isa in (DotIsa.NEON_DOT, DotIsa.NEON, DotIsa.GENERIC) or MACHINE == "x86_64")
]
FEW = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def assert_exact(spec: KernelSpec, pick: float, isa: DotIsa, threads: int, toolchain: Toolchain) -> None:
    space = config_space(spec, isa, threads, host_cpu().features)
    assert space, f"no config for {spec.key}"
    config = space[int(pick * len(space))]
    artifact = build(spec, config, CpuTarget(isa, MACHINE), threads, toolchain)
    expected = np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)
    wrong = np.flatnonzero(launch(artifact) != expected)
    assert not wrong.size, f"{isa.value} {spec.key} {to_text(config)}: {wrong.size} of {expected.size} bytes differ"


PICK = st.floats(0, 1, exclude_max=True)


@FEW
@given(weighted_specs(), PICK, st.sampled_from(ISAS))
def test_convolution_and_dense(toolchain: Toolchain, spec: KernelSpec, pick: float, isa: DotIsa) -> None:
    assert_exact(spec, pick, isa, 1, toolchain)


@FEW
@given(unweighted_specs(), PICK, st.sampled_from(ISAS))
def test_elementwise_and_pools(toolchain: Toolchain, spec: KernelSpec, pick: float, isa: DotIsa) -> None:
    assert_exact(spec, pick, isa, 1, toolchain)


TWO_CPUS = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")


@TWO_CPUS
@settings(FEW, max_examples=40)
@given(st.one_of(weighted_specs(), unweighted_specs()), PICK)
def test_two_threads(toolchain: Toolchain, spec: KernelSpec, pick: float) -> None:
    assert_exact(spec, pick, ISAS[0], 2, toolchain)


RESNET_LAYERS = [
    Workload(Op.CONV2D, 1, 224, 224, 3, 64, 7, 7, 2, 2, 3, 3, 3, 3),
    Workload(Op.CONV2D, 2, 14, 14, 64, 96, 3, 3, 1, 1, 1, 1, 1, 1),
    Workload(Op.CONV2D, 8, 7, 7, 160, 160, 1, 7, 1, 1, 0, 3, 0, 3),
    Workload(Op.CONV2D, 1, 56, 56, 64, 128, 1, 1, 2, 2),
    Workload(Op.DENSE, 8, 1, 1, 512, 1000),
]


@pytest.mark.parametrize("workload", RESNET_LAYERS, ids=lambda w: w.text)
@pytest.mark.parametrize("order", LoopOrder)
@pytest.mark.parametrize("dtype", [DType.UINT8, DType.UINT4, DType.INT8, DType.INT4])
def test_layers_of_real_networks(toolchain: Toolchain, workload: Workload, order: LoopOrder, dtype: DType) -> None:
    weight = DType.integer(dtype.bits, signed=True)
    spec = KernelSpec(workload, dtype, dtype, weight, epilogue=Epilogue.REQUANT_RELU)
    for isa in ISAS[:1]:
        config = DotConfig(1, 4, 2, order)
        artifact = build(spec, config, CpuTarget(isa, MACHINE), 1, toolchain)
        assert (launch(artifact) == np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)).all()


def test_a_second_launch_gives_the_same(toolchain: Toolchain) -> None:
    """Nothing of a launch is left in the workspace that the next one would trip over."""
    workload = Workload(Op.CONV2D, 2, 9, 9, 5, 40, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.INT4, DType.UINT4, DType.INT4, DType.INT8, Epilogue.ADD_REQUANT_RELU)
    artifact = build(spec, DotConfig(2, 3, 1, LoopOrder.IMAGES), CpuTarget(ISAS[0], MACHINE), 1, toolchain)
    assert (launch(artifact, repeat=3) == np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)).all()


def test_a_wrong_shift_is_noticed(toolchain: Toolchain) -> None:
    """The comparison can fail: the same kernel against the oracle of another epilogue."""
    workload = Workload(Op.CONV2D, 1, 8, 8, 8, 16, 3, 3)
    spec = KernelSpec(workload, DType.UINT8, DType.INT8, DType.INT8, epilogue=Epilogue.REQUANT)
    artifact = build(spec, DotConfig(1, 2, 1, LoopOrder.IMAGES), CpuTarget(ISAS[0], MACHINE), 1, toolchain)
    other = replace(spec, epilogue=Epilogue.REQUANT_RELU)
    assert (launch(artifact) != np.frombuffer(expected_output(other, artifact.check.seed), np.uint8)).any()


@TWO_CPUS
def test_parallel_kernels_split_their_work(toolchain: Toolchain) -> None:
    workload = Workload(Op.CONV2D, 1, 28, 28, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)
    for axis in (ParallelAxis.PIXELS, ParallelAxis.CHANNELS):
        config = DotConfig(1, 7, 2, LoopOrder.IMAGES, parallel=axis)
        artifact = build(spec, config, CpuTarget(ISAS[0], MACHINE), 2, toolchain)
        assert b"TVMBackendParallelLaunch" in artifact.code
        assert (launch(artifact) == np.frombuffer(expected_output(spec, artifact.check.seed), np.uint8)).all()


def test_the_best_instruction_set_is_chosen() -> None:
    everything = frozenset({"avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"})
    assert dot_isa(everything, "x86_64") is DotIsa.AVX512_VNNI
    assert dot_isa(everything - {"avx512_vnni"}, "x86_64") is DotIsa.AVX_VNNI
    assert dot_isa(frozenset({"avx2", "avx512f"}), "x86_64") is DotIsa.AVX2
    assert dot_isa(frozenset({"sse4_2"}), "x86_64") is DotIsa.GENERIC
    assert dot_isa(frozenset({"asimd", "asimddp"}), "aarch64") is DotIsa.NEON_DOT


@pytest.mark.parametrize("dtype", [DType.INT4, DType.UINT4, DType.INT8])
@pytest.mark.parametrize("channels", [5, 8])
def test_a_window_that_lies_in_the_padding(toolchain: Toolchain, dtype: DType, channels: int) -> None:
    """Dilated over a single pixel: most windows see nothing of it."""
    workload = Workload(Op.MAX_POOL, 1, 1, 1, channels, channels, 2, 2, 1, 1, 1, 1, 1, 1, 2, 2)
    assert_exact(KernelSpec(workload, dtype, dtype), 0.0, ISAS[0], 1, toolchain)


@TWO_CPUS
def test_groups_that_threads_cannot_share_are_done_by_one(toolchain: Toolchain) -> None:
    workload = Workload(Op.CONV2D, 1, 6, 6, 6, 9, 3, 3, groups=3)
    spec = KernelSpec(workload, DType.UINT4, DType.UINT4, DType.INT4, epilogue=Epilogue.REQUANT_RELU)
    assert {config.parallel for config in config_space(spec, ISAS[0], 2)} == {ParallelAxis.NONE}
    assert_exact(spec, 0.5, ISAS[0], 2, toolchain)
