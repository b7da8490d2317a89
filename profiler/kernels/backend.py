"""What a build pool compiles with: the CPU's or the GPU's compilers, as a value that goes to worker processes.

TVM is imported where kernels are built, not by who holds a backend.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Protocol

from profiler.artifact import Artifact
from profiler.hardware import GpuSpec
from profiler.kernels.cpu.c_compiler import CCompiler, c_compiler
from profiler.kernels.cpu.target import CpuTarget
from profiler.kernels.cuda.compiler import compiler_text
from profiler.kernels.cuda.tools import Tools
from profiler.space.config import ScheduleConfig, to_text
from profiler.workload import KernelSpec

Build = Callable[[KernelSpec, ScheduleConfig], Artifact]
"""Compiles one kernel. Raises `ProfilerError` for this kernel, `ToolchainError` if no kernel can be built."""

_PACKAGES = ("apache-tvm", "apache-tvm-ffi")
_SOURCES = (
    "kernels", "space", "quantize", "artifact.py", "hardware.py", "workload/precisions.py", "workload/kernel_spec.py",
)  # fmt: skip
"""Whatever can change an artifact, as paths in the package."""


class Backend(Protocol):
    """Implementations are frozen values that can be pickled."""

    @property
    def compiler(self) -> str:
        """What generates the code, for artifacts and fingerprints. Raises `ToolchainError` if it cannot."""
        ...

    def prepare(self, folder: Path) -> Build:
        """Import and set up what building takes; ``folder`` is for files that are needed as long as it is used.

        Raises `ToolchainError`.
        """
        ...

    def key(self, spec: KernelSpec, config: ScheduleConfig) -> str:
        """Digest (hex) of everything that decides on the artifact: equal keys, equal artifacts. No TVM is needed.

        Raises `ToolchainError`.
        """
        ...


@dataclass(frozen=True)
class CpuBackend:
    """LLVM through TVM, and the C compiler. Artifacts run on ``threads`` threads."""

    target: CpuTarget
    threads: int = 1

    @property
    def compiler(self) -> str:
        from profiler.kernels.cpu.build import compiler_version

        return compiler_version()

    def prepare(self, folder: Path) -> Build:
        from profiler.kernels.cpu.build import Toolchain, build

        toolchain = Toolchain.prepare(folder, self.target.machine)
        return partial(build, target=self.target, threads=self.threads, toolchain=toolchain)

    def key(self, spec: KernelSpec, config: ScheduleConfig) -> str:
        return _key(spec, config, self.target.for_config(config).arch, str(self.threads), self._c_compiler.identity)

    @cached_property
    def _c_compiler(self) -> CCompiler:
        """One for all keys, since asking it who it is starts a program; ready, as a build that has to wait fails."""
        compiler = c_compiler(self.target.machine)
        compiler.warm_up()
        return compiler


@dataclass(frozen=True)
class CudaBackend:
    """CUDA source through TVM, cubins by the compiler that ``cuda`` names.

    ``12`` and ``13``: NVRTC of that CUDA from its wheel; ``nvcc``: that of PATH; else the path of a CUDA root.
    """

    gpu: GpuSpec
    cuda: str = "12"

    @property
    def compiler(self) -> str:
        return compiler_text(self._tools.compiler)

    @property
    def cuda_major(self) -> int:
        """The compiler's CUDA, e.g. 12."""
        return int(self._tools.compiler.identity.split()[1].split(".")[0])

    def prepare(self, folder: Path) -> Build:
        tools = self._tools
        from profiler.kernels.cuda.build import build

        return partial(build, gpu=self.gpu, tools=tools)

    def key(self, spec: KernelSpec, config: ScheduleConfig) -> str:
        return _key(spec, config, self.gpu.slug, self.gpu.arch, self.compiler, self._tools.disassembler.version)

    @cached_property
    def _tools(self) -> Tools:
        return Tools.find(self.cuda, self.gpu)


def _key(spec: KernelSpec, config: ScheduleConfig, *of_backend: str) -> str:
    versions = [f"{package} {metadata.version(package)}" for package in _PACKAGES]
    parts = (spec.key, to_text(config), *of_backend, *versions, _sources_sha256())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@lru_cache(maxsize=1)
def _sources_sha256() -> str:
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for name in _SOURCES for path in _files(package / name)):
        digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    return [p for p in path.rglob("*") if p.suffix in (".py", ".h", ".c")] if path.is_dir() else [path]
