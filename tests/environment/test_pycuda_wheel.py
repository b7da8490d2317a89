"""How PyCUDA is built, with an interpreter whose pip has no network and builds nothing."""

from __future__ import annotations

import ctypes
import runpy
import shutil
import sys
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from profiler.environment import pycuda_wheel
from profiler.environment.pycuda_wheel import PYCUDA, PycudaNotBuilt, build_pycuda_wheel, install_pycuda, main

INTERPRETER = f"""#!{sys.executable}
import os, shutil, sys, tarfile, zipfile
from pathlib import Path

home = Path(__file__).parent
if sys.argv[1] == "-c":
    print("3.9", home / "include")
    sys.exit()
command, *rest = sys.argv[5:]  # -m pip --disable-pip-version-check --no-input
with open(home / "asked", "a") as asked:
    print(command, *rest, file=asked)
for refusal in home.glob("refuse-*"):
    if refusal.name[len("refuse-"):] in " ".join([command, *rest]):
        print(refusal.read_text())
        sys.exit(1)
if command == "download":
    target = Path(rest[rest.index("--dest") + 1])
    target.mkdir()
    if "{PYCUDA}" in rest:
        (home / "setup.py").touch()
        with tarfile.open(target / "pycuda-1.tar.gz", "w:gz") as archive:
            archive.add(home / "setup.py", "pycuda-1/setup.py")
    else:
        for part in ("cuda_runtime/include/cuda.h", "cuda_profiler_api/include/cudaProfiler.h"):
            with zipfile.ZipFile(target / (part.split("/")[0] + ".whl"), "w") as wheel:
                wheel.writestr("nvidia/" + part, "")
if command == "wheel":
    source = Path(rest[-1])
    shutil.copytree(source, home / "built")
    shutil.copytree(source.parents[1], home / "work")
    (home / "compilers").write_text(os.environ["CC"] + " " + os.environ["CXX"])
    target = Path(rest[rest.index("--wheel-dir") + 1])
    target.mkdir()
    (target / "pycuda-1-cp39.whl").write_text("a wheel")
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the interpreter is, with what it was asked and given."""
    folder = tmp_path / "home"
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "Python.h").touch()
    (folder / "python").write_text(INTERPRETER)
    (folder / "python").chmod(0o755)
    return folder


@pytest.fixture
def no_toolkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "nvcc" else which(name))
    monkeypatch.setattr(pycuda_wheel, "_TOOLKIT", tmp_path / "no toolkit")


@pytest.mark.compile
def test_the_wheel_is_built_without_toolkit_and_driver(
    home: Path, tmp_path: Path, temporary: Path, no_toolkit: None
) -> None:
    said: list[str] = []
    wheel = build_pycuda_wheel(tmp_path / "wheels", home / "python", said.append)
    assert wheel == tmp_path / "wheels" / "pycuda-1-cp39.whl"
    assert wheel.read_text() == "a wheel"
    assert [step.split()[0] for step in said] == ["fetching", "building"]
    of_c, of_cpp = (home / "compilers").read_text().split()
    assert of_c == of_cpp
    assert shutil.which(of_c)
    options = runpy.run_path(str(home / "built" / "siteconf.py"))
    assert options["CUDA_ENABLE_CURAND"] is options["CUDA_ENABLE_GL"] is False
    assert [Path(folder).parent.name for folder in options["CUDA_INC_DIR"]] == ["cuda_profiler_api", "cuda_runtime"]
    assert options["CUDADRV_LIBNAME"] == []
    before, library, _ = options["LDFLAGS"]
    assert before == "-Wl,--no-as-needed"
    empty = home / "work" / Path(library).name
    assert b"\0libcuda.so.1\0" in empty.read_bytes()
    assert not hasattr(ctypes.CDLL(str(empty)), "cuInit")
    assert not list(temporary.iterdir())


