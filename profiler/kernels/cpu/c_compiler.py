"""The C compiler that links kernels with the launch runtime, for this machine or for an Arm one."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from profiler.kernels.toolchain import ToolchainError, run_tool

_OLDEST_GLIBC = "2.17"
"""Zig links for any release; what an artifact asks of the C library is older than that."""
_DEBIAN = {"aarch64": "arm64"}


@dataclass(frozen=True)
class CCompiler:
    """By the name or path that it is called with, and the arguments that always follow."""

    name: str
    arguments: tuple[str, ...] = ()

    @cached_property
    def identity(self) -> str:
        """What it calls itself, e.g. ``gcc (Debian 12.2.0-14) 12.2.0``. Raises `ToolchainError` if it does not work."""
        return self.run(["--version"]).partition("\n")[0]

    def warm_up(self) -> None:
        """Link something. Zig's makes what it links with when it is first asked to: up to a minute, once per user."""
        if "ziglang" not in self.arguments:
            return
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "empty.c"
            source.write_text("")
            self.run(["-shared", str(source), "-o", str(source.with_suffix(".so"))])

    def run(self, arguments: Sequence[str]) -> str:
        """Its standard output. Raises `ToolchainError` if it fails."""
        done = run_tool([self.name, *self.arguments, *arguments], "repair the C compiler or install another")
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            reason = said[-1] if said else f"it ended with {done.returncode}"
            raise ToolchainError(f"the C compiler ({self.name}) does not work: {reason}; repair it or install another")
        return done.stdout


def c_compiler(machine: str = "") -> CCompiler:
    """One that makes code for a machine (``x86_64``, ``aarch64``), by default this one. Raises `ToolchainError`."""
    if machine in ("", platform.machine()):
        found = next((name for name in ("cc", "gcc", "clang") if which(name)), None)
        if found is None:
            raise ToolchainError("no C compiler: install one (Debian: apt-get install gcc libc6-dev), cc, gcc or clang")
        return CCompiler(found)
    cross = f"{machine}-linux-gnu-gcc"
    if which(cross):
        return CCompiler(cross)
    if find_spec("ziglang"):
        return CCompiler(sys.executable, ("-m", "ziglang", "cc", "-target", f"{machine}-linux-gnu.{_OLDEST_GLIBC}"))
    raise ToolchainError(
        f"no C compiler that links for {machine}: install {cross} (Debian: apt-get install gcc-{machine}-linux-gnu "
        f"libc6-dev-{_DEBIAN.get(machine, machine)}-cross), or Zig's from PyPI: pip install -r requirements/arm.txt"
    )
