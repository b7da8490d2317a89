"""The machine itself: system, Python, C compiler, folders, CPU. Every profile needs these."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from profiler.devices.host_state import HostObserver
from profiler.environment.findings import Finding, missing, note, ok
from profiler.errors import OutputError
from profiler.hardware import CpuSpec, DotIsa
from profiler.kernels.cpu.c_compiler import CCompiler
from profiler.kernels.toolchain import ToolchainError
from profiler.output_folder import require_writable

_MACHINES = ("x86_64", "aarch64")
_OLDEST_PYTHON, _TOO_NEW_PYTHON = (3, 10), (3, 14)
_LEAST_FREE_BYTES = 200 << 20  # what a run of one network writes
_USUAL_FREE_BYTES = 2 << 30  # with what make installs
_BUSY_LOAD = 0.5
_C_HEADERS = ("pthread.h", "stdint.h", "linux/futex.h")


def check_system(system: str, machine: str) -> Finding:
    """As `platform.system` and `platform.machine` say them."""
    if system != "Linux" or machine not in _MACHINES:
        return missing(
            "system",
            f"{system} on {machine}",
            "use Linux on x86-64 or aarch64 (on Windows: WSL 2; on a Mac: another box)",
        )
    return ok("system", f"Linux on {machine}")


def check_python(version: tuple[int, int, int], virtual: bool) -> Finding:
    """``virtual``: whether this is a virtual environment."""
    text = "Python {}.{}.{}".format(*version)
    if not _OLDEST_PYTHON <= version[:2] < _TOO_NEW_PYTHON:
        return missing(
            "Python",
            f"{text}; 3.10 to 3.13 are supported",
            "install one of them, then make doctor PYTHON=/path/to/python3",
        )
    if not virtual:
        return note("Python", f"{text}, outside of a virtual environment", "make doctor (it has its own, .venv)")
    return ok("Python", f"{text} in a virtual environment")


def check_c_compiler(compiler: CCompiler | None, temporary: Path) -> Finding:
    """Compile and link a line, in that folder. ``compiler`` None: there is none."""
    topic, install = "C compiler", "sudo apt-get install gcc libc6-dev"
    if compiler is None:
        return missing(topic, "none: neither cc nor gcc nor clang is on PATH", install)
    with tempfile.TemporaryDirectory(prefix="lowbit-doctor-", dir=temporary) as name:
        source, library = Path(name) / "probe.c", Path(name) / "probe.so"
        source.write_text(
            "".join(f"#include <{header}>\n" for header in _C_HEADERS) + "int probe(void) { return 0; }\n"
        )
        try:
            compiler.run(["-shared", "-fPIC", "-pthread", "-o", str(library), str(source)])
            return ok(topic, compiler.identity)
        except ToolchainError:
            return missing(topic, f"{compiler.name} cannot compile and link {', '.join(_C_HEADERS)}", install)


def check_output(out: Path, free_bytes: Callable[[Path], int]) -> Finding:
    """Whether the folder of the output, or where it would be made, can be written. Makes nothing."""
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        return missing("output", f"{place} cannot be written", "make profile OUT=/another/folder")
    free = free_bytes(place)
    text = f"{place}: {free / 2**30:.1f} GiB free"
    if free < _LEAST_FREE_BYTES:
        return missing("output", text, "free some space, or make profile OUT=/another/folder")
    if free < _USUAL_FREE_BYTES:
        return note("output", f"{text}, which is little", "free some space, or make profile OUT=/another/folder")
    return ok("output", text)


def check_temporary(folder: Path) -> Finding:
    """Compilers write there. A file is made, and gone again."""
    advice = "free some space there, or name another folder: export TMPDIR=/another/folder"
    if not folder.is_dir():
        return missing("temporary", f"{folder} is no folder", advice)
    try:
        require_writable(folder)
    except OutputError as error:
        return missing("temporary", str(error).partition("; ")[0], advice)
    return ok("temporary", f"{folder} can be written")


def check_cpu(cpu: CpuSpec, allowed_cores: int, proc: Path, cgroup: Path) -> Iterator[Finding]:
    """The CPU, how much of it is ours, and what else runs on it."""
    text = f"{cpu.model}, {allowed_cores} of {cpu.cores} cores"
    if cpu.isa is DotIsa.GENERIC:
        yield note("CPU", f"{text}; it has no 8-bit dot product that we know: its own kernels multiply plainly")
    else:
        yield ok("CPU", f"{text}, kernels use {cpu.isa.value}")
    observer = HostObserver("hypervisor" in cpu.features, proc=proc, cgroup=cgroup)
    seen = observer.observe((), ())
    for standing in seen.notes:
        yield note("CPU", f"{standing}: latencies of the CPU repeat less well, those of a GPU are not affected")
    load = seen.load_average
    if load is not None and load > _BUSY_LOAD:
        advice = "end other work while measuring (top shows it)"
        yield note("CPU", f"load average {load:g}: other processes are at work, which makes latencies noisy", advice)
