"""Our use of PyCUDA and cuda-bindings, the real ones, on a driver without a GPU; and what is said where they cannot be
used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from profiler.devices.cuda_driver import DriverError
from profiler.devices.cuda_errors import failure
from profiler.devices.cuda_graphs import Graphs
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
    find_spec("pycuda") is None or find_spec("cuda") is None,
    reason="PyCUDA or cuda-bindings is not installed; `make test-pycuda` builds and installs them, which takes minutes",
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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "ModuleNotFoundError('no', name='cuda')",
            r"takes cuda-bindings: python -m pip install 'cuda-bindings>=12\.9,<13'",
        ),
        ("ModuleNotFoundError('no', name='cuda.bindings')", r"takes cuda-bindings: python -m pip install"),
        ("ModuleNotFoundError('no', name='numpy')", r"cuda-bindings lacks the Python package numpy"),
        ("ImportError('libx.so: cannot open')", r"cannot be loaded \(libx\.so: cannot open\); .*--force-reinstall"),
        ("RuntimeError('Failed to get cuGetProcAddress_v2')", r"cannot be loaded \(Failed to get cuGet"),
    ],
)
def test_what_keeps_graphs_from_being_used_is_said(
    error: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cuda" / "bindings").mkdir(parents=True)
    for folder in ("cuda", "cuda/bindings"):
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "cuda" / "bindings" / "driver.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("cuda", "cuda.bindings", "cuda.bindings.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(DeviceError, match=said) as caught:
        Graphs.load()
    assert "\n" not in str(caught.value)
    for name in ("cuda", "cuda.bindings", "cuda.bindings.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_function_that_the_driver_does_not_have() -> None:
    """cuda-bindings has no CUresult for that."""

    class Old:
        class CUstreamCaptureMode:
            CU_STREAM_CAPTURE_MODE_RELAXED = 2

        CUstream = staticmethod(int)

        @staticmethod
        def cuStreamBeginCapture(stream: int, mode: int) -> None:  # noqa: N802
            raise RuntimeError("function cuStreamBeginCapture_v2 is not found")

    with pytest.raises(DriverError, match="is not found") as caught:
        Graphs(Old).begin(7)
    assert isinstance(failure(caught.value), DeviceError)
