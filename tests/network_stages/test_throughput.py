"""Networks over batches on a machine that is made up: what runs when, is kept and refused; and one real run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from profiler.allocation import bits_file
from profiler.allocation.launches import launches
from profiler.allocation_stages.which_lut import LutChoice
from profiler.errors import FingerprintMismatch, InvalidFile, ProfilerError
from profiler.frontend import load_network
from profiler.lut import store
from profiler.lut.demand import demand
from profiler.lut.schema import LutRow
from profiler.network.execute.process import NetworkFailure
from profiler.network.steady import ENERGY_RULE, STEADY_RULE, SteadyRule, SteadyWindow
from profiler.network_stages import prepared as prepared_stage
from profiler.network_stages import throughput as stage
from profiler.network_stages.run import RunRequest
from profiler.network_stages.throughput import ThroughputRequest, throughput, with_rows
from profiler.predictor.observation import Observation
from profiler.record import Conditions, EnergyWindow, FailureKind, Fingerprint
from profiler.throughput import file
from profiler.throughput.knee import KneeKind, find_knee
from profiler.workload import INT4, INT8, KernelSpec
from tests.allocation.bits_examples import with_a_copy
from tests.network_stages.compiled import Compiled
from tests.predictor.invented_lut import INSTRUMENT as OF_ROWS
from tests.predictor.invented_lut import lut_row

ROOT = Path(__file__).parents[2]
ONNX = ROOT / "tests/data/tiny_torch.onnx"
INSTRUMENT = replace(OF_ROWS, device="cpu")
FIXED_S, PER_IMAGE_S = 3e-3, 1e-3
"""Of a batch: the knee of that is known."""


@dataclass
class Machine:
    """A batch takes a fixed time and one for each image, INT4 half of it; it draws 20 W."""

    wrong: tuple[str, int] | None = None
    counts: bool = True
    log: list[tuple[str, str, int]] = field(default_factory=list)
    rules: set[SteadyRule] = field(default_factory=set)
    windows: int = 0
    ends_after: int | None = None
    configs: tuple[str, ...] = ("a kernel and its config",)

    def prepared(self, bench: Any, name: str, integers: Any) -> Prepared:
        return Prepared(self, bench, name, integers.network.batch, kernels=self.configs)


@dataclass
class Prepared:
    machine: Machine
    bench: Any
    name: str
    batch: int
    by_default: int = 0
    lut_sum_s: float | None = None
    worker_pid: int = 7
    kernels: tuple[str, ...] = ()

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.log.append(("close", self.name, self.batch))

    def verify(self) -> Any:
        self.machine.log.append(("verify", self.name, self.batch))
        if self.machine.wrong == (self.name, self.batch):
            raise NetworkFailure(FailureKind.WRONG_OUTPUT, f"{self.name} differs at batch {self.batch}")
        return SimpleNamespace(steps=14, nbytes=100)

    def steady(self, rule: SteadyRule, energy: bool, own: Sequence[int]) -> SteadyWindow:
        if self.machine.ends_after == self.machine.windows:
            raise KeyboardInterrupt
        self.machine.windows += 1
        self.machine.log.append(("window", self.name, self.batch))
        self.machine.rules.add(rule)
        assert set(own) == {self.worker_pid}
        run_s = (FIXED_S + PER_IMAGE_S * self.batch) * (0.5 if "int4" in self.name else 1)
        runs = int(rule.window_s / run_s) + 1
        joules = 20 * runs * run_s if energy and self.machine.counts else None
        why = "" if joules is not None or not energy else "RAPL: none\nhere"
        return SteadyWindow(EnergyWindow(runs, runs * run_s, joules, None), why, (f"{self.batch} processes",))


@dataclass
class Integers:
    network: Any
    deployment: Any


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    pytest.importorskip("onnx")
    made = Machine()

    def site(request: RunRequest, vendor: object) -> Any:
        table = None if request.lut is None else LutChoice(request.lut)
        rows = () if request.lut is None else store.read(request.lut)
        latencies_s = {row.spec: row.latency_median_s for row in rows}
        return SimpleNamespace(table=table, latencies_s=latencies_s, notes=("of the site",), conditions=Conditions())

    @contextmanager
    def bench(request: RunRequest, place: Any, vendor: object) -> Iterator[Any]:
        device = SimpleNamespace(fingerprint=INSTRUMENT)
        yield SimpleNamespace(
            device=device, fingerprint=INSTRUMENT.short, target=SimpleNamespace(slug="cpu"), site=place
        )

    @dataclass(frozen=True)
    class Source:
        trained: Any
        notes: tuple[str, ...] = ("of the source",)

        def integers(self, deployment: Any) -> Integers:
            return Integers(self.trained.network, deployment)

    @dataclass(frozen=True)
    class Trained:
        network: Any

    monkeypatch.setattr(stage, "find_site", site)
    monkeypatch.setattr(stage, "opened_bench", bench)
    monkeypatch.setattr(stage, "quantizer", lambda request, network, precisions: Source(Trained(network)))
    monkeypatch.setattr(stage, "Prepared", made.prepared)
    return made


def asked(folder: Path, **changes: Any) -> ThroughputRequest:
    run = RunRequest(model=str(ONNX), device="cpu", folder=folder, allow_default=True)
    return replace(ThroughputRequest(run, batches=(1, 8, 32), windows=4), **changes)


def table(path: Path, batches: Sequence[int] = (1, 8), without: Callable[[KernelSpec], bool] = lambda _: False) -> Path:
    rows = [
        lut_row(Observation(wanted.spec, 1e-6, 0.001))
        for batch in batches
        for wanted in demand(load_network(str(ONNX), batch), (INT8, INT4), mixed=False)
        if not without(wanted.spec)
    ]
    store.write(path, rows)
    return path


# -- what is measured -------------------------------------------------------------------------------------------------


def test_all_is_verified_first_and_windows_take_turns(machine: Machine, tmp_path: Path) -> None:
    found = throughput(asked(tmp_path, uniform=(INT8, INT4)))
    kinds = [kind for kind, _, _ in machine.log]
    assert kinds == ["verify"] * 6 + ["window"] * 24 + ["close"] * 6
    one = [(name, batch) for kind, name, batch in machine.log if kind == "verify"]
    assert one == [(f"uniform {p}", batch) for p in ("int8", "int4") for batch in (1, 8, 32)]
    taken = [(name, batch) for kind, name, batch in machine.log if kind == "window"]
    assert taken == [*one, *reversed(one)] * 2, "every other round goes backwards"
    assert (found.verified_steps, found.verified_nbytes) == (6 * 14, 600)
    assert machine.rules == {STEADY_RULE}


def test_what_is_kept_is_what_the_machine_does(machine: Machine, tmp_path: Path) -> None:
    found = throughput(asked(tmp_path, energy=True))
    assert machine.rules == {ENERGY_RULE}
    assert found.path == tmp_path / "lut" / "cpu.throughput.json"
    assert file.read(found.path) == found.content
    assert (found.content.fingerprint, found.content.device_name) == (INSTRUMENT.short, INSTRUMENT.device_name)
    for point in found.points:
        run_s = FIXED_S + PER_IMAGE_S * point.batch
        assert len(point.windows) == 4
        assert point.latency.latency_s == pytest.approx(run_s)
        assert point.images_per_s == pytest.approx(point.batch / run_s)
        assert point.power_w == pytest.approx(20)
        assert point.j_per_image == pytest.approx(20 * run_s / point.batch)
        assert (point.network, point.configuration, point.bits_digest) == ("tiny_torch", "int8", "")
    assert len({point.run_id for point in found.points}) == 1
    knee = find_knee({point.batch: point.latency for point in found.points})
    assert (knee.kind, knee.best) == (KneeKind.RISING, 32)  # 8 images: 8 / 11 of what 32 reach, 32 / 35
    assert found.notes == ("of the source", "of the site", "1 processes"), "what differs in numbers alone is said once"


def test_no_counter_is_told_on_one_line(machine: Machine, tmp_path: Path) -> None:
    machine.counts = False
    found = throughput(asked(tmp_path, energy=True))
    assert {point.no_energy for point in found.points} == {"RAPL: none\\nhere"}
    assert {point.j_per_image for point in found.points} == {None}
    assert {point.no_energy for point in throughput(asked(tmp_path)).points} == {""}, "nobody asked"


def test_a_second_run_adds_to_the_curve(machine: Machine, tmp_path: Path) -> None:
    first = throughput(asked(tmp_path, batches=(32, 1, 1)))
    assert [point.batch for point in first.points] == [1, 32]
    second = throughput(asked(tmp_path, batches=(8, 32), uniform=(INT4, INT8)))
    assert [(p.configuration, p.batch) for p in second.curves] == [
        ("int4", 8), ("int4", 32), ("int8", 1), ("int8", 8), ("int8", 32),
    ]  # fmt: skip
    runs = {(p.configuration, p.batch): p.run_id for p in second.curves}
    assert runs["int8", 1] == first.points[0].run_id
    assert runs["int8", 32] == second.points[0].run_id != first.points[0].run_id


def test_bits_of_one_batch_run_at_others(machine: Machine, tmp_path: Path) -> None:
    """Precisions, copies and additions are as they were chosen."""
    network = load_network(str(ONNX), 1)
    bits = with_a_copy(network)
    path = tmp_path / "mixed.json"
    bits_file.save(path, bits)
    found = throughput(asked(tmp_path, uniform=(), bits=path))
    assert [point.configuration for point in found.points] == ["mixed"] * 3
    (digest,) = {point.bits_digest for point in found.points}
    assert digest
    assert (
        f"{path} was allocated at batch 1: its bits, conversions and separate additions are taken as they are at "
        "batch 8, 32" in found.notes
    )
    other = replace(bits, separate=())
    bits_file.save(path, other)
    again = throughput(asked(tmp_path, uniform=(), bits=path))
    assert digest not in {point.bits_digest for point in again.points}, "other bits, another curve"
    assert len(again.content.points) == 6


def test_points_of_the_future_are_told_and_replaced(machine: Machine, tmp_path: Path) -> None:
    first = throughput(asked(tmp_path))
    wrong = replace(first.content, points=tuple(replace(p, measured_at=9e9) for p in first.points))
    first.path.write_bytes(file.to_bytes(wrong))
    second = throughput(asked(tmp_path, batches=(1, 8)))
    assert any("1 points are dated in the future by a clock that was wrong" in note for note in second.notes)
    assert {p.batch for p in second.content.points if p.measured_at == 9e9} == {32}


# -- runs that were ended ---------------------------------------------------------------------------------------------


def unfinished(folder: Path) -> list[Path]:
    return list((folder / "lut").glob("*.windows.jsonl"))


@pytest.mark.parametrize("taken", [1, 4, 11])
def test_an_ended_run_keeps_its_windows_and_goes_on(machine: Machine, tmp_path: Path, taken: int) -> None:
    machine.ends_after = taken
    with pytest.raises(KeyboardInterrupt):
        throughput(asked(tmp_path))
    assert not (tmp_path / "lut" / "cpu.throughput.json").exists()
    (path,) = unfinished(tmp_path)
    assert len(path.read_text().splitlines()) == 1 + taken
    machine.ends_after = None
    found = throughput(asked(tmp_path))
    assert machine.windows == 12, "none is taken twice"
    order = [batch for kind, _, batch in machine.log if kind == "window"]
    assert order == [1, 8, 32, 32, 8, 1] * 2, "as if nothing had happened"
    assert {len(point.windows) for point in found.points} == {4}
    assert f"{taken} of 12 windows are of earlier runs of this command, which were ended" in found.notes
    assert unfinished(tmp_path) == []
    assert not any("earlier runs" in note for note in throughput(asked(tmp_path)).notes), "a new run, of new windows"
    assert machine.windows == 24


def test_another_run_does_not_go_on_with_them(machine: Machine, tmp_path: Path) -> None:
    machine.ends_after = 5
    with pytest.raises(KeyboardInterrupt):
        throughput(asked(tmp_path))
    machine.ends_after = None
    for changes in ({"batches": (1, 8)}, {"energy": True}, {"uniform": (INT4,)}, {"rule": SteadyRule(9.0)}):
        machine.windows = 0
        found = throughput(asked(tmp_path, **changes))
        assert machine.windows == sum(len(point.windows) for point in found.points)
    machine.configs, machine.windows = ("a kernel and another config",), 0
    throughput(asked(tmp_path))
    assert machine.windows == 12
    machine.configs, machine.windows = ("a kernel and its config",), 0
    assert len(unfinished(tmp_path)) == 1
    throughput(asked(tmp_path, windows=6))
    assert machine.windows == 18 - 5, "more windows of the same are the same run"


def test_what_the_end_of_a_run_leaves(machine: Machine, tmp_path: Path) -> None:
    """Nothing where there was no window; all windows where the file cannot be written."""
    machine.ends_after = 0
    with pytest.raises(KeyboardInterrupt):
        throughput(asked(tmp_path))
    assert unfinished(tmp_path) == []


# -- rows -------------------------------------------------------------------------------------------------------------


def test_a_batch_without_rows_names_the_command(machine: Machine, tmp_path: Path) -> None:
    lut = table(tmp_path / "lut.csv")
    run = RunRequest(model=str(ONNX), device="cpu", folder=tmp_path, lut=lut)
    assert len(throughput(ThroughputRequest(run, batches=(1, 8), windows=1)).points) == 2
    machine.log.clear()
    with pytest.raises(InvalidFile, match=r"lut\.csv: \d+ kernels of tiny_torch at batch 4 have no measured row") as e:
        throughput(ThroughputRequest(run, batches=(1, 4, 16)))
    assert f"(make profile MODEL={ONNX} BATCH=4)" in str(e.value)
    assert "--allow-default" in str(e.value)
    assert not machine.log, "ahead of the work"


class Campaign:
    """In the place of `campaign.opened`: what it is asked to measure has rows then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[KernelSpec, ...]] = []
        self.target = SimpleNamespace(slug="cpu")
        self.fingerprint: Fingerprint = INSTRUMENT
        self.luts = folder / "lut"
        self.database = SimpleNamespace(folder=folder / "tuning_logs" / "cpu")
        self.notes = ("a note",)

    @contextmanager
    def opened(self, *_: object) -> Iterator[Campaign]:
        yield self

    @property
    def path(self) -> Path:
        return self.luts / "cpu.csv"

    def rows(self) -> tuple[LutRow, ...]:
        return store.read(self.path) if self.path.exists() else ()

    def measure(self, specs: Sequence[KernelSpec]) -> None:
        self.asked.append(tuple(specs))
        store.update(self.path, [lut_row(Observation(spec, 1e-6, 0.001)) for spec in specs])


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch, machine: Machine, tmp_path: Path) -> Campaign:
    made = Campaign(tmp_path)
    monkeypatch.setattr(stage, "opened", made.opened)
    return made


