"""Joules of kernels that were tuned on a pretended machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.errors import DeviceError
from profiler.lut.build import build
from profiler.measure.energy import NoEnergy
from profiler.record import EnergyMeasurement, Failure, FailureKind, KernelRecord
from profiler.tuning.database import Tried, TuningDatabase
from profiler.tuning.energies import Energies
from profiler.tuning.events import EnergyTaken, TuneEvent
from profiler.tuning.tuner import Budget, Tuner
from tests.tuning.simulation import (
    BUSY_W,
    CONDITIONS,
    FINGERPRINT,
    RUN,
    Meter,
    World,
    conv,
    pool,
    simulated_bench,
)
from tests.tuning.test_tuner import journaled, latency_s, tuner

SPECS = (conv(8), conv(4), pool())
FEW = Budget(trials=4, sibling_trials=2, finalists=2)


def tuned(folder: Path, world: World) -> Tuner:
    tuning = tuner(folder, world, FEW)
    tuning.tune(SPECS)
    world.log.clear()
    return tuning


def energies(folder: Path, world: World) -> Energies:
    return Energies(simulated_bench(world), TuningDatabase(folder, FINGERPRINT, CONDITIONS, RUN.run_id))


def taken(folder: Path) -> list[EnergyMeasurement]:
    return [record for record in journaled(folder) if isinstance(record, EnergyMeasurement)]


def test_the_best_config_of_each_kernel(tmp_path: Path) -> None:
    world, events = World(meter=Meter()), list[TuneEvent]()
    results = tuned(tmp_path, world).tune(SPECS)
    world.log.clear()
    found = energies(tmp_path, world)
    found.listener = events.append
    assert found.missing((*SPECS, SPECS[0])) == SPECS
    for result in results:
        record = found.measure(result.spec)
        assert isinstance(record, EnergyMeasurement)
        assert result.best is not None
        assert record.config == result.best.config
        assert record.energy.j_per_run == pytest.approx(BUSY_W * latency_s(result))
        assert found.known(result.spec) == record
    assert found.missing(SPECS) == ()
    assert {event.spec for event in events if isinstance(event, EnergyTaken)} == set(SPECS)
    rows = build([*journaled(tmp_path)], FINGERPRINT)
    assert {row.spec: row.energy_j for row in rows} == pytest.approx(
        {result.spec: BUSY_W * latency_s(result) for result in results}
    )
    assert world.steps("begin") == ["compiling", "measuring"] * 3, "each in turns of its own"


def test_a_journal_is_gone_through_once_for_all_of_its_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ResNet18 in five precisions each has 42 kernels, and a fleet asks again and again."""
    world = World(meter=Meter())
    tuned(tmp_path, world)
    added: list[KernelRecord] = []
    add = Tried.add

    def counted(self: Tried, record: KernelRecord) -> None:
        added.append(record)
        add(self, record)

    monkeypatch.setattr(Tried, "add", counted)
    known = energies(tmp_path, world)
    assert known.missing(SPECS) == known.missing(SPECS) == SPECS
    journals = [known.database.records(workload) for workload in (conv(8).workload, pool().workload)]
    assert added == [record for records in journals for record in records], "each record once, whoever asks"


def test_what_a_journal_holds_is_not_measured_again(tmp_path: Path) -> None:
    world = World(meter=Meter())
    tuned(tmp_path, world)
    first = energies(tmp_path, world)
    first.measure(SPECS[0])
    world.break_at = len(world.log) + 4  # in the middle of the second kernel
    with pytest.raises(KeyboardInterrupt):
        first.measure(SPECS[1])
    kept = taken(tmp_path)
    assert [record.spec for record in kept] == [SPECS[0]]
    again = World(meter=Meter())
    later = energies(tmp_path, again)
    assert later.missing(SPECS) == SPECS[1:]
    for spec in later.missing(SPECS):
        later.measure(spec)
    assert {key for key, _ in again.steps("work")} == {spec.key for spec in SPECS[1:]}  # type: ignore[misc]
    assert kept[0] in taken(tmp_path)
    assert len(taken(tmp_path)) == 3


def test_another_run_may_be_first(tmp_path: Path) -> None:
    """While this one compiled: what it has found is taken."""
    world = World(meter=Meter())
    tuned(tmp_path, world)
    ours = energies(tmp_path, world)
    theirs = energies(tmp_path, World(meter=Meter()))
    build_one = ours.bench.builder.build  # type: ignore[attr-defined]

    def overtaken(requests: object) -> object:
        theirs.measure(SPECS[0])
        return build_one(requests)

    ours.bench.builder.build = overtaken  # type: ignore[attr-defined]
    ours.measure(SPECS[0])
    assert not world.steps("work")
    assert len(taken(tmp_path)) == 1


def test_a_config_that_fails_at_work_is_no_winner(tmp_path: Path) -> None:
    world = World(meter=Meter())
    tuning = tuned(tmp_path, world)
    (before,) = tuning.tune(SPECS[:1])
    assert before.best is not None
    bad = before.best.config
    world.failing_at_work = lambda config: config == bad
    found = energies(tmp_path, world)
    record = found.measure(SPECS[0])
    assert isinstance(record, Failure)
    assert (record.kind, record.config) == (FailureKind.CRASH, bad)
    (after,) = tuner(tmp_path, world, FEW).tune(SPECS[:1])
    assert after.best is not None
    assert after.best.config != bad
    assert found.missing(SPECS[:1]) == SPECS[:1]
    assert isinstance(found.measure(SPECS[0]), EnergyMeasurement)


def test_no_counter_no_records(tmp_path: Path) -> None:
    world = World()
    tuned(tmp_path, world)
    before = journaled(tmp_path)
    assert energies(tmp_path, world).measure(SPECS[0]) == NoEnergy("no counter here")
    assert journaled(tmp_path) == before


def test_a_kernel_without_latency_has_no_energy_to_measure(tmp_path: Path) -> None:
    world = World(meter=Meter(), crashing=lambda config: True)
    tuner(tmp_path, world, FEW).tune(SPECS[:1])
    assert energies(tmp_path, world).missing(SPECS) == ()


def test_a_device_that_cannot_be_measured_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(meter=Meter())
    tuned(tmp_path, world)
    found = energies(tmp_path, world)
    unstable = next(r for r in journaled(tmp_path))
    failure = Failure(
        SPECS[0], unstable.config, CONDITIONS, FINGERPRINT.digest, FailureKind.UNSTABLE, "hot", "run", 1.0, "0"
    )
    monkeypatch.setattr(type(found.bench), "energy", lambda self, artifact: failure)
    with pytest.raises(DeviceError, match="cannot be measured now: hot"):
        found.measure(SPECS[0])
    later = TuningDatabase(tmp_path, FINGERPRINT, CONDITIONS, "another run")
    assert later.tried(SPECS[0].workload)[SPECS[0]].best is not None, "it says nothing of the kernel"
