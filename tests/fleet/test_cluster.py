"""Fleets of processes on this machine: what is measured is real, and so are the faults."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from profiler.artifact import Artifact
from profiler.cli.fleet_tables import fleet_json
from profiler.errors import ProfilerError
from profiler.fleet import link, opening, reference
from profiler.fleet.access import Access
from profiler.fleet.compilers import Compilers
from profiler.fleet.events import FleetEvent, FleetProgress, JobLost, PlaceClosed, PlaceOpened, Tally, WorkerRefused
from profiler.fleet.limits import FleetLimits
from profiler.fleet.link import Link
from profiler.fleet.orders import Sight
from profiler.fleet.request import FleetRequest
from profiler.fleet.roster import Roster
from profiler.fleet.stage import profile
from profiler.frontend import network_file
from profiler.hardware import host_cpu
from profiler.lut.check import check
from profiler.lut.store import read
from profiler.measure.energy import EnergyRule
from profiler.record import FINAL_STAGE, EnergyMeasurement, Failure, FailureKind, Fingerprint, Journal, Measurement
from profiler.space.cpu_default import default_config
from profiler.tuning.events import EnergyTaken, SpecFinished, TuneEvent
from profiler.workload import INT8, Network
from tests.fleet.cluster import Cluster
from tests.fleet.pools import PoolBackend, network

pytest.importorskip("distributed")
pytestmark = [pytest.mark.alone]

LIMITS = FleetLimits(workers_s=30, call_s=3, kernel_s=0.25, look_every_s=0.2)
SEAT = (sys.executable, "-m", "tests.fleet.seat")
BOTH = "cpu=1,compile=1"


class Home:
    """The client's folder, and what a run told."""

    def __init__(self, folder: Path, cluster: Cluster, pools: int) -> None:
        self.out = folder / "out"
        self.cluster = cluster
        self.network: Network = network(pools)
        self.model = folder / "pools.json"
        network_file.save(self.network, self.model)
        self.events: list[FleetEvent] = []
        self.finished: list[SpecFinished] = []

    def request(self, limits: FleetLimits = LIMITS, **options: Any) -> FleetRequest:
        return FleetRequest(
            model=str(self.model),
            device="cpu",
            precisions=(INT8,),
            trials=2,
            mixed=False,
            out=self.out,
            access=Access(self.cluster.address, insecure=True),
            limits=limits,
            seat=SEAT,
            **options,
        )

    @property
    def progress(self) -> FleetProgress:
        def tuning(event: object) -> None:
            if isinstance(event, SpecFinished):
                self.finished.append(event)

        return FleetProgress(tuning=tuning, fleet=self.events.append)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def records(self, folder: str = "") -> list[Any]:
        found = sorted((self.out / "tuning_logs" / "cpu" / folder).glob("*.jsonl"))
        return [record for path in found for record in Journal(path).read() if not isinstance(record, Fingerprint)]

    def twice(self) -> Sequence[object]:
        """Candidates that have more than one record of a stage on one instrument."""
        keys = Counter(
            (r.spec.key, r.config, r.fingerprint, r.stage if isinstance(r, Measurement) else "failed")
            for r in self.records()
        )
        return [key for key, count in keys.items() if count > 1]


def test_one_is_killed_and_one_hangs(cluster: Cluster, tmp_path: Path) -> None:
    """Four workers: the run ends, all kernels are measured, no record is lost or there twice."""
    home = Home(tmp_path, cluster, pools=8)
    mark = tmp_path / "victim measures"
    cluster.worker("steady1", BOTH)
    cluster.worker("steady2", BOTH)
    cluster.worker("victim", BOTH, stuck=60, mark=str(mark))
    cluster.worker("hangs", BOTH, stuck=600)
    killed = when_there(mark, lambda: cluster.kill("victim"))
    result = profile(home.request(), home.progress)

    assert killed.wait(10)
    assert len(home.told(PlaceOpened)) == 4
    lost = home.told(JobLost)
    assert {event.place.rpartition(" ")[2] for event in lost} == {"victim", "hangs"}
    assert result.lost == len(lost) >= 2
    assert any("did not answer within its limit" in event.reason for event in lost)
    assert any("its worker is gone" in event.reason for event in lost)
    assert not any(event.given_up for event in lost)
    assert "victim" in {event.place.rpartition(" ")[2] for event in home.told(PlaceClosed)}
    assert result.given_up == ()
    assert (result.profile.kernels, result.profile.measured) == (8, 8)
    assert all(total.complete for total in result.profile.table.totals)
    assert home.twice() == []
    finals = [r for r in home.records() if isinstance(r, Measurement) and r.stage == FINAL_STAGE]
    assert len({record.spec for record in finals}) == 8
    assert not [record for record in home.records() if isinstance(record, Failure)]
    assert len(home.finished) == 8
    (card,) = result.cards
    assert card.lut_path == home.out / "lut" / "cpu.csv"
    assert check(card.lut_path) == []
    assert len(read(card.lut_path)) == 8
    tallies = home.told(Tally)
    assert (tallies[-1].done, tallies[-1].waiting, tallies[-1].in_flight) in {(8, 0, 0), (7, 0, 1)}
    assert cluster.strays() == [], "measuring processes end with their Dask worker, and with the run"


