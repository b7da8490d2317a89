"""`evaluate-accuracy` as a user runs it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.e2e.command import Outcome, Place
from tests.network_stages.classifier import Classifier, make

IMAGES = 40
Command = Callable[[list[str]], Outcome]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return make(tmp_path_factory.mktemp("digits"), IMAGES)


def arguments(digits: Classifier, *options: str, images: Path | None = None) -> list[str]:
    where = ["--images", str(images or digits.test), "--calibrate", str(digits.train), "--in", str(digits.model.parent)]
    return ["evaluate-accuracy", str(digits.model), *where, "--allow-default", *options]


def test_what_is_told_written_and_drawn(place: Place, digits: Classifier) -> None:
    plot, table = place.folder / "figures" / "accuracy.svg", place.folder / "accuracy.csv"
    options = ("--uniform", "int8", "--plot", str(plot), "--csv", str(table), "--json", "--limit", "30")
    done = place.run(arguments(digits, *options))
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["images"] == told["float"]["top1"]["right"] / told["float"]["top1"]["share"] == 30
    (int8,) = told["configurations"]
    assert int8["name"] == "INT8"
    assert 0 < int8["latency_ci95_low_s"] <= int8["latency_s"] <= int8["latency_ci95_high_s"] < 0.01
    assert told["verified_steps"] > 0
    rows = list(csv.DictReader(table.open()))
    assert [row["configuration"] for row in rows] == ["float", "INT8"]
    assert [int(row["top1_right"]) for row in rows] == [told["float"]["top1"]["right"], int8["top1"]["right"]]
    assert float(rows[1]["latency_s"]) == int8["latency_s"]
    assert plot.with_suffix(".csv").read_bytes() == table.read_bytes()
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert not place.strays()
    assert not place.temporary_files()


def spoiled(folder: Path, digits: Classifier, **change: Any) -> Path:
    arrays = {"image": digits.images, "labels": digits.labels, **change}
    path = folder / "spoiled.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "holds no 'labels'"),
        ({"labels": np.full(IMAGES, 10)}, "10 classes"),
        ({"labels": np.zeros(IMAGES - 1, np.int64)}, f"{IMAGES} images"),
        ({"image": np.zeros((IMAGES, 1, 28, 28), np.float32)}, "has shape (40, 1, 28, 28)"),
        ({"image": None, "pixels": np.zeros((IMAGES, 1, 8, 8), np.float32)}, "holds 'pixels', but the inputs"),
    ],
    ids=["no labels", "a class too many", "labels of others", "another shape", "another network"],
)
def test_images_that_do_not_fit_are_refused(
    command: Command, digits: Classifier, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = spoiled(tmp_path, digits, **change)
    assert command(arguments(digits, images=path)).refused(str(path), message)


def test_a_file_of_a_folder_that_cannot_be_read_is_named(command: Command, digits: Classifier, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    np.savez(folder / "a.npz", image=digits.images, labels=digits.labels)
    (folder / "b.npz").write_bytes((folder / "a.npz").read_bytes()[:500])
    assert command(arguments(digits, images=folder)).refused("b.npz", "is not an .npz file")


def test_what_would_be_lost_or_not_drawn_is_refused(command: Command, digits: Classifier, tmp_path: Path) -> None:
    notes = tmp_path / "notes.csv"
    notes.write_text("my,own,notes\n")
    assert command(arguments(digits, "--csv", str(notes))).refused("no table of accuracies")
    assert command(arguments(digits, "--plot", str(tmp_path / "notes.svg"))).refused("notes.csv")
    assert notes.read_text() == "my,own,notes\n"
    assert command(arguments(digits, "--plot", str(tmp_path / "a.jpg"))).refused("a figure ends in")
    plot = ("--plot", str(tmp_path / "a.svg"), "--no-latency")
    assert command(arguments(digits, *plot)).refused("--no-latency")
    both = ("--plot", str(tmp_path / "a.svg"), "--csv", str(tmp_path / "a.svg"))
    assert command(arguments(digits, *both)).refused("is to be the table and the figure")
    assert not (tmp_path / "a.svg").exists()


def test_errors_leave_no_empty_folders(command: Command, digits: Classifier, tmp_path: Path) -> None:
    new, kept = tmp_path / "new", tmp_path / "kept"
    kept.mkdir()
    files = ("--csv", str(new / "a" / "b.csv"), "--plot", str(new / "c.svg"))
    assert command(arguments(digits, *files, "--bits", str(tmp_path / "none.json"))).refused("none.json")
    assert command(arguments(digits, "--csv", str(kept / "b.csv"), images=tmp_path / "none.npz")).refused("none.npz")
    assert not new.exists()
    assert not list(kept.iterdir())


def test_the_compiler_of_a_gpu_can_be_said(command: Command, digits: Classifier) -> None:
    assert command(arguments(digits, "--device", "cpu", "--cuda", "12")).refused("--cuda is for GPUs")


@pytest.mark.parametrize(("option", "value"), [("--ranges", "widest"), ("--clipping", "none"), ("--device", "t4")])
def test_unknown_choices_are_refused(command: Command, digits: Classifier, option: str, value: str) -> None:
    assert command(arguments(digits, option, value)).refused(value)
