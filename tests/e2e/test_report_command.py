"""`python -m profiler report`: of the tables that ship, in files, JSON and words; and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from profiler.allocation_stages.allocate import AllocateRequest, allocate
from tests.e2e.command import ROOT, Outcome, Place

HOST = ROOT / "lut/recorded/cpu-8cfd341f.csv"
T4 = ROOT / "lut/published/t4_hawqv3.csv"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("report"))


def run(place: Place, *arguments: str) -> Outcome:
    """In the project's folder, where the tables that ship are."""
    assert Path.cwd() == ROOT
    return place.run(["report", *arguments])


def frame(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / name)


@pytest.fixture(scope="module")
def host(place: Place) -> tuple[Outcome, Path]:
    """Of the recorded host, as JSON, from a copy in a folder of its own."""
    table = place.folder / "copies" / HOST.name
    table.parent.mkdir()
    shutil.copy(HOST, table)
    out = place.folder / "host report"
    return run(place, "--lut", str(table), "--out", str(out), "--json"), out


@pytest.fixture(scope="module")
def card(place: Place) -> tuple[Outcome, Path]:
    """Of a T4, nobody having measured one here."""
    out = place.folder / "t4"
    return run(place, "--device", "t4", "--in", str(place.folder / "nothing"), "--out", str(out)), out


# -- the recorded host -----------------------------------------------------------------------------------------------


def test_json_says_what_was_made_and_what_was_not(host: tuple[Outcome, Path]) -> None:
    outcome, out = host
    assert (outcome.code, outcome.err) == (0, "")
    body = json.loads(outcome.out)
    assert sorted(body) == ["doubts", "files", "folder", "headline", "title", "without_figure"]
    assert body["folder"] == str(out)
    assert body["files"][0] == "index.html"
    assert sorted(body["files"]) == sorted(path.name for path in out.iterdir())
    assert body["title"].startswith("resnet18, batch 1, on AMD EPYC")
    assert body["doubts"] == []  # it is the user's own table, for all that the command knows
    assert body["without_figure"] == ["tuning", "published"]
    shown = {"speedup", "time", "throughput", "roofline", "front", "predictor", "health"}
    assert {f"{name}.{kind}" for name in shown for kind in ("svg", "png", "csv")} <= set(body["files"])


def test_the_files_hold_the_figures_of_the_table(host: tuple[Outcome, Path]) -> None:
    """Read by pandas, as whoever goes on with them does."""
    _, out = host
    layers, table = frame(out, "layers.csv"), pd.read_csv(HOST)
    assert len(layers) == 23
    dense = table[(table.op == "dense") & (table.epilogue == "bias")].set_index("weight_dtype").latency_median_s
    last = layers.iloc[-1]
    assert (last.layer, last.int8_s, last.int4_s) == ("fc", dense["int8"], dense["int4"])
    assert last.int4_speedup == pytest.approx(dense["int8"] / dense["int4"])
    speedups = frame(out, "speedup.csv")
    assert (speedups.speedup.to_numpy() == layers.int4_speedup.to_numpy()).all()
    holds_one = (speedups.speedup_low <= 1) & (speedups.speedup_high >= 1)
    assert ((speedups.verdict == "ambiguous") == holds_one).all()
    sums = frame(out, "time-summary.csv").set_index("network").total_s
    assert sums["INT8"] == pytest.approx(layers.int8_s.sum())
    assert sums["INT4"] == pytest.approx(layers.int4_s.sum())
    assert len(frame(out, "predictor.csv")) == len(frame(out, "health.csv")) == len(table)
    assert f"{layers.int8_s.sum() / layers.int4_s.sum():.2f}x" in (out / "report.md").read_text()


def test_no_file_says_where_it_was_made(host: tuple[Outcome, Path], card: tuple[Outcome, Path], place: Place) -> None:
    for _, out in (host, card):
        for path in out.iterdir():
            data = path.read_bytes()
            for text in (str(place.folder), str(ROOT), os.fspath(Path.home() / "")):
                assert len(text) < 6 or text.encode() not in data, (path.name, text)


def test_a_layer_of_the_roofline_is_that_of_the_page(host: tuple[Outcome, Path]) -> None:
    """With its addition: the same name and the same latency as in the table of all layers."""
    _, out = host
    layers = frame(out, "layers.csv").set_index("layer")
    points = frame(out, "roofline.csv")
    assert set(points.layer) == set(layers.index) - {"maxpool", "avgpool"}
    for precision, part in points.groupby("precision"):
        column = layers.loc[list(part.layer), f"{str(precision).lower()}_s"]
        assert part.latency_s.to_numpy() == pytest.approx(column.to_numpy())
    longest = (points.ops / (points.ops_per_s * points.latency_s)).to_numpy()
    assert longest == pytest.approx(1.0)


# -- the published card ----------------------------------------------------------------------------------------------