@pytest.mark.compile
def test_headers_of_a_toolkit_do_where_there_are_no_others(
    home: Path, tmp_path: Path, temporary: Path, no_toolkit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "refuse-nvidia-cuda-runtime").write_text("ERROR: No matching distribution found for them")
    with pytest.raises(PycudaNotBuilt, match="could not do it: No matching distribution found for them"):
        build_pycuda_wheel(tmp_path, home / "python")
    include = tmp_path / "toolkit" / "include"
    include.mkdir(parents=True)
    (include / "cudaProfiler.h").touch()
    monkeypatch.setattr(pycuda_wheel, "_TOOLKIT", tmp_path / "toolkit")
    monkeypatch.setattr(shutil, "which", lambda name: f"/wrapped/{name}")
    logs = list(temporary.iterdir())
    build_pycuda_wheel(tmp_path, home / "python")
    assert runpy.run_path(str(home / "built" / "siteconf.py"))["CUDA_INC_DIR"] == [str(include)]
    assert list(temporary.iterdir()) == logs


def test_a_missing_compiler_is_said(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PycudaNotBuilt, match=r"needs a C\+\+ compiler.*apt-get install g\+\+"):
        build_pycuda_wheel(tmp_path, home / "python")


@pytest.mark.compile
def test_missing_headers_of_python_are_said(home: Path, tmp_path: Path) -> None:
    (home / "include" / "Python.h").unlink()
    with pytest.raises(PycudaNotBuilt, match=r"Python\.h in \S+/include; .*apt-get install python3\.9-dev"):
        build_pycuda_wheel(tmp_path, home / "python")
    with pytest.raises(PycudaNotBuilt, match=r"nowhere is not a Python that runs"):
        build_pycuda_wheel(tmp_path, tmp_path / "nowhere")


@pytest.mark.compile
@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("Looking ...\nERROR: Could not find\nERROR: No matching\n", "No matching"),
        (
            "In file included from x.h\nx.h:3:10: fatal error: y.h: No such file\nerror: g++ failed\nERROR: Failed",
            "x.h:3",
        ),
        ("WARNING: Retrying (4) after connection broken by 'x'\nERROR: No matching", "the package index cannot be"),
        ("something\nunheard of\n\n", "unheard of"),
        ("", "it said nothing"),
    ],
)
def test_a_failure_of_pip_is_one_line_and_a_log(home: Path, tmp_path: Path, output: str, reason: str) -> None:
    (home / "refuse-wheel").write_text(output)
    with pytest.raises(PycudaNotBuilt) as failed:
        build_pycuda_wheel(tmp_path, home / "python")
    said, _, log = str(failed.value).removesuffix(")").partition(" (all that it said: ")
    assert said.startswith(f"pip could not do it: {reason}")
    assert "\n" not in said
    command, _, rest = Path(log).read_text().partition("\n")
    assert command.startswith(f"{home / 'python'} -m pip ")
    assert rest == f"{output}\n"


def test_what_is_installed_is_left_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pycuda_wheel, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(pycuda_wheel, "build_pycuda_wheel", lambda *given, **named: pytest.fail("it is built"))
    assert not install_pycuda()
    assert main([]) == 0
    assert "installed already" in capsys.readouterr().err


@pytest.mark.compile
@pytest.mark.parametrize("present", [False, True])
def test_what_is_built_is_installed(
    present: bool, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pycuda_wheel, "find_spec", lambda name: ModuleSpec(name, None) if present else None)
    monkeypatch.setattr(sys, "executable", str(home / "python"))
    assert main(["--force"] if present else []) == 0
    asked = [line.split() for line in (home / "asked").read_text().splitlines()]
    assert [words[0] for words in asked] == ["download", "download", "wheel", "install", "install"]
    assert asked[3][1:3] == ["--force-reinstall", "--no-deps"]
    assert asked[3][-1] == asked[4][-1]
    assert Path(asked[4][-1]).name == "pycuda-1-cp39.whl"
    assert capsys.readouterr().err.splitlines()[-1].startswith("installing")


def test_the_command_line_says_errors_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--wheel", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: PyCUDA is built from source")
