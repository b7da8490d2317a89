"""`run` as a user runs it: answers, exit codes, and what is refused in one line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from profiler.devices.host import HostDevice
from profiler.frontend import load_network
from profiler.lut import store
from profiler.lut.demand import demand
from profiler.network import device_network
from profiler.network_stages import prepared as stage
from profiler.network_stages.prepared import Prepared
from profiler.predictor.observation import Observation
from profiler.record import CacheMode, Conditions
from profiler.space.config import to_text
from profiler.space.cpu_default import default_config
from profiler.targets import CpuTarget
from profiler.workload import INT4, INT8
from tests.e2e.command import ROOT, Outcome, Place
from tests.e2e.small_model import small_model
from tests.network_stages.compiled import Compiled
from tests.predictor.invented_lut import lut_row

COMPILED = Compiled()
Command = Callable[[list[str]], Outcome]
ONNX = ROOT / "tests/data/tiny_torch.onnx"


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all commands that run in this process."""
    monkeypatch.setattr(stage, "kernels_of", COMPILED.kernels_of)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return small_model(tmp_path / "small.onnx")


@pytest.fixture
def rows(small: Path, tmp_path: Path) -> Path:
    """A table of all its kernels on this machine, whose latencies are invented."""
    device = HostDevice()
    instrument = device.fingerprint(CpuTarget(device.cpu, 1).backend.compiler)
    found = []
    for index, wanted in enumerate(demand(load_network(str(small), 1), (INT8, INT4), mixed=True)):
        row = lut_row(Observation(wanted.spec, (index + 2) * 1e-6, 0.001), Conditions(1, CacheMode.NETWORK))
        config = to_text(default_config(wanted.spec, device.cpu))
        found.append(replace(row, fingerprint=instrument.short, config=config))
    path = tmp_path / "rows.csv"
    store.write(path, found)
    return path


def run(model: Path | str, *options: Any) -> list[str]:
    return ["run", str(model), *map(str, options)]


# -- answers ----------------------------------------------------------------------------------------------------------


def test_a_model_from_its_file_to_its_latency(place: Place) -> None:
    pytest.importorskip("onnx")
    done = place.run(run(ONNX, "--uniform", "int8", "--allow-default", "--json", "--in", place.folder))
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["bit_exact"] is True
    assert told["difference"] == ""
    assert told["configuration"] == "uniform int8"
    assert told["verified_steps"] == len(told["steps"]) == 14
    assert told["verified_bytes"] > 1000
    assert 0 < told["latency_ci95_low_s"] <= told["latency_s"] <= told["latency_ci95_high_s"] < 0.1
    assert told["samples"] > 5
    assert told["arena_bytes"] > 1000
    assert all(step["latency_s"] > 0 for step in told["steps"])
    assert any("noise" in note for note in told["notes"])
    assert "lut_sum_s" in told
    assert not place.strays()
    assert not place.temporary_files()


def test_a_table_for_people_beside_the_rows(command: Command, small: Path, rows: Path) -> None:
    said = command(run(small, "--uniform", "int4", "--lut", rows))
    assert (said.code, said.err) == (0, "")
    for text in (
        "no images are given",
        "small, batch 1, uniform int4, on ",
        "by itself (table)",
        "bit exact: 2 steps, 80 bytes compared with the integer oracle",  # 16 x 8 nibbles, 4 logits of 4 bytes
        "end to end: ",
        "sum of its kernels in the table: ",
    ):
        assert text in said.out, text
    assert " 0.00 MB" not in said.out, "a small network takes memory, too"
    told = json.loads(command(run(small, "--uniform", "int4", "--lut", rows, "--json", "--batch", 1)).out)
    assert f"{told['arena_bytes'] / 1e6:.4g} MB of activations" in said.out
    assert told["lut_sum_s"] == pytest.approx(sum(step["lut_s"] for step in told["steps"]))
    assert told["beyond_sum"] == pytest.approx(told["latency_s"] / told["lut_sum_s"] - 1)


def test_what_allocate_chose_is_run(command: Command, small: Path, rows: Path, tmp_path: Path) -> None:
    bits = tmp_path / "bits.json"
    chosen = command(
        ["allocate", str(small), "--lut", str(rows), "--keep", "none", "--max-size", "0.9", "-o", str(bits)]
    )
    assert chosen.code == 0, chosen.err
    done = command(run(small, "--bits", bits, "--lut", rows, "--json"))
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["bit_exact"] is True
    assert told["configuration"] == str(bits)
    assert told["lut_sum_s"] == pytest.approx(json.loads(bits.read_text())["latency"]["total_s"])