def test_one_is_stopped_while_it_compiles(cluster: Cluster, tmp_path: Path) -> None:
    """It keeps the lock of the machine: who measures there is told of it soon, and goes on when it does."""
    home = Home(tmp_path, cluster, pools=2)
    mark = tmp_path / "frozen compiles"
    cluster.worker("frozen", "compile=1", compiles=str(mark))
    wait_for(cluster, 1)

    def go_on(event: object) -> None:
        home.events.append(event)  # type: ignore[arg-type]
        if isinstance(event, JobLost):
            cluster.workers["frozen"].send_signal(signal.SIGCONT)

    when_there(mark, lambda: cluster.workers["frozen"].send_signal(signal.SIGSTOP))
    cluster.worker("steady", "cpu=1", stopped=0.5)
    threading.Timer(4, lambda: cluster.worker("late", "compile=1")).start()
    limits = FleetLimits(workers_s=30, silent_s=2, look_every_s=0.2)
    result = profile(home.request(limits), FleetProgress(fleet=go_on))
    assert result.profile.measured == 2
    (lost, *_) = home.told(JobLost)
    pid = cluster.workers["frozen"].pid
    assert lost.place.endswith("worker steady")
    assert f"process {pid} (" in lost.reason
    assert f"has the device and is stopped; continue it (kill -CONT {pid}), or end it" in lost.reason


