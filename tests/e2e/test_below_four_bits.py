"""Five precisions through the commands that follow a table: allocate, export, quantize, sensitivity, fit, predict."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from profiler.allocation import bits_file
from profiler.frontend import load_network
from profiler.lut import store
from profiler.lut.demand import demand
from profiler.network import integer_file
from profiler.predictor.observation import Observation
from profiler.workload import DType, KernelSpec, Precision
from tests.e2e.command import ROOT, Outcome
from tests.predictor.invented_lut import lut_row

Command = Callable[[list[str]], Outcome]
ONNX = ROOT / "tests/data/tiny_torch.onnx"
NAMES = "int8,int4,a2w2,a2w1,a1w1"
ALL = tuple(map(Precision.parse, NAMES.split(",")))


def invented_s(spec: KernelSpec, generator: np.random.Generator) -> float:
    """As on a CPU: four bits gain nothing, fewer gain by the bits of the weights."""
    weight = spec.weight_dtype or spec.input_dtype
    share = {32: 1.0, 8: 1.0, 4: 1.0, 2: 0.5, 1: 0.25}[weight.bits] * (1 + 0.02 * spec.input_dtype.bits)
    return (1 + spec.workload.macs / 1e4) * share * float(generator.uniform(0.95, 1.05)) * 1e-6


@pytest.fixture
def lut(tmp_path: Path) -> Path:
    """Of a device that does not exist."""
    generator = np.random.default_rng(0)
    wanted = demand(load_network(str(ONNX), 1), ALL, mixed=True)
    path = tmp_path / "five.csv"
    store.write(path, [lut_row(Observation(x.spec, invented_s(x.spec, generator), 0.001)) for x in wanted])
    return path


def test_a_front_of_five_precisions_and_what_follows_it(command: Command, lut: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    out, front, costs = tmp_path / "bits.json", tmp_path / "front.csv", tmp_path / "costs.csv"
    said = command(["sensitivity", str(ONNX), "--precisions", NAMES, "--method", "max-abs", "-o", str(costs)])
    assert said.code == 0, said.err
    # Weights tell nothing of activations: here fewer of their bits cost something.
    lines = costs.read_text().splitlines(keepends=True)
    head = [line for line in lines if line.startswith("#")]
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert {"int8", "int4", "a2w2", "a2w1", "a1w1"} <= set(rows[0]), rows[0]
    for row in rows:
        row["a1w1"] = str(1.5 * float(row["a1w1"]))
    with costs.open("w", newline="") as file:
        file.writelines(head)
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    asked = ["allocate", str(ONNX), "--lut", str(lut), "--batch", "1", "--precisions", NAMES, "--keep", "none"]
    said = command([*asked, "-s", str(costs), "--max-latency", "0.5", "--pareto", "latency", "--front", str(front),
                    "-o", str(out), "--json"])  # fmt: skip
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["precisions"] == NAMES.split(",")
    bits = bits_file.load(out)
    bits.require_network(load_network(str(ONNX), 1))
    assert found["bits"]["status"] == "optimal"
    with front.open(newline="") as file:
        points = list(csv.DictReader(file))
    chosen = {value for point in points for value in point.values()}
    assert {"int8", "a2w2", "a2w1"} <= chosen
    sums = [(float(p["sensitivity"]), p) for p in points]
    assert [cost for cost, _ in sums] == sorted(cost for cost, _ in sums)
    assert not any("the same" in note for note in found.get("notes", ()))
    # what follows
    npz = tmp_path / "net.npz"
    said = command(["quantize", str(ONNX), "--bits", str(out), "-o", str(npz), "--json"])
    assert (said.code, said.err) == (0, ""), said.err
    types = {step.spec.weight_dtype for step in integer_file.load(npz).steps}
    assert types & {DType.INT1, DType.INT2}
    assert command(["export", str(out), "--to", "csv", "-o", str(tmp_path / "bits.csv")]).code == 0
    for arguments, text in (
        (["--to", "onnx", "--model", str(ONNX)], "ONNX's QuantizeLinear has types of 4 bits and more only"),
        (["--to", "hawq"], "HAWQ"),
    ):
        said = command(["export", str(out), *arguments, "-o", str(tmp_path / f"x.{arguments[1]}")])
        assert said.code == 2
        assert text in said.err
        assert len(said.err.strip().splitlines()) == 1
        assert not (tmp_path / f"x.{arguments[1]}").exists()


def test_sensitivities_of_weights_alone_are_told_to_be_that(command: Command, lut: Path) -> None:
    pytest.importorskip("onnx")
    said = command(["allocate", str(ONNX), "--lut", str(lut), "--batch", "1", "--precisions", NAMES, "--max-latency",
                    "0.5", "--json"])  # fmt: skip
    assert said.code == 0, said.err
    assert "sensitivities of a2w1 and a1w1 are the same: they tell of weights alone" in said.out + said.err


def test_precisions_of_the_same_weights_need_not_be_neighbours(command: Command, lut: Path) -> None:
    """In order of their bits a1w2 stands between a2w1 and a1w1; a limit that cannot be met names what has no price."""
    pytest.importorskip("onnx")
    names = "int8,a2w2,a2w1,a1w2,a1w1"
    asked = ["allocate", str(ONNX), "--lut", str(lut), "--batch", "1", "--precisions", names, "--json"]
    said = command([*asked, "--max-latency", "1s"])
    assert said.code == 0, said.err
    for pair in ("a2w2 and a1w2", "a2w1 and a1w1"):
        assert f"sensitivities of {pair} are the same" in said.out
    said = command([*asked, "--max-latency", "1ns"])
    assert said.code == 2
    assert "asked, the least that is possible is" in said.err
    assert "combinations of neighbouring precisions" in said.err
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize("precision", ["a2w2", "a2w1", "a1w1", "int2", "A4W1"])
def test_one_precision_for_everything(command: Command, tmp_path: Path, precision: str) -> None:
    pytest.importorskip("onnx")
    path = tmp_path / "net.npz"
    said = command(["quantize", str(ONNX), "--uniform", precision, "-o", str(path)])
    assert said.code == 0, said.err
    few = Precision.parse(precision)
    assert few.weight_dtype in {step.spec.weight_dtype for step in integer_file.load(path).steps}


def test_a_precision_that_there_is_not(command: Command, tmp_path: Path) -> None:
    for arguments in (
        ["quantize", str(ONNX), "-o", str(tmp_path / "x.npz"), "--uniform"],
        ["allocate", str(ONNX), "--precisions"],
    ):
        said = command([*arguments, "a5w1"])
        assert said.code == 2
        assert "unknown precision 'a5w1'; known are: int8, int4" in said.err
        assert "Traceback" not in said.err
