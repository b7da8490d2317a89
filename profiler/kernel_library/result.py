"""What a run hands back: values for the command line, without the packages that made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from profiler.artifact import Resources
from profiler.hardware import CpuSpec, GpuSpec
from profiler.kernels.cuda.sass import divisions, most_frequent_tensor_core, tensor_core
from profiler.record import FailureKind
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class BuiltKernel:
    """An artifact in the folder. ``modelled_s`` is the performance model's latency: nothing was measured.

    ``resources`` : what it takes of a GPU; None for a CPU's.
    """

    config: str
    modelled_s: float
    native: bool
    resources: Resources | None
    path: Path

    @property
    def tensor_core(self) -> tuple[str, int]:
        """The main loop's tensor-core instruction and how often it stands there; an empty name where there is none."""
        return most_frequent_tensor_core(self.resources.main_loop) if self.resources else ("", 0)

    @property
    def divisions(self) -> int | None:
        """Integer divisions in the main loop; None where there is no loop with tensor-core instructions."""
        loop = self.resources.main_loop if self.resources else {}
        return divisions(loop) if tensor_core(loop) else None


@dataclass(frozen=True)
class FailedConfig:
    """A config that could not be built, and why (one line)."""

    config: str
    kind: FailureKind
    message: str


@dataclass(frozen=True)
class LibraryRow:
    """A kernel spec, the layers that need it, and what was built for it.

    ``valid`` counts the configs that the device admits, ``built`` those of which the folder has an artifact.
    ``default`` is the best modelled of the built ones. ``limit_s`` is a time that no kernel can beat by the model's
    rates, None where there is no config, and for a CPU. ``obstacle`` says why there is none.
    """

    spec: KernelSpec
    layers: tuple[str, ...]
    valid: int
    built: int
    failed: tuple[FailedConfig, ...]
    default: BuiltKernel | None
    limit_s: float | None
    obstacle: str = ""


@dataclass(frozen=True)
class KernelLibrary:
    """The kernels of a network for a device.

    ``built_now`` and ``cached`` count artifacts; ``building_s`` is the time spent on compiling, ``elapsed_s`` that of
    the whole run. ``compiler`` names the compiler as the artifacts do.
    """

    network: str
    batch: int
    device: CpuSpec | GpuSpec
    compiler: str
    folder: Path
    rows: tuple[LibraryRow, ...]
    built_now: int
    cached: int
    building_s: float
    elapsed_s: float
    skipped: tuple[str, ...] = ()

    @property
    def device_name(self) -> str:
        return self.device.name if isinstance(self.device, GpuSpec) else self.device.model

    @property
    def arch(self) -> str:
        """Of a GPU its architecture, of a CPU the instructions that kernels use."""
        return self.device.arch if isinstance(self.device, GpuSpec) else self.device.isa.value

    @property
    def failures(self) -> Mapping[FailureKind, int]:
        """Failed configs by kind."""
        return Counter(failed.kind for row in self.rows for failed in row.failed)

    @property
    def missing(self) -> tuple[LibraryRow, ...]:
        """Specs without a kernel."""
        return tuple(row for row in self.rows if row.default is None)

    @property
    def candidates_per_s(self) -> float | None:
        """Configs compiled in a second, failed ones included; None where none had to be."""
        tried = self.built_now + sum(self.failures.values())
        return tried / self.building_s if tried and self.building_s > 0 else None
