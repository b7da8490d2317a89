"""Kernels that are built here for Arm, bit for bit on emulated Arm CPUs: the worker process that measures is the one
that runs there, so what it does with memory, threads, caches and clocks is under test too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiler.artifact import Artifact
from profiler.devices.host import HostDevice
from profiler.devices.protocol import KernelFailure
from profiler.errors import DeviceError
from profiler.hardware import ARM_CPUS
from profiler.kernels.check import check_of
from profiler.kernels.cpu.build import Toolchain, build
from profiler.kernels.cpu.target import target_of
from profiler.record import CacheMode
from profiler.space.config import DotConfig, LoopOrder, ParallelAxis, ScheduleConfig, to_text
from profiler.space.cpu import check_config, config_space
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.arm import emulation
from tests.kernels.specs import unweighted_specs, weighted_specs
from tests.kernels.test_bits import lookup_specs

pytestmark = [pytest.mark.compile, emulation.emulated()]

SLUGS = ("aarch64", "aarch64-neon")
LAYER = Workload(Op.CONV2D, 1, 9, 9, 20, 40, 3, 3, 1, 1, 1, 1, 1, 1)
PICK = st.floats(0, 1, exclude_max=True)
FEW = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class Arm:
    """A CPU for each target: the one with dot products and nothing newer, and one without."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.toolchain = Toolchain.prepare(folder, emulation.MACHINE)
        self.devices = {
            slug: HostDevice(ARM_CPUS[slug], 60.0, (str(emulation.python(folder, cpu)), *self._worker))
            for slug, cpu in zip(SLUGS, (emulation.WITH_DOT, emulation.WITHOUT_DOT), strict=True)
        }

    _worker = ("-m", "profiler.devices.host_worker")

    def built(self, spec: KernelSpec, config: ScheduleConfig, slug: str, threads: int = 1) -> Artifact:
        return build(spec, config, target_of(ARM_CPUS[slug]), threads, self.toolchain)

    def verify(self, artifact: Artifact, slug: str) -> None:
        device = self.devices[slug]
        handle = device.load(artifact)
        try:
            device.verify(handle)
        except KernelFailure as failure:
            raise AssertionError(f"{slug} {artifact.spec.key} {artifact.config}: {failure}") from None
        finally:
            device.unload(handle)

    def assert_exact(self, spec: KernelSpec, pick: float, slug: str) -> None:
        space = config_space(spec, ARM_CPUS[slug].isa, 1)
        assert space, f"no config for {spec.key}"
        self.verify(self.built(spec, space[int(pick * len(space))], slug), slug)


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arm]:
    found = Arm(tmp_path_factory.mktemp("arm"))
    yield found
    for device in found.devices.values():
        device.close()


def layer(activation: DType, weight: DType, workload: Workload = LAYER) -> KernelSpec:
    epilogue = Epilogue.REQUANT if activation.signed else Epilogue.REQUANT_RELU
    return KernelSpec(workload, activation, activation, weight, epilogue=epilogue)


@settings(FEW, max_examples=12)
@given(weighted_specs(), PICK, st.sampled_from(SLUGS))
def test_convolution_and_dense(arm: Arm, spec: KernelSpec, pick: float, slug: str) -> None:
    arm.assert_exact(spec, pick, slug)


@settings(FEW, max_examples=8)
@given(unweighted_specs(), PICK, st.sampled_from(SLUGS))
def test_elementwise_and_pools(arm: Arm, spec: KernelSpec, pick: float, slug: str) -> None:
    arm.assert_exact(spec, pick, slug)


@settings(FEW, max_examples=12)
@given(lookup_specs(), PICK, st.sampled_from(SLUGS))
def test_below_four_bits(arm: Arm, spec: KernelSpec, pick: float, slug: str) -> None:
    arm.assert_exact(spec, pick, slug)


@pytest.mark.parametrize("slug", SLUGS)
@pytest.mark.parametrize(
    ("activation", "weight"),
    [("uint8", "int8"), ("int8", "int8"), ("uint4", "int4"), ("int4", "int4"), ("uint2", "int2"), ("uint1", "int1")],
)
def test_a_layer_in_each_precision(arm: Arm, activation: str, weight: str, slug: str) -> None:
    arm.assert_exact(layer(DType(activation), DType(weight)), 0.5, slug)


