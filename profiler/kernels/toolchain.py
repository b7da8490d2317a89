"""Compilers and their tools as processes, and what ends a run, whichever backend builds: one that does not work."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from profiler.errors import CompilerError


class ToolchainError(CompilerError):
    """A compiler is missing, too old or broken: no fault of a config, but no kernel can be built."""


def run_tool(command: Sequence[str], repair: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end, in ``folder``, whatever its exit code.

    Raises `ToolchainError` if it cannot be started; ``repair`` tells the user what to do then.
    """
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ToolchainError(f"{command[0]} cannot be started: {error.strerror}; {repair}") from None


def tool_output(command: Sequence[str], repair: str) -> str:
    """Its standard output. Raises `ToolchainError`, with its last words and ``repair``, if it fails."""
    done = run_tool(command, repair)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = said[-1] if said else f"it ended with {done.returncode}"
        raise ToolchainError(f"{command[0]} fails: {reason}; {repair}")
    return done.stdout
