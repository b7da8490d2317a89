"""Small kernels for a T4 as real cubins, compiled once, and the device under test with a fake GPU behind it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from profiler.artifact import Artifact, Role
from profiler.devices.cuda import CudaDevice
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.nvml import Nvml
from profiler.hardware import GPUS
from profiler.kernels.backend import Build, CudaBackend
from profiler.kernels.toolchain import ToolchainError
from profiler.space.config import GpuConfig, MmaConfig
from profiler.space.gpu import config_space
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

from .fake_cuda_scenario import Fault, Scenario
from .fake_cuda_worker import worker_command
from .fake_nvml import FakeGpu, FakeNvml

CONV = KernelSpec(
    Workload(Op.CONV2D, 1, 8, 8, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1),
    DType.INT8,
    DType.INT8,
    DType.INT8,
    DType.INT8,
    Epilogue.ADD_REQUANT_RELU,
)
CONCAT = KernelSpec(Workload(Op.CONCAT, 1, 5, 5, 16, 24), DType.INT8, DType.INT8, epilogue=Epilogue.REQUANT)


@cache
def _build(cuda: str = "12") -> Build:
    try:
        return CudaBackend(GPUS["t4"], cuda).prepare(Path(tempfile.mkdtemp(prefix="cuda-kernels-")))
    except ToolchainError as error:
        if "is not installed" in str(error):
            pytest.skip(str(error))
        raise


def _first(spec: KernelSpec, wanted: Callable[[GpuConfig], bool]) -> GpuConfig:
    return next(config for config in config_space(spec, GPUS["t4"]) if wanted(config))


@cache
def conv(cuda: str = "12") -> Artifact:
    """Inputs: the activation and the residual. Neither workspace nor counters. cuda : of the compiler."""
    return _build(cuda)(CONV, _first(CONV, lambda config: isinstance(config, MmaConfig) and config.split_k == 1))


@cache
def split_conv() -> Artifact:
    """The same layer in several parts, with workspace and counters."""
    built = _build()(CONV, _first(CONV, lambda config: isinstance(config, MmaConfig) and config.split_k > 1))
    assert {Role.WORKSPACE, Role.COUNTERS} <= {arg.role for arg in built.args}
    return built


@cache
def concat() -> Artifact:
    """Writes a part of its output."""
    return _build()(CONCAT, _first(CONCAT, lambda config: True))


def relabelled(artifact: Artifact, label: str) -> Artifact:
    """The same code as another artifact, for which a `Scenario` can have another fault."""
    return replace(artifact, compiler=label)


def faulty(artifact: Artifact, fault: Fault) -> tuple[Artifact, Scenario]:
    """An artifact of its own, and a scenario in which it has that fault."""
    bad = relabelled(artifact, f"faulty: {fault}")
    return bad, Scenario(faults={bad.sha256: fault})


def fake_device(
    scenario: Scenario,
    folder: Path,
    card: FakeGpu | None = None,
    time_limit_s: float = 20,
    sustained: bool = False,
    locked_sm_clock_mhz: int | None = None,
) -> CudaDevice:
    """A T4 that plays the scenario. card : as NVML sees it. The rest is that of `CudaDevice`."""
    card = card or FakeGpu()
    fake = FakeNvml(gpus=[card])
    return CudaDevice(
        "t4",
        worker_command(scenario, folder / "scenario.json"),
        GpuMonitor(Nvml(load=lambda: fake), card.uuid),
        sustained=sustained,
        locked_sm_clock_mhz=locked_sm_clock_mhz,
        time_limit_s=time_limit_s,
    )
