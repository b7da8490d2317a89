"""PyCUDA: whether it works, or else whether it could be built here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from profiler.environment.check_compilers import VersionOf
from profiler.environment.findings import Finding, missing, note, ok
from profiler.environment.pycuda_wheel import COMPILERS

_INSTALL = "-m profiler.environment.pycuda_wheel"


def check_pycuda(
    version_of: VersionOf,
    imports: Callable[[], str] | None,
    which: Callable[[str], str | None],
    python_headers: Path,
    python: str,
    make: str,
) -> Finding:
    """imports : says why it cannot be imported, empty if it can; None where there is no driver, without which it never
    can. python_headers : the folder that should hold Python.h. make : the command that installs PyCUDA.
    """
    version = version_of("pycuda")
    if version is None:
        return _can_be_built(which, python_headers, python, make)
    if imports is None:
        return ok("PyCUDA", f"PyCUDA {version} is installed; without a driver nobody can try it")
    reason = imports()
    if reason:
        text = f"PyCUDA {version} is installed, but cannot be imported: {reason}"
        return missing("PyCUDA", text, f"{python} {_INSTALL} --force")
    return ok("PyCUDA", f"PyCUDA {version}")


def _can_be_built(which: Callable[[str], str | None], python_headers: Path, python: str, make: str) -> Finding:
    lacks, packages = [], []
    if not any(which(name) for name in COMPILERS):
        lacks.append("a C++ compiler")
        packages.append("g++")
    if not (python_headers / "Python.h").is_file():
        lacks.append(f"Python.h in {python_headers}")
        packages.append("python{}.{}-dev".format(*sys.version_info[:2]))
    if lacks:
        text = f"not installed, and it is built from source, which lacks {' and '.join(lacks)}"
        return missing("PyCUDA", text, f"sudo apt-get install {' '.join(packages)}")
    return note("PyCUDA", "not installed yet; all that its build needs is here", make, f"{python} {_INSTALL}")
