"""`compare` as a user runs it: tables in, verdicts, files and exit codes out."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.lut import store
from tests.e2e.command import ROOT, Outcome
from tests.report.compared import later, table

Command = Callable[[list[str]], Outcome]
FILES = ["comparison.csv", "comparison.md", "comparison.png", "comparison.svg"]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the current one, with tables that were measured (``a``), measured again with kernels that take
    as long, half as long, a third longer (``b``), and with all of them a third longer (``slow``)."""
    folder = tmp_path / "work"
    rows = table(30)
    changed = (0.5, 1.33, *[1.0] * 28)
    for name, content in (
        ("a", rows),
        ("b", later(rows, lambda index: changed[index])),
        ("again", later(rows)),
        ("slow", later(rows, lambda _: 1.33)),
        ("fast", later(rows, lambda _: 0.5)),
    ):
        folder.mkdir(exist_ok=True)
        store.write(folder / f"{name}.csv", content)
    monkeypatch.chdir(folder)
    return folder


def test_verdicts_notes_and_files(command: Command, tables: Path) -> None:
    done = command(["compare", "a.csv", "b.csv"])
    assert (done.code, done.err) == (0, "")
    assert "geometric mean of 30 kernels: 1 faster, 1 slower, 28 same, 0 ambiguous" in done.out
    assert "noise from run to run: 1.9%, assumed" in done.out
    rows = [line for line in done.out.splitlines() if line.startswith("conv 1x1")]
    assert [line.split()[-2] for line in rows] == ["slower", "faster"], "those that are the same are counted only"
    assert "28 further kernels: --all lists them" in done.out
    folder = tables / "reports" / "compare-a-b"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    lines = done.out.splitlines()
    assert next(i for i, text in enumerate(lines) if "noise" in text) < next(
        i for i, text in enumerate(lines) if "geometric mean" in text
    ), "notes go ahead of the answer"


def test_tables_of_one_name_are_told_apart(command: Command, tables: Path) -> None:
    """By the folders that they lie in, and by no more of where that is."""
    for folder, name in (("before", "a"), ("after", "b")):
        (tables / folder).mkdir()
        shutil.copy(tables / f"{name}.csv", tables / folder / "cpu.csv")
    done = command(["compare", str(tables / "before" / "cpu.csv"), str(tables / "after" / "cpu.csv"), "--out", "here"])
    assert (done.code, done.err) == (0, "")
    text = (tables / "here" / "comparison.md").read_text()
    for told in (done.out, text):
        assert "before/cpu.csv" in told
        assert "after/cpu.csv" in told
        assert str(tables) not in told


def test_all_kernels_on_request(command: Command, tables: Path) -> None:
    done = command(["compare", "a.csv", "b.csv", "--all"])
    assert sum(line.startswith("conv 1x1") for line in done.out.splitlines()) == 30
    assert "further kernels" not in done.out


def test_a_table_with_itself(command: Command, tables: Path) -> None:
    done = command(["compare", "a.csv", "a.csv"])
    assert done.code == 0
    assert "B is as fast as A: it takes 1.000 times as long (1.000 to 1.000)" in done.out
    assert "0 faster, 0 slower, 30 same, 0 ambiguous" in done.out
    assert "a single measurement" in done.out


def test_json(command: Command, tables: Path) -> None:
    done = command(["compare", "a.csv", "b.csv", "--json", "--out", "here", "--noise", "0.01", "--margin", "0.2"])
    found = json.loads(done.out)
    assert found["counts"] == {"faster": 1, "slower": 1, "same": 28, "ambiguous": 0}
    assert found["noise"] == {"sigma": 0.01, "origin": "given (--noise)", "assumed": False}
    assert found["margin"] == 0.2
    assert found["verdict"] == "same"
    assert found["slower_on_the_whole"] is False
    assert found["geometric_mean"]["value"] == pytest.approx((0.5 * 1.33) ** (1 / 30))
    assert [kernel["verdict"] for kernel in found["kernels"]].count("same") == 28
    first, last = found["kernels"][0], found["kernels"][-1]
    assert (first["verdict"], last["verdict"]) == ("slower", "faster")
    assert first["b"]["latency_s"] / first["a"]["latency_s"] == pytest.approx(first["ratio"]["value"])
    assert found["slowdowns"] == [first["label"]]
    assert (first["threads"], first["cache_mode"], first["measured_once"]) == (1, "network", False)
    assert sorted(Path(path).name for path in found["files"]) == FILES
    assert all(Path(path).is_file() for path in found["files"])


