"""Packages out of the zip: the right wheels, unpacked once, or one line that says what to do."""

from __future__ import annotations

import importlib.util
import io
import os
import platform
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from profiler.bundle import download
from profiler.bundle.box import wheels
from profiler.bundle.box.archive import MANIFEST, Archive
from profiler.bundle.box.wheels import fits, require_packages
from profiler.bundle.download import Wanted
from profiler.bundle.pack import write
from profiler.devices.graphs_package import PACKAGE
from profiler.errors import DeviceError, ProfilerError
from tests.bundle.examples import kernel, manifest, spec

HERE = f"cp{sys.version_info[0]}{sys.version_info[1]}"
MACHINE = platform.machine()


@pytest.mark.parametrize(
    ("wheel", "expected"),
    [
        ("numpy-2.1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("numpy-2.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", False),
        ("numpy-2.1-cp312-cp312-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", False),
        ("numpy-2.1-cp313-cp313-manylinux_2_17_x86_64.whl", False),
        ("nvidia_ml_py-12.5-py3-none-any.whl", True),
        ("old-1.0-py2.py3-none-any.whl", True),
        ("older-1.0-py2-none-any.whl", False),
        ("stable-1.0-cp39-abi3-linux_x86_64.whl", True),
        ("stable-1.0-cp313-abi3-linux_x86_64.whl", False),
        ("built-1.0-1-cp312-cp312-linux_x86_64.whl", True),
        ("no wheel.txt", False),
    ],
)
def test_fits(wheel: str, expected: bool) -> None:
    assert fits(wheel, (3, 12), "x86_64") is expected


def wheel_of(module: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{module}/__init__.py", "value = 42\n")
    return data.getvalue()


def bundle(path: Path, contents: dict[str, bytes]) -> Archive:
    made = manifest((kernel(spec()),))
    write(path, {MANIFEST: made.to_bytes(), **{f"wheels/{name}": data for name, data in contents.items()}})
    return Archive(path)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that is wanted and not there. What a test does to the path is undone."""
    name = "a_module_of_a_bundle"

    def not_there(modules: Sequence[str]) -> list[str]:
        return [] if importlib.util.find_spec(name) else [name]

    monkeypatch.setattr(wheels, "_missing", not_there)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    return name


def test_unpacked_once_for_this_process_and_the_worker(
    tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = bundle(tmp_path / "run.zip", {f"{missing}-1-{HERE}-{HERE}-linux_{MACHINE}.whl": wheel_of(missing)})
    require_packages(archive)
    spec_found = importlib.util.find_spec(missing)
    assert spec_found is not None
    assert spec_found.origin is not None
    (folder,) = (tmp_path / "run.zip.packages").iterdir()
    assert Path(spec_found.origin).parent.parent == folder
    assert os.environ["PYTHONPATH"] == f"{folder}{os.pathsep}elsewhere"
    kept = folder.stat().st_ino
    sys.path.remove(str(folder))
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    require_packages(archive)
    assert [path.stat().st_ino for path in (tmp_path / "run.zip.packages").iterdir()] == [kept]


def test_other_wheels_under_the_same_name_are_not_mixed_up(tmp_path: Path, missing: str) -> None:
    name = f"{missing}-1-py3-none-any.whl"
    require_packages(bundle(tmp_path / "run.zip", {name: wheel_of(missing)}))
    sys.path.pop(1)
    require_packages(bundle(tmp_path / "run.zip", {name: wheel_of(missing) + b"other"}))
    assert len(list((tmp_path / "run.zip.packages").iterdir())) == 2


def refusal(archive: Archive) -> str:
    with pytest.raises(DeviceError) as caught:
        require_packages(archive)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_no_wheels(tmp_path: Path, missing: str) -> None:
    assert f"pip install {missing}" in refusal(bundle(tmp_path / "run.zip", {}))


def test_what_to_do_without_pycuda(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip cannot install it without a toolkit."""
    monkeypatch.setattr(wheels, "_missing", lambda modules: ["numpy", "pynvml", "pycuda"])
    text = refusal(bundle(tmp_path / "run.zip", {}))
    assert "pip install numpy nvidia-ml-py)" in text
    assert "python -m profiler.environment.pycuda_wheel --wheel FOLDER" in text
    assert "--with-wheels --python" in text
    monkeypatch.setattr(wheels, "_missing", lambda modules: ["pycuda"])
    assert "pip install" not in refusal(bundle(tmp_path / "run.zip", {}))


def test_graphs_are_installed_here_in_the_release_that_a_box_is_told_of() -> None:
    assert f'cuda = ["{PACKAGE}", ' in (Path(__file__).parents[2] / "pyproject.toml").read_text()


def test_wheels_of_another_interpreter(tmp_path: Path, missing: str) -> None:
    archive = bundle(tmp_path / "run.zip", {f"{missing}-1-cp38-cp38-linux_{MACHINE}.whl": wheel_of(missing)})
    assert "is not for Python" in refusal(archive)
    assert not (tmp_path / "run.zip.packages").exists()


def test_wheels_of_another_package(tmp_path: Path, missing: str) -> None:
    assert "is not in the bundle" in refusal(bundle(tmp_path / "run.zip", {"x-1-py3-none-any.whl": wheel_of("x")}))


def test_a_numpy_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.setattr(wheels, "_missing", lambda modules: [])
    assert "NumPy does not load" in refusal(bundle(tmp_path / "run.zip", {}))


@pytest.mark.parametrize(
    ("python", "machine"), [("2.7", "x86_64"), ("3.7", "x86_64"), ("3", "x86_64"), ("3.12", "arm")]
)
def test_impossible_wishes(python: str, machine: str) -> None:
    with pytest.raises(ProfilerError):
        Wanted(python, machine)


@pytest.mark.parametrize("obstacle", ["", "no compiler"])
def test_what_is_said_of_pycuda(monkeypatch: pytest.MonkeyPatch, obstacle: str) -> None:
    """It is built here, so it needs a C library that is as new; pip alone does not build it on a box."""
    asked: list[Sequence[str]] = []
    monkeypatch.setattr(download, "_build_pycuda", lambda folder, wanted: obstacle)
    monkeypatch.setattr(download, "_pip", lambda packages, wanted, folder: asked.append(packages))
    (note,) = download.download(Wanted("3.12", MACHINE), gpu=True).notes
    assert ("no compiler" in note, "--wheel FOLDER" in note) == (bool(obstacle),) * 2
    assert ("loads where" in note) == (not obstacle)
    assert "pip install" not in note
    assert [len(packages) for packages in asked] == [2 if obstacle else 3]