def test_one_configuration_promises_nothing_of_others(command: Command, small: Path, rows: Path) -> None:
    said = command(run(small, "--sweep", 0, "--precisions", "int8", "--lut", rows))
    assert said.code == 0, said.err
    assert "x the sum of the kernels; how far off that is, one configuration does not tell" in said.out
    assert "0.0%" not in said.out.splitlines()[-1]


def test_what_memory_does_not_hold_is_one_line(
    command: Command, small: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not exit code 1, which says that a network is wrong."""

    def full(*_: object) -> None:
        raise MemoryError("Unable to allocate 8.00 GiB")

    monkeypatch.setattr(stage, "quantized_inputs", full)
    said = command(run(small, "--uniform", "int8", "--lut", rows))
    assert (said.code, said.err) == (
        2,
        "error: not enough memory (Unable to allocate 8.00 GiB); a smaller batch takes less\n",
    )


@pytest.fixture
def another_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose last step says one more: to it every kernel is wrong."""
    steps = device_network.oracle_steps

    def off_by_one(network: Any, values: Any) -> Any:
        for step, output in steps(network, values):
            yield step, (output + 1 if step.writes in network.outputs else output)

    monkeypatch.setattr(device_network, "oracle_steps", off_by_one)


@pytest.mark.usefixtures("another_oracle")
def test_a_wrong_network_is_exit_code_1(command: Command, small: Path, rows: Path, tmp_path: Path) -> None:
    said = command(run(small, "--uniform", "int8", "--lut", rows, "--json"))
    assert (said.code, said.err) == (1, "")
    told = json.loads(said.out)
    assert told["bit_exact"] is False
    assert "layer 'fc'" in told["difference"]
    assert (told["latency_s"], told["samples"], told["steps"], told["beyond_sum"]) == (None, None, [], None)
    said = command(run(small, "--uniform", "int8", "--lut", rows))
    assert said.code == 1
    assert "not bit exact" in said.out
    assert "end to end" not in said.out
    out = tmp_path / "end.csv"
    said = command(run(small, "--sweep", 0, "--lut", rows, "-o", out))
    assert said.code == 1
    assert "not bit exact: " in said.err
    assert "Traceback" not in said.err
    assert not out.exists()


def test_a_sweep_is_what_allocate_calibrates_with(
    command: Command, monkeypatch: pytest.MonkeyPatch, small: Path, rows: Path, tmp_path: Path
) -> None:
    """Times are invented, since rows are: twice the sum, and a microsecond."""

    def latency(self: Prepared, rule: object) -> Any:
        assert self.lut_sum_s is not None
        time_s = 1e-6 + 2 * self.lut_sum_s
        return SimpleNamespace(times=SimpleNamespace(samples_s=(time_s,) * 3, contaminated=False))

    monkeypatch.setattr(Prepared, "latency", latency)
    out = tmp_path / "end.csv"
    asked = run(small, "--sweep", 2, "--lut", rows, "-o", out)
    said = command(asked)
    assert said.code == 0
    assert "x the sum of the kernels" in said.out
    assert str(out) in said.out.replace("\n", "")
    with out.open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["configuration"] for row in listed][:2] == ["uniform int8", "uniform int4"]
    first = out.read_bytes()
    said = command([*asked, "--json"])
    assert out.read_bytes() == first
    told = json.loads(said.out)
    assert told["calibration"]["slope"] == pytest.approx(2)
    assert told["calibration"]["offset_s"] == pytest.approx(1e-6)
    assert [point["lut_sum_s"] for point in told["points"]] == [float(row["lut_sum_s"]) for row in listed]
    assert max(map(abs, told["held_out_errors"])) < 1e-6
    allocated = command(
        ["allocate", str(small), "--lut", str(rows), "--end-to-end", str(out), "--max-latency", "1ms", "--json"]
    )
    assert allocated.code == 0, allocated.err
    latency_of = json.loads(allocated.out)["bits"]["latency"]
    assert latency_of["network_s"] == pytest.approx(1e-6 + 2 * latency_of["total_s"])


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ((), ("say which bits",)),
        (("--uniform", "int8", "--bits", "bits.json"), ("say which bits",)),
        (("--uniform", "int5"), ("unknown precision 'int5'", "int8, int4")),
        (("--uniform", "int8", "--device", "t4"), ("there is no t4 on this machine", "bundle")),
        (("--uniform", "int8", "--ranges", "widest"), ("--ranges widest", "min-max, percentile, mse")),
        (("--uniform", "int8", "--clipping", "none"), ("--clipping none", "max-abs, mse")),
        (("--uniform", "int8", "--lut", "none.csv"), ("none.csv",)),
        (("--uniform", "int8", "--calibrate", "none.npz"), ("none.npz", "cannot be read")),
        (("--bits", "none.json"), ("none.json", "cannot be read")),
        (("--sweep", 2, "-o", "."), ("is a folder",)),
        (("--sweep", 2, "--uniform", "int8"), ("--sweep chooses the bits",)),
        (("--uniform", "int8", "-o", "x.csv"), ("--sweep",)),
        (("--uniform", "int8", "-s", "mse"), ("--sweep",)),
        (("--uniform", "int8", "--precisions", "int8,a2w1"), ("--sweep",)),
        (("--sweep", 2, "--precisions", "int8,a5w1"), ("unknown precision 'a5w1'",)),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_what_was_asked_badly_is_one_line(
    command: Command, small: Path, options: tuple[Any, ...], parts: tuple[str, ...]
) -> None:
    assert command(run(small, "--allow-default", *options)).refused(*parts)


