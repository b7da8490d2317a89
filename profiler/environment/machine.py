"""What the doctor looks at beside NVML, as one value: by default what is really there."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from profiler.environment.check_driver import Places
from profiler.environment.cuda_probe import CudaAnswer, ask_cuda
from profiler.environment.import_probe import why_not_importable
from profiler.hardware import CpuSpec, host_cpu
from profiler.kernels.cpu.c_compiler import CCompiler, c_compiler
from profiler.kernels.cuda.compiler import CudaCompiler, find_compiler
from profiler.kernels.cuda.nvdisasm import Disassembler
from profiler.kernels.toolchain import ToolchainError

_OURSELVES = "lowbit-profiler"


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> tuple[str, ...]:
    try:
        return tuple(metadata.requires(_OURSELVES) or ())
    except metadata.PackageNotFoundError:
        return ()


def _python() -> str:
    path, here = Path(sys.executable), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path("/tmp")


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _c_compiler() -> CCompiler | None:
    try:
        return c_compiler()
    except ToolchainError:
        return None


def _may_open(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _group_of(path: Path) -> str:
    try:
        return path.group()
    except KeyError:
        return ""


@dataclass(frozen=True)
class Machine:
    """python : how this interpreter is called from the current folder. python_headers : the folder for Python.h.
    requirements : of this project. environment : for CUDA_VISIBLE_DEVICES, which is NVIDIA's.

    free_bytes : where an existing folder lies. version_of : of a package, None if it is not installed. group_of : of a
    file, empty if it has no name. why_not_importable : of a module, empty if it can be imported.
    """

    places: Places = field(default_factory=Places)
    system: str = field(default_factory=platform.system)
    architecture: str = field(default_factory=platform.machine)
    python: str = field(default_factory=_python)
    python_version: tuple[int, int, int] = field(default_factory=lambda: sys.version_info[:3])
    virtual_environment: bool = field(default_factory=lambda: sys.prefix != sys.base_prefix)
    python_headers: Path = field(default_factory=lambda: Path(sysconfig.get_path("include")))
    cpu: CpuSpec = field(default_factory=host_cpu)
    allowed_cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    temporary: Path = field(default_factory=_temporary)
    requirements: tuple[str, ...] = field(default_factory=_requirements)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    free_bytes: Callable[[Path], int] = _free_bytes
    version_of: Callable[[str], str | None] = _version_of
    which: Callable[[str], str | None] = shutil.which
    may_open: Callable[[Path], bool] = _may_open
    group_of: Callable[[Path], str] = _group_of
    c_compiler: Callable[[], CCompiler | None] = _c_compiler
    cuda_compiler: Callable[[str], CudaCompiler] = find_compiler
    disassembler: Callable[[], Disassembler] = Disassembler.find
    ask_cuda: Callable[[], CudaAnswer] = ask_cuda
    why_not_importable: Callable[[str], str] = why_not_importable
