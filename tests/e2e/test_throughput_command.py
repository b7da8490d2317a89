"""`throughput` as a user runs it: from nothing to a curve in one command, again, and what is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from profiler.network import device_network
from profiler.throughput import file
from tests.e2e.command import Outcome, Place
from tests.e2e.small_model import small_model

Command = Callable[[list[str]], Outcome]
QUICK = ("--windows", 2, "--window", 0.1, "--device", "cpu")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return small_model(tmp_path / "small.onnx")


def throughput(model: Path | str, *options: Any) -> list[str]:
    return ["throughput", str(model), *map(str, options)]


def test_from_nothing_to_a_curve_and_again(command: Command, place: Place, small: Path) -> None:
    """Rows are measured on the way, once."""
    asked = throughput(small, *QUICK, "--trials", 1, "--in", place.out)
    first = place.run([*asked, "--batches", "1,2", "--json", "--energy", "--plot", str(place.folder / "curve.svg")])
    assert first.code == 0, first.err
    assert "small, batch 1: 2 kernels without a row" in first.err
    assert "small, batch 2: 2 kernels without a row" in first.err
    told = json.loads(first.out)
    path = place.out / "lut" / "cpu.throughput.json"
    assert (told["network"], told["file"], told["verified_steps"]) == ("small", str(path), 4)
    (curve,) = told["curves"]
    assert curve["configuration"] == "INT8"
    assert curve["knee"]["text"]
    for found, batch in zip(curve["points"], (1, 2), strict=True):
        assert found["batch"] == batch
        assert 0 < found["images_per_s_ci95_low"] <= found["images_per_s"] <= found["images_per_s_ci95_high"]
        assert found["images_per_s"] == pytest.approx(batch / found["latency_s"])
        assert (found["j_per_image"] is None) == bool(told["no_energy"])
    assert (place.folder / "curve.svg").read_bytes().startswith(b"<?xml")
    points = file.read(path).points
    assert [(p.batch, len(p.windows), p.by_default) for p in points] == [(1, 2, 0), (2, 2, 0)]

    assert not place.strays()
    assert not place.temporary_files()

    second = command([*asked, "--batches", "2"])
    assert second.code == 0, second.err
    assert "without a row" not in second.err
    for text in ("of the best", "latency of a batch", "INT8: ", "bit exact: 2 steps", f"{path}: 2 points"):
        assert text in second.out
    again = file.read(path).points
    assert again[0] == points[0]
    assert again[1].run_id != points[1].run_id


def test_a_wrong_network_is_exit_code_1(
    command: Command, place: Place, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = device_network.oracle_steps

    def off_by_one(network: Any, values: Any) -> Any:
        for step, output in steps(network, values):
            yield step, (output + 1 if step.writes in network.outputs else output)

    monkeypatch.setattr(device_network, "oracle_steps", off_by_one)
    said = command(throughput(small, *QUICK, "--batches", 1, "--allow-default", "--in", place.out))
    assert said.code == 1
    assert "not bit exact: " in said.err
    assert not list(place.out.glob("lut/*"))


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--batches", "1,x"), ("--batches 1,x", "1,8,64")),
        (("--batches", ","), ("--batches takes one or more",)),
        (("--batches", "0"), ("1 to 4096",)),
        (("--uniform", "int5"), ("unknown precision 'int5'",)),
        (("--uniform", ""), ("no precision given",)),
        (("--device", "t4"), ("there is no t4 on this machine",)),
        (("--plot", "curve.txt"), ("curve.txt", ".svg, .png or .pdf")),
        (("--bits", "none.json"), ("none.json", "cannot be read")),
        (("--ranges", "widest"), ("--ranges widest",)),
        (("--no-profile",), ("cpu.csv", "measure first")),
        (("--lut", "none.csv"), ("none.csv",)),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_what_was_asked_badly_is_one_line(
    command: Command,
    small: Path,
    place: Place,
    options: tuple[Any, ...],
    parts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place.folder)
    assert command(throughput(small, *options)).refused(*parts)


def test_models_that_cannot_be_run_over_batches(command: Command, place: Place) -> None:
    options = ("--in", place.out, "--allow-default")
    assert command(throughput("net.npz", *options)).refused("net.npz is quantized already")
    assert command(throughput(place.model, *options)).refused("small.json", "has no weights")
    assert command(throughput("resnet19", *options)).refused("unknown model 'resnet19'")
