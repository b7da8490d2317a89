"""Kernels as host code: many of them in one shared object, since starting a C++ compiler costs more than a kernel."""

from __future__ import annotations

import atexit
import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from profiler.kernels.cuda.lower import CudaKernel
from tests.emulator.rewrite import NotEmulated, host_source

_HERE = Path(__file__).parent
_COMMON = ("-std=c++17", "-fPIC", "-w", "-fvisibility=hidden", "-U_FORTIFY_SOURCE", "-I", str(_HERE))
_RUNTIME_FLAGS = ("-O3",)
_KERNEL_FLAGS = ("-O0", "-fno-exceptions", "-fno-rtti", "-fno-asynchronous-unwind-tables")
"""Optimizing costs more than it saves: a kernel of the tests compiles in 0.1 s and runs in 0.02 s."""
_CHECKS = ("-fsanitize=signed-integer-overflow",)
"""CUDA's compiler may take it that signed integers do not overflow. runtime.cpp has what is called where one does, so
the sanitizer's own library is not linked.
"""
_STOP_S = 300


def compile_kernels(kernels: Sequence[CudaKernel]) -> ctypes.CDLL:
    """A loaded library with the kernels under their positions; `launch.emulate` runs them.

    Raises `NotEmulated` where the compiler or the rewriting refuses a kernel.
    """
    bodies = ", ".join(f"kernel_{i}::body" for i in range(len(kernels)))
    text = "".join(
        (
            '#include "shim.h"\n',
            *(host_source(kernel, i) for i, kernel in enumerate(kernels)),
            f"namespace emulator {{ extern void (*const bodies[])(); void (*const bodies[])() = {{{bodies}}}; }}\n",
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        source, compiled, output = (Path(folder) / f"kernels.{suffix}" for suffix in ("cpp", "o", "so"))
        source.write_text(text)
        _run(*_COMMON, *_KERNEL_FLAGS, *_CHECKS, "-c", str(source), "-o", str(compiled))
        _run("-shared", str(compiled), str(_runtime()), "-o", str(output))
        return ctypes.CDLL(str(output))


@cache
def _runtime() -> Path:
    """The emulator itself, compiled once for this process."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    output = Path(folder) / "runtime.o"
    _run(*_COMMON, *_RUNTIME_FLAGS, "-c", str(_HERE / "runtime.cpp"), "-o", str(output))
    return output


@cache
def _compiler() -> str:
    for name in ("g++", "c++", "clang++"):
        found = shutil.which(name)
        if found:
            return found
    raise RuntimeError("the emulator of CUDA kernels needs a C++ compiler: install g++")


def _run(*arguments: str) -> None:
    done = subprocess.run([_compiler(), *arguments], capture_output=True, text=True, timeout=_STOP_S)
    if done.returncode:
        errors = re.findall(r".*(?:error|undefined reference).*", done.stderr) or [done.stderr]
        raise NotEmulated("\n".join(errors[:5]))
