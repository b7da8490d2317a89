"""The house's rules on imports, read from the code: levels, heavy packages in one room each, no cycles."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "profiler"

# Lower levels first; a room may import rooms of lower levels, and those of its own level that stand before it.
LEVELS: list[list[str]] = [
    [
        "errors",
        "units",
        "statistics",
        "workload",
        "arm_cpus",
        "hardware",
        "output_folder",
        "typed_json",
        "cuda_versions",
        "verdict",
    ],
    ["quantize", "artifact", "record", "frontend", "space"],
    ["kernels", "devices", "lut", "sensitivity"],
    ["measure", "predictor", "allocation"],
    ["profiled_networks", "targets", "throughput", "tuning", "network", "finetune", "export", "report"],
    [
        "environment",
        "kernel_library",
        "doubts",
        "pipeline_result",
        "campaign",
        "pipeline",
        "fleet",
        "sampling",
        "prediction_stages",
        "allocation_stages",
        "network_stages",
        "bundle",
        "report_stages",
    ],
    ["cli"],
]
HEAVY = {
    "tvm": {"kernels"},
    "tvm_ffi": {"kernels"},
    "sklearn": {"predictor"},
    "scipy": {"predictor", "sensitivity"},
    "highspy": {"allocation"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "pandas": set(),
    "onnx": {"frontend", "export"},
    "onnxruntime": {"export"},
    "torch": {"frontend", "sensitivity", "finetune"},
    "pynvml": {"devices"},
    "pycuda": {"devices"},
    "cuda": {"devices"},
    "distributed": {"fleet"},
    "dask": {"fleet"},
    "rich": {"cli"},
    "typer": {"cli"},
}
ORDER = [room for level in LEVELS for room in level]


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            if node.module == "profiler":
                found |= {f"profiler.{alias.name}" for alias in node.names}
    return found


FILES = [p for p in sorted(ROOT.rglob("*.py")) if p.parent != ROOT or p.stem not in ("__init__", "__main__")]


def test_every_room_has_a_level() -> None:
    assert {room_of(path) for path in FILES} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] in HEAVY:
            assert room in HEAVY[parts[0]], f"{path}: only {HEAVY[parts[0]] or 'nobody'} may import {parts[0]}"
        if parts[0] != "profiler" or len(parts) == 1 or parts[1] not in ORDER:
            continue
        below = parts[1] == room or ORDER.index(parts[1]) < ORDER.index(room)
        assert below, f"{path} imports {name}, which is above it"
        if room in ("devices", "measure"):
            assert parts[1] != "kernels", f"{path}: the artifact cut"


def test_lut_and_devices_do_not_know_kernels() -> None:
    for path in FILES:
        if room_of(path) in ("devices", "lut", "measure", "predictor"):
            assert not any(name.startswith("profiler.kernels") for name in imports_of(path)), path


@pytest.mark.parametrize(
    ("room", "absent"),
    [
        ("frontend", ("onnx", "torch", "tvm", "sklearn", "numpy")),
        ("space.cpu", ("tvm", "sklearn", "pandas")),
        ("devices.host", ("tvm", "sklearn", "pandas", "pynvml", "rich")),
        ("measure", ("tvm", "sklearn", "pandas", "scipy")),
        ("lut.store", ("tvm", "sklearn")),
        ("predictor", ("tvm", "onnx")),
        ("devices.cuda", ("tvm", "sklearn", "pandas", "pynvml", "pycuda", "rich")),
        ("devices.pycuda_driver", ("tvm", "sklearn", "pandas", "pynvml", "pycuda", "cuda")),
        ("network.cuda_run", ("tvm", "sklearn", "pandas", "pynvml", "pycuda", "cuda", "torch", "onnx")),
        ("network.execute.cuda_worker", ("tvm", "sklearn", "pandas", "scipy", "pynvml", "pycuda", "cuda")),
        ("targets", ("tvm", "onnx")),
        ("kernel_library.stage", ("tvm", "sklearn", "torch", "onnx")),
        ("kernels.backend", ("tvm", "sklearn")),
        ("kernels.pool_build", ("tvm", "sklearn")),
        ("sensitivity", ("numpy", "scipy", "torch")),
        ("allocation.network_problem", ("tvm", "sklearn", "highspy", "numpy")),
        ("allocation_stages.allocate", ("tvm", "torch", "onnx", "matplotlib")),
        ("export", ("onnx", "onnxruntime")),
        ("network_stages.quantize", ("tvm", "torch", "onnx", "matplotlib")),
        ("network_stages.throughput", ("tvm", "torch", "onnx", "matplotlib")),
        ("throughput.file", ("tvm", "torch", "matplotlib", "pycuda", "pynvml")),
        ("report.content.report", ("matplotlib", "numpy", "jinja2")),
        ("report_stages", ("matplotlib", "tvm", "torch", "onnx")),
        ("fleet.stage", ("distributed", "dask", "tvm", "torch", "onnx", "matplotlib")),
        ("fleet.seat", ("distributed", "dask", "tvm", "sklearn", "pandas", "rich")),
        ("cli.commands", ("tvm", "sklearn", "torch", "onnx", "highspy", "matplotlib", "distributed", "numpy")),
    ],
)
def test_importing_a_room_pulls_in_nothing_heavy(room: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, profiler.{room}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.strip() == "[]"