def rows_needed(tmp_path: Path, **changes: Any) -> ThroughputRequest:
    run = RunRequest(model=str(ONNX), device="cpu", folder=tmp_path)
    return replace(ThroughputRequest(run, batches=(1, 8), windows=1), **changes)


def test_what_is_missing_is_measured_and_nothing_else(campaign: Campaign, tmp_path: Path) -> None:
    request = with_rows(rows_needed(tmp_path, trials=4))
    assert request.run.lut == campaign.path
    batches = [{spec.workload.batch for spec in specs} for specs in campaign.asked]
    assert batches == [{1}, {8}]
    for specs, batch in zip(campaign.asked, (1, 8), strict=True):
        wanted = {d.spec for d in demand(load_network(str(ONNX), batch), (INT8,), mixed=False)}
        assert set(specs) == wanted, "fused and separate additions: which is faster is to be known"
    assert len(throughput(request).points) == 2
    campaign.asked.clear()
    again = with_rows(rows_needed(tmp_path, batches=(1, 2, 8)))
    assert [{spec.workload.batch for spec in specs} for specs in campaign.asked] == [{2}]
    campaign.asked.clear()
    assert with_rows(rows_needed(tmp_path, batches=(1, 2, 8))) == again
    assert not campaign.asked


def test_of_bits_the_kernels_that_they_run(campaign: Campaign, tmp_path: Path) -> None:
    bits = with_a_copy(load_network(str(ONNX), 1))
    bits_file.save(tmp_path / "bits.json", bits)
    with_rows(rows_needed(tmp_path, uniform=(), bits=tmp_path / "bits.json", batches=(4,)))
    (specs,) = campaign.asked
    network = load_network(str(ONNX), 4)
    assert set(specs) == {launch.spec for launch in launches(network, replace(bits, batch=4))}


