"""What kernels are built for: a compiler, the schedule configs that are valid there, and the facts that models need.

A target needs no device at hand: kernels for a T4 are built on a laptop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from profiler.cuda_versions import LEAST_DRIVERS, OLDEST
from profiler.errors import DeviceError
from profiler.hardware import ARM_CPUS, GPUS, CpuSpec, GpuSpec
from profiler.kernels.backend import Backend, CpuBackend, CudaBackend
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.cached_build import CachedBuilds
from profiler.kernels.cpu.target import target_of
from profiler.kernels.pool_build import BuildPool
from profiler.predictor.configs.features import modelled_s
from profiler.record import escaped
from profiler.space import cpu as cpu_space
from profiler.space import cpu_default, gpu_limits
from profiler.space import gpu as gpu_space
from profiler.space.config import ScheduleConfig
from profiler.workload import KernelSpec

MOST_WORKERS = 8
"""That compile: a batch of candidates has no more."""


def default_batch(gpu: bool) -> int:
    """Images at once where nobody says how many: enough to fill a GPU's SMs, and one on a CPU."""
    return 8 if gpu else 1


def cuda_for_driver(version: tuple[int, int]) -> str:
    """The compiler (see `CudaBackend`) whose cubins a driver loads, by the CUDA version that the driver supports.

    CUDA 12's do on all drivers from 12 on. Raises `DeviceError` for an older driver.
    """
    require_driver(OLDEST.cuda[0], version)
    return str(OLDEST.cuda[0])


def require_driver(cuda: int, version: tuple[int, int]) -> None:
    """Raises `DeviceError` if a driver that supports that CUDA version does not load the cubins of CUDA ``cuda``."""
    if version[0] >= cuda:
        return
    supported = ".".join(map(str, version))
    least = next((known.linux for known in LEAST_DRIVERS.values() if known.cuda[0] == cuda), "a newer one")
    older = "" if cuda == OLDEST.cuda[0] else f", or compile with CUDA {OLDEST.cuda[0]} (CUDA={OLDEST.cuda[0]})"
    raise DeviceError(
        f"the driver supports CUDA {supported}; cubins of CUDA {cuda} need driver {least} or newer: update the "
        f"driver{older}"
    )


class Target(Protocol):
    """Implementations are frozen values."""

    @property
    def slug(self) -> str:
        """Of the device, e.g. ``t4``."""
        ...

    @property
    def name(self) -> str: ...

    @property
    def threads(self) -> int:
        """CPU threads that its kernels are built for; 1 on a GPU."""
        ...

    @property
    def device(self) -> CpuSpec | GpuSpec:
        """What the performance model and the cost models know of the device."""
        ...

    @property
    def backend(self) -> Backend: ...

    def space(self, spec: KernelSpec) -> Sequence[ScheduleConfig]:
        """The configs worth a look, in a fixed order; none if the kernel cannot be built."""
        ...

    def obstacle(self, spec: KernelSpec) -> str:
        """Why the kernel has no config; empty if it has."""
        ...

    def modelled_s(self, spec: KernelSpec, config: ScheduleConfig) -> float:
        """Latency in seconds by the analytic model: an order of candidates, no measurement."""
        ...

    def default_config(self, spec: KernelSpec) -> ScheduleConfig:
        """About the best by that model. Raises `InvalidConfig` where none is valid."""
        ...

    def check_config(self, spec: KernelSpec, config: ScheduleConfig) -> None:
        """Raises `InvalidConfig` with the reason if the config is not valid for the spec."""
        ...


@dataclass(frozen=True)
class CpuTarget:
    """Kernels for a CPU, of this machine or another."""

    cpu: CpuSpec
    threads: int = 1

    @property
    def slug(self) -> str:
        return self.cpu.slug

    @property
    def name(self) -> str:
        return self.cpu.model

    @property
    def device(self) -> CpuSpec:
        return self.cpu

    @property
    def backend(self) -> Backend:
        return CpuBackend(target_of(self.cpu), self.threads)

    def space(self, spec: KernelSpec) -> Sequence[ScheduleConfig]:
        return cpu_space.config_space(spec, self.cpu.isa, self.threads, self.cpu.features)

    def obstacle(self, spec: KernelSpec) -> str:
        return cpu_space.reason_unsupported(spec, self.cpu.isa) or ""

    def modelled_s(self, spec: KernelSpec, config: ScheduleConfig) -> float:
        return modelled_s(spec, config, self.cpu, self.threads)

    def default_config(self, spec: KernelSpec) -> ScheduleConfig:
        return cpu_default.default_config(spec, self.cpu, self.threads)

    def check_config(self, spec: KernelSpec, config: ScheduleConfig) -> None:
        cpu_space.check_config(spec, config, self.cpu.isa)


@dataclass(frozen=True)
class GpuTarget:
    """Kernels for a GPU, by the compiler that ``cuda`` names (see `CudaBackend`)."""

    gpu: GpuSpec
    cuda: str = "12"

    @property
    def slug(self) -> str:
        return self.gpu.slug

    @property
    def name(self) -> str:
        return self.gpu.name

    @property
    def threads(self) -> int:
        return 1

    @property
    def device(self) -> GpuSpec:
        return self.gpu

    @property
    def cuda_major(self) -> int:
        """Of the compiler. Raises `ToolchainError` if there is none."""
        return self.backend.cuda_major

    @cached_property
    def backend(self) -> CudaBackend:
        """One for all, since finding its tools starts programs."""
        return CudaBackend(self.gpu, self.cuda)

    def space(self, spec: KernelSpec) -> Sequence[ScheduleConfig]:
        return gpu_space.config_space(spec, self.gpu)

    def obstacle(self, spec: KernelSpec) -> str:
        return gpu_limits.reason_unsupported(spec, self.gpu) or ""

    def modelled_s(self, spec: KernelSpec, config: ScheduleConfig) -> float:
        return modelled_s(spec, config, self.gpu)

    def default_config(self, spec: KernelSpec) -> ScheduleConfig:
        return gpu_space.usual_config(spec, self.gpu)

    def check_config(self, spec: KernelSpec, config: ScheduleConfig) -> None:
        gpu_limits.check_config(spec, config, self.gpu)


def buildable() -> tuple[str, ...]:
    """The names of what kernels can be built for where no such device is."""
    return (*GPUS, *ARM_CPUS)


def elsewhere(slug: str, cuda: str, threads: int = 1) -> Target:
    """What kernels are built for, by one of the names of `buildable`. Raises `DeviceError`; ``threads`` are a CPU's."""
    if slug in ARM_CPUS:
        return CpuTarget(ARM_CPUS[slug], threads)
    if slug not in GPUS:
        known = ", ".join(buildable())
        raise DeviceError(f"kernels cannot be built for '{escaped(slug)}'; the devices known are: {known} (make: GPU=)")
    if threads > 1:
        raise DeviceError("threads are of a CPU; leave --threads out for a GPU")
    return GpuTarget(GPUS[slug], cuda)


@contextmanager
def opened_builds(target: Target, folder: Path) -> Iterator[BuildPool | CachedBuilds]:
    """What compiles for the target, for as long as the context lasts.

    A GPU's kernels are kept in ``folder``/kernels: `make kernels` may have built them before, and a run that goes on
    finds its own.
    """
    workers = min(MOST_WORKERS, len(os.sched_getaffinity(0)))
    if isinstance(target, GpuTarget):
        with CachedBuilds(target.backend, ArtifactCache(folder / "kernels" / target.slug), workers) as builds:
            yield builds
    else:
        with BuildPool(target.backend, workers) as pool:
            yield pool
