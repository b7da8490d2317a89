"""`quantize` as a user runs it: what it says and writes, and what is refused in one line."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.allocation import bits_file
from profiler.network import integer_file
from profiler.workload import INT8
from tests.e2e.command import ROOT, Outcome, Place
from tests.network_stages.classifier import Classifier, make

Command = Callable[[list[str]], Outcome]
ONNX = ROOT / "tests/data/tiny_torch.onnx"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    pytest.importorskip("onnxruntime")
    return make(tmp_path_factory.mktemp("digits"), 10)


def quantize(model: Path | str, *options: Any) -> list[str]:
    return ["quantize", str(model), *map(str, options)]


def test_from_a_model_to_a_file(place: Place, digits: Classifier) -> None:
    out = place.folder / "new" / "net.npz"
    arguments = quantize(digits.model, "--uniform", "int8", "--calibrate", digits.train, "-o", out)
    done = place.run(arguments)
    assert (done.code, done.err) == (0, "")
    text = done.out.splitlines()
    assert text[0] == "digits, batch 1, layers: 4 INT8, 0.007312 MB of weights"
    assert text[1].startswith("output logits: error ")
    assert text[1].endswith(" dB), beside float on 2 images")
    assert text[2].startswith(f"{out}: ")
    assert len(text) == 3
    first = out.read_bytes()
    done = place.run([*arguments, "--json"])
    assert (done.code, done.err) == (0, "")
    assert out.read_bytes() == first
    told = json.loads(done.out)
    (noise,) = told.pop("outputs")
    assert told == {
        "file": str(out),
        "network": "digits",
        "batch": 1,
        "layers": {"int8": 4},
        "weight_bytes": 16 * 9 * 1 + 2 * 16 * 16 * 9 + 256 * 10,
        "file_bytes": len(first),
        "images": 2,
        "notes": [],
    }
    assert noise["name"] == "logits"
    assert 0 < noise["relative_error"] < 0.05
    assert noise["snr_db"] == pytest.approx(-20 * np.log10(noise["relative_error"]))
    assert [step.name for step in integer_file.load(out).steps] == ["conv1", "conv2", "conv3", "fc"]
    assert [path.name for path in out.parent.iterdir()] == ["net.npz"]
    assert not place.temporary_files()


def test_what_allocate_chose_is_quantized(command: Command, tmp_path: Path) -> None:
    """The published kernels of a T4: no device of this machine, and the size that the bits say."""
    bits, out = tmp_path / "bits.json", tmp_path / "net.npz"
    chosen = command(
        ["allocate", "resnet18", "--device", "t4", "--in", str(tmp_path), "--max-latency", "0.5", "-o", str(bits)]
    )
    assert chosen.code == 0, chosen.err
    done = command(quantize("resnet18", "--bits", bits, "-o", out, "--json"))
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    allocated = bits_file.load(bits)
    names = [layer.precision for layer in allocated.layers]
    assert told["layers"] == {name: names.count(name) for name in ("int8", "int4")}
    assert told["weight_bytes"] == allocated.size_bytes
    assert told["batch"] == allocated.batch == integer_file.load(out).batch == 8
    assert [note.split(":")[0] for note in told["notes"]] == [
        "resnet18 is built in and has no weights",
        "no images are given (--calibrate)",
    ]
    wide = {layer.name for layer in allocated.layers if layer.precision == "int8"}
    weighted = [step for step in integer_file.load(out).steps if step.spec.weight_dtype is not None]
    assert {step.layer for step in weighted if step.spec.weight_dtype is INT8.weight_dtype} == wide


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ((), ("say which bits",)),
        (("--uniform", "int8", "--bits", "bits.json"), ("say which bits",)),
        (("--bits", "bits.json", "--lut", "lut.csv"), ("--lut decides on the additions of --uniform",)),
        (("--uniform", "int5"), ("unknown precision 'int5'", "int8, int4")),
        (("--uniform", "int8", "--ranges", "widest"), ("--ranges widest", "min-max, percentile, mse")),
        (("--uniform", "int8", "--clipping", "none"), ("--clipping none", "max-abs, mse")),
        (("--uniform", "int8", "--lut", "none.csv"), ("none.csv",)),
        (("--uniform", "int8", "--calibrate", "none.npz"), ("none.npz", "cannot be read")),
        (("--uniform", "int8", "--calibrate", ONNX), ("tiny_torch.onnx", "is not an .npz file")),
        (("--bits", "none.json"), ("none.json", "cannot be read")),
        (("--bits", ONNX), ("is not a bits.json",)),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_what_was_asked_badly_is_one_line(
    command: Command, tmp_path: Path, options: tuple[Any, ...], parts: tuple[str, ...]
) -> None:
    pytest.importorskip("onnx")
    assert command(quantize(ONNX, "-o", tmp_path / "new" / "net.npz", *options)).refused(*parts)
    assert not (tmp_path / "new").exists()


def test_places_that_take_no_file_are_one_line(command: Command, tmp_path: Path) -> None:
    notes = tmp_path / "notes.npz"
    notes.write_text("my own notes")
    for out, parts in (
        (notes, ("notes.npz", "is no integer network")),
        (tmp_path, ("is a folder",)),
        (tmp_path / "net.bin", ("ends in .npz",)),
        (notes / "net.npz", ("cannot be written",)),
        ("/proc/nowhere/net.npz", ("/proc/nowhere", "cannot be written", "FILE=")),
        (f"{tmp_path}/two\nlines.txt", ("two\\nlines.txt", "ends in .npz")),
    ):
        assert command(quantize(ONNX, "--uniform", "int8", "-o", out)).refused(*parts), out
    assert notes.read_text() == "my own notes"
    assert {path.name for path in tmp_path.iterdir()} == {"notes.npz", "place"}


@pytest.mark.parametrize("damage", ["cut", "empty", "list", "version", "layer", "batch"])
def test_bits_that_are_none_are_one_line(command: Command, tmp_path: Path, damage: str) -> None:
    bits, out = tmp_path / "bits.json", tmp_path / "net.npz"
    chosen = command(["allocate", "resnet18", "--device", "t4", "--in", str(tmp_path), "-o", str(bits)])
    assert chosen.code == 0, chosen.err
    sound: Mapping[str, Any] = json.loads(bits.read_text())
    changed: dict[str, tuple[Any, tuple[str, ...]]] = {
        "cut": (bits.read_text()[:-20], ("bits.json", "not JSON")),
        "empty": ("", ("bits.json", "not JSON")),
        "list": ([], ("is not a bits.json",)),
        "version": ({**sound, "version": 2}, ("version 2",)),
        "layer": ({**sound, "layers": sound["layers"][:-1]}, ("bits.json", "'fc' is in one of them only")),
        "batch": ({**sound, "batch": 10**9}, ("bits.json", "the batch is none of 1 to 4096 images")),
    }
    content, parts = changed[damage]
    bits.write_text(content if isinstance(content, str) else json.dumps(content))
    assert command(quantize("resnet18", "--bits", bits, "-o", out)).refused(*parts)
    if damage != "batch":
        assert command(quantize("resnet18", "--bits", bits, "--batch", 2, "-o", out)).refused()
    bits.write_text(json.dumps(sound))
    assert command(quantize("resnet18", "--bits", bits, "--batch", 2, "-o", out)).refused("is of batch 8")
    assert not out.exists()


def test_ctrl_c_leaves_nothing(place: Place) -> None:
    """While it works: the folder for its output is there by then."""
    out = place.folder / "new" / "net.npz"
    process = place.start(quantize("inceptionv3", "--uniform", "int4", "--batch", 4, "-o", out))
    while not out.parent.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    done = place.answer(process)
    assert (done.code, done.out, done.err) == (130, "", "interrupted\n")
    assert not out.parent.exists()
