"""The Makefile's targets say what the command line understands; nothing is run or installed here (`make -n`)."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

from profiler.cli.commands import app

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
NETWORK = ("MODEL=model.onnx", "BITS=bits.json", "CALIBRATE=train.npz", "RANGES=mse", "CLIPPING=mse", "BATCH=2")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def parsed(*arguments: str) -> dict[str, object]:
    """What the command of a target takes them for. Raises a usage error where it knows no such option."""
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = re.findall(r"^\S+/bin/python -m profiler (.*)$", done.stdout.replace("\\\n", ""), re.MULTILINE)
    name, *words = shlex.split(line)
    group: Any = typer.main.get_command(app)
    return dict(group.commands[name].make_context(name, words).params)


def given(found: dict[str, object], **expected: object) -> bool:
    """Whether these are what was understood; paths as texts."""
    return {name: str(found[name]) for name in expected} == {name: str(value) for name, value in expected.items()}


def test_every_target_is_phony_and_in_the_help() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE.replace("\\\n", ""), re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))
    assert set(phony.split()) == targets
    told = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  ([a-z-]+) +[a-z]", told, re.MULTILINE))
    assert targets - listed == {"preflight", "preflight-tests"}


def test_quantize() -> None:
    found = parsed("quantize", *NETWORK, "FILE=a b.npz", "JSON=1")
    assert given(found, model="model.onnx", bits="bits.json", calibrate="train.npz", ranges="mse", clipping="mse")
    assert given(found, batch=2, out="a b.npz", json_output=True, uniform=None, lut=None)
    found = parsed("quantize", "UNIFORM=int8", "LUT=lut/cpu.csv")
    assert given(found, model="resnet18", uniform="int8", bits=None, lut="lut/cpu.csv", out="net.npz", batch=None)
    assert given(parsed("quantize", "UNIFORM=int8", "ARGS=--ranges percentile"), ranges="percentile")


def test_run() -> None:
    found = parsed("run", *NETWORK, "LUT=lut/x.csv", "GPU=cpu", "CACHE=hot", "JSON=1")
    assert given(found, model="model.onnx", bits="bits.json", calibrate="train.npz", ranges="mse", clipping="mse")
    assert given(found, batch=2, lut="lut/x.csv", device="cpu", json_output=True, uniform=None)
    assert "HOT" in str(found["cache"]).upper()
    found = parsed("run", "UNIFORM=int4", "OUT=my runs", "ARGS=--allow-default")
    assert given(found, model="resnet18", uniform="int4", folder="my runs", lut=None, allow_default=True, device="auto")
    assert given(parsed("run", "ARGS=--sweep 8 -o end.csv"), sweep=8, uniform=None, out="end.csv")
    assert given(parsed("run", "MODEL=net.npz"), model="net.npz", uniform=None, bits=None)


def test_throughput() -> None:
    found = parsed("throughput")
    assert given(found, model="resnet18", batches="1,2,4,8,16,32,64", uniform=None, bits=None, energy=False, folder=".")
    found = parsed(
        "throughput", *NETWORK[:-1], "UNIFORM=int8,int4", "BATCHES=1,8", "TRIALS=8", "ENERGY=1", "PLOT=a.svg"
    )
    assert given(found, model="model.onnx", bits="bits.json", uniform="int8,int4", batches="1,8", trials=8, energy=True)
    assert given(found, plot="a.svg", calibrate="train.npz", ranges="mse", clipping="mse", out=None, profile=True)
    found = parsed("throughput", "OUT=runs", "GPU=cpu", "FILE=t.json", "JSON=1", "ARGS=--no-profile --windows 9")
    assert given(found, folder="runs", device="cpu", out="t.json", json_output=True, profile=False, windows=9)
    assert given(parsed("report", "THROUGHPUT=t.json"), throughput="t.json")


def test_energies() -> None:
    for target in ("profile", "sample"):
        assert given(parsed(target), energy=False)
        assert given(parsed(target, "ENERGY=1"), energy=True)
    assert given(parsed("bundle", "ENERGY=1"), energy=True, out="run.zip")
    assert given(parsed("bundle"), energy=False)
    assert given(parsed("allocate", "ENERGY=30mJ"), max_energy="30mJ")


def test_bundle() -> None:
    found = parsed("bundle", "GPU=cpu", "NETWORKS=uniform:int8 net.npz", "LUT=lut/cpu.csv", "FILE=x.zip")
    assert given(found, network=["uniform:int8", "net.npz"], lut="lut/cpu.csv", out="x.zip", device="cpu")
    found = parsed("bundle", "GPU=t4")
    assert given(found, lut=None, out="run.zip", device="t4")
    assert not found["network"]


def test_kernels_and_bundle() -> None:
    assert given(parsed("kernels", "GPU=aarch64", "CONFIGS=2"), device="aarch64", configs=2, batch=None)
    assert given(parsed("kernels"), device="t4")
    assert given(parsed("bundle", "GPU=aarch64-neon", "FILE=a.zip"), device="aarch64-neon", out="a.zip")


@pytest.mark.parametrize(
    ("gpu", "cross", "installed"),
    [
        ("t4", False, {"base", "cubin"}),
        ("cpu", False, {"base"}),
        ("aarch64", True, {"base"}),
        ("aarch64-neon", False, {"base", "arm"}),
    ],
)
def test_what_building_takes_is_installed_for_what_needs_it(
    gpu: str, cross: bool, installed: set[str], tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "python3"):
        (tools / name).symlink_to(shutil.which(name) or name)
    for name, said in (("uname", "echo x86_64"), *([("aarch64-linux-gnu-gcc", "")] if cross else [])):
        (tools / name).write_text(f"#!/bin/sh\n{said}\n")
        (tools / name).chmod(0o755)
    make = shutil.which("make")
    assert make is not None
    for target in ("kernels", "bundle"):
        done = subprocess.run(
            [make, "-n", target, f"GPU={gpu}", f"VENV={tmp_path}/venv"],
            cwd=ROOT,
            env={"PATH": str(tools)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert set(re.findall(r"-r requirements/(\w+)\.txt", done.stdout)) == installed


def test_evaluate_accuracy() -> None:
    found = parsed("evaluate-accuracy", *NETWORK, "IMAGES=test.npz", "UNIFORM=int8", "PLOT=a.svg", "ARGS=--limit 9")
    assert given(found, model="model.onnx", images="test.npz", calibrate="train.npz", uniform="int8", plot="a.svg")
    assert given(found, limit=9, ranges="mse", clipping="mse", batch=2, lut=None, folder=".")
    assert list(map(str, found["bits"])) == ["bits.json"]  # type: ignore[call-overload]


def test_finetune() -> None:
    found = parsed("finetune", "MODEL=m.pt2", "IMAGES=train.npz", "UNIFORM=int4", "FILE=t.pt2", "ARGS=--epochs 3")
    assert given(found, model="m.pt2", images="train.npz", uniform="int4", bits=None, out="t.pt2", epochs=3)
    assert given(found, json_output=False)
    found = parsed("finetune", "MODEL=m.pt2", "IMAGES=train.npz", "BITS=bits.json", "JSON=1")
    assert given(found, bits="bits.json", out="tuned.pt2", json_output=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("quantize",), "say which bits: make quantize BITS=bits.json, or UNIFORM=int8"),
        (("run",), "say which bits: make run BITS=bits.json, or UNIFORM=int8"),
        (("evaluate-accuracy", "MODEL=m.onnx", "IMAGES=test.npz"), "CALIBRATE=train.npz"),
        (("evaluate-accuracy", "MODEL=m.onnx", "CALIBRATE=train.npz"), "IMAGES=test.npz"),
        (("finetune", "MODEL=m.onnx", "IMAGES=train.npz", "UNIFORM=int4"), "MODEL=model.pt2"),
        (("finetune", "MODEL=m.pt2", "UNIFORM=int4"), "IMAGES=train.npz"),
        (("finetune", "MODEL=m.pt2", "IMAGES=train.npz"), "UNIFORM=int4"),
    ],
    ids=" ".join,
)
def test_what_is_missing_is_said(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Of an environment that is there: its stamps are newer than what they are made from."""
    for name in ("bin/python", ".base", ".torch", ".cuda"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    done = subprocess.run(
        ["make", "-s", f"VENV={tmp_path}", "GPU=cpu", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr.splitlines()[0]
