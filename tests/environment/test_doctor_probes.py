"""What is asked in processes of its own, because it may hang or crash: a libcuda of our making, and broken modules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from profiler.environment.cuda_probe import CudaAnswer, ask_cuda
from profiler.environment.import_probe import why_not_importable

LIBRARY = """
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int cuInit(unsigned flags) {{ {init} }}
int cuDeviceGetCount(int *count) {{ *count = 2; return 0; }}
int cuDeviceGet(int *device, int index) {{ *device = 40 + index; return 0; }}
int cuDeviceGetPCIBusId(char *text, int size, int device) {{
    strncpy(text, device == 40 ? "0000:00:1e.0" : "0000:af:00.0", size);
    return 0;
}}
"""


def provide(folder: Path, monkeypatch: pytest.MonkeyPatch, init: str) -> None:
    """A libcuda.so.1 that the loader finds."""
    source = folder / "libcuda.c"
    source.write_text(LIBRARY.format(init=init))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(source)], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))


@pytest.mark.compile
@pytest.mark.parametrize(
    ("init", "answer"),
    [
        ("return 0;", CudaAnswer(True, 0, ("0000:00:1E.0", "0000:AF:00.0"))),
        ("return 803;", CudaAnswer(True, 803)),
        ("abort();", CudaAnswer(True, trouble="the process that asked it ended with signal 6")),
        ("_exit(3);", CudaAnswer(True, trouble="the process that asked it ended with exit code 3")),
    ],
)
def test_asking_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str, answer: CudaAnswer) -> None:
    provide(tmp_path, monkeypatch, init)
    assert ask_cuda(60) == answer


@pytest.mark.compile
def test_cuda_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(tmp_path, monkeypatch, "for (;;) pause();")
    assert ask_cuda(1) == CudaAnswer(True, trouble="it did not answer within 1 s")


def test_a_library_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libcuda.so.1").write_text("not an ELF file")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    answer = ask_cuda(60)
    assert not answer.loaded
    assert "libcuda.so.1" in answer.trouble
    assert answer.pci_bus_ids == ()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", ""),
        ("import gone", "ModuleNotFoundError: No module named 'gone'"),
        ("raise ImportError('undefined symbol: cuNew')", "ImportError: undefined symbol: cuNew"),
        ("import os; os.abort()", "the process that imports it ends with signal 6"),
        ("import os; os._exit(4)", "it ends with exit code 4"),
    ],
)
def test_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str) -> None:
    (tmp_path / "probed.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert why_not_importable("probed", 60) == reason


def test_importing_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probed.py").write_text("import signal; signal.pause()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert why_not_importable("probed", 1) == "it takes longer than 1 s"
