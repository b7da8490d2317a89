"""`fit`, `predict` and `evaluate` as a user runs them, on rows of a device that does not exist."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from profiler.lut import store
from profiler.predictor.observation import Observation
from profiler.predictor.validation import validate as validation
from profiler.predictor.validation.splits import HeldNetwork, Split, random_folds
from tests.e2e.command import Outcome
from tests.predictor.invented import observed
from tests.predictor.invented_lut import lut_row, lut_rows

Command = Callable[[list[str]], Outcome]
KEYS = {
    "rows", "seen_rows", "mape_percent", "median_percent", "within_5_percent", "within_10_percent",
    "within_20_percent", "coverage_percent", "coverage_low_percent", "coverage_high_percent",
}  # fmt: skip


@pytest.fixture
def lut(tmp_path: Path) -> Path:
    path = tmp_path / "lut.csv"
    store.write(path, lut_rows(observed(14)))
    return path


@pytest.fixture
def one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the other fits."""

    def split(rows: Sequence[Observation], networks: Sequence[HeldNetwork], seed: int) -> tuple[Split, ...]:
        return (Split("random", random_folds(rows, seed).folds[:1]), Split("extrapolation", (), ("too small",)))

    monkeypatch.setattr(validation, "usual_splits", split)


@pytest.mark.usefixtures("one_fold")
def test_fit_predict_evaluate(command: Command, lut: Path, tmp_path: Path) -> None:
    model, report = tmp_path / "made" / "model", tmp_path / "report.md"
    fitted = command(["fit", "--lut", str(lut), "-o", str(model), "--networks", "resnet18", "--report", str(report)])
    assert fitted.code == 0, fitted.err
    for part in ("28 rows of 14 workloads", "MACs x constant", "random forest", "noise floor", "too few rows to judge"):
        assert part in fitted.out
    assert "extrapolation, not held out: too small" in fitted.out
    assert str(model) in fitted.out
    assert report.read_text().startswith("# Latency predictor")

    said = command(["predict", str(model), "--network", "resnet18", "--precisions", "int4"])
    assert said.code == 0, said.err
    assert "resnet18, batch 1, on invented (cpu)" in said.out
    assert "total INT4: " in said.out
    assert said.out.count("layer1.0.conv1") == 1
    kernels = command(["predict", str(model), "--kernels", str(lut), "--json"])
    answers = json.loads(kernels.out)["kernels"]
    assert len(answers) == 28
    assert {answer["basis"] for answer in answers} == {"measured"}
    out = tmp_path / "predicted.csv"
    network = command(
        ["predict", str(model), "--network", "resnet18", "--confidence", "0.95", "-o", str(out), "--json"]
    )
    answer = json.loads(network.out)
    assert set(answer["totals"]) == {"int8", "int4"}
    total = answer["totals"]["int8"]
    assert total["low_s"] < total["latency_s"] < total["high_s"]
    assert total["latency_s"] == pytest.approx(sum(line["answers"]["int8"]["latency_s"] for line in answer["layers"]))
    assert answer["written"] == len(store.read(out))
    assert command(["lut", "check", str(out)]).code == 0

    others = tmp_path / "others.csv"
    store.write(others, [lut_row(o) for o in observed(29)[28:]])
    table = command(["evaluate", str(model), "--lut", str(others)])
    assert table.code == 0, table.err
    assert "MAPE" in table.out
    tested = json.loads(command(["evaluate", str(model), "--lut", str(others), "--json"]).out)
    assert tested.keys() >= KEYS
    assert (tested["rows"], tested["seen_rows"]) == (30, 0)
    seen = json.loads(command(["evaluate", str(model), "--lut", str(lut), "--json"]).out)
    assert (seen["rows"], seen["seen_rows"], seen["only_seen"]) == (28, 28, True)

    refused(command, lut, model, tmp_path)


def refused(command: Command, lut: Path, model: Path, tmp_path: Path) -> None:
    """What a user can get wrong with a sound model."""
    t4 = tmp_path / "t4.csv"
    store.write(t4, [dataclasses.replace(lut_row(o), device="t4") for o in observed(5)])
    bare = tmp_path / "bare.csv"
    bare.write_text("op,batch\nconv2d,1\n")
    broken = tmp_path / "broken"
    broken.write_bytes(model.read_bytes()[:-100])
    for arguments, parts in (
        (["predict", str(model), "--network", "resnet99"], ["unknown model 'resnet99'"]),
        (["predict", str(model)], ["either --network or --kernels"]),
        (["predict", str(model), "--kernels", str(bare)], ["bare.csv, line 1: missing columns: in_height"]),
        (["predict", str(model), "--kernels", str(lut), "--batch", "2"], ["--batch is of a network"]),
        (["predict", str(model), "--network", "resnet18", "--precisions", "int9"], ["unknown precision 'int9'"]),
        (["predict", str(model), "--network", "resnet18", "--confidence", "90"], ["between 0 and 1"]),
        (["predict", str(broken), "--network", "resnet18"], ["broken"]),
        (["predict", str(tmp_path / "nowhere"), "--network", "resnet18"], ["nowhere: there is no such file"]),
        (["evaluate", str(model), "--lut", str(t4)], ["rows of t4"]),
        (["evaluate", str(model), "--lut", str(tmp_path / "nowhere.csv")], ["nowhere.csv: there is no such file"]),
    ):
        answer = command(arguments)
        assert answer.refused(*parts), (arguments, answer)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--lut", "nowhere.csv"], ["nowhere.csv: there is no such file"]),
        (["--lut", "LUT", "--networks", "resnet99"], ["unknown model 'resnet99'"]),
        (["--lut", "LUT", "--logs", "nowhere"], ["nowhere: there is no such folder"]),
        (["--lut", "LUT", "--threads", "3"], ["lut.csv: no row is of the threads and cache mode"]),
        (["--lut", "LUT", "--cache", "hot"], ["lut.csv: no row is of the threads and cache mode"]),
    ],
)
def test_fits_that_are_refused(
    command: Command, lut: Path, tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    arguments = [str(lut) if option == "LUT" else option for option in options]
    answer = command(["fit", *arguments, "-o", str(tmp_path / "model")])
    assert answer.refused(*parts), answer
    assert not (tmp_path / "model").exists()


def test_a_few_rows_are_refused(command: Command, tmp_path: Path) -> None:
    store.write(tmp_path / "few.csv", lut_rows(observed(5)))
    answer = command(["fit", "--lut", str(tmp_path / "few.csv"), "-o", str(tmp_path / "model")])
    assert answer.refused("10 latencies of 5 workloads are too few to learn from"), answer


def test_usage(command: Command) -> None:
    for arguments, part in ((["fit"], "--lut"), (["predict"], "Missing argument"), (["evaluate", "m"], "--lut")):
        answer = command(arguments)
        assert (answer.code, answer.out) == (2, "")
        assert part in answer.err
