"""The main path: measure, write, show; and again, when everything is known."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from profiler.lut import store
from profiler.lut.demand import demand
from profiler.workload import INT8
from tests.e2e.command import FILES_OF_A_RUN, KERNELS, LINES, NETWORK, Outcome, Place

Command = Callable[[list[str]], Outcome]


def _without_a_compiler(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    """Whoever builds anything now fails."""
    monkeypatch.setenv("PATH", str(place.tmp))


def test_a_network_is_measured(first_run: Outcome, profiled: Place) -> None:
    assert first_run.code == 0, first_run.err
    told = json.loads(first_run.out)
    assert (told["network"], told["device"], told["precisions"]) == ("small", "cpu", ["int8"])
    assert (told["kernels"], told["measured"], told["failures"]) == (KERNELS, KERNELS, 0)
    total = told["totals"]["int8"]
    assert (total["priced"], total["lines"]) == (LINES, LINES)
    assert total["latency_s"] == pytest.approx(sum(layer["latency_s"]["int8"] for layer in told["layers"]))
    assert f"[{KERNELS}/{KERNELS}, " in first_run.err, "a line per kernel where standard error is no terminal"
    wanted = {d.spec for d in demand(NETWORK, (INT8,), mixed=False)}
    rows = store.read(profiled.lut)
    assert {row.spec for row in rows} == wanted
    assert all(row.source.value == "measured" and row.latency_median_s > 0 for row in rows)
    assert profiled.files() == FILES_OF_A_RUN
    assert profiled.measured_twice() == []


def test_the_second_run_measures_nothing(profiled: Place, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    before, table = profiled.journals(), profiled.lut.read_bytes()
    _without_a_compiler(monkeypatch, profiled)
    answer = command(profiled.profile("--json"))
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["measured"] == 0
    assert f"{KERNELS} of {KERNELS} kernels were measured before" in answer.err
    assert (profiled.journals(), profiled.lut.read_bytes()) == (before, table)


def test_a_table_for_people(profiled: Place, command: Command) -> None:
    answer = command(profiled.profile())
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("small, batch 1, on ")
    assert any(line.startswith("conv2 + add") for line in lines)
    assert any(line.startswith("total INT8: ") and "over" not in line for line in lines)
    assert f"{KERNELS} kernels, 0 measured now" in answer.out
    assert "nothing wrong" in command(["lut", "check", str(profiled.lut)]).out
    assert command(["lut", "show", str(profiled.lut)]).out.rstrip().endswith(f"{KERNELS} rows")


def test_the_commands_of_a_lut_as_json(profiled: Place, command: Command) -> None:
    checked = json.loads(command(["lut", "check", str(profiled.lut), "--json"]).out)
    assert checked == {"file": str(profiled.lut), "ok": True, "findings": []}
    rows = json.loads(command(["lut", "show", str(profiled.lut), "--json"]).out)
    assert len(rows) == KERNELS
    copy = profiled.folder / "copy.csv"
    assert command(["lut", "merge", str(profiled.lut), str(profiled.lut), "-o", str(copy)]).code == 0
    assert copy.read_bytes() == profiled.lut.read_bytes()


def test_an_older_lut_of_another_instrument_is_left_alone(profiled: Place, command: Command) -> None:
    (mine,) = {row.fingerprint for row in store.read(profiled.lut)}
    older = profiled.lut.read_text().replace(mine, "deadbeef")
    profiled.lut.write_text(older)
    answer = command(profiled.profile("--json"))
    assert answer.code == 0, answer.err
    beside = profiled.lut.with_name(f"cpu-{mine}.csv")
    assert json.loads(answer.out)["lut"] == str(beside)
    assert len(store.read(beside)) == KERNELS
    assert profiled.lut.read_text() == older
    merged = command(["lut", "merge", str(profiled.lut), str(beside), "-o", str(profiled.folder / "both.csv")])
    assert merged.refused("deadbeef", mine, "cannot be merged")


@pytest.mark.parametrize("beside", [False, True])
def test_a_damaged_lut_is_refused_before_anything_is_measured(profiled: Place, command: Command, beside: bool) -> None:
    """Also one beside ``cpu.csv``, where that is another instrument's."""
    (mine,) = {row.fingerprint for row in store.read(profiled.lut)}
    damaged = profiled.lut
    if beside:
        damaged = profiled.lut.with_name(f"cpu-{mine}.csv")
        damaged.write_bytes(profiled.lut.read_bytes())
        profiled.lut.write_text(profiled.lut.read_text().replace(mine, "deadbeef"))
    damaged.write_bytes(damaged.read_bytes()[:-40])
    torn = damaged.read_bytes()
    for path in (profiled.out / "tuning_logs" / "cpu").glob("*.jsonl"):
        path.unlink()
    answer = command(profiled.profile())
    assert answer.code == 2
    assert not answer.out
    assert str(damaged) in answer.err.splitlines()[-1]
    assert f"line {KERNELS + 1}" in answer.err.splitlines()[-1]
    assert (profiled.journals(), damaged.read_bytes()) == ({}, torn)
    found = command(["lut", "check", str(damaged)])
    assert (found.code, found.err) == (1, "")
    assert f"{damaged}:line {KERNELS + 1}" in found.out


