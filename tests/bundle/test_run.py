"""A bundle for this machine's CPU as a user runs it: another folder, an empty environment, nothing but NumPy."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from profiler.bundle.box.manifest import Manifest
from profiler.bundle.box.results import Reason, parse
from profiler.bundle.closure import modules
from profiler.bundle.ingest import ingest
from profiler.bundle.pack import BundleRequest, bundle
from profiler.devices.rapl import RaplCounter
from profiler.frontend import network_file
from profiler.lut.check import check
from profiler.lut.store import read
from profiler.record import Measurement
from tests.bundle.examples import KERNELS, NETWORK

pytestmark = [
    pytest.mark.compile,
    pytest.mark.skipif(platform.system() != "Linux", reason="the host device is Linux only"),
]


def oldest_python() -> str:
    """Of those on this machine that have NumPy; this one where there is no other."""
    for minor in range(8, 14):
        found = shutil.which(f"python3.{minor}")
        if found:
            code = "import sys, numpy; print(sys.executable)"
            asked = subprocess.run([found, "-c", code], capture_output=True, text=True)
            if asked.returncode == 0:
                return asked.stdout.strip()
    return sys.executable


class Box:
    """A folder with the bundle, and a package of another ``profiler``, which must not matter."""

    def __init__(self, folder: Path, source: Path, python: str) -> None:
        self.folder, self.python = folder, python
        folder.mkdir()
        shutil.copy(source, folder / "run.zip")
        (folder / "profiler").mkdir()
        (folder / "profiler" / "__init__.py").write_text("raise SystemExit('the wrong package')")
        (folder / "tmp").mkdir()  # the lock between runs lies there: none of another one is waited for
        self.results = folder / "results.jsonl"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "TMPDIR": str(self.folder / "tmp")}
        command: Sequence[str] = [self.python, "run.zip", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    network_file.save(NETWORK, folder / "network.json")
    request = BundleRequest(
        str(folder / "network.json"), "cpu", folder / "run.zip", configs=2, mixed=False, kernels=folder
    )
    made = bundle(request)
    assert (len(made.manifest.kernels), made.missing) == (KERNELS, ())
    first = made.path.read_bytes()
    again = bundle(request)
    assert (again.manifest, again.path.read_bytes()) == (made.manifest, first)
    return made.path


@pytest.fixture
def box(packed: Path, tmp_path: Path) -> Box:
    return Box(tmp_path / "box", packed, oldest_python())


def manifest_of(path: Path) -> Manifest:
    with zipfile.ZipFile(path) as archive:
        return Manifest.from_bytes(archive.read("manifest.json"))


def test_what_is_in_it(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        text = {name: archive.read(name) for name in names if name.endswith(".py")}
    artifacts = [name for name in names if name.startswith("artifacts/")]
    assert len(artifacts) == len({c.sha256 for k in manifest_of(packed).kernels for c in k.candidates}) == 2 * KERNELS
    assert not [name for name, source in text.items() if b"import tvm" in source or b"from tvm" in source]
    assert {name.split("/")[0] for name in names} == {"__main__.py", "manifest.json", "artifacts", "profiler"}


def test_energies_where_the_box_counts_none(packed: Path, tmp_path: Path) -> None:
    """One line, and latencies; a box that does count them has no time for any within this budget."""
    folder = packed.parent
    request = BundleRequest(
        str(folder / "network.json"),
        "cpu",
        tmp_path / "metered.zip",
        configs=1,
        mixed=False,
        kernels=folder,
        energy=True,
    )
    box = Box(tmp_path / "box", bundle(request).path, oldest_python())
    assert "energies: of the fastest candidate of each kernel" in box.run("--list")[1]
    code, _, err = box.run("-o", "results.jsonl", "--budget", "20s")
    assert code == 0, err
    silent = bool(RaplCounter().refusals)
    assert err.count("no energies: RAPL: ") == silent
    results = parse(box.results.read_bytes(), box.results)
    assert results.end is not None
    assert results.end.reason is (Reason.COMPLETE if silent else Reason.BUDGET)
    assert all(isinstance(record, Measurement) for record in results.records)
    (taken,) = ingest([box.results], tmp_path / "home")
    assert (taken.energies, bool(taken.no_energy)) == (0, silent)


def test_all_of_it_can_be_imported_there(box: Box) -> None:
    """By the oldest Python at hand, from the zip alone; PyCUDA need not be there."""
    names = [name for name in modules() if not name.endswith("__main__")]
    code = f"""