def test_a_card_without_a_run_of_ones_own_is_said_to_be_that_of_others(card: tuple[Outcome, Path]) -> None:
    outcome, out = card
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "resnet18, batch 8, on Tesla T4"
    assert re.fullmatch(r"INT4 is \d\.\d\dx as fast as INT8 over the 19 layers that have both\.", lines[1])
    assert "published by others, of bare kernels" in lines[2]
    assert any("bias, requantization, ReLU and additions are not in them" in line for line in lines)
    assert lines[-1].endswith(f"files; open {out / 'index.html'}")
    for name in ("report.md", "index.html"):
        text = (out / name).read_text()
        assert "published by others, of bare kernels" in text
        assert "Yao et al." in text


def test_the_figures_of_the_card_are_the_published_ones(card: tuple[Outcome, Path]) -> None:
    _, out = card
    layers, table = frame(out, "layers.csv").set_index("layer"), pd.read_csv(T4)
    mine = table[
        (table.in_height == 56) & (table.in_channels == 64) & (table.out_channels == 64) & (table.kernel_h == 3)
    ]
    fastest = mine.groupby("weight_dtype").latency_median_s.min()
    line = layers.loc["layer1.0.conv1"]
    assert (line.int8_s, line.int4_s) == (fastest["int8"], fastest["int4"])
    assert set(layers.source.dropna()) == {"published"}
    assert layers.loc["maxpool"].isna()["int8_s"]
    networks = frame(out, "published.csv").set_index("configuration")
    assert networks.loc["uniform4", "published_s"] == pytest.approx(2.185e-3)
    narrow = layers.int4_s.fillna(layers.int8_s)  # the first and the last layer have only INT8, as in HAWQ-V3
    assert networks.loc["uniform4", "kernel_sum_s"] == pytest.approx(narrow.sum())


def test_times_of_the_card_are_over_the_layers_that_all_networks_have(card: tuple[Outcome, Path]) -> None:
    _, out = card
    layers, times = frame(out, "layers.csv"), frame(out, "time.csv")
    both = layers.dropna(subset=["int8_s", "int4_s"])
    sums = frame(out, "time-summary.csv").set_index("network")
    assert list(sums.index) == ["INT8", "INT4", "mixed"]
    assert set(sums.layers) == {len(both)} == {19}
    for network, column in (("INT8", "int8_s"), ("INT4", "int4_s")):
        assert sums.total_s[network] == pytest.approx(both[column].sum())
        assert list(times[times.network == network].layer.unique()) == list(both.layer)
    assert list(times[times.network == "mixed"].layer.unique()) == list(both.layer)


# -- what it refuses -------------------------------------------------------------------------------------------------


def test_a_page_of_somebody_else_stays(place: Place) -> None:
    out = place.folder / "site"
    out.mkdir()
    (out / "index.html").write_text("mine")
    assert run(place, "--lut", str(HOST), "--out", str(out)).refused("site/index.html", "name another folder")
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("index.html", "mine")]


def damaged_table(place: Place) -> Sequence[str]:
    table = place.folder / "damaged.csv"
    table.write_text(HOST.read_text().replace(",measured,", ",guessed,", 1))
    return ("--lut", str(table))


def other_network(place: Place) -> Sequence[str]:
    bits = place.folder / "bits.json"
    allocate(AllocateRequest("resnet18", lut=HOST, out=bits))
    return ("resnet50", "--lut", str(HOST), "--bits", str(bits))


def an_occupied_place(place: Place) -> Sequence[str]:
    file = place.folder / "occupied"
    file.write_text("mine")
    return ("--lut", str(HOST), "--out", str(file))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (lambda place: ("--lut", "none.csv"), ("none.csv", "no such file")),
        (lambda place: ("--lut", str(HOST), "--device", "t4"), ("--lut", "--device", "leave one of them out")),
        (lambda place: ("--device", "h100"), ("h100", "measure first")),
        (lambda place: ("resnet17", "--lut", str(HOST)), ("unknown model 'resnet17'",)),
        (lambda place: ("--lut", str(HOST), "--precisions", "int8"), ("give two or more",)),
        (lambda place: ("--lut", str(HOST), "--logs", "nowhere"), ("nowhere", "no such folder")),
        (lambda place: ("--lut", str(HOST), "--threads", "7"), ("holds no row", "--threads")),
        (damaged_table, ("damaged.csv, line 2, source", "guessed")),
        (other_network, ("the bits are of network 'resnet18', not of 'resnet50'",)),
        (
            lambda place: ("inceptionv3", "--lut", str(HOST)),
            ("has no latency of any layer of inceptionv3 at batch 1", "at batch 1; measure the network", "BATCH=1"),
        ),
        (an_occupied_place, ("occupied: is not a folder", "make: TO=")),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_leaves_no_file(
    place: Place,
    command: Callable[[list[str]], Outcome],
    arguments: Callable[[Place], Sequence[str]],
    parts: tuple[str, ...],
) -> None:
    asked = arguments(place)
    out = () if "--out" in asked else ("--out", str(place.folder / "refused"))
    outcome = command(["report", *asked, *out])
    assert outcome.refused(*parts), (outcome.code, outcome.out, outcome.err)
    assert not (place.folder / "refused").exists()