def test_interrupted_and_gone_on_with(cluster: Cluster, tmp_path: Path) -> None:
    home = Home(tmp_path, cluster, pools=5)
    cluster.worker("one", BOTH)

    def interrupt(event: object) -> None:
        if isinstance(event, SpecFinished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile(home.request(), FleetProgress(tuning=interrupt))
    kept = home.records()
    assert kept
    result = profile(home.request(), home.progress)
    after = home.records()
    assert len(after) > len(kept)
    assert all(record in after for record in kept)
    assert home.twice() == []
    assert (result.profile.kernels, result.profile.measured) == (5, 4), "the first one was done"
    third = profile(home.request())
    assert (third.profile.measured, home.records()) == (0, after)


def test_two_cards_of_a_kind_are_kept_apart_and_compared(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path, cluster, pools=4)
    some = {spec.workload.text: spec for spec in (d for d in _specs(home.network)[:2])}
    monkeypatch.setattr(
        reference,
        "reference_configs",
        lambda target: {name: (spec, default_config(spec, target.cpu)) for name, spec in some.items()},
    )
    cluster.worker("first", BOTH, machine="m1", microcode="0x1")
    cluster.worker("second", BOTH, machine="m2", microcode="0x2")
    cluster.worker("old", BOTH, machine="m3", version="0.0.1")
    cluster.worker("somebody else's", "gpu=1")
    wait_for(cluster, 4)
    result = profile(home.request(), home.progress)

    assert {event.worker.partition(" ")[0] for event in home.told(WorkerRefused)} == {"old"}
    assert "profiler 0.0.1 (here" in result.refused[0]
    assert len(result.cards) == 2
    assert len({card.fingerprint for card in result.cards}) == 2
    assert result.profile.measured == 4
    assert [(card.kernels, card.used) for card in result.cards] == [(4, 4), (4, 0)], "what is compared is of one card"
    for card in result.cards:
        assert card.lut_path is not None
        rows = read(card.lut_path)
        assert {row.fingerprint for row in rows} == {card.fingerprint}
        assert {row.spec for row in rows} == set(_specs(home.network))
    finals = [r for r in home.records() if r.stage == FINAL_STAGE]
    assert {len(set(configs)) for configs in _configs(finals).values()} == {1}, "what one found the other measured"
    screened = Counter(r.fingerprint for r in home.records() if r.stage != FINAL_STAGE)
    assert sum(screened.values()) == 4 * 2, "searched on one card alone"
    assert len(screened) == 2, "and both took part in that"
    (spread,) = result.spreads
    assert {card.card for card in spread.cards} == {"m1", "m2"}
    assert all(card.kernels == 2 for card in spread.cards)
    assert 0 < spread.kernel_low <= spread.low <= 1 <= spread.high <= spread.kernel_high
    compared = home.records("spread")
    assert Counter(record.fingerprint for record in compared) == dict.fromkeys({r.fingerprint for r in compared}, 2)
    assert len({record.artifact_sha256 for record in compared}) == 2, "byte for byte the same on both"
    told = fleet_json(result)["fleet"]
    assert told["spreads"][0]["median_ratio_low"] == spread.low
    assert [card["fingerprint"] for card in told["cards"]] == [card.fingerprint for card in result.cards]

    again = profile(home.request())
    assert again.profile.measured == 0, "each kernel goes back to the card that has measured it"
    assert home.records("spread") == compared
    assert again.spreads == result.spreads


def test_energies_of_each_card(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers of one kind, of which one is killed while it measures an energy, and one whose card counts none."""
    rule = EnergyRule(window_s=0.05, windows=2, settle_s=0.0, idle_s=0.05)
    monkeypatch.setattr(opening, "ENERGY_RULE", rule)
    home = Home(tmp_path, cluster, pools=3)
    mark = tmp_path / "victim measures an energy"
    cluster.worker("steady", BOTH, machine="m1", power_w=20.0)
    cluster.worker("victim", BOTH, machine="m2", power_w=20.0, stuck_at_energy=60, mark_at_energy=str(mark))
    cluster.worker("silent", BOTH, machine="m3", microcode="0x2")
    wait_for(cluster, 3)

    killed = when_there(mark, lambda: cluster.kill("victim"))
    result = profile(home.request(energy=True), home.progress)

    assert killed.wait(10)
    taken = [record for record in home.records() if isinstance(record, EnergyMeasurement)]
    assert {record.spec for record in taken} == set(_specs(home.network))
    assert len(taken) == 3, "one of each kernel, on the kind of card that counts"
    for record in taken:
        for window in record.energy.windows:
            assert window.counted_j == pytest.approx(20.0 * window.duration_s, rel=0.3)
    rows = {card.fingerprint: read(card.lut_path) for card in result.cards if card.lut_path is not None}
    metered = {short: [row.energy_j is not None for row in found] for short, found in rows.items()}
    assert sorted(metered.values()) == [[False] * 3, [True] * 3]
    said = [line for line in result.profile.warnings if line.startswith("no energies: ")]
    assert len(said) == 1
    assert said[0].startswith("no energies: no counter there (")
    assert "silent" in said[0]
    assert result.profile.energies.measured == 3
    assert result.profile.energies.why_none == said[0].removeprefix("no energies: ")
    assert cluster.strays() == []

    told: list[TuneEvent] = []
    again = profile(home.request(energy=True), FleetProgress(tuning=told.append))
    assert again.profile.energies.measured == 0
    assert not [event for event in told if isinstance(event, EnergyTaken)]
    assert [record for record in home.records() if isinstance(record, EnergyMeasurement)] == taken


def test_given_up_after_so_many_attempts(cluster: Cluster, tmp_path: Path) -> None:
    """A workload whose every worker fails ends as a typed failure, which the next run does not hold against it."""
    home = Home(tmp_path, cluster, pools=1)
    cluster.worker("hangs", BOTH, stuck=600)
    cluster.worker("breaks", BOTH, broken=True)
    wait_for(cluster, 2)
    limits = FleetLimits(workers_s=30, call_s=0.5, kernel_s=0, look_every_s=0.2, attempts=2, strikes=9)
    with pytest.raises(ProfilerError, match=r"no kernel of pools could be measured: "):
        profile(home.request(limits), home.progress)
    assert [event.given_up for event in home.told(JobLost)] == [False, True]
    said = {event.place.rpartition(" ")[2]: event.reason for event in home.told(JobLost)}
    assert set(said) == {"hangs", "breaks"}, "the second time elsewhere"
    assert "did not answer within its limit" in said["hangs"]
    assert "a task failed there" in said["breaks"]
    assert "nobody has foreseen this" in said["breaks"]
    failures = [record for record in home.records() if isinstance(record, Failure)]
    assert {failure.kind for failure in failures} == {FailureKind.UNSTABLE}
    assert "given up after 2 attempts" in failures[0].message
    for name in ("hangs", "breaks"):
        cluster.kill(name)
    cluster.worker("steady", BOTH)
    result = profile(home.request())
    assert (result.profile.measured, result.given_up) == (1, ())


def test_nobody_offers_it(cluster: Cluster, tmp_path: Path) -> None:
    home = Home(tmp_path, cluster, pools=1)
    cluster.worker("compiles", "compile=2")
    wait_for(cluster, 1)
    limits = FleetLimits(workers_s=1, look_every_s=0.1)
    with pytest.raises(ProfilerError, match=r"offers cpu: start one with --resources 'cpu=1'; 1 workers.*compile=2"):
        profile(home.request(limits))


def test_the_scheduler_ends(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_ANSWER_S", 2.0)
    home = Home(tmp_path, cluster, pools=3)
    cluster.worker("one", BOTH)

    def end(event: object) -> None:
        if isinstance(event, SpecFinished):
            cluster.scheduler.kill()
            cluster.scheduler.wait()

    begin = time.monotonic()
    with pytest.raises(ProfilerError, match=r"the scheduler .* does not answer any more; what was measured is kept"):
        profile(home.request(), FleetProgress(tuning=end, fleet=home.events.append))
    assert time.monotonic() - begin < 60
    assert [record for record in home.records() if isinstance(record, Measurement)]
    assert not [record for record in home.records() if isinstance(record, Failure)]


def test_the_last_worker_leaves(cluster: Cluster, tmp_path: Path) -> None:
    home = Home(tmp_path, cluster, pools=3)
    cluster.worker("only", "cpu=1", threads=1)
    limits = FleetLimits(workers_s=1.5, look_every_s=0.1)

    def leave(event: object) -> None:
        if isinstance(event, SpecFinished):
            cluster.kill("only")

    with pytest.raises(ProfilerError, match=r"no worker .* is left that offers cpu, and . workloads are open"):
        profile(home.request(limits), FleetProgress(tuning=leave))
    assert [record for record in home.records() if isinstance(record, Measurement)]


def test_compilers_that_do_not_work(cluster: Cluster) -> None:
    """What they were given others compile; without others the run ends with their reason."""
    cluster.worker("able", "compile=1")
    cluster.worker("bare", "compile=1", no_compiler=True)
    wait_for(cluster, 2)
    specs = _specs(network(8))
    requests = [(spec, default_config(spec, host_cpu())) for spec in specs]
    refused: list[tuple[str, str]] = []
    with Link(Access(cluster.address, insecure=True), connect_s=20) as linked:
        roster = Roster(silent_s=60)
        compilers = Compilers(linked, roster, LIMITS, lambda worker, reason: refused.append((worker, reason)))
        roster.update(linked.offers(), time.monotonic())
        roster.sights.update(dict.fromkeys(roster.present, Sight("here", "here", "any", 2, "", "", ())))
        results = compilers.build(PoolBackend(), requests, "x", lambda: None)
        assert [result.spec for result in results] == specs
        assert all(isinstance(result, Artifact) for result in results)
        ((worker, reason),) = refused
        assert worker.startswith("bare")
        assert reason == "no C compiler: install one; it compiles nothing in this run"

        cluster.kill("able")
        while len(roster.present) > 1:
            roster.update(linked.offers(), time.monotonic())
        with pytest.raises(ProfilerError, match=r"can compile \(no C compiler: install one\): start one with"):
            compilers.build(PoolBackend(), requests, "x", lambda: None)


def _configs(records: Sequence[Measurement]) -> dict[Any, list[str]]:
    """Those of the fastest final measurement of each instrument, by kernel."""
    best: dict[tuple[Any, str], Measurement] = {}
    for record in records:
        key = (record.spec, record.fingerprint)
        if key not in best or record.summary.median_s < best[key].summary.median_s:
            best[key] = record
    found: dict[Any, list[str]] = {}
    for (spec, _), record in best.items():
        found.setdefault(spec, []).append(record.config)
    return found


def _specs(network: Network) -> list[Any]:
    from profiler.lut.demand import demand

    return [d.spec for d in demand(network, (INT8,), mixed=False)]


def when_there(mark: Path, act: Callable[[], None]) -> threading.Event:
    """Act as soon as there is a file of that name, while the test goes on; the event says that it was done."""
    done = threading.Event()

    def watch() -> None:
        end = time.monotonic() + 60
        while not mark.exists():
            if time.monotonic() > end:
                return
            time.sleep(0.02)
        act()
        done.set()

    threading.Thread(target=watch, daemon=True).start()
    return done


def wait_for(cluster: Cluster, workers: int) -> None:
    """Until so many have joined."""
    import distributed

    with distributed.Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=60)
