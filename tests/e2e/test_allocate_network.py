"""`allocate` as a user runs it on a network: built in, of an ONNX file, behind `make`; and what it leaves behind."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profiler.allocation import bits_file
from profiler.allocation.launches import launches
from profiler.frontend import load_network
from profiler.lut import store
from profiler.lut.demand import demand
from profiler.network_stages.deployments import allocated_deployment
from profiler.predictor.observation import Observation
from profiler.workload import INT4, INT8, DType, Op
from tests.e2e.command import ROOT, Outcome
from tests.predictor.invented_lut import lut_row

Command = Callable[[list[str]], Outcome]
HOST, T4 = str(ROOT / "lut/recorded/cpu-8cfd341f.csv"), str(ROOT / "lut/published/t4_hawqv3.csv")
ONNX = ROOT / "tests/data/tiny_torch.onnx"


@pytest.fixture
def tiny_lut(tmp_path: Path) -> Path:
    """Of a device that does not exist: four bits take about half the time."""
    generator = np.random.default_rng(0)
    rows = []
    for wanted in demand(load_network(str(ONNX), 1), (INT8, INT4), mixed=True):
        bits = wanted.spec.input_dtype.bits
        latency_s = (1 + wanted.spec.workload.macs / 1e4) * bits * float(generator.uniform(0.9, 1.1)) * 1e-7
        rows.append(lut_row(Observation(wanted.spec, latency_s, 0.001)))
    path = tmp_path / "tiny.csv"
    store.write(path, rows)
    return path


@pytest.fixture
def metered_lut(tiny_lut: Path, tmp_path: Path) -> Path:
    """The same, with energies: four bits take a third."""
    rows = [
        replace(row, energy_j=row.latency_median_s * (30.0 if row.spec.input_dtype.bits == 8 else 20.0))
        for row in store.read(tiny_lut)
    ]
    path = tmp_path / "metered.csv"
    store.write(path, rows)
    return path


def allocate(*arguments: object) -> list[str]:
    return ["allocate", *map(str, arguments)]


def test_joules_are_a_limit_where_all_kernels_say_them(
    command: Command, tiny_lut: Path, metered_lut: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    out = tmp_path / "bits.json"
    asked = [ONNX, "--batch", 1, "--precisions", "int8,int4", "-o", out, "--json"]
    assert command(allocate(*asked, "--lut", tiny_lut, "--max-energy", "0.5")).refused("kernels is not known")
    rows = list(store.read(metered_lut))
    last = [i for i, row in enumerate(rows) if row.spec.workload.op is Op.DENSE and row.spec.weight_dtype is DType.INT8]
    at = last[0]
    rows[at] = replace(rows[at], energy_j=None)
    one_less = tmp_path / "one_less.csv"
    store.write(one_less, rows)
    said = command(allocate(*asked, "--lut", one_less, "--max-energy", "0.5"))
    assert said.refused("the energy of 1 of ", rows[at].spec.key, "make profile ENERGY=1")
    assert not out.exists()
    said = command(allocate(*asked, "--lut", metered_lut, "--max-energy", "0.5"))
    assert (said.code, said.err) == (0, "")
    bits = bits_file.load(out)
    assert bits.energy_j is not None
    (limit,) = json.loads(said.out)["limits"]
    assert limit["binds"]
    energies = {row.spec: row.energy_j for row in store.read(metered_lut)}
    network = load_network(str(ONNX), 1)
    ran = launches(network, allocated_deployment(network, out, bits))
    assert bits.energy_j == pytest.approx(sum(energies[launch.spec] or 0 for launch in ran))


def test_an_onnx_file_by_its_own_weights(command: Command, tiny_lut: Path, tmp_path: Path) -> None:
    """From LUT to bits, to the other tools' files: no sensitivity is given, so the model's weights tell."""
    pytest.importorskip("onnx")
    out, front, plot = tmp_path / "bits.json", tmp_path / "front.csv", tmp_path / "front.svg"
    asked = allocate(
        ONNX, "--lut", tiny_lut, "--batch", 1, "--max-latency", "0.5", "--pareto", "latency", "--front", front,
        "--plot", plot, "-o", out, "--json",
    )  # fmt: skip
    said = command(asked)
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["bits"]["sensitivity_source"] == "squared weight perturbation, max-abs"
    bits = bits_file.load(out)
    bits.require_network(load_network(str(ONNX), 1))
    assert [layer.precision for layer in bits.layers if layer.fixed] == ["int8", "int8"]
    assert {layer.precision for layer in bits.layers} == {"int8", "int4"}
    assert found["limits"][0]["binds"]
    with front.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["pareto"]["points"]) > 3
    assert [row["fc"] for row in rows] == ["int8"] * len(rows)
    assert [float(row["sensitivity"]) for row in rows] == sorted(float(row["sensitivity"]) for row in rows)
    assert plot.read_text().startswith("<?xml")
    files = (out.read_bytes(), front.read_bytes(), plot.read_bytes())
    assert command(asked).code == 0
    assert files == (out.read_bytes(), front.read_bytes(), plot.read_bytes())
    table, model = tmp_path / "bits.csv", tmp_path / "quantized.onnx"
    assert command(["export", str(out), "--to", "csv", "-o", str(table)]).code == 0
    assert command(["export", str(out), "--to", "onnx", "--model", str(ONNX), "-o", str(model)]).code == 0
    assert model.exists()
    with table.open(newline="") as file:
        listed = {row["layer"]: row["precision"] for row in csv.DictReader(file)}
    assert listed == {layer.name: layer.precision for layer in bits.layers}


@pytest.mark.parametrize("method", ["mse", "file"])
def test_other_sensitivities(command: Command, tiny_lut: Path, tmp_path: Path, method: str) -> None:
    pytest.importorskip("onnx")
    source = method
    if method == "file":
        source = str(tmp_path / "s.csv")
        assert command(["sensitivity", str(ONNX), "--method", "max-abs", "-o", source]).code == 0
    said = command(allocate(ONNX, "--lut", tiny_lut, "--batch", 1, "--max-size", "0.5", "-s", source, "--json"))
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["bits"]["status"] == "optimal"
    assert found["bits"]["size_bytes"] <= found["limits"][0]["most"]
    if method == "file":
        weights = command(allocate(ONNX, "--lut", tiny_lut, "--batch", 1, "--max-size", "0.5", "--json"))
        assert json.loads(weights.out)["bits"]["layers"] == found["bits"]["layers"]


def test_tables_for_people(command: Command) -> None:
    said = command(
        allocate("resnet18", "--lut", HOST, "--max-latency", "4.2ms", "--max-size", "0.9", "--pareto", "size")
    )
    assert (said.code, said.err) == (0, "")
    for text in (
        "no sensitivity is listed for conv1, fc",
        "resnet18, batch 1, on AMD EPYC",
        "cpu-8cfd341f.csv",
        "ms measured",
        "latency of at most 4.2 ms",
        "it binds",
        "INT4 is slower than the widest in",
        "layer2.0.downsample 0.75x",
        "Pareto front",
        "all there are",
        "optimal in",
    ):
        assert text in said.out, text


def test_a_front_without_kept_layers_counts_narrow_ones_against_the_widest(command: Command, tmp_path: Path) -> None:
    sensitivity = tmp_path / "s.csv"
    names = [layer.name for layer in load_network("resnet18", 1).weighted_layers]
    sensitivity.write_text("layer,int8,int4\n" + "".join(f"{name},0,{i + 1}\n" for i, name in enumerate(names)))
    said = command(
        allocate("resnet18", "--lut", HOST, "--keep", "none", "-s", sensitivity, "--pareto", "size", "--points", 3)
    )
    lines = [line.rstrip() for line in said.out.splitlines()]
    assert any(line.endswith(" 0 of 21") for line in lines)
    assert any(line.endswith(" 21 of 21") for line in lines)


def test_a_front_is_exact_whatever_gap_is_allowed(command: Command) -> None:
    fronts = [
        json.loads(command(allocate("resnet18", "--lut", HOST, "--gap", gap, "--pareto", "latency", "--json")).out)
        for gap in (0, 0.9)
    ]
    assert fronts[0]["pareto"] == fronts[1]["pareto"]


def test_out_of_time_is_no_excuse_for_nothing(command: Command) -> None:
    """The uniform network is something to fall back on."""
    said = command(
        allocate("resnet50", "--lut", T4, "--scope", "priced", "--max-latency", "0.5", "--time-limit", "0", "--json")
    )
    assert said.code == 0
    bits = json.loads(said.out)["bits"]
    assert bits["status"] == "time_limit"
    assert bits["gap"] > 0
    assert bits["limits"][0]["reached"] <= bits["limits"][0]["most"]


def test_published_rows_name_what_they_do_not_price(command: Command) -> None:
    said = command(allocate("resnet50", "--lut", T4, "--max-latency", "0.5"))
    assert said.refused("2 of", "have no price: maxpool, avgpool", "--scope priced")
    said = command(allocate("resnet50", "--lut", T4, "--max-latency", "0.5", "--scope", "priced"))
    assert said.code == 0
    assert "without any price, not in the latency: maxpool, avgpool" in said.out
    assert "bare kernels" in said.out
    assert "ms published" in said.out


def test_refusals(command: Command, tmp_path: Path, tiny_lut: Path) -> None:
    """One line that says what, where and what to do; nothing is written."""
    out = tmp_path / "bits.json"
    other = tmp_path / "mine.csv"
    other.write_text("mine\n")
    torn = tmp_path / "torn.csv"
    torn.write_text(Path(HOST).read_text()[:5000])
    base = ["resnet18", "--lut", HOST, "-o", out]
    for arguments, parts in (
        ([*base, "--max-latency", "1ms"], ("a limit cannot be met: latency of at most 1 ms", "least", "4.1639 ms")),
        ([*base, "--max-latency", "5"], ("a number without unit is a fraction",)),
        ([*base, "--max-latency", "5 parsecs"], ("unknown unit 'parsecs'",)),
        ([*base, "--max-latency", "0.5", "--limit", "latency=4ms"], ("latency is limited twice",)),
        (
            [*base, "--max-energy", "0.5"],
            (
                "the energy of ",
                "kernels is not known",
                "profile --energy",
            ),
        ),
        ([*base, "--scope", "some"], ("--scope some: known are all and priced",)),
        ([*base, "--pareto", "beauty"], ("--pareto beauty: known are latency",)),
        ([*base, "--points", "5"], ("--pareto",)),
        ([*base, "--pareto", "size", "--plot", tmp_path / "f.bmp"], ("ends in .svg, .png or .pdf",)),
        ([*base, "--pareto", "size", "--front", other], ("is not a front", "another file")),
        ([*base, "--keep", "nothing"], ("no convolution or dense layer of 'resnet18' is called 'nothing'",)),
        ([*base, "--forbid", "conv1"], ("write LAYER=PRECISION",)),
        ([*base, "--precisions", "int9"], ("unknown precision 'int9'",)),
        ([*base, "--sensitivity", "nowhere.csv"], ("nowhere.csv",)),
        ([*base, "--predictor", other], ("mine.csv",)),
        ([*base, "--confidence", "95"], ("a confidence lies between 0 and 1",)),
        ([*base, "--end-to-end", other], ("mine.csv, line 1: missing column network",)),
        ([*base, "--batch", "4"], ("31 of 31 layers have no price",)),
        (["resnet18", "--lut", tmp_path / "none.csv"], ("none.csv",)),
        (["resnet18", "--lut", torn], ("torn.csv, ",)),
        (["resnet18", "--lut", other], ("mine.csv",)),
        (["resnet50_v1.5", "--lut", HOST, "--scope", "priced"], ("no sensitivities of 'resnet50_v1.5'",)),
        (["nonsense", "--lut", HOST], ("unknown model 'nonsense'",)),
        (["resnet18", "--device", "h100", "--in", tmp_path], ("no such file; measure first",)),
        (["resnet18", "--device", "/etc", "--in", tmp_path], ("no such file; measure first",)),
        (["resnet18", "--device", "**", "--in", tmp_path], ("no such file; measure first",)),
        ([*base, "--device", "t4"], ("--lut names the table, --device looks for one",)),
        ([*base, "--pareto", "size", "--front", out], ("is to be written twice",)),
        ([*base, "--pareto", "size", "--front", tmp_path / "f.svg", "--plot", tmp_path / "f.svg"], ("twice",)),
        (["--problem", T4, "--keep", "none", "--out", out], ("leave out keep, out",)),
        ([], ("say what to allocate",)),
    ):
        said = command(allocate(*arguments))
        assert said.refused(*parts), (arguments, said)
    assert not out.exists()
    assert other.read_text() == "mine\n"


def test_a_layer_name_of_a_hostile_model_stays_text(command: Command, tmp_path: Path) -> None:
    """In tables, and in the figure."""
    network = load_network("resnet18", 1)
    hostile = {layer.name: f"[red]{layer.name}[/] $x_^$ <script>" for layer in network.layers}
    renamed = replace(
        network, name="[bold]<b>$a_$", layers=tuple(replace(x, name=hostile[x.name]) for x in network.layers)
    )
    from profiler.frontend import network_file

    model, sensitivity, plot = tmp_path / "hostile.json", tmp_path / "s.csv", tmp_path / "f.svg"
    network_file.save(renamed, model)
    with sensitivity.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("layer", "int8", "int4"))
        writer.writerows((layer.name, 0.1, 1.0 + i) for i, layer in enumerate(renamed.weighted_layers))
    said = command(
        allocate(model, "--lut", HOST, "-s", sensitivity, "--max-size", "0.5", "--pareto", "size", "--plot", plot)
    )
    assert (said.code, said.err) == (0, "")
    assert "[red]layer1.0.conv1[/] $x_^$ <script>" in said.out
    assert "<script>" not in plot.read_text()


def test_make_allocate_on_the_published_t4_rows(tmp_path: Path) -> None:
    """In a checkout without a run of its own: it says whose figures these are."""
    if not (ROOT / ".venv/.base").exists():
        pytest.skip("the virtual environment of the Makefile is not there: the tests run in another one")
    file = tmp_path / "bits.json"
    done = subprocess.run(
        ["make", "-s", "allocate", "GPU=t4", "MODEL=resnet18", "LATENCY=0.5", f"OUT={tmp_path}", f"FILE={file}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "published by others" in done.stdout
    assert bits_file.load(file).latency.published_s > 0
