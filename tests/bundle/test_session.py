"""The loop, with a device that answers at once and a clock that it moves."""

from __future__ import annotations

import io
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from profiler.artifact import Artifact
from profiler.bundle.box import session
from profiler.bundle.box.archive import Archive
from profiler.bundle.box.bar import Bar
from profiler.bundle.box.manifest import Candidate, Manifest
from profiler.bundle.box.results import NO_ENERGY, End, Reason, Results, ResultsFile, parse
from profiler.bundle.box.session import Budget, run
from profiler.devices.protocol import EnergyCounter, Throttling, Worked
from profiler.errors import DeviceError, FingerprintMismatch, InvalidFile
from profiler.lut.build import build
from profiler.measure.energy import NoEnergy
from profiler.measure.turns import MachineTurns, NoTurn
from profiler.record import CacheMode, Circumstances, EnergyMeasurement, FailureKind, Fingerprint
from tests.bundle.examples import (
    INSTRUMENT,
    NO_METER,
    FakeDevice,
    FakeNetworks,
    configuration,
    kernel,
    manifest,
    pack,
    spec,
)

KERNELS = (kernel(spec(8, 8), 5), kernel(spec(8, 4), 5), kernel(spec(16), 5, modelled_s=10.0))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(pack(tmp_path / "run.zip", manifest(KERNELS)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def measured(
    archive: Archive,
    path: Path,
    device: FakeDevice,
    seconds: float = float("inf"),
    networks: FakeNetworks | None = None,
    screen: io.StringIO | None = None,
) -> End:
    budget = Budget(seconds, device.now_s, device.clock)
    turns, bar = MachineTurns(path.with_name("lock")), Bar(screen or io.StringIO())
    with ResultsFile(path) as file:
        return run(archive, device, networks or FakeNetworks(device), turns, file, budget, bar)


def read(path: Path) -> Results:
    return parse(path.read_bytes(), path)


def test_everything_is_measured_once_and_the_fastest_once_more(archive: Archive, path: Path) -> None:
    device = FakeDevice()
    end = measured(archive, path, device)
    results = read(path)
    assert results.end == end
    assert (end.reason, end.measurements, end.failures) == (Reason.COMPLETE, len(device.asked), 0)
    assert results.header is not None
    assert (results.header.manifest, results.header.kernels) == (archive.manifest.digest, 3)
    times = Counter(device.asked)
    for one in KERNELS:
        assert times[one.spec, "c0", "final"] in (1, 2)  # twice: the best so far, beside the others
        assert [times[one.spec, f"c{i}", "screen"] for i in range(5)] == [0, 1, 1, 1, 1]
        assert sum(times[one.spec, f"c{i}", "final"] for i in range(1, 5)) in (2, 3)
    assert measured(archive, path, device) == end
    assert len(device.asked) == sum(times.values())


def test_kernels_of_a_workload_are_measured_in_turn(archive: Archive, path: Path) -> None:
    device = FakeDevice()
    measured(archive, path, device)
    assert [(s, c) for s, c, _ in device.asked[:3]] == [(KERNELS[2].spec, "c0"), *((k.spec, "c0") for k in KERNELS[:2])]


@pytest.mark.parametrize("seconds", [0.5, 5, 7.5, 12, 20])
def test_a_budget_is_kept_and_the_run_goes_on(archive: Archive, path: Path, seconds: float) -> None:
    """A final takes 2 s at first sight, and 1 s as soon as one was seen."""
    device = FakeDevice()
    end = measured(archive, path, device, seconds)
    assert device.now_s <= seconds
    assert end.reason is (Reason.BUDGET if seconds < 20 else Reason.COMPLETE)
    assert measured(archive, path, device).reason is Reason.COMPLETE
    again = Counter(device.asked)
    whole = FakeDevice()
    measured(archive, path.with_name("whole.jsonl"), whole)
    assert again == Counter(whole.asked)


@pytest.mark.parametrize("seconds", [25, 40, 60])
def test_a_slow_device_is_noticed(archive: Archive, path: Path, seconds: float) -> None:
    """It takes more than twice the time that is reckoned with at first."""
    device = FakeDevice(costs_s={"final": 5.0, "screen": 1.2})
    measured(archive, path, device, seconds)
    assert seconds - 15 < device.now_s <= seconds


def test_ctrl_c_is_written_and_the_run_goes_on(archive: Archive, path: Path) -> None:
    whole = FakeDevice()
    measured(archive, path.with_name("whole.jsonl"), whole)
    calls = iter(range(10_000))

    def stop() -> None:
        if next(calls) in (2, 9, 16):
            raise KeyboardInterrupt

    device = FakeDevice(before=stop)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            measured(archive, path, device)
        end = read(path).end
        assert end is not None
        assert end.reason is Reason.INTERRUPTED
    assert measured(archive, path, device).reason is Reason.COMPLETE
    kept = Counter((r.spec, r.config, r.stage) for r in read(path).records)  # type: ignore[union-attr]
    assert kept == Counter(whole.asked)


@pytest.mark.parametrize("error", [DeviceError("the GPU is lost"), ZeroDivisionError("a defect")])
def test_a_device_that_gives_up_is_written(archive: Archive, path: Path, error: Exception) -> None:
    def lost() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        measured(archive, path, FakeDevice(before=lost))
    end = read(path).end
    assert end is not None
    assert end.reason is Reason.FAILED


def test_each_step_is_a_turn_of_its_own(archive: Archive, path: Path) -> None:
    lock = path.with_name("lock")
    free: list[bool] = []

    def look() -> None:
        with suppress(NoTurn), MachineTurns(lock).measuring(0.0):
            free.append(True)
        free.append(False)

    measured(archive, path, FakeDevice(before=look))
    assert set(free) == {False}
    with MachineTurns(lock).measuring(0.0):
        pass


def test_somebody_else_s_turn_is_no_reason_to_miss_the_end(archive: Archive, path: Path) -> None:
    device = FakeDevice()
    with MachineTurns(path.with_name("lock")).measuring():
        end = measured(archive, path, device, 0.1)
        assert (end.reason, device.asked) == (Reason.BUDGET, [])


# -- energies ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def metered(tmp_path: Path) -> Archive:
    return Archive(pack(tmp_path / "metered.zip", manifest(KERNELS, energy=True)))


def energies(path: Path) -> list[EnergyMeasurement]:
    return [record for record in read(path).records if isinstance(record, EnergyMeasurement)]


def test_energies_of_the_best_when_all_else_is_done(metered: Archive, path: Path) -> None:
    device = FakeDevice()
    end = measured(metered, path, device)
    assert end.reason is Reason.COMPLETE
    assert [kind for _, _, kind in device.asked[-3:]] == ["energy"] * 3
    assert "energy" not in {kind for _, _, kind in device.asked[:-3]}
    assert end.measurements == len(device.asked)
    best = {row.spec: row.config for row in build(read(path).records, INSTRUMENT)}
    assert {record.spec: record.config for record in energies(path)} == best
    assert all(row.energy_j == pytest.approx(0.5) for row in build(read(path).records, INSTRUMENT))
    assert measured(metered, path, device) == end
    assert len(energies(path)) == 3


def test_a_run_that_is_stopped_among_energies_goes_on(metered: Archive, path: Path) -> None:
    calls: list[int] = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == total - 1:
            raise KeyboardInterrupt

    whole = FakeDevice()
    measured(metered, path.with_name("whole.jsonl"), whole)
    total = len(whole.asked)
    with pytest.raises(KeyboardInterrupt):
        measured(metered, path, FakeDevice(before=stop))
    assert len(energies(path)) == 1
    device = FakeDevice()
    assert measured(metered, path, device).reason is Reason.COMPLETE
    assert [kind for _, _, kind in device.asked] == ["energy"] * 2


def test_a_budget_leaves_energies_for_which_there_is_no_time(metered: Archive, path: Path) -> None:
    device = FakeDevice()
    measured(metered, path, device)
    whole_s = device.now_s
    again = FakeDevice()
    end = measured(metered, path.with_name("short.jsonl"), again, whole_s - 20)
    assert end.reason is Reason.BUDGET
    assert again.now_s <= whole_s - 20
    assert len(energies(path.with_name("short.jsonl"))) == 2


def test_a_box_without_a_counter_says_so_and_measures_latencies(metered: Archive, path: Path) -> None:
    device, screen = FakeDevice(counter=NO_METER), io.StringIO()
    end = measured(metered, path, device, screen=screen)
    assert end.reason is Reason.COMPLETE
    assert screen.getvalue().count("no energies: no counter here") == 1
    assert not energies(path)
    header = read(path).header
    assert header is not None
    assert header.host[NO_ENERGY] == "no counter here"
    later = FakeDevice()
    assert measured(metered, path, later).reason is Reason.COMPLETE
    assert [kind for _, _, kind in later.asked] == ["energy"] * 3, "once it counts, they are measured"


def test_a_config_that_fails_at_work_is_followed_by_the_next(metered: Archive, path: Path) -> None:
    whole = FakeDevice()
    measured(metered, path.with_name("whole.jsonl"), whole)
    (bad, *_) = [config for of, config, kind in whole.asked if kind == "energy"]
    device = FakeDevice(fragile=frozenset({bad}))
    end = measured(metered, path, device)
    assert end.reason is Reason.COMPLETE
    assert end.failures >= 1
    assert bad not in {record.config for record in energies(path)}
    assert len(energies(path)) == 3


def test_a_counter_that_stands_still(metered: Archive, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "measure_energy", lambda *_, **__: NoEnergy("it showed nothing"))
    screen = io.StringIO()
    assert measured(metered, path, FakeDevice(), screen=screen).reason is Reason.COMPLETE
    assert screen.getvalue().count("no energies: it showed nothing") == 1
    assert not energies(path)


@dataclass
class HotDevice:
    """Always slowed down; a batch takes a tenth of a second."""

    slug: str = "t4"
    now_s: float = 0.0
    slept_s: list[float] = field(default_factory=list)

    def fingerprint(self, compiler: str) -> Fingerprint:
        return INSTRUMENT

    def load(self, artifact: Artifact) -> int:
        return 0

    def verify(self, handle: int) -> None: ...

    def recheck(self, handle: int) -> None: ...

    def unload(self, handle: int) -> None: ...

    def circumstances(self) -> Circumstances:
        return Circumstances()

    def close(self) -> None: ...

    def time(self, handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        self.now_s += 0.1
        return (1e-3,) * launches

    def work(self, handle: int, duration_s: float, mode: CacheMode) -> Worked:
        self.now_s += duration_s
        return Worked(1)

    @property
    def counter(self) -> EnergyCounter:
        raise NotImplementedError

    def throttling(self) -> Throttling:
        return Throttling("heat")

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


def hot_run(archive: Archive, path: Path, device: HotDevice, seconds: float) -> Results:
    budget = Budget(seconds, 0.0, lambda: device.now_s, device.sleep)
    with ResultsFile(path) as file:
        turns, bar = MachineTurns(path.with_name("lock")), Bar(io.StringIO())
        run(archive, device, FakeNetworks(FakeDevice()), turns, file, budget, bar)
    return read(path)


def test_waits_for_a_cooler_card_end_with_the_budget(archive: Archive, path: Path) -> None:
    """Without a budget a kernel is waited for 60 s, and all of a step for 180 s."""
    device = HotDevice()
    results = hot_run(archive, path, device, 20.0)
    assert sum(device.slept_s) < 20
    assert device.now_s < 30, "batches go on until no more is waited for"
    assert results.end is not None
    assert (results.end.reason, results.records) == (Reason.BUDGET, ()), "that it never cools down is not known"
    with pytest.raises(DeviceError, match="cannot be measured now"):
        hot_run(archive, path.with_name("other.jsonl"), HotDevice(), 1000.0)


def test_failures_are_recorded_and_told(archive: Archive, path: Path) -> None:
    screen = io.StringIO()
    device = FakeDevice({(KERNELS[2].spec, "c0"): None})
    end = measured(archive, path, device, screen=screen)
    assert end.failures == 1
    assert device.asked[1] == (KERNELS[2].spec, "c1", "final")
    assert f"failed (crash): {KERNELS[2].spec.key}: c0: SIGSEGV" in screen.getvalue()


# -- networks ---------------------------------------------------------------------------------------------------------

NETWORKS = (configuration("uniform int8", KERNELS[0], KERNELS[2]), configuration("uniform int4", KERNELS[1]))


@pytest.fixture
def with_networks(tmp_path: Path) -> Archive:
    return Archive(pack(tmp_path / "networks.zip", manifest(KERNELS, configurations=NETWORKS)))


def test_networks_are_measured_behind_their_kernels(with_networks: Archive, path: Path) -> None:
    device, screen = FakeDevice(), io.StringIO()
    networks = FakeNetworks(device)
    end = measured(with_networks, path, device, networks=networks, screen=screen)
    assert Counter(networks.asked) == dict.fromkeys(("uniform int8", "uniform int4"), 5)
    results = read(path)
    assert [record.configuration for record in results.networks] == networks.asked
    assert (end.reason, end.measurements, end.failures) == (Reason.COMPLETE, len(device.asked) + 10, 0)
    assert results.header is not None
    assert results.header.configurations == 2
    lines = path.read_bytes().splitlines()
    first = next(number for number, line in enumerate(lines) if b'"network":{' in line)
    assert first == 1 + len(KERNELS), "all of their kernels are measured once, and nothing else"
    said = screen.getvalue()
    assert "network uniform int8: 1 s end to end, round 1 of 5, 2 steps as the integer oracle says" in said
    assert measured(with_networks, path, device, networks=networks) == end
    assert len(networks.asked) == 10


def test_networks_that_were_left_out_are_measured_later(with_networks: Archive, path: Path) -> None:
    device = FakeDevice()
    with ResultsFile(path) as file:
        turns, bar = MachineTurns(path.with_name("lock")), Bar(io.StringIO())
        alone = run(with_networks, device, None, turns, file, Budget(clock=device.clock), bar)
    assert (alone.reason, read(path).networks) == (Reason.COMPLETE, ())
    records, asked, networks = read(path).records, len(device.asked), FakeNetworks(device)
    end = measured(with_networks, path, device, networks=networks)
    assert (end.reason, end.measurements) == (Reason.COMPLETE, asked + 10)
    assert Counter(networks.asked) == {"uniform int8": 5, "uniform int4": 5}
    assert (read(path).records, len(device.asked)) == (records, asked), "no kernel is measured again"


def test_a_network_that_is_wrong_is_recorded_and_told(with_networks: Archive, path: Path) -> None:
    device, screen = FakeDevice(), io.StringIO()
    networks = FakeNetworks(device, faults={"uniform int4": FailureKind.WRONG_OUTPUT})
    end = measured(with_networks, path, device, networks=networks, screen=screen)
    assert (end.reason, end.failures) == (Reason.COMPLETE, 1)
    assert networks.asked.count("uniform int4") == 1
    assert "failed (wrong_output): network uniform int4: it is wrong" in screen.getvalue()
    assert measured(with_networks, path, device, networks=networks) == end


def test_a_device_that_is_unstable_says_nothing_of_the_network(with_networks: Archive, path: Path) -> None:
    device = FakeDevice()
    networks = FakeNetworks(device, faults={"uniform int8": FailureKind.UNSTABLE})
    with pytest.raises(DeviceError, match="cannot be measured now: it is wrong"):
        measured(with_networks, path, device, networks=networks)
    again = FakeNetworks(device)
    assert measured(with_networks, path, device, networks=again).reason is Reason.COMPLETE
    assert Counter(again.asked) == {"uniform int8": 5, "uniform int4": 5}


@pytest.mark.parametrize("seconds", [2, 8, 13, 20, 35])
def test_a_budget_is_kept_with_networks_too(with_networks: Archive, path: Path, seconds: float) -> None:
    """Rounds that take longer than they are reckoned with are reckoned with that from then on."""
    device = FakeDevice()
    medians_s = {(k.spec, c.config): 0.01 for k in KERNELS for c in k.candidates}
    device.medians_s = medians_s
    networks = FakeNetworks(device, cost_s=3.5)
    measured(with_networks, path, device, seconds, networks)
    assert device.now_s <= seconds
    later = FakeNetworks(device, cost_s=3.5)
    assert measured(with_networks, path, device, networks=later).reason is Reason.COMPLETE
    assert Counter(networks.asked + later.asked) == {"uniform int8": 5, "uniform int4": 5}


def test_ctrl_c_in_a_network_goes_on_there(with_networks: Archive, path: Path) -> None:
    device = FakeDevice()
    calls = iter(range(100))

    def stop() -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt

    networks = FakeNetworks(device, before=stop)
    with pytest.raises(KeyboardInterrupt):
        measured(with_networks, path, device, networks=networks)
    assert len(networks.asked) == 3
    assert measured(with_networks, path, device, networks=networks).reason is Reason.COMPLETE
    assert Counter(networks.asked) == {"uniform int8": 5, "uniform int4": 5}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "a\x1b[2J"),
        ("name", "uniform int4"),
        ("narrow_layers", -1),
        ("steps", []),
        ("steps", ["ab" * 32]),
        ("steps", [5]),
        ("description", "../x"),
        ("inputs", None),
        ("odd", 1),
    ],
)
def test_a_configuration_with_a_wrong_value(name: str, value: object) -> None:
    body = json.loads(manifest(KERNELS, configurations=NETWORKS).to_bytes())
    body["configurations"][0][name] = value
    with pytest.raises(InvalidFile, match="not the manifest of a bundle"):
        Manifest.from_bytes(json.dumps(body).encode())


