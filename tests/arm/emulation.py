"""Arm CPUs by QEMU's user emulation: programs for Arm run as processes of this machine, on a CPU of a chosen kind."""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from profiler.kernels.cpu.c_compiler import c_compiler
from profiler.kernels.toolchain import ToolchainError
from tests.arm.sysroot import PLACE, PYTHON

MACHINE = "aarch64"
WITH_DOT, WITHOUT_DOT = "cortex-a76", "cortex-a53"
"""Armv8.2 with dot products and nothing newer, and Armv8.0: what a kernel may not use is an illegal instruction."""


@lru_cache(maxsize=1)
def obstacle() -> str:
    """Why nothing can be emulated here; empty if it can."""
    if platform.system() != "Linux" or platform.machine() == MACHINE:
        return "only other machines do so: on an Arm one tests/kernels and tests/bundle run on the CPU itself"
    qemu = shutil.which("qemu-aarch64")
    if qemu is None:
        return "there is no qemu-aarch64 (Debian: apt-get install qemu-user)"
    known = subprocess.run([qemu, "-cpu", "help"], capture_output=True, text=True).stdout.split()
    if WITH_DOT not in known:
        return f"qemu-aarch64 knows no {WITH_DOT}: QEMU 7.1 or newer is needed"
    try:
        c_compiler(MACHINE)
    except ToolchainError as error:
        return str(error)
    if not PYTHON.exists():
        return "there is no Python for arm64 (python3 -m tests.arm.sysroot fetches Debian's)"
    return ""


def emulated() -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(obstacle()), reason=f"no Arm CPU can be emulated: {obstacle()}")


def python(folder: Path, cpu: str) -> Path:
    """A program in ``folder`` that is Python on such a CPU, also for the processes that it starts itself."""
    path = folder / f"python3-{cpu}"
    path.write_text(
        f'#!/bin/sh\nexec qemu-aarch64 -cpu {cpu} -L "{PLACE}" -0 "$0" -E PYTHONHOME="{PLACE}/usr" "{PYTHON}" "$@"\n'
    )
    path.chmod(0o755)
    return path