def test_a_cell_that_was_edited_is_found(profiled: Place, command: Command) -> None:
    with profiled.lut.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[3][rows[0].index("latency_median_s")] = "-1"
    with profiled.lut.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    answer = command(["lut", "check", str(profiled.lut), "--json"])
    assert answer.code == 1
    finding = json.loads(answer.out)["findings"][0]
    assert (finding["line"], finding["column"]) == (4, "latency_median_s")


def test_two_runs_at_once(place: Place) -> None:
    """They share the work: a candidate is looked up once more when the turn to measure has come, so none is measured
    twice even where both had built it."""
    both = [place.start(place.profile("--json")) for _ in range(2)]
    answers = [place.answer(process) for process in both]
    for answer in answers:
        assert answer.code == 0, answer.err
        assert json.loads(answer.out)["totals"]["int8"]["priced"] == LINES
    assert len(store.read(place.lut)) == KERNELS
    assert place.measured_twice() == []
    assert place.failures() == []
    assert place.files() == FILES_OF_A_RUN
    assert (place.strays(), place.temporary_files()) == ([], [])


@pytest.mark.parametrize("moment", ["starting", "measuring"])
def test_ctrl_c(place: Place, command: Command, moment: str) -> None:
    arguments = place.profile("--trials", "1", "--json")
    process = place.start(arguments)
    if moment == "starting":
        while b"multiarray" not in Path(f"/proc/{process.pid}/maps").read_bytes():  # until it imports NumPy
            time.sleep(0.01)
    else:
        assert process.stderr is not None
        while (line := process.stderr.readline()) and not line.startswith("[1/"):
            pass
    os.killpg(process.pid, signal.SIGINT)
    answer = place.answer(process, limit_s=20)
    assert (answer.code, answer.out) == (130, "")
    assert answer.err.splitlines()[-1].startswith("interrupted; what was measured or built is kept")
    assert "Traceback" not in answer.err
    assert (place.strays(), place.temporary_files()) == ([], [])
    if moment == "measuring":
        before = place.journals()
        again = command(arguments)
        assert again.code == 0, again.err
        assert 0 < json.loads(again.out)["measured"] < KERNELS
        after = place.journals()
        assert all(after[name].startswith(content) for name, content in before.items())
        assert place.measured_twice() == []


def test_a_reader_that_goes_away(profiled: Place) -> None:
    process = profiled.start(["lut", "show", str(profiled.lut)])
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) != 0


def test_onnx_from_the_command_line(place: Place, command: Command) -> None:
    pytest.importorskip("onnx")
    model = Path(__file__).parents[1] / "data" / "tiny_torch.onnx"
    saved = place.folder / "network.json"
    answer = command(["network", str(model), "--out", str(saved)])
    assert answer.code == 0, answer.err
    assert "tied (read one tensor): layer2.conv1, layer2.downsample.0" in answer.out
    again = command(["network", str(saved), "--json"])
    assert again.out == saved.read_text()
