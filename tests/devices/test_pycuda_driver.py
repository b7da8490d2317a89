"""Our use of PyCUDA, the real one, on a driver without a GPU; and what is said where PyCUDA cannot be used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from profiler.devices.pycuda_driver import driver_error, open_pycuda
from profiler.errors import DeviceError
from tests.devices.libcuda import build, scenarios

ROOT = Path(__file__).parents[2]
WORDS = {"invalid argument": 1, "out of memory": 2, "out of memory on Sundays": 3, "context": 4, "context - is lost": 5}
COMPLAINT = re.compile(
    r"PyCUDA WARNING: a clean-up operation failed \(dead context maybe\?\)\ncuDevicePrimaryCtxRelease failed: .*\n"
)
"""Of closing a broken context, which comes to that."""


@pytest.fixture(scope="module")
def libcuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.compile_libcuda(tmp_path_factory.mktemp("libcuda"))


@pytest.mark.compile
@pytest.mark.skipif(
    find_spec("pycuda") is None,
    reason="PyCUDA is not installed; `python -m profiler.environment.pycuda_wheel` builds it, which takes minutes",
)
@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_pycuda(name: str, libcuda: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    environment = {**environment, "LD_LIBRARY_PATH": str(libcuda.parent), **scenarios.ENVIRONMENTS[name]}
    command = [sys.executable, "-m", scenarios.__name__, name]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "passed\n"), done.stderr
    assert COMPLAINT.sub("", done.stderr) == ""


@pytest.mark.parametrize(
    ("message", "code", "call", "text"),
    [
        ("cuMemAlloc failed: out of memory", 2, "cuMemAlloc", "out of memory"),
        ("cuMemAlloc failed: out of memory on Sundays", 3, "cuMemAlloc", "out of memory on Sundays"),
        ("cuLoad failed: invalid argument - ", 1, "cuLoad", "invalid argument"),
        ("cuLoad failed: invalid argument - ptxas failed: x", 1, "cuLoad", "invalid argument - ptxas failed: x"),
        ("cuLoad failed: context - is lost - \0", 5, "cuLoad", "context - is lost"),
        ("cuLoad failed: out of memory of mine", 999, "cuLoad", "out of memory of mine"),
        ("something else", 999, "something else", ""),
    ],
)
def test_a_message_has_the_number_of_its_words(message: str, code: int, call: str, text: str) -> None:
    error = driver_error(message, WORDS)
    assert (error.code, error.call, error.text) == (code, call, text)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("ModuleNotFoundError('no', name='pycuda')", r"PyCUDA is not installed; `python -m \S+` builds"),
        ("ModuleNotFoundError('no', name='pytools.tag')", r"PyCUDA lacks the Python package pytools\.tag"),
        ("ImportError('libcuda.so.1: cannot open shared object file')", r"no NVIDIA driver on this machine"),
        ("ImportError('x.so: undefined symbol: cuCtxCreate_v4')", r"a newer driver .*cuCtxCreate_v4.* --force"),
        ("ImportError('libcurand.so.10: cannot open')", r"cannot be loaded \(libcurand\.so\.10: .*--force"),
    ],
)
def test_what_keeps_pycuda_from_being_used_is_said(
    error: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    (tmp_path / "pycuda" / "driver.py").write_text(f"import warnings\nwarnings.warn('of it')\nraise {error}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(DeviceError, match=said):
        open_pycuda("0000:3b:00.0")
    assert not recwarn.list
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
