"""The command line of a bundle, in this process: what goes wrong is one line and exit code 2."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from profiler.bundle.box.start import budget_s, main
from profiler.errors import ProfilerError
from tests.bundle.examples import kernel, manifest, pack, spec


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return pack(tmp_path / "run.zip", manifest((kernel(spec()), kernel(spec(16), 1)), platform.machine()))


def refused(arguments: list[str], bundle: Path, capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    assert main(arguments, bundle) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert all(part in line for part in parts), line
    assert said.out == ""


def test_list(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"], bundle) == 0
    headline, *lines = capsys.readouterr().out.splitlines()
    assert "2 kernels, 4 candidates" in headline
    assert [line.split()[0] for line in lines] == ["3", "1"]
    assert [line.split()[2] for line in lines] == [spec().key, spec(16).key]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "-o results.jsonl"),
        (["--nonsense"], "--nonsense"),
        (["-o"], "expected one argument"),
        (["a\x1b[2J\nb"], "a\\x1b[2J\\nb"),
        (["--check", "--list"], "not allowed"),
        (["-o", "r.jsonl", "--budget", "soon"], "300s, 5m or 1h"),
        (["-o", "r.jsonl", "--gpu", "0"], "for a CPU"),
        (["-o", "r.jsonl", "--sustained"], "for a CPU"),
        (["-o", "r.jsonl"], "draws other random numbers"),  # the digest is made up
    ],
)
def test_refusals(bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str) -> None:
    refused(arguments, bundle, capsys, part)


def test_check_finds_other_random_numbers_and_goes_on(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The made up artifacts have no code: the worker cannot load them, and what comes behind that is not tried."""
    assert main(["--check"], bundle) == 2
    points = {line.split()[1]: line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert list(points.values()) == ["ok", "ok", "NO", "ok", "ok", "ok", "NO", "--"]
    assert (points["generator"], points["artifacts"], points["worker"], points["kernel"]) == ("NO", "ok", "NO", "--")


def test_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["--list"], tmp_path / "missing.zip", capsys, "missing.zip: not a bundle")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(b"PK\x03\x04")
    refused(["--list"], cut, capsys, "copy the file again")


def test_a_damaged_artifact_is_found(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bundle.read_bytes()
    at = data.index(b".lbk") + 40
    bundle.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
    assert main(["--check"], bundle) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.split()[1] in ("artifacts", "device")] == ["NO", "--"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300), ("300s", 300), ("5m", 300), ("1h", 3600), ("0.5h", 1800), (" 90S ", 90)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert budget_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5s", "5d", "1e3", "5 m", "inf"])
def test_no_budgets(text: str) -> None:
    with pytest.raises(ProfilerError, match="not a time"):
        budget_s(text)
