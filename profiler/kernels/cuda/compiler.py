"""CUDA compilers: which there are, and how one is chosen."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Protocol

from profiler.kernels.cuda.cubin import Cubin
from profiler.kernels.cuda.nvcc import Nvcc
from profiler.kernels.cuda.nvrtc import WHEELS, Nvrtc

CUDA_TEMPLATES_VERSION = 1
"""To be raised whenever a template emits other code: measurements of the old code are then another instrument's."""


class CudaCompiler(Protocol):
    """From CUDA C++ to machine code. Implementations are frozen values that can be pickled."""

    @property
    def identity(self) -> str:
        """Name and version, e.g. ``nvrtc 12.9.86``."""
        ...

    def archs(self) -> tuple[str, ...]:
        """Architectures that it makes cubins for, e.g. ``sm_75``. Raises `ToolchainError`."""
        ...

    def compile(self, source: str, arch: str) -> Cubin:
        """A cubin. Raises `CompilerError` if it refuses the source, `ToolchainError` if it does not work."""
        ...


def find_compiler(cuda: str) -> CudaCompiler:
    """The compiler of a choice: ``12`` or ``13`` (NVRTC of that CUDA, from its wheel), ``nvcc`` (from PATH), or the
    path of a CUDA root with its nvcc. Raises `ToolchainError` that says what to install.
    """
    if cuda in WHEELS:
        return Nvrtc.find(cuda)
    return Nvcc.find(None if cuda == "nvcc" else Path(cuda))


def compiler_text(compiler: CudaCompiler) -> str:
    """What generated the machine code, for artifacts and fingerprints: the compilers and the templates."""
    return f"tvm {metadata.version('apache-tvm')} {compiler.identity} templates {CUDA_TEMPLATES_VERSION}"