def test_a_kernel_without_a_row_is_named_with_its_layer(command: Command, small: Path, rows: Path) -> None:
    kept = [row for row in store.read(rows) if row.spec.workload.op.value != "dense"]
    store.write(rows, kept)
    assert command(run(small, "--uniform", "int8", "--lut", rows)).refused("layer 'fc'", "no measured row", "dense")
    assert command(run(small, "--uniform", "int8", "--lut", rows, "--cache", "hot")).refused("layer 'conv'", "hot")


def test_models_that_cannot_be_run_are_one_line(command: Command, place: Place, small: Path) -> None:
    options = ("--uniform", "int8", "--allow-default")
    assert command(run(place.model, *options)).refused("small.json", "has no weights")
    assert command(run("resnet19", *options)).refused("unknown model 'resnet19'")
    assert command(run("none.onnx", *options)).refused("none.onnx")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(small))
    model.graph.node[1].op_type = "Softplus"
    onnx.save(model, str(small))
    assert command(run(small, *options)).refused("Softplus", "relu")
    small.write_bytes(small.read_bytes()[:200])
    assert command(run(small, *options)).refused("small.onnx")


def test_a_network_that_operators_were_left_out_of_is_one_line(command: Command, place: Place) -> None:
    body = json.loads(place.model.read_text())
    body["skipped"], body["outputs"] = ["two\u2028lines"], ["logits"]
    place.model.write_text(json.dumps(body))
    assert command(run(place.model, "--uniform", "int8", "--allow-default")).refused("small.json")


def test_bits_that_are_none_are_one_line(command: Command, small: Path, rows: Path, tmp_path: Path) -> None:
    bits = tmp_path / "bits.json"
    assert command(["allocate", str(small), "--lut", str(rows), "-o", str(bits)]).code == 0
    sound = json.loads(bits.read_text())
    text = bits.read_bytes()

    def refused(content: bytes | dict[str, Any], *parts: str) -> bool:
        bits.write_bytes(content if isinstance(content, bytes) else json.dumps({**sound, **content}).encode())
        return command(run(small, "--bits", bits, "--lut", rows)).refused("bits.json" if not parts else "", *parts)

    for damaged in (b"", text[:-20], text[: len(text) // 2], b"\x00\xff", b"[]", b"{}", b"[" * 100_000):
        assert refused(damaged), damaged[:20]
    tensors, layers = sound["tensors"], sound["layers"]
    copy = {"tensor": "x", "source": "int8", "target": "int4", "readers": ["conv"]}
    assert refused({"version": 2}, "version 2")
    assert refused({"tensors": [*tensors, {"name": "no\nbody\x1b", "precision": "int8"}]}, "no tensor 'no\\nbody\\x1b'")
    assert refused({"tensors": tensors[1:]}, f"'{tensors[0]['name']}'")
    assert refused({"tensors": []}, "no precision")
    assert refused({"tensors": [{**tensors[0], "precision": "int5"}]}, "int5")
    assert refused({"layers": layers[:1]}, "'fc' is in one of them only")
    assert refused({"layers": [{**layers[0], "name": "\u2028"}, *layers[1:]]}, "in one of them only")
    assert refused({"separate": ["fc"]}, "'fc' is no addition")
    assert refused({"conversions": [copy]}, "layer 'conv' is int8, but reads 'x' in int4")
    assert refused({"conversions": [{**copy, "readers": ["nobody"]}]}, "no layer 'nobody'")
    bits.write_bytes(text)
    assert command(run(small, "--bits", bits, "--lut", rows, "--batch", 2)).refused("is of batch 1")
    assert command(run(ONNX, "--bits", bits, "--lut", rows)).refused("the bits are of network 'small'")
