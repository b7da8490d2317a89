"""What the run makes of losses: whose fault they are, and who takes over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from profiler.artifact import Artifact
from profiler.devices.discover import FoundDevice
from profiler.errors import InvalidFile, ProfilerError
from profiler.fleet.events import ExtraLost, JobLost, PlaceClosed, PlaceOpened, WorkerRefused
from profiler.fleet.link import TaskFailed, WorkerLost
from profiler.lut import store
from profiler.tuning.energies import Energies
from profiler.workload import KernelSpec
from tests.fleet.pretended import CPU, PretendedFleet

T4S = tuple(FoundDevice("t4", "Tesla T4", n, f"GPU-{n}", f"00:0{n}.0") for n in range(2))


def test_a_fleet_that_works(pretended: PretendedFleet) -> None:
    pretended.link.add("one", "m1", cpu=1, compile=1)
    result = pretended.profile(3)
    assert (result.profile.measured, result.lost, result.refused) == (3, 0, ())
    assert not pretended.told(PlaceClosed)


def test_a_predictor_that_is_none_is_told_ahead_of_the_fleet(pretended: PretendedFleet) -> None:
    """With nobody there, who would have told it when he was looked at."""
    with pytest.raises(InvalidFile, match=r"pools\.json"):
        pretended.profile(1, predictor=pretended.folder / "pools.json")
    assert not pretended.events
    assert not (pretended.folder / "out").exists()


def test_dates_are_those_of_home(pretended: PretendedFleet) -> None:
    """Records are ordered by them, and clocks of workers may be wrong."""
    pretended.link.add("ahead", "m1", cpu=1, compile=1).clock_s = 1e6
    pretended.link.add("behind", "m2", cpu=1, compile=1).clock_s = -1e6
    begin = time.time()
    result = pretended.profile(4)
    dates = [row.measured_at for card in result.cards for row in store.read(card.lut_path)]
    assert len(dates) == 8
    assert begin <= min(dates) <= max(dates) <= time.time()


def test_lost_compilers_are_not_the_card_s_fault(pretended: PretendedFleet) -> None:
    """Twice three of them are lost in a row; a card that fails twice in a row gets no more work."""
    lost = 0

    def fault(name: str) -> None:
        nonlocal lost
        if name == "build" and lost < 6:
            lost += 1
            raise WorkerLost("it is gone")

    pretended.link.add("card", "m1", cpu=1)
    pretended.link.add("compiler", "m2", compile=1).fault = fault
    result = pretended.profile(2)
    assert (result.profile.measured, result.given_up) == (2, ())
    assert lost == 6
    assert not pretended.told(PlaceClosed)
    reasons = [event.reason for event in pretended.told(JobLost)]
    assert reasons == ["3 times a worker was lost that compiled it, last: it is gone"] * 2


def test_a_card_that_fails_twice_in_a_row_gets_no_more_work(pretended: PretendedFleet) -> None:
    def fault(name: str) -> None:
        if name == "measure":
            raise TaskFailed("a task failed there: no memory")

    pretended.link.add("broken", "m1", cpu=1, compile=1).fault = fault
    pretended.link.add("able", "m2", cpu=1, compile=1)
    result = pretended.profile(6)
    assert result.profile.measured == 6
    (closed,) = pretended.told(PlaceClosed)
    assert closed.place.endswith("worker broken")
    assert len([event for event in pretended.told(JobLost) if event.place.endswith("broken")]) == 2


def test_who_waits_for_a_card_gets_it_when_its_worker_leaves(pretended: PretendedFleet) -> None:
    """The replacement was there before the fleet knew that it was needed."""
    first = pretended.link.add("first", "m1", (T4S[0], CPU), t4=1, compile=1)
    pretended.link.add("second", "m1", (T4S[0], CPU), t4=1, compile=1).fault = lambda name: (
        wait(pretended, PlaceOpened) if name == "look" else None
    )

    def fault(name: str) -> None:
        if name == "measure":
            wait(pretended, WorkerRefused)
            pretended.link.workers.pop(first.offer.address, None)
            raise WorkerLost("it is gone")

    first.fault = fault
    result = pretended.profile(3, "t4")
    assert result.profile.measured == 3
    (refused,) = pretended.told(WorkerRefused)
    assert refused.worker == "second (tcp://second:1)"
    assert refused.reason == "it offers 1 t4: 0 of the 1 of m1 are left for it"
    assert [event.place.rpartition(" ")[2] for event in pretended.told(PlaceOpened)] == ["first", "second"]
    assert result.refused == (), "it took part in the end"


def test_a_card_that_does_not_work_is_not_taken_again(pretended: PretendedFleet) -> None:
    """By its worker, which lacks a second card and is looked at again when that is free."""
    other = pretended.link.add("other", "m1", (*T4S, CPU), t4=1, compile=1)

    def broken(name: str) -> None:
        if name == "look":
            wait(pretended, PlaceOpened)
        if name == "measure":
            raise TaskFailed("a task failed there: no memory")

    pretended.link.add("both", "m1", (*T4S, CPU), t4=2, compile=1).fault = broken

    def fault(name: str) -> None:
        if name == "measure":
            wait(pretended, PlaceClosed)
            pretended.link.workers.pop(other.offer.address, None)
            raise WorkerLost("it is gone")

    other.fault = fault
    with pytest.raises(ProfilerError, match=r"no worker of .* is left"):
        pretended.profile(9, "t4")
    opened = [event.place for event in pretended.told(PlaceOpened)]
    assert len(opened) == len(set(opened)) == 3, "other's card, its own one, and other's once that has left"


def test_what_is_not_measured_beside_the_workloads_is_told(pretended: PretendedFleet) -> None:
    searched = False

    def fault(name: str) -> None:
        nonlocal searched
        if name == "measure" and searched:
            raise TaskFailed("a task failed there: no memory")

    for name, machine in (("one", "m1"), ("two", "m2")):
        pretended.link.add(name, machine, cpu=1, compile=1).fault = fault

    def listen(event: Any) -> None:
        nonlocal searched
        searched = searched or getattr(event, "done", 0) == 2

    pretended.profile(2, listen=listen)
    whats = {event.what.partition(" of ")[0] for event in pretended.told(ExtraLost)}
    assert whats <= {"the reference kernels", "what others found"}
    assert whats
    assert all("no memory" in event.reason for event in pretended.told(ExtraLost))


def test_a_kernel_that_fails_at_its_energy_leaves_its_place_to_the_next_config(pretended: PretendedFleet) -> None:
    """On both cards, of which one has measured nothing of it but the other one's winner."""
    tired: set[tuple[str, str]] = set()

    def tires_of(card: str) -> Callable[[Artifact], bool]:
        def tires(artifact: Artifact) -> bool:
            if any(kernel == artifact.spec.key for name, kernel in tired if name == card):
                return False
            tired.add((card, artifact.spec.key))
            return True

        return tires

    for name, machine in (("one", "m1"), ("two", "m2")):
        pretended.link.add(name, machine, cpu=1, compile=1).tires = tires_of(name)
    result = pretended.profile(2, trials=2, energy=True)
    assert len(tired) == 4
    for card in result.cards:
        rows = store.read(card.lut_path)
        assert len(rows) == 2
        assert [row.energy_j for row in rows] == [0.05] * 2
    assert result.profile.energies.known == 2
    assert not [line for line in result.profile.warnings if line.startswith("no latency")]