@pytest.mark.parametrize("change", ["lut", "allow_default", "profile"])
def test_nothing_is_measured_that_nobody_wants(campaign: Campaign, tmp_path: Path, change: str) -> None:
    request = rows_needed(tmp_path)
    value = {"lut": tmp_path / "other.csv", "allow_default": True, "profile": False}[change]
    request = (
        replace(request, profile=False) if change == "profile" else
        replace(request, run=replace(request.run, **{change: value}))  # type: ignore[arg-type]
    )  # fmt: skip
    assert with_rows(request) == request
    assert not campaign.asked


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_network_that_is_wrong_is_not_run(machine: Machine, tmp_path: Path) -> None:
    machine.wrong = ("uniform int8", 8)
    with pytest.raises(NetworkFailure, match="differs at batch 8"):
        throughput(asked(tmp_path))
    assert "window" not in [kind for kind, _, _ in machine.log]
    assert not (tmp_path / "lut" / "cpu.throughput.json").exists()


def test_what_was_asked_badly(machine: Machine, tmp_path: Path) -> None:
    for changes, said in (
        ({"uniform": ()}, "say which bits"),
        ({"batches": ()}, "--batches takes one or more"),
        ({"batches": (0,)}, "--batches takes one or more"),
        ({"batches": (4097,)}, "1 to 4096"),
        ({"trials": 4}, "--trials is for rows that are measured on the way; nothing is with --allow-default"),
        ({"trials": 4, "profile": False, "run": RunRequest(model=str(ONNX))}, "nothing is with --no-profile"),
        ({"trials": 4, "run": RunRequest(model=str(ONNX), lut=Path("x.csv"))}, "nothing is with --lut"),
    ):
        with pytest.raises(ProfilerError, match=said):
            asked(tmp_path, **changes)
    with pytest.raises(InvalidFile, match=r"none\.json: cannot be read"):
        throughput(asked(tmp_path, bits=tmp_path / "none.json"))
    with pytest.raises(ProfilerError, match="is quantized already"):
        throughput(asked(tmp_path, run=RunRequest(model="net.npz", allow_default=True)))
    assert not machine.log