def test_extreme_products_on_a_cpu_without_dot_products(arm: Arm) -> None:
    """-128 * -128, four times over: what a sum of two in 16 bits would lose."""
    spec = layer(DType.INT8, DType.INT8, Workload(Op.DENSE, 1, 1, 1, 64, 16))
    arm.assert_exact(replace(spec, epilogue=Epilogue.NONE, output_dtype=DType.INT32), 0.0, "aarch64-neon")


@pytest.mark.parametrize(
    ("residual", "config"),
    [
        (DType.UINT1, DotConfig(1, 28, 1, LoopOrder.CHANNELS)),
        (DType.UINT4, DotConfig(2, 13, 1, LoopOrder.PIXELS)),
    ],
)
def test_tiles_that_take_all_registers(arm: Arm, residual: DType, config: DotConfig) -> None:
    """LLVM 22 makes wrong code of these, unless it is told not to join loads to pairs."""
    workload = Workload(Op.CONV2D, 1, 28, 28, 32, 16, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.UINT8, DType.UINT8, DType.INT8, residual, Epilogue.ADD_REQUANT_RELU)
    check_config(spec, config, ARM_CPUS["aarch64-neon"].isa)
    arm.verify(arm.built(spec, config, "aarch64-neon"), "aarch64-neon")


def test_two_threads(arm: Arm) -> None:
    spec = layer(DType.UINT8, DType.INT8)
    space = config_space(spec, ARM_CPUS["aarch64"].isa, 2)
    for axis in (ParallelAxis.PIXELS, ParallelAxis.CHANNELS):
        config = next(config for config in space if f"parallel={axis.value}" in to_text(config))
        arm.verify(arm.built(spec, config, "aarch64", threads=2), "aarch64")


def test_a_wrong_result_is_noticed(arm: Arm) -> None:
    """The same kernel as if it had another epilogue."""
    spec = KernelSpec(LAYER, DType.UINT8, DType.INT8, DType.INT8, epilogue=Epilogue.REQUANT)
    artifact = arm.built(spec, config_space(spec, ARM_CPUS["aarch64"].isa, 1)[0], "aarch64")
    other = replace(spec, epilogue=Epilogue.REQUANT_RELU)
    with pytest.raises(AssertionError, match="output bytes differ"):
        arm.verify(replace(artifact, spec=other, check=check_of(other)), "aarch64")


def test_the_timed_window_runs(arm: Arm) -> None:
    """Flushing caches, reading through, the clock: as code, since what it says here means nothing."""
    spec = layer(DType.UINT8, DType.INT8)
    device = arm.devices["aarch64"]
    handle = device.load(arm.built(spec, config_space(spec, ARM_CPUS["aarch64"].isa, 1)[0], "aarch64"))
    device.verify(handle)
    for mode in CacheMode:
        assert len(device.time(handle, 3, mode)) == 3
    device.recheck(handle)
    device.unload(handle)


def test_nothing_is_timed_on_an_emulated_cpu() -> None:
    cpu = replace(ARM_CPUS["aarch64"], emulated_on="x86")
    with HostDevice(cpu, 60.0, ("false",)) as device, pytest.raises(DeviceError, match="nothing is timed there"):
        device.time(0, 1, CacheMode.HOT)


@pytest.mark.parametrize("slug", SLUGS)
def test_an_artifact_asks_for_no_version_of_the_c_library_that_boards_lack(arm: Arm, slug: str) -> None:
    spec = layer(DType.UINT8, DType.INT8)
    artifact = arm.built(spec, config_space(spec, ARM_CPUS[slug].isa, 1)[0], slug)
    assert artifact.features == (("asimd", "asimddp") if slug == "aarch64" else ("asimd",))
    assert b"GLIBC_2.3" not in artifact.code
    assert b"GLIBC_2.2" not in artifact.code
    assert artifact.code[18:20] == b"\xb7\x00", "of an ELF file: AArch64"