import importlib, pkgutil, sys
sys.path[:1] = ["run.zip"]
for name in {sorted(names)!r}:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if not str(error.name).startswith("pycuda"):
            raise
    else:
        assert module.__file__.startswith("run.zip/"), module.__file__
print(len(pkgutil.get_data("profiler.devices", "cuda_probes.ptx")))
"""
    done = subprocess.run([box.python, "-c", code], cwd=box.folder, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_check_measure_and_ingest(box: Box, packed: Path, tmp_path: Path) -> None:
    code, out, err = box.run("--check")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["ok"] * 8
    code, out, err = box.run("-o", "results.jsonl")
    assert code == 0, err
    assert "all is measured" in out
    lut = tmp_path / "mine.csv"
    (taken,) = ingest([box.results], tmp_path / "home", lut)
    manifest = manifest_of(packed)
    assert taken.header.manifest == manifest.digest
    assert (taken.measured, taken.header.conditions) == (KERNELS, manifest.conditions)
    assert check(lut) == []
    rows = {row.spec: row for row in read(lut)}
    assert rows.keys() == {kernel.spec for kernel in manifest.kernels}
    for kernel in manifest.kernels:
        chosen = {candidate.config: candidate.sha256 for candidate in kernel.candidates}
        row = rows[kernel.spec]
        assert chosen[row.config] == row.artifact_sha256
        assert row.latency_median_s > 0


def test_a_budget_that_is_too_short_is_no_error(box: Box) -> None:
    code, out, err = box.run("-o", "results.jsonl", "--budget", "0.001s")
    assert (code, "0 measurements" in out) == (0, True), err
    results = parse(box.results.read_bytes(), box.results)
    assert results.end is not None
    assert (results.end.reason, results.records) == (Reason.BUDGET, ())


def test_kill_and_interrupt_and_go_on(box: Box) -> None:
    """Killed as soon as it has written something, then interrupted likewise, then left alone."""
    for number in (signal.SIGKILL, signal.SIGINT):
        size = box.results.stat().st_size if box.results.exists() else 0
        process = box.start("-o", "results.jsonl")
        while process.poll() is None and (not box.results.exists() or box.results.stat().st_size <= size + 1500):
            time.sleep(0.005)
        process.send_signal(number)
        process.communicate(timeout=60)
        if number is signal.SIGINT and process.returncode != 0:  # 0: it was done before
            assert process.returncode == 130
            last = json.loads(box.results.read_bytes().splitlines()[-1])
            assert last["end"]["reason"] == "interrupted"
    code, _, err = box.run("-o", "results.jsonl")
    assert code == 0, err
    results = parse(box.results.read_bytes(), box.results)
    assert results.end is not None
    assert results.end.reason is Reason.COMPLETE
    times = Counter((r.spec, r.config, r.stage) for r in results.records if isinstance(r, Measurement))
    best = [key for key, count in times.items() if count == 2]
    assert max(times.values()) <= 2
    assert all(stage == "final" for _, _, stage in best)
    assert len(times) == KERNELS * 3  # a first final, a screening, a second final


def test_another_file_is_left_alone(box: Box) -> None:
    box.results.write_text("notes")
    code, out, err = box.run("-o", "results.jsonl")
    assert (code, out, box.results.read_text()) == (2, "", "notes")
    assert err.splitlines()[-1].startswith("error: ")
