"""What a user can get wrong is one line that says what, where and what to do; exit code 2, nothing on stdout."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from profiler.devices.discover import discover
from tests.e2e.command import Outcome, Place

Command = Callable[[list[str]], Outcome]
DATA = Path(__file__).parents[1] / "data"
COMMANDS: tuple[list[str], ...] = (
    [],
    ["profile"],
    ["network"],
    ["devices"],
    ["kernels"],
    ["lut"],
    ["lut", "check"],
    ["lut", "merge"],
    ["lut", "show"],
)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["resnet99"], ["unknown model 'resnet99'", "resnet18", ".onnx"]),
        (["nowhere.onnx"], ["nowhere.onnx: no such file"]),
        (["model.pth"], ["unknown model", "torch.export.save"]),
        (["--precisions", "int8,int9"], ["unknown precision 'int9'", "int4"]),
        (["--precisions", ","], ["no precision given"]),
        (["--device", "abacus"], ["unknown device 'abacus'", "t4", "found here"]),
        (["--threads", "256"], ["256 threads do not fit"]),
    ],
)
def test_wrong_values(place: Place, command: Command, options: list[str], parts: list[str]) -> None:
    answer = command(["profile", *options, "--out", str(place.out)])
    if options == ["--threads", "256"] and len(os.sched_getaffinity(0)) >= 256:
        pytest.skip("so many CPUs")
    assert answer.refused(*parts), answer
    assert not place.out.exists(), "nothing is left of a run that was refused"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["profile", "--trials", "0"], "'--trials'"),
        (["profile", "--batch", "0"], "'--batch'"),
        (["profile", "--batch", "many"], "'--batch'"),
        (["profile", "--threads", "0"], "'--threads'"),
        (["profile", "--cache", "lukewarm"], "'network', 'cold', 'hot'"),
        (["profile", "resnet18", "resnet50"], "resnet50"),
        (["profile", "--fast"], "--fast"),
        (["prifole"], "prifole"),
        (["lut", "merge"], "Missing argument"),
        (["lut", "merge", "a.csv"], "--out"),
    ],
)
def test_wrong_usage(command: Command, options: list[str], part: str) -> None:
    answer = command(options)
    assert (answer.code, answer.out) == (2, "")
    assert part in answer.err
    assert "Traceback" not in answer.err


def test_a_gpu_that_is_not_there(place: Place) -> None:
    if discover().gpus:
        pytest.skip("there is a GPU")
    answer = place.run(["profile", "--device", "t4", "--out", str(place.out)])
    assert answer.refused("there is no t4 on this machine", "found: ", "no NVIDIA GPU: ", "GPU=cpu"), answer


@pytest.mark.parametrize("command_name", ["profile", "network"])
def test_broken_models(place: Place, command: Command, command_name: str) -> None:
    pytest.importorskip("onnx")
    whole = (DATA / "tiny_torch.onnx").read_bytes()
    contents = {
        "torn.onnx": whole[: len(whole) // 2],
        "empty.onnx": b"",
        "text.onnx": b"no model",
        "torn.json": place.model.read_bytes()[:500],
        "empty.json": b"{}",
        "list.json": b"[]",
        "partial.json": b'{"version": 1, "name": "x"}',
        "newer.json": b'{"version": 99}',
        "binary.json": b"\xff\xfe",
    }
    for name, content in contents.items():
        path = place.folder / name
        path.write_bytes(content)
        assert command([command_name, str(path)]).refused(f"{path}: not a"), name
    assert command([command_name, str(place.folder)]).code == 2


def test_lut_files_that_are_not_there(place: Place, command: Command) -> None:
    nowhere = place.folder / "nowhere.csv"
    for name in ("check", "show"):
        assert command(["lut", name, str(nowhere)]).refused(f"{nowhere}: there is no such file")
    assert command(["lut", "merge", str(nowhere), "-o", str(place.folder / "out.csv")]).refused("no such file")
    other = place.folder / "other.csv"
    other.write_text("a,b\n1,2\n")
    assert command(["lut", "show", str(other)]).refused(f"{other}, line 1", "missing columns")
    found = command(["lut", "check", str(other)])
    assert (found.code, found.err) == (1, "")
    assert "missing columns" in found.out


def test_a_lut_that_cannot_be_written(profiled: Place, command: Command) -> None:
    (profiled.folder / "file").touch()
    target = profiled.folder / "file" / "out.csv"
    assert command(["lut", "merge", str(profiled.lut), "-o", str(target)]).refused(f"{target}: cannot be written")
    assert command(["network", str(profiled.model), "-o", str(target)]).refused(f"{target}: cannot be written")


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_reads_well(command: Command, monkeypatch: pytest.MonkeyPatch, name: list[str]) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "120")
    answer = command([*name, "--help"])
    assert (answer.code, answer.err) == (0, "")
    text = " ".join(answer.out.split())
    assert f"profiler {' '.join(name)}".strip() in text
    for internal in ("json_output", "skip_unsupported", "CacheMode", "typer", "Annotated", "None"):
        assert internal not in text
    for line in answer.out.splitlines():
        words = line.strip("│ ").split()
        assert not (words and words[0].startswith("--") and len(words) < 3), f"an option without a word: {line}"


def test_devices(command: Command) -> None:
    shown = command(["devices"])
    told = json.loads(command(["devices", "--json"]).out)
    assert shown.code == 0
    cpu = told["devices"][-1]
    assert (cpu["slug"], cpu["measurable"]) == ("cpu", True)
    assert cpu["name"] in shown.out
    assert told["no_gpus"] in shown.out


def test_network(place: Place, command: Command) -> None:
    shown = command(["network", str(place.model)])
    assert shown.code == 0
    assert "small, batch 1: 6 layers, 5 distinct workloads" in shown.out
    batch = json.loads(command(["network", str(place.model), "--batch", "4", "--json"]).out)
    assert {layer["workload"]["batch"] for layer in batch["layers"]} == {4}


def test_version(command: Command) -> None:
    from profiler import __version__

    assert command(["--version"]).out == f"{__version__}\n"


@pytest.mark.parametrize("device", ["t4\nx", "\x1b[31mt4"])
@pytest.mark.parametrize("name", ["profile", "doctor", "bundle", "kernels"])
def test_an_argument_cannot_write_to_the_terminal(command: Command, name: str, device: str) -> None:
    answer = command([name, "--device", device])
    assert answer.code == 2
    assert answer.err.isascii()
    assert answer.err.count("\n") == 1
    assert all(c.isprintable() for c in answer.err.rstrip("\n"))
