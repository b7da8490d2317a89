"""Whether a module that may crash can be imported: another process tries."""

from __future__ import annotations

import subprocess
import sys

_LIMIT_S = 5.0


def why_not_importable(module: str, limit_s: float = _LIMIT_S) -> str:
    """The reason if importing it fails, empty if it works."""
    command = [sys.executable, "-c", f"import {module}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit_s)
    except subprocess.TimeoutExpired:
        return f"it takes longer than {limit_s:g} s"
    if done.returncode < 0:
        return f"the process that imports it ends with signal {-done.returncode}"
    said = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else said[-1] if said else f"it ends with exit code {done.returncode}"