def test_a_file_of_something_else_is_not_lost(machine: Machine, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text("{}")
    with pytest.raises(InvalidFile, match=r"mine\.json: is no file of throughputs"):
        throughput(asked(tmp_path, out=mine))
    other = tmp_path / "other.json"
    throughput(asked(tmp_path, out=other))
    content = replace(file.read(other), fingerprint="89abcdef")
    other.write_bytes(file.to_bytes(content))
    machine.log.clear()
    with pytest.raises(FingerprintMismatch, match="and not of this instrument"):
        throughput(asked(tmp_path, out=other))
    assert mine.read_text() == "{}"
    assert not machine.log


# -- on this machine --------------------------------------------------------------------------------------------------


@pytest.mark.compile
def test_a_real_network_at_two_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tempfile

    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(prepared_stage, "kernels_of", Compiled().kernels_of)
    run = RunRequest(model=str(ONNX), device="cpu", allow_default=True)
    rule = SteadyRule(window_s=0.05, settle_s=0.01)
    told: list[str] = []
    found = throughput(ThroughputRequest(run, (1, 3), windows=2, rule=rule, energy=True), told.append)
    assert [point.batch for point in found.points] == [1, 3]
    assert found.verified_steps == 28
    for point in found.points:
        assert len(point.windows) == 2
        assert all(w.duration_s >= 0.05 and w.runs > 10 for w in point.windows)
        assert point.by_default > 0
        assert (point.j_per_image is None) == bool(point.no_energy)
    assert any("analytic model" in note for note in found.notes)
    assert [text for text in told if text.startswith("round")] == [
        "round 1 of 2: uniform int8, batch 1",
        "round 1 of 2: uniform int8, batch 3",
        "round 2 of 2: uniform int8, batch 3",
        "round 2 of 2: uniform int8, batch 1",
    ]
    assert file.read(tmp_path / "lut" / "cpu.throughput.json").points