def test_another_bundle_is_refused(archive: Archive, path: Path, tmp_path: Path) -> None:
    measured(archive, path, FakeDevice())
    before = path.read_bytes()
    other = Archive(pack(tmp_path / "other.zip", manifest(KERNELS[:2])))
    with pytest.raises(InvalidFile, match="another bundle"):
        measured(other, path, FakeDevice())
    assert path.read_bytes() == before


def test_another_instrument_is_refused(archive: Archive, path: Path) -> None:
    measured(archive, path, FakeDevice())
    before = path.read_bytes()
    with pytest.raises(FingerprintMismatch, match="uuid was '0123' and is '4567'"):
        measured(archive, path, FakeDevice(instrument=replace(INSTRUMENT, uuid="4567")))
    assert path.read_bytes() == before


def test_a_kernel_that_is_not_the_manifest_s_is_refused(path: Path, tmp_path: Path) -> None:
    wrong = replace(KERNELS[0], candidates=(Candidate("c0", 1.0, "ab" * 32),))
    archive = Archive(pack(tmp_path / "run.zip", manifest((wrong,))))
    with pytest.raises(InvalidFile, match="is another kernel than the manifest says"):
        measured(archive, path, FakeDevice())


def test_a_manifest_survives_its_file() -> None:
    made = manifest(KERNELS, configurations=NETWORKS)
    again = Manifest.from_bytes(made.to_bytes())
    assert (again, again.digest) == (made, made.digest)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"version": 3}', b"\xff", b"[" * 100_000, manifest(KERNELS).to_bytes()[:-5]],
    ids=lambda data: repr(data[:16]),
)
def test_no_manifest_is_one_line(data: bytes) -> None:
    with pytest.raises(InvalidFile, match="not the manifest of a bundle"):
        Manifest.from_bytes(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", True),
        ("version", 1),
        ("version", "2\n"),
        ("network", "a\x1b[2J"),
        ("device_name", None),
        ("batch", 0),
        ("batch", True),
        ("features", [1]),
        ("kernels", []),
        ("draws", []),
        ("odd\n", 1),
    ],
)
def test_a_manifest_with_a_wrong_value_is_one_line(name: str, value: object) -> None:
    body = {**json.loads(manifest(KERNELS).to_bytes()), name: value}
    with pytest.raises(InvalidFile, match="not the manifest of a bundle") as caught:
        Manifest.from_bytes(json.dumps(body).encode())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "value"), [("config", 5), ("modelled_s", "1"), ("modelled_s", float("inf")), ("sha256", "../x")]
)
def test_a_candidate_with_a_wrong_value(name: str, value: object) -> None:
    body = json.loads(manifest(KERNELS).to_bytes())
    body["kernels"][0]["candidates"][0][name] = value
    with pytest.raises(InvalidFile, match="not the manifest of a bundle"):
        Manifest.from_bytes(json.dumps(body).encode())
