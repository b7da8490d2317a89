"""What travels between client and workers: plain values, pickled by Dask; kernels and records as their bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from profiler.devices.cuda_driver import GpuProperties
from profiler.devices.discover import FoundDevice
from profiler.hardware import CpuSpec
from profiler.kernels.backend import Backend, CudaBackend
from profiler.kernels.pool_build import BuildFailure
from profiler.measure import Run, StoppingRule
from profiler.measure.energy import EnergyRule
from profiler.record import Conditions, Fingerprint
from profiler.space.config import ScheduleConfig
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class SeatOptions:
    """How a card is set while it is measured, as in `campaign.MeasureRequest`."""

    sustained: bool = False
    lock_clocks: bool = False
    clock_mhz: int | None = None


@dataclass(frozen=True)
class SeatKey:
    """A card of a worker's machine, and how it is set. ``uuid`` is empty for the host CPU."""

    uuid: str
    options: SeatOptions = SeatOptions()


@dataclass(frozen=True)
class Sight:
    """What a worker's machine has. ``machine`` tells machines apart, ``arch`` is that of the CPU, ``cpus`` are those
    that the worker may use, ``version`` and ``code`` are those of this package there."""

    host: str
    machine: str
    arch: str
    cpus: int
    version: str
    code: str
    devices: tuple[FoundDevice, ...]
    no_gpus: str = ""


@dataclass(frozen=True)
class CardFacts:
    """An opened card. ``fingerprint`` has no compiler yet. ``clocks`` is what a reader should know of them.
    ``no_energy`` says why it tells no joules, and is empty where it does."""

    fingerprint: Fingerprint
    hardware: CpuSpec | GpuProperties
    clocks: str = ""
    no_energy: str = ""


@dataclass(frozen=True)
class MeasureOrder:
    """Kernels that are measured in turn, in one call. ``turn_s`` and ``limit_s`` are seconds: the first for others who
    have the card, the second for the measuring itself."""

    artifacts: tuple[bytes, ...]
    conditions: Conditions
    rule: StoppingRule
    stage: str
    run: Run
    turn_s: float
    limit_s: float


@dataclass(frozen=True)
class EnergyOrder:
    """A kernel whose energy is measured. Times as those of `MeasureOrder`."""

    artifact: bytes
    conditions: Conditions
    rule: EnergyRule
    run: Run
    turn_s: float
    limit_s: float


@dataclass(frozen=True)
class Measured:
    """A line of the journal for each kernel of an order, in its order."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Occupied:
    """Nothing was measured: others have the card for longer than was waited. ``message`` is one line."""

    message: str


@dataclass(frozen=True)
class BuildOrder:
    """``turn_s`` : seconds for others who measure the CPU of that machine."""

    backend: Backend
    requests: tuple[tuple[KernelSpec, ScheduleConfig], ...]
    turn_s: float


@dataclass(frozen=True)
class Built:
    """An artifact's bytes for each request of an order, in its order, or why there is none."""

    results: tuple[bytes | BuildFailure, ...]


@dataclass(frozen=True)
class BrokenCompiler:
    """The worker of that address can compile nothing, or must not; ``message`` is one line."""

    address: str
    message: str


@dataclass(frozen=True)
class Compiler:
    """What compiles on a worker. ``cuda_major`` is None for a CPU's."""

    text: str
    cuda_major: int | None = None

    @staticmethod
    def of(backend: Backend) -> Compiler:
        """That of this machine. Raises `ToolchainError` where there is none."""
        return Compiler(backend.compiler, backend.cuda_major if isinstance(backend, CudaBackend) else None)


@dataclass(frozen=True)
class Unusable:
    """A device, compiler or machine that does not do what was asked; ``message`` is one line."""

    message: str


@dataclass(frozen=True)
class Hung:
    """A measuring process that did not answer within its limit, or that ended instead. It was ended."""

    message: str


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """Of this package's sources: two checkouts of one version may differ."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(p for p in package.rglob("*") if p.suffix in (".py", ".c", ".h", ".ptx")):
        digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
