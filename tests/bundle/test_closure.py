"""What travels: no more than is needed, and nothing that an old Python cannot read."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from profiler.bundle.closure import PACKAGE, files, imports, modules
from tests.bundle.old_python import newer_than_3_8

ROOMS = {"errors", "units", "statistics", "workload", "arm_cpus", "hardware", "cuda_versions"}
ROOMS |= {"quantize", "artifact", "record", "devices", "measure", "network"}
FILES = files()
SOURCES = sorted(name for name in FILES if name.endswith(".py"))
BOX = sorted(f"profiler/bundle/box/{path.name}" for path in (PACKAGE / "bundle" / "box").glob("*.py"))


def test_imports_at_run_time_alone() -> None:
    source = """
from typing import TYPE_CHECKING
import profiler.errors
if TYPE_CHECKING:
    from profiler.kernels import backend
def later():
    from profiler.record import decode
WORKER = ("-m", "profiler.devices.host_worker")
TEXT = "see profiler.tuning for more"
"""
    named = {"profiler.errors", "profiler.record", "profiler.record.decode", "profiler.devices.host_worker"}
    assert {name for name in imports(source) if name.startswith("profiler")} == named


def test_only_rooms_that_travel() -> None:
    rooms = {name.split("/")[1].split(".")[0] for name in FILES} - {"__init__"}
    assert rooms <= ROOMS | {"bundle"}
    for room, inner in (("bundle", "box"), ("network", "execute")):  # of which a part travels
        outside = [name for name in FILES if f"/{room}/" in name and f"/{inner}/" not in name]
        assert outside == [f"profiler/{room}/__init__.py"]


def test_all_of_the_box_and_both_workers() -> None:
    assert set(BOX) <= set(FILES)
    assert {"profiler.devices.host_worker", "profiler.devices.cuda_worker"} <= modules()
    assert "profiler.network.execute.host_worker" in modules()
    assert "profiler/devices/cuda_probes.ptx" in FILES
    assert all(f"{Path(name).parent}/__init__.py" in FILES for name in FILES)


@pytest.mark.parametrize("name", SOURCES)
def test_python_3_8_can_read_it(name: str) -> None:
    ast.parse(FILES[name].read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("name", SOURCES)
def test_python_3_8_can_evaluate_it(name: str) -> None:
    assert newer_than_3_8(FILES[name].read_text()) == []


@pytest.mark.parametrize(
    ("source", "fine"),
    [
        ("x: dict[str, int | None] = {}", True),
        ("from collections.abc import Callable\ndef f(a: Callable[[], int]) -> list[int]: ...", True),
        ("A_FEW | SOME", True),
        ("X = dict[str, int]", False),
        ("X = Path | None", False),
        ("from collections.abc import Callable\nX = Callable[[], int]", False),
        ("zip(a, b, strict=True)", False),
        ("name.removeprefix('sm_')", False),
        ("from functools import cache", False),
    ],
)
def test_what_python_3_8_cannot_evaluate(source: str, fine: bool) -> None:
    assert (newer_than_3_8(source) == []) == fine


def test_python_2_can_read_the_entry() -> None:
    """As far as it gets before it refuses: no annotations, f-strings or imports from the future."""
    tree = ast.parse((PACKAGE / "bundle/box/__main__.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.AnnAssign, ast.FunctionDef))]
    assert "__future__" not in {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_imported_is_there_too(name: str) -> None:
    """Independent of how the closure was made: imports outside of the file's functions, and of its type checks."""
    available = {n[:-3].replace("/", ".") for n in SOURCES} | {str(Path(n).parent).replace("/", ".") for n in SOURCES}
    for node in ast.parse(FILES[name].read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("profiler"):
            assert node.module in available
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert {n.split(".")[0] for n in names} <= {*sys.stdlib_module_names, "numpy", "profiler", "_ctypes"}, name