def test_a_kernel_of_which_every_config_fails_at_its_energy_has_no_latency(pretended: PretendedFleet) -> None:
    """And that is said, as on a machine of one's own."""
    pretended.link.add("one", "m1", cpu=1, compile=1).tires = lambda artifact: artifact.spec.workload.kernel_h == 2
    result = pretended.profile(2, trials=2, energy=True)
    (said,) = [line for line in result.profile.warnings if line.startswith("no latency")]
    assert said.startswith("no latency for 1 of 2 kernels; max_pool")
    assert "2 wrong_output (while its energy was measured: it computes something else)" in said
    assert result.profile.energies.known == 1


def test_a_card_without_work_does_not_go_through_all_journals_again_and_again(
    pretended: PretendedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another one measures for hours: the machine at home has work for that one, and may be measured itself."""
    asked: list[int] = []
    missing = Energies.missing

    def counted(self: Energies, specs: Sequence[KernelSpec]) -> tuple[KernelSpec, ...]:
        asked.append(len(specs))
        return missing(self, specs)

    monkeypatch.setattr(Energies, "missing", counted)
    meanwhile: list[int] = []

    def fault(name: str) -> None:
        if name == "measure_energy":
            time.sleep(1.0)  # the other one has all of its energies by then
            before = len(asked)
            time.sleep(1.0)
            meanwhile.append(len(asked) - before)

    pretended.link.add("quick", "m1", cpu=1, compile=1)
    pretended.link.add("slow", "m2", cpu=1, compile=1).fault = fault
    result = pretended.profile(2, energy=True)
    assert [row.energy_j for card in result.cards for row in store.read(card.lut_path)] == [0.05] * 4
    assert meanwhile == [0, 0]


def test_a_lost_energy_is_told_and_measured_again(pretended: PretendedFleet) -> None:
    lost = 0

    def fault(name: str) -> None:
        nonlocal lost
        if name == "measure_energy" and not lost:
            lost += 1
            raise TaskFailed("a task failed there: no memory")

    pretended.link.add("one", "m1", cpu=1, compile=1).fault = fault
    result = pretended.profile(2, energy=True)
    (event,) = pretended.told(ExtraLost)
    assert event.what.startswith("the energy of ")
    assert event.reason == "a task failed there: no memory"
    assert result.profile.energies.known == 2


def wait(fleet: PretendedFleet, kind: type) -> None:
    """Until something of that kind was told."""
    end = time.monotonic() + 10
    while not fleet.told(kind):
        assert time.monotonic() < end
        time.sleep(0.01)
