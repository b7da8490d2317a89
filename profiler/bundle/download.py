"""The wheels that a bundle carries for a box without a package index: NumPy, and for a GPU pynvml and PyCUDA, with
cuda-bindings where whole networks run."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.devices.graphs_package import PACKAGE as GRAPHS
from profiler.environment.pycuda_wheel import PYCUDA, PycudaNotBuilt, build_pycuda_wheel
from profiler.errors import ProfilerError

MACHINES = ("x86_64", "aarch64")
_GLIBC = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28")
"""What wheels of NumPy are made for; boxes with an older C library than 2.28 are as old as their Python."""


@dataclass(frozen=True)
class Wanted:
    """For which interpreter, e.g. ``3.12``, on which machine."""

    python: str
    machine: str

    def __post_init__(self) -> None:
        match = re.fullmatch(r"3\.(\d+)", self.python)
        if match is None or int(match[1]) < 8:
            raise ProfilerError(f"--python {self.python}: say the box's version as 3.8, 3.12, ...")
        if self.machine not in MACHINES:
            raise ProfilerError(f"--platform {self.machine}: say {' or '.join(MACHINES)}")


@dataclass(frozen=True)
class Wheels:
    """File names and contents, and what is still to be done on the box."""

    files: Mapping[str, bytes]
    notes: tuple[str, ...] = ()


def download(wanted: Wanted, gpu: bool, networks: bool = False) -> Wheels:
    """Fetch the wheels through pip, PyCUDA's being built here if it can. ``networks`` : also what runs them on a GPU.
    Raises `ProfilerError` if pip cannot."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packages, notes = ["numpy"], []
        if gpu:
            packages += ["nvidia-ml-py", *([GRAPHS] if networks else [])]
            obstacle = _build_pycuda(folder, wanted)
            if obstacle:
                notes.append(
                    f"PyCUDA is not in the bundle: {obstacle}; where the box has none, make its wheel on a machine of "
                    "that kind and Python: python -m profiler.environment.pycuda_wheel --wheel FOLDER"
                )
            else:
                packages.append(PYCUDA)
                library = " ".join(platform.libc_ver()) or "this machine's C library"
                notes.append(f"PyCUDA was built here: it loads where {library} or a newer one is")
        _pip(packages, wanted, folder)
        return Wheels({path.name: path.read_bytes() for path in sorted(folder.glob("*.whl"))}, tuple(notes))


def _build_pycuda(folder: Path, wanted: Wanted) -> str:
    """Put PyCUDA's wheel into the folder; why it cannot be had, or nothing."""
    if wanted.machine != platform.machine():
        return f"it is built from source, for {wanted.machine} on a machine of that kind"
    python = _interpreter(wanted.python)
    if python is None:
        return f"it is built from source, for which python{wanted.python} is missing here"
    try:
        build_pycuda_wheel(folder, python)
    except PycudaNotBuilt as error:
        return str(error)
    return ""


def _interpreter(python: str) -> Path | None:
    """One of that version on this machine; what stands in for it without running is none."""
    if python == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return Path(sys.executable)
    found = shutil.which(f"python{python}")
    if found is None:
        return None
    asked = subprocess.run([found, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
    return Path(asked.stdout.strip()) if asked.returncode == 0 else None


def _pip(packages: Sequence[str], wanted: Wanted, folder: Path) -> None:
    tag = wanted.python.replace(".", "")
    platforms = [f"{glibc}_{wanted.machine}" for glibc in _GLIBC] + [f"linux_{wanted.machine}"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    command += ["--only-binary", ":all:", "--python-version", wanted.python, "--implementation", "cp"]
    command += ["--abi", f"cp{tag}", "--abi", "abi3", "--abi", "none"]
    command += [option for name in platforms for option in ("--platform", name)]
    command += ["--find-links", str(folder), "--dest", str(folder), *packages]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR: ")] or [done.stdout.strip()]
        raise ProfilerError(
            f"the wheels for Python {wanted.python} on {wanted.machine} could not be had: {errors[-1][-300:]}; "
            "with a network the same command works, without --with-wheels none is needed"
        )
