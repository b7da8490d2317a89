"""Backends as values: what decides on an artifact is in its key, and whoever holds one needs no TVM."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.artifact import Artifact
from profiler.hardware import GPUS, DotIsa
from profiler.kernels import backend as backend_file
from profiler.kernels.backend import Backend, CpuBackend, CudaBackend
from profiler.kernels.cpu.target import CpuTarget
from profiler.kernels.pool_build import BuildPool
from profiler.kernels.toolchain import ToolchainError
from profiler.space.config import DotConfig, LoopOrder, SimtVectorConfig
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.kernels.cuda.tools import require

DENSE = KernelSpec(
    Workload(Op.DENSE, 4, 1, 1, 32, 48), DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU
)
CONFIG = DotConfig(1, 1, 1, LoopOrder.IMAGES)
CPU = CpuBackend(CpuTarget(DotIsa.GENERIC, "x86_64"))


def cuda() -> CudaBackend:
    require("12")
    return CudaBackend(GPUS["t4"])


@pytest.mark.compile
def test_equal_backends_give_equal_keys() -> None:
    assert CPU.key(DENSE, CONFIG) == pickle.loads(pickle.dumps(CPU)).key(DENSE, CONFIG)
    gpu = cuda()
    assert gpu.key(DENSE, CONFIG) == pickle.loads(pickle.dumps(gpu)).key(DENSE, CONFIG) == cuda().key(DENSE, CONFIG)


@pytest.mark.compile
def test_the_key_tells_apart_what_decides_on_an_artifact() -> None:
    gpu = cuda()
    keys = [
        CPU.key(DENSE, CONFIG),
        CPU.key(DENSE, replace(CONFIG, unroll=2)),
        CPU.key(replace(DENSE, input_dtype=DType.INT8), CONFIG),
        replace(CPU, threads=2).key(DENSE, CONFIG),
        CpuBackend(CpuTarget(DotIsa.AVX2, "x86_64")).key(DENSE, CONFIG),
        gpu.key(DENSE, CONFIG),
        CudaBackend(GPUS["a100"]).key(DENSE, CONFIG),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


@pytest.mark.compile
@pytest.mark.parametrize("other", ["13", "nvcc"])
def test_the_key_tells_compilers_apart(other: str) -> None:
    require(other)
    assert CudaBackend(GPUS["t4"], other).key(DENSE, CONFIG) != cuda().key(DENSE, CONFIG)


@pytest.mark.parametrize("name", ["kernels/cuda/some.h", "kernels/cuda/some.py", "space/some.py", "artifact.py"])
def test_the_key_follows_the_sources(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "profiler"
    sources = ("kernels/cuda/some.h", "kernels/cuda/some.py", "space/some.py", "quantize/a.py", "artifact.py")
    others = ("hardware.py", "workload/precisions.py", "workload/kernel_spec.py", "kernels/notes.txt")
    for path in (*sources, *others):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(path)
    monkeypatch.setattr(backend_file, "__file__", str(package / "kernels" / "backend.py"))
    digest = backend_file._sources_sha256.__wrapped__
    before = digest()
    (package / "kernels/notes.txt").write_text("other")
    assert digest() == before
    (package / name).write_text("other")
    assert digest() != before


@pytest.mark.compile
def test_a_cuda_backend_builds_in_a_pool() -> None:
    spec = KernelSpec(Workload(Op.CONVERT, 1, 4, 4, 8, 8), DType.INT8, DType.UINT8, epilogue=Epilogue.REQUANT_RELU)
    backend = cuda()
    config = SimtVectorConfig(threads=32, channels=4)
    with BuildPool(backend, workers=1) as pool:
        (artifact,) = pool.build([(spec, config)])
    assert isinstance(artifact, Artifact), artifact
    assert artifact.compiler == backend.compiler
    assert (artifact.arch, artifact.native, artifact.threads) == ("sm_75", True, 1)
    assert artifact.launch is not None
    assert artifact.resources is not None
    assert artifact.resources.threads == artifact.launch.threads == 32
    assert artifact.resources.instructions["EXIT"] >= 1
    assert artifact.code[:4] == b"\x7fELF"


@pytest.mark.compile
def test_no_compiler_ends_a_pool_in_one_clear_line(tmp_path: Path) -> None:
    backend = CudaBackend(GPUS["t4"], str(tmp_path))
    expected = rf"^'{tmp_path}' is neither 12, 13 nor nvcc[^\n]*$"
    with BuildPool(backend, workers=1) as pool, pytest.raises(ToolchainError, match=expected):
        pool.build([(DENSE, CONFIG)])
    with pytest.raises(ToolchainError, match=expected):
        _ = backend.compiler


def test_neither_backends_nor_pools_import_tvm() -> None:
    code = (
        "import sys, profiler.kernels.cache\n"
        "from profiler.kernels.backend import CpuBackend, CudaBackend\n"
        "from profiler.kernels.pool_build import BuildPool\n"
        "from profiler.kernels.cpu.target import CpuTarget\n"
        "from profiler.hardware import GPUS, DotIsa\n"
        "CpuBackend(CpuTarget(DotIsa.AVX2, 'x86_64')), CudaBackend(GPUS['t4'])\n"
        "print('tvm' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"


def test_both_are_backends() -> None:
    backends: list[Backend] = [CPU, CudaBackend(GPUS["t4"])]
    assert all(pickle.loads(pickle.dumps(backend)) == backend for backend in backends)
