"""What kernels are compiled with: TVM, and for a GPU a CUDA compiler that its driver accepts, and a disassembler."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from profiler.environment.findings import Finding, missing, note, ok
from profiler.kernels.cuda.compiler import CudaCompiler
from profiler.kernels.cuda.nvdisasm import WHEEL as NVDISASM
from profiler.kernels.cuda.nvdisasm import Disassembler
from profiler.kernels.cuda.nvrtc import WHEELS
from profiler.kernels.toolchain import ToolchainError

VersionOf = Callable[[str], "str | None"]
"""The version of an installed package, None if it is not installed."""

_TVM = ("apache-tvm", "apache-tvm-ffi")


def check_tvm(version_of: VersionOf, requirements: Sequence[str], python: str) -> Finding:
    """``requirements``: of the project, as in pyproject.toml; TVM's name the one version that is right."""
    wanted = {package: _pin(package, requirements) for package in _TVM}
    has = {package: version_of(package) for package in _TVM}
    pins = (f"{package}=={pin}" if pin else package for package, pin in wanted.items())
    command = f"{python} -m pip install {' '.join(pins)}"
    if not all(has.values()):
        return missing("TVM", f"not installed: {', '.join(package for package in has if not has[package])}", command)
    text = ", ".join(f"{package} {version}" for package, version in has.items())
    if any(pin and has[package] != pin for package, pin in wanted.items()):
        return missing("TVM", f"{text}: not the versions that the kernels are written for", command)
    return ok("TVM", text)


def check_nvrtc(
    cuda: str,
    archs: Sequence[str],
    version_of: VersionOf,
    find: Callable[[str], CudaCompiler],
    python: str,
    make: str,
) -> Finding:
    """NVRTC of CUDA ``cuda``. archs : of the GPUs that it shall compile for. make : the command that installs it."""
    wheel = WHEELS[cuda]
    if version_of(wheel.package) is None:
        return note("NVRTC", f"{wheel.package} is not installed yet", make, f"{python} -m pip install {wheel.package}")
    try:
        compiler = find(cuda)
        known = compiler.archs()
    except ToolchainError as error:
        return missing("NVRTC", _without_advice(error), f"{python} -m pip install --force-reinstall {wheel.package}")
    unknown = [arch for arch in archs if arch not in known]
    if unknown:
        return missing(
            "NVRTC",
            f"{compiler.identity} does not know {', '.join(unknown)}; it compiles for {known[0]} to {known[-1]}",
            f"{python} -m pip install --upgrade {wheel.package}",
            "make profile CUDA=13 (if the driver supports CUDA 13)",
        )
    return ok("NVRTC", f"{compiler.identity}, compiles for {', '.join(archs) or f'{known[0]} to {known[-1]}'}")


def check_nvdisasm(version_of: VersionOf, find: Callable[[], Disassembler], python: str, make: str) -> Finding:
    """``make``: the command that installs it."""
    try:
        found = find()
    except ToolchainError as error:
        if version_of(NVDISASM.package) is None:
            return note(
                "nvdisasm", "no disassembler is installed yet", make, f"{python} -m pip install {NVDISASM.package}"
            )
        reinstall = f"{python} -m pip install --force-reinstall {NVDISASM.package}"
        return missing("nvdisasm", _without_advice(error), reinstall)
    return ok("nvdisasm", f"nvdisasm {found.version}")


def _pin(package: str, requirements: Sequence[str]) -> str:
    """The one version that is required; empty if that is left open."""
    found = (re.fullmatch(rf"{package}\s*==\s*([\w.]+)", requirement) for requirement in requirements)
    return next((match[1] for match in found if match), "")


def _without_advice(error: ToolchainError) -> str:
    return str(error).partition("; ")[0]
