"""NumPy and the like out of the zip, where the box has none. A wheel is a zip, so nothing else is needed."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from profiler.bundle.box.archive import Archive
from profiler.devices.graphs_package import MODULE as GRAPHS
from profiler.devices.graphs_package import PACKAGE as GRAPHS_PACKAGE
from profiler.errors import DeviceError, InvalidFile, OutputError

PYCUDA_ADVICE = (
    "PyCUDA comes as source, which pip builds only where the CUDA toolkit is: make its wheel on a machine of this kind "
    "and Python, with the profiler's `python -m profiler.environment.pycuda_wheel --wheel FOLDER`, and install that"
)


def require_packages(archive: Archive, networks: bool = True) -> None:
    """Make the packages that measuring needs importable, here and in the worker process. ``networks`` : also those that
    the bundle's networks need.

    What is installed is taken. Else the zip's wheels are unpacked, once, into ``<zip>.packages/`` beside it. Raises
    `DeviceError` if there are none for this interpreter and `OutputError` if they cannot be unpacked.
    """
    missing = _missing(_wanted(archive, networks))
    if missing:
        _bring(archive, missing)
    try:
        import numpy  # noqa: F401 - a wheel for another C library is found, and fails here
    except ImportError as error:
        reason = (str(error).strip().splitlines() or ["it does not say why"])[-1]
        raise DeviceError(
            f"NumPy does not load in {sys.executable}: {reason}; install another release of it, or copy the bundle to "
            "a folder whose programs may run"
        ) from None


def _bring(archive: Archive, missing: Sequence[str]) -> None:
    """Unpack the wheels and put them on the path."""
    install = _advice(missing)
    if not archive.wheels:
        raise DeviceError(
            f"{_listed(missing)} cannot be imported: {install}; or pack the bundle with --with-wheels "
            f"--python {sys.version_info[0]}.{sys.version_info[1]}"
        )
    foreign = [name for name in archive.wheels if not fits(name, sys.version_info[:2], platform.machine())]
    if foreign:
        raise DeviceError(
            f"{_listed(missing)} cannot be imported, and the bundle's {Path(foreign[0]).name} is not for Python "
            f"{sys.version_info[0]}.{sys.version_info[1]} on {platform.machine()}: run it with the Python that the "
            f"wheels are for, or {install}"
        )
    folder = _unpacked(archive)
    sys.path.insert(1, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    importlib.invalidate_caches()
    missing = _missing(missing)
    if missing:
        raise DeviceError(f"{_listed(missing)} cannot be imported, and is not in the bundle: {install}")


def fits(wheel: str, python: tuple[int, ...], machine: str) -> bool:
    """Whether the interpreter can import what is in a wheel, by its file name."""
    match = re.fullmatch(r".+-([^-]+)-([^-]+)-([^-]+)\.whl", wheel)
    if match is None:
        return False
    pythons, abis, platforms = (tags.split(".") for tags in match.groups())
    if not any(tag == "any" or tag.endswith(f"_{machine}") for tag in platforms):
        return False
    own = f"cp{python[0]}{python[1]}"
    if own in pythons or f"py{python[0]}" in pythons:
        return True
    older = [tag for tag in pythons if re.fullmatch(rf"cp{python[0]}\d+", tag)]
    return "abi3" in abis and any(int(tag[len("cp3") :]) <= python[1] for tag in older)


def _wanted(archive: Archive, networks: bool) -> Sequence[str]:
    """Modules."""
    if not archive.manifest.is_gpu:
        return ("numpy",)
    graphs = (GRAPHS,) if networks and archive.manifest.configurations else ()
    return ("numpy", "pynvml", "pycuda", *graphs)


def _missing(modules: Sequence[str]) -> list[str]:
    return [name for name in modules if not _is_there(name)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def _listed(modules: Sequence[str]) -> str:
    return " and ".join(modules)


def _advice(modules: Sequence[str]) -> str:
    """How to have them here."""
    names = {"pynvml": "nvidia-ml-py", GRAPHS: f"'{GRAPHS_PACKAGE}'"}
    plain = [names.get(module, module) for module in modules if module != "pycuda"]
    steps = [f"install {' and '.join(plain)} for {sys.executable} (pip install {' '.join(plain)})"] if plain else []
    if "pycuda" in modules:
        steps.append(PYCUDA_ADVICE)
    if GRAPHS in modules:
        steps.append("--no-networks measures the kernels alone")
    return "; ".join(steps)


def _unpacked(archive: Archive) -> Path:
    """The folder with the wheels' content; another bundle's wheels under the same name have another folder."""
    data = {name: archive.read(name) for name in archive.wheels}
    digest = hashlib.sha256()
    for name in sorted(data):
        digest.update(name.encode() + hashlib.sha256(data[name]).digest())
    parent = archive.path.with_name(archive.path.name + ".packages")
    folder = parent / digest.hexdigest()[:12]
    if folder.is_dir():
        return folder
    try:
        parent.mkdir(exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".unpacking-", dir=str(parent))
        try:
            for name in sorted(data):
                with zipfile.ZipFile(io.BytesIO(data[name])) as wheel:
                    wheel.extractall(temporary)
            os.chmod(temporary, 0o755)
            if not folder.is_dir():
                os.rename(temporary, str(folder))
        except OSError:
            if not folder.is_dir():  # another run was faster
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except zipfile.BadZipFile as error:
        raise InvalidFile(f"{archive.path}: a wheel is damaged ({error}); bundle it again") from None
    except OSError as error:
        raise OutputError(
            f"{parent}: cannot be written: {error.strerror}; copy the bundle to a folder that can"
        ) from None
    return folder
