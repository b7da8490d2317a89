"""The command `sample`, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from profiler.lut import store
from tests.e2e.command import Outcome, Place

Command = Callable[[list[str]], Outcome]


def arguments(place: Place, *options: str) -> list[str]:
    return ["sample", "--device", "cpu", "--out", str(place.out), "--trials", "1", *options]


def test_sample_and_sample_more(place: Place, command: Command) -> None:
    answer = command(arguments(place, "--count", "2", "--precisions", "int8", "--json"))
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert (told["device"], told["workloads"], told["kernels"], told["resumed"]) == ("cpu", 2, 2, False)
    assert (told["measured"], told["failures"], told["lut"]) == (2, 0, str(place.lut))
    assert "0 of 2 workloads are done; next 1 that fill the space: 1 kernels on " in answer.err
    assert "1 of 2 workloads are done" in answer.err
    assert "[2/2, " in answer.err, "a line per kernel, counted through all rounds"
    first = {row.spec for row in store.read(place.lut)}
    assert len(first) == 2
    assert place.files() == {"lut/cpu.csv", "lut/.cpu.csv.lock"}
    again = command(arguments(place, "-n", "1", "--precisions", "int8"))
    assert again.code == 0, again.err
    assert "1 workloads, 1 kernels, 1 measured now in " in again.out
    assert f"LUT: {place.lut}, records: {place.out / 'tuning_logs' / 'cpu'}" in again.out
    assert again.out.splitlines()[-1].startswith(f"learn from them: python -m profiler fit --lut {place.lut} ")
    assert {row.spec for row in store.read(place.lut)} > first
    assert "nothing wrong" in command(["lut", "check", str(place.lut)]).out


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--precisions", "int9"], ["unknown precision 'int9'"]),
        (["--precisions", ","], ["no precision given"]),
        (["--device", "abacus"], ["unknown device 'abacus'"]),
        (["--sustained"], ["--sustained is for GPUs"]),
        (["--clock-mhz", "585"], ["--clock-mhz is the clock of --lock-clocks"]),
        (["--model", "nowhere.json"], ["nowhere.json: there is no such file"]),
    ],
)
def test_wrong_values(place: Place, command: Command, options: list[str], parts: list[str]) -> None:
    assert command(arguments(place, *options)).refused(*parts)
    assert not place.lut.exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [(["--count", "0"], "'--count'"), (["--seed", "-1"], "'--seed'"), (["resnet18"], "resnet18")],
)
def test_wrong_usage(place: Place, command: Command, options: list[str], part: str) -> None:
    answer = command(arguments(place, *options))
    assert (answer.code, answer.out) == (2, "")
    assert part in answer.err
    assert "Traceback" not in answer.err


def test_state_of_another_sample(place: Place, command: Command) -> None:
    state = place.out / "tuning_logs" / "cpu" / "sample.json"
    state.parent.mkdir(parents=True)
    state.write_text("[]")
    assert command(arguments(place)).refused(f"{state}: not the state of an unfinished sample", "delete the file")
    assert state.read_text() == "[]"
    assert place.journals() == {}


def test_help_reads_well(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "120")
    answer = command(["sample", "--help"])
    assert (answer.code, answer.err) == (0, "")
    for internal in ("json_output", "CacheMode", "typer", "Annotated", "None"):
        assert internal not in answer.out
    for line in answer.out.splitlines():
        words = line.strip("│ ").split()
        assert not (words and words[0].startswith("--") and len(words) < 3), f"an option without a word: {line}"