@pytest.mark.parametrize(
    ("b", "code"),
    [("a", 0), ("again", 0), ("fast", 0), ("b", 1), ("slow", 1)],
    ids=["itself", "again", "fast", "b", "slow"],
)
def test_fail_if_slower(command: Command, tables: Path, b: str, code: int) -> None:
    asked = command(["compare", "a.csv", f"{b}.csv", "--fail-if-slower"])
    assert (asked.code, asked.err) == (code, "")
    assert ("longer by at least 10%" in asked.out) == bool(code)
    assert sorted(path.name for path in (tables / "reports" / f"compare-a-{b}").iterdir()) == FILES, (
        "written in any case"
    )
    assert command(["compare", "a.csv", f"{b}.csv"]).code == 0, "it is an answer"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["a.csv", "none.csv"], ["none.csv: there is no such file"]),
        (["a.csv", "torn.csv"], ["torn.csv, line 31", "torn"]),
        (["a.csv", "endless.csv"], ["endless.csv, line 2", "1e+300 s is no time that a kernel takes"]),
        (["a.csv", "empty.csv"], ["empty.csv: holds no row"]),
        (["a.csv", "other.csv"], ["a.csv and other.csv have no kernel in common", "threads 2"]),
        ([str(ROOT / "lut/published/t4_hawqv3.csv"), "a.csv"], ["no kernel in common", "bare kernels"]),
        (["a.csv", "."], [".: cannot be read"]),
        (["a.csv", "b.csv", "--margin", "0"], ["the margin is a fraction", "not 0"]),
        (["a.csv", "b.csv", "--margin", "10"], ["the margin is a fraction", "not 10"]),
        (["a.csv", "b.csv", "--noise", "-0.1"], ["the noise is a fraction", "not -0.1"]),
        (["a.csv", "b.csv", "--noise", "nan"], ["the noise is a fraction", "not nan"]),
        (["a.csv", "b.csv", "--out", "a.csv"], ["a.csv: is a file", "--out"]),
    ],
    ids=lambda value: " ".join(value)[-24:] if isinstance(value, list) else None,
)
def test_errors_are_one_line_and_leave_nothing(
    command: Command, tables: Path, options: list[str], parts: list[str]
) -> None:
    text = (tables / "a.csv").read_text()
    (tables / "torn.csv").write_text(text[:-20])
    store.write(tables / "empty.csv", [])
    first = table(1)[0].latency_median_s
    (tables / "endless.csv").write_text(text.replace(f",{first!r},", ",1e300,", 1))
    rows = [replace(row, conditions=replace(row.conditions, threads=2)) for row in table(3)]
    store.write(tables / "other.csv", rows)
    before = sorted(tables.iterdir())
    assert command(["compare", *options]).refused(*parts)
    assert sorted(tables.iterdir()) == before


def test_make_compare(tables: Path) -> None:
    """Only where the environment is installed: otherwise the target would install it."""
    if shutil.which("make") is None or not (ROOT / ".venv" / ".base").exists():
        pytest.skip("no make, or no .venv of `make`")
    variables = [f"A={tables / 'a.csv'}", f"B={tables / 'slow.csv'}", f"TO={tables / 'out'}", "MARGIN=0.5", "JSON=1"]
    done = subprocess.run(["make", "-s", "compare", *variables], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout[done.stdout.index("{") :])  # behind what it installs
    assert (found["margin"], found["counts"]["slower"]) == (0.5, 30)
    assert sorted(path.name for path in (tables / "out").iterdir()) == FILES
    refused = subprocess.run(["make", "-s", "compare", variables[0]], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "error: say which two: make compare A=lut/x.csv B=lut/y.csv" in refused.stderr


def test_of_many_the_slowest_and_the_fastest_are_listed(command: Command, tables: Path) -> None:
    store.write(tables / "all.csv", later(table(30), lambda index: 0.5 if index < 15 else 2 + index / 100))
    done = command(["compare", "a.csv", "all.csv"])
    rows = [line for line in done.out.splitlines() if line.startswith("conv 1x1")]
    assert [line.split()[-2] for line in rows] == ["slower"] * 12 + ["faster"] * 12
    assert rows[0].split()[-6] == "2.290", "the slowest"
    assert "6 further kernels" in done.out
