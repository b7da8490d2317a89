"""The C compiler that links kernels with the launch runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from shutil import which

from profiler.kernels.toolchain import ToolchainError, run_tool


@dataclass(frozen=True)
class CCompiler:
    """By the name or path that it is called with."""

    name: str

    @cached_property
    def identity(self) -> str:
        """What it calls itself, e.g. ``gcc (Debian 12.2.0-14) 12.2.0``. Raises `ToolchainError` if it does not work."""
        return self.run(["--version"]).partition("\n")[0]

    def run(self, arguments: Sequence[str]) -> str:
        """Its standard output. Raises `ToolchainError` if it fails."""
        done = run_tool([self.name, *arguments], "repair the C compiler or install another")
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            reason = said[-1] if said else f"it ended with {done.returncode}"
            raise ToolchainError(f"the C compiler ({self.name}) does not work: {reason}; repair it or install another")
        return done.stdout


def c_compiler() -> CCompiler:
    """The one on PATH. Raises `ToolchainError` if there is none."""
    found = next((name for name in ("cc", "gcc", "clang") if which(name)), None)
    if found is None:
        raise ToolchainError("no C compiler: install one (Debian: apt-get install gcc libc6-dev), cc, gcc or clang")
    return CCompiler(found)
