"""The commands `bundle` and `ingest`, as far as they need no compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from profiler.bundle.box.results import End, Header, Reason, ResultsFile
from profiler.cli import bundle_commands
from profiler.errors import InvalidFile, OutputError, ProfilerError
from tests.bundle.examples import CONDITIONS, INSTRUMENT, measurement, spec

app = typer.Typer()
bundle_commands.register(app)


def run(*arguments: object) -> str:
    """What the command prints; an error of the user's is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        file.begin(Header("ab" * 32, "0.1.0", INSTRUMENT, CONDITIONS, "made up", 1, 2, {}, 1000.0))
        file.append([measurement(spec(), "c0", 3.0)])
        file.end(End(Reason.BUDGET, 1, 0, 2000.0))
    return path


def test_ingest(results: Path, tmp_path: Path) -> None:
    said = run("ingest", results, "--out", tmp_path / "out")
    assert "made up, batch 1, on A CPU: 1 of 2 kernels; 1 of 1 records are new" in said
    assert (tmp_path / "out/lut/cpu.csv").exists()
    assert "0 of 1 records are new" in run("ingest", results, "--out", tmp_path / "out")
    assert "own.csv" in run("ingest", results, results, "--out", tmp_path / "out", "--lut", tmp_path / "own.csv")


def test_ingest_of_a_cut_file(results: Path, tmp_path: Path) -> None:
    results.write_bytes(results.read_bytes()[:-1])
    with pytest.raises(InvalidFile, match="line 3: it is cut short"):
        run("ingest", results, "--out", tmp_path / "out")
    assert "1 of 1 records" in run("ingest", results, "--out", tmp_path / "out", "--incomplete")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--device", "gtx1080"], "say --device cpu, t4"),
        (["--device", "t4", "--threads", "2"], "threads are of a CPU"),
        (["--device", "t4\nx"], "'t4\\nx'"),
        (["--precisions", ","], "no precision given"),
        (["--python", "3.8"], "--with-wheels"),
        (["--platform", "x86_64"], "--with-wheels"),
        (["--with-wheels", "--python", "2.7"], "--python 2.7"),
        (["--with-wheels", "--platform", "riscv"], "--platform riscv"),
    ],
)
def test_bundle_refuses(options: list[str], part: str, tmp_path: Path) -> None:
    with pytest.raises(ProfilerError) as caught:
        run("bundle", "resnet18", "-o", tmp_path / "run.zip", "--kernels", tmp_path, *options)
    assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_bundle_refuses_what_is_no_file_ahead_of_any_work(tmp_path: Path) -> None:
    for out in ("/", "/dev/null", tmp_path):
        with pytest.raises(OutputError, match="is no file"):
            run("bundle", "resnet18", "-o", out, "--kernels", tmp_path)
    assert not list(tmp_path.iterdir())
    assert Path("/dev/null").is_char_device()
