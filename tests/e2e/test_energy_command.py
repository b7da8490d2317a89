"""Energies as a user measures them: on a processor with a counter that a test makes, and on one without."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from profiler import campaign
from profiler.devices import host
from profiler.devices.protocol import Worked
from profiler.devices.rapl import RaplCounter
from profiler.lut import store
from profiler.measure.energy import EnergyRule
from profiler.record import CacheMode, EnergyMeasurement
from profiler.tuning.tuner import Tuner
from tests.devices.test_rapl import domain
from tests.e2e.command import KERNELS, LINES, Outcome, Place

Command = Callable[[list[str]], Outcome]

POWER_W = 40.0
SHORT = EnergyRule(window_s=0.1, windows=2, settle_s=0.0, idle_s=0.05)


class Processor:
    """Draws `POWER_W` at all times, and counts it in a folder as Linux shows it."""

    def __init__(self, powercap: Path) -> None:
        self.powercap = powercap
        self._counter = domain(powercap, "intel-rapl:0", "package-0", 0, range_uj=1 << 40)
        self._begin_s = time.monotonic()

    def counter(self) -> RaplCounter:
        """One that finds it up to date whenever it reads."""
        processor = self

        class Counter(RaplCounter):
            def read_j(self) -> float | None:
                processor.tick()
                return super().read_j()

        return Counter(self.powercap)

    def tick(self) -> None:
        self._counter.write_text(str(round((time.monotonic() - self._begin_s) * POWER_W * 1e6)))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs on this machine, nothing is measured again because of it."""
    monkeypatch.setattr(Tuner, "_doubtful", lambda self, final: False)


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processor:
    made = Processor(tmp_path / "powercap")
    monkeypatch.setattr(host, "RaplCounter", made.counter)
    monkeypatch.setattr(campaign, "ENERGY_RULE", SHORT)
    return made


@pytest.fixture
def no_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(host, "RaplCounter", partial(RaplCounter, tmp_path / "none"))
    return f"no energies: RAPL: no energy counter of the processor in {tmp_path / 'none'} (virtual machines have none)"


def energies(place: Place) -> list[EnergyMeasurement]:
    return [record for record in place.records() if isinstance(record, EnergyMeasurement)]


def test_a_table_that_was_profiled_before_gets_its_energies(
    place: Place, command: Command, processor: Processor
) -> None:
    """From nothing to latencies, to joules, and to a run that has nothing left to do."""
    first = command(place.profile("--json", model=place.dense))
    assert first.code == 0, first.err
    nothing = {"kernels": 0, "measured": 0, "counters": [], "idle_w": None, "reason": None}
    assert json.loads(first.out)["energies"] == nothing, "nobody asked"
    (plain,) = store.read(place.lut)
    before = place.records()

    answer = command(place.profile("--energy", "--json", model=place.dense))
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["measured"] == 0
    assert told["energies"].pop("idle_w") == pytest.approx([POWER_W] * 2, rel=0.3)
    assert told["energies"] == {"kernels": 1, "measured": 1, "counters": ["RAPL package-0"], "reason": None}
    assert "energies of 1 kernels, which take some" in answer.err
    assert "[1/1, " in answer.err
    (record,) = energies(place)
    assert [r for r in place.records() if r != record] == before, "an energy alone was added"
    assert len(record.energy.windows) == SHORT.windows
    for window in record.energy.windows:
        assert window.counted_j == pytest.approx(POWER_W * window.duration_s, rel=0.3)
    assert record.energy.idle_w == pytest.approx(POWER_W, rel=0.3)
    (row,) = store.read(place.lut)
    assert row == replace(plain, energy_j=record.energy.j_per_run)
    total = told["totals"]["int8"]
    assert (total["metered"], total["lines"], total["energy_j"]) == (1, 1, row.energy_j)
    assert total["above_idle_j"] == record.energy.above_idle_j_per_run
    assert told["layers"][0]["energy_j"] == {"int8": row.energy_j}

    once, journals = place.lut.read_bytes(), place.journals()
    again = command(place.profile("--energy", model=place.dense))
    assert again.code == 0, again.err
    assert "energies of 1 kernels by RAPL package-0, 0 measured now" in again.out
    assert "INT8 energy" in again.out
    assert "energy INT8: " in again.out
    assert "images per second and watt, by the sum of the kernels" in again.out
    assert (place.lut.read_bytes(), place.journals()) == (once, journals)


def test_without_a_counter_the_run_says_why_and_goes_on(
    place: Place, command: Command, no_counter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made up, neither of a counter that is not there nor of one that stands still."""
    answer = command(place.profile("--energy", model=place.dense))
    assert answer.code == 0, answer.err
    assert answer.out.count("no energies: ") == 1
    assert no_counter in " ".join(answer.out.split())
    assert "total INT8: " in answer.out
    assert not energies(place)
    assert all(row.energy_j is None for row in store.read(place.lut))
    again = command(place.profile("--energy", "--json", model=place.dense))
    told = json.loads(again.out)
    assert f"no energies: {told['energies']['reason']}" == no_counter
    assert told["energies"]["kernels"] == 0
    assert told["totals"]["int8"]["energy_j"] is None
    assert "no energies" not in command(place.profile(model=place.dense)).out, "nobody asked"

    still = tmp_path / "still"
    domain(still, "intel-rapl:0", "package-0", 5)
    monkeypatch.setattr(host, "RaplCounter", partial(RaplCounter, still))
    monkeypatch.setattr(campaign, "ENERGY_RULE", SHORT)
    stuck = command(place.profile("--energy", model=place.dense))
    assert stuck.code == 0, stuck.err
    assert "no energies: neither the energy counter nor the power of the device showed" in " ".join(stuck.out.split())
    assert not energies(place)


def test_an_interrupted_run_keeps_what_it_has_and_goes_on(
    profiled: Place, command: Command, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    work = host.HostDevice.work

    def interrupted(self: host.HostDevice, handle: int, duration_s: float, mode: CacheMode) -> Worked:
        if duration_s:
            taken.append("work")
        if len(taken) > 3 * SHORT.windows:
            raise KeyboardInterrupt
        return work(self, handle, duration_s, mode)

    with monkeypatch.context() as patched:
        patched.setattr(host.HostDevice, "work", interrupted)
        answer = command(profiled.profile("--energy"))
    assert answer.code == 128 + signal.SIGINT
    kept = energies(profiled)
    assert len(kept) == 3
    assert sum(row.energy_j is not None for row in store.read(profiled.lut)) == 3, "the table has them, too"
    told = json.loads(command(profiled.profile("--energy", "--json")).out)
    assert told["energies"]["kernels"] == KERNELS
    assert told["energies"]["measured"] == KERNELS - 3
    assert len(energies(profiled)) == KERNELS
    assert all(record in energies(profiled) for record in kept)
    assert (told["totals"]["int8"]["metered"], told["totals"]["int8"]["lines"]) == (LINES, LINES)


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before
