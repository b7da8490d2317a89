"""`sample` on a pretended device, killed at any step, with damaged state; and once on this machine, with kill -9."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiler.campaign import Campaign, Progress
from profiler.devices.discover import Choice, FoundDevice
from profiler.errors import InvalidFile, OutputError, ProfilerError
from profiler.lut import store
from profiler.lut.schema import LutRow, Source
from profiler.measure import Run
from profiler.predictor.configs.learned import LearnedModel
from profiler.predictor.device_facts import facts_of
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import observations
from profiler.predictor.population import Draw, draws
from profiler.predictor.proposals import worth_measuring
from profiler.record import CacheMode, Journal, Measurement
from profiler.sampling import chooser, stage, unfinished
from profiler.sampling.chooser import Reason
from profiler.sampling.stage import Plan, SampleRequest, SampleResult, sample
from profiler.sampling.unfinished import Asked, Unfinished
from profiler.space.cpu import config_space
from profiler.space.model import limit_s
from profiler.targets import CpuTarget
from profiler.tuning.database import TuningDatabase
from profiler.tuning.energies import Energies
from profiler.tuning.events import Listener
from profiler.tuning.tuner import Budget, Tuner
from profiler.workload import INT4, INT8, KernelSpec
from tests.tuning.simulation import BUSY_W, CONDITIONS, CPU, FINGERPRINT, Meter, World, simulated_bench

ROOT = Path(__file__).parents[1]
BOTH = (INT8, INT4)


@dataclass
class Place:
    """A folder, and runs of `sample` in it on a pretended device."""

    out: Path
    worlds: list[World] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)

    def sample(self, count: int, world: World | None = None, **options: object) -> SampleResult:
        """Two configs are tried of each kernel."""
        self.worlds.append(world or World())
        self.plans = []
        request = SampleRequest(device="cpu", count=count, out=self.out, trials=2, **options)  # type: ignore[arg-type]
        return sample(request, Progress(planned=self.plans.append))  # type: ignore[arg-type]

    @property
    def state(self) -> Path:
        return self.out / "tuning_logs" / "cpu" / "sample.json"

    @property
    def lut(self) -> Path:
        return self.out / "lut" / "cpu.csv"

    @property
    def sampled(self) -> dict[str, set[KernelSpec]]:
        """Kernels that have a row, by workload."""
        found: dict[str, set[KernelSpec]] = {}
        for row in store.read(self.lut) if self.lut.exists() else ():
            found.setdefault(row.spec.workload.text, set()).add(row.spec)
        return found

    def measured_twice(self) -> list[object]:
        folder = self.out / "tuning_logs" / "cpu"
        records = [r for path in folder.glob("*.jsonl") for r in Journal(path).read() if isinstance(r, Measurement)]
        counts = Counter((r.spec, r.config, r.stage) for r in records)
        return [key for key, count in counts.items() if count > 1]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Rounds are of two workloads, and no model is fitted unless a test says otherwise."""
    here = Place(tmp_path / "out")

    @contextmanager
    def opened(request: SampleRequest, choice: Choice, listener: Listener, vendor: object) -> Iterator[Campaign]:
        world = here.worlds[-1]
        bench = simulated_bench(world)
        run = Run(f"run{len(here.worlds)}", "0", bench.run.compiler)
        logs = request.out / "tuning_logs" / "cpu"
        logs.mkdir(parents=True, exist_ok=True)
        tuner = Tuner(
            replace(bench, run=run),
            lambda spec: config_space(spec, CPU.isa, 1)[:6],
            LearnedModel(CPU, 1),
            TuningDatabase(logs, FINGERPRINT, request.conditions, run.run_id),
            Budget(trials=2, sibling_trials=2, finalists=1),
            listener=listener,
        )
        energies = Energies(tuner.bench, tuner.database, listener) if request.energy else None
        yield Campaign(tuner, CpuTarget(CPU), request.out / "lut", ("the device is pretended",), energies)

    monkeypatch.setattr(stage, "choose_device", lambda request, vendor: Choice(FoundDevice("cpu", "simulated")))
    monkeypatch.setattr(stage, "opened", opened)
    monkeypatch.setattr(chooser, "ROUND", 2)
    monkeypatch.setattr(chooser, "_DRAWS", 64)
    return here


def test_as_many_workloads_as_asked_in_all_precisions(place: Place) -> None:
    result = place.sample(5)
    assert (result.workloads, result.kernels, result.measured, result.failures) == (5, 10, 10, 0)
    assert (result.device, result.fingerprint, result.resumed) == ("cpu", FINGERPRINT.short, False)
    assert (result.lut_path, result.logs) == (place.lut, place.state.parent)
    assert result.warnings == ("the device is pretended",)
    assert len(place.sampled) == 5
    for specs in place.sampled.values():
        assert {spec.input_dtype.bits for spec in specs} == {8, 4} or len(specs) == 2
    assert not place.state.exists()
    assert [(p.done, len(p.proposal), p.kernels) for p in place.plans] == [(0, 2, 4), (2, 1, 2), (3, 2, 4)]
    assert {p.reason for p in place.plans} == {Reason.SPACE}
    assert [p.note for p in place.plans] == ["the device is pretended", "", ""]
    assert "simulated" in place.plans[0].headline


# -- energies, which are the campaign's --------------------------------------------------------------------------------


def energies_of(place: Place) -> list[float | None]:
    return [row.energy_j for row in store.read(place.lut)]


def test_joules_of_every_kernel(place: Place) -> None:
    world = World(meter=Meter())
    result = place.sample(3, world, energy=True)
    assert (result.kernels, result.energies) == (6, 6)
    assert result.warnings == ("the device is pretended",)
    rows = store.read(place.lut)
    assert [row.energy_j for row in rows] == pytest.approx([BUSY_W * row.latency_median_s for row in rows])
    kinds = [kind for kind, _ in world.log if kind in ("time", "work")]
    assert kinds.index("work") > kinds.index("time")
    assert place.measured_twice() == []


def test_a_config_that_fails_at_work_leaves_its_place_to_the_next(place: Place) -> None:
    """In the same run: what is in the table in the end has run for seconds."""
    place.sample(1, World())
    bad = {row.config for row in store.read(place.lut)}
    place.out = place.out.parent / "again"
    world = World(meter=Meter(), failing_at_work=lambda config: config in bad)
    result = place.sample(1, world, energy=True)
    rows = store.read(place.lut)
    assert rows
    assert not {row.config for row in rows} & bad
    assert all(row.energy_j is not None for row in rows)
    assert result.energies == len(rows)


def test_a_kernel_none_of_whose_configs_works_for_seconds_leaves_the_table(place: Place) -> None:
    """Where its latency stood before the first joule."""
    with pytest.raises(ProfilerError):
        place.sample(1, World(meter=Meter(), failing_at_work=lambda config: True), energy=True)
    assert store.read(place.lut) == ()


def test_a_campaign_killed_among_its_energies_goes_on(place: Place) -> None:
    whole = World(meter=Meter())
    place.sample(1, whole, energy=True)
    steps = [number for number, (kind, _) in enumerate(whole.log) if kind == "work"]
    expected = energies_of(place)
    for number in steps[:: max(1, len(steps) // 4)]:
        place.out = place.out.parent / f"killed at {number}"
        with pytest.raises(KeyboardInterrupt):
            place.sample(1, World(meter=Meter(), break_at=number), energy=True)
        place.sample(1, World(meter=Meter()), energy=True)
        assert energies_of(place) == pytest.approx(expected)


def test_a_device_that_counts_nothing_is_said_once(place: Place) -> None:
    result = place.sample(3, World(), energy=True)
    assert result.energies == 0
    assert result.warnings == ("the device is pretended", "no energies: no counter here")
    assert energies_of(place) == [None] * result.kernels


def test_the_lut_is_written_after_each_round(place: Place) -> None:
    lengths: list[int] = []
    request = SampleRequest(device="cpu", count=4, out=place.out, trials=2)
    place.worlds.append(World())
    sample(request, Progress(planned=lambda plan: lengths.append(len(place.sampled))))
    assert lengths == [0, 2]


def test_the_next_run_measures_others(place: Place) -> None:
    place.sample(4)
    first = set(place.sampled)
    result = place.sample(4)
    assert (result.workloads, result.measured, result.resumed) == (4, 8, False)
    assert len(place.sampled) == 8
    assert first < set(place.sampled)
    assert place.measured_twice() == []


def test_only_the_missing_precision_is_measured(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "draws", lambda count, precisions, seed: draws(3, precisions, seed))
    few = len([d for d in draws(3, BOTH) if worth_measuring(d, CPU)])
    assert place.sample(few, precisions=(INT8,)).measured == few
    result = place.sample(few)
    assert (result.kernels, result.measured) == (2 * few, few)


def test_what_is_proposed_is_worth_measuring(place: Place) -> None:
    place.sample(6)
    for specs in place.sampled.values():
        assert all(0.5e-6 <= limit_s(spec, CPU) <= 5e-3 for spec in specs)


@pytest.mark.parametrize("moment", [0, 1, 5, 40, 70, 100, 150])
def test_killed_at_any_step_it_ends_with_the_same_rows(place: Place, tmp_path: Path, moment: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        place.sample(3, World(break_at=moment))
    assert place.state.exists()
    before = set(place.sampled)
    result = place.sample(3)
    assert result.resumed
    assert place.plans[0].reason is Reason.PENDING
    assert "going on with an unfinished sample" in place.plans[0].note
    assert f"{len(before)} of 3" in place.plans[0].note
    assert not place.state.exists()
    assert place.measured_twice() == []
    undisturbed = Place(tmp_path / "other", place.worlds)
    undisturbed.sample(3)
    assert place.sampled == undisturbed.sampled


def test_killed_again_and_again(place: Place) -> None:
    kills = 0
    while True:
        assert kills < 60
        try:
            result = place.sample(3, World(break_at=45))
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 2
    assert len(place.sampled) == 3
    assert result.measured < 6
    assert place.measured_twice() == []
    assert not place.state.exists()


def test_killed_between_two_rounds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(stage, "_require_rows", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            place.sample(4)
    assert (len(place.sampled), place.state.exists()) == (2, True)
    result = place.sample(4)
    assert (result.resumed, result.workloads, len(place.sampled)) == (True, 2, 4)
    assert "2 of 4 workloads were done" in place.plans[0].note
    assert place.plans[0].reason is Reason.SPACE


def synthetic_rows(count: int) -> list[LutRow]:
    """Rows that nobody measured: what a table looks like where every kernel takes three times its limit."""
    specs = [spec for draw in draws(2 * count, BOTH) if worth_measuring(draw, CPU) for spec in draw.specs][:count]
    assert len(specs) == count
    rows = []
    for number, spec in enumerate(specs):
        latency_s = 3 * limit_s(spec, CPU) * (1 + 0.1 * (number % 5))
        rows.append(
            LutRow(
                spec=spec,
                conditions=CONDITIONS,
                source=Source.MEASURED,
                fingerprint=FINGERPRINT.short,
                device="cpu",
                device_name="simulated",
                arch="none",
                latency_median_s=latency_s,
                latency_q1_s=latency_s,
                latency_q3_s=latency_s,
                latency_ci95_low_s=latency_s,
                latency_ci95_high_s=latency_s,
                samples=9,
                measured_at=1.7e9,
                tool_version="0",
                config="synthetic",
                artifact_sha256="ab" * 32,
                run_id="synthetic",
            )
        )
    return rows


def test_the_later_half_goes_by_the_widest_intervals(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "_ESTIMATED", 24)
    monkeypatch.setattr(chooser, "ROWS_FOR_INTERVALS", 40)
    store.write(place.lut, synthetic_rows(40))
    known = set(place.sampled)
    result = place.sample(4)
    assert [p.reason for p in place.plans] == [Reason.SPACE, Reason.INTERVALS]
    assert (result.workloads, result.measured) == (4, 8)
    new = {draw.workload.text for plan in place.plans for draw in plan.proposal}
    assert len(new) == 4
    assert not new & known
    assert set(place.sampled) == new | known


def test_the_widest_interval_comes_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chooser measures what `least_certain` says of the estimates of a model that knows every row."""
    asked: list[tuple[Draw, ...]] = []
    fitted: list[int] = []

    def estimates(self: object, draws: tuple[Draw, ...], rows: object, observed: list[object]) -> dict[KernelSpec, int]:
        asked.append(draws)
        fitted.append(len(observed))
        return {spec: number for number, draw in enumerate(draws) for spec in draw.specs}

    monkeypatch.setattr(chooser, "ROWS_FOR_INTERVALS", 4)
    monkeypatch.setattr(chooser.Chooser, "_estimates", estimates)
    monkeypatch.setattr(
        chooser,
        "least_certain",
        lambda draws, numbers, count: tuple(sorted(draws, key=lambda d: -numbers[d.specs[0]])[:count]),
    )
    place.sample(6)
    assert [p.reason for p in place.plans] == [Reason.SPACE, Reason.SPACE, Reason.INTERVALS, Reason.INTERVALS]
    assert fitted == [6, 10], "fitted anew to the rows of the round before"
    assert place.plans[2].proposal == tuple(asked[0][:-3:-1])
    assert place.plans[3].proposal == tuple(asked[1][-1:])


def saved_model(path: Path, device: str) -> set[str]:
    """Of rows that nobody measured; their workloads."""
    from profiler.predictor.latency_model import fit
    from profiler.predictor.model_file import save

    rows = synthetic_rows(40)
    origin = Origin(device, "simulated", "none", FINGERPRINT.short, CONDITIONS)
    save(path, fit(observations(rows, CONDITIONS), origin, facts_of(rows)))
    return {row.spec.workload.text for row in rows}


def test_a_model_tells_where_intervals_are_wide(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the LUT has a row; what the model was fitted to is not measured again."""
    monkeypatch.setattr(chooser, "_ESTIMATED", 24)
    known = saved_model(tmp_path / "cpu.json", "cpu")
    place.sample(4, model=tmp_path / "cpu.json")
    assert [p.reason for p in place.plans] == [Reason.SPACE, Reason.INTERVALS]
    assert len(place.sampled) == 4
    assert not set(place.sampled) & known


def test_a_model_of_another_device(place: Place, tmp_path: Path) -> None:
    saved_model(tmp_path / "t4.json", "t4")
    with pytest.raises(ProfilerError, match=r"t4\.json: a model of t4 .*, 1 thread, .* uncertain of cpu .*, 1 thread"):
        place.sample(4, model=tmp_path / "t4.json")
    assert place.worlds[-1].log == []


def test_few_rows_decide_nothing(place: Place) -> None:
    store.write(place.lut, synthetic_rows(60))
    place.sample(2)
    assert {p.reason for p in place.plans} == {Reason.SPACE}


def test_nothing_works(place: Place) -> None:
    """The run ends with the reason, and the next one goes on with other workloads."""
    broken = World(uncompilable=lambda config: True)
    with pytest.raises(ProfilerError, match=r"none of 4 kernels could be measured: .*2 compile"):
        place.sample(4, broken)
    assert not place.lut.exists()
    tried = {path.name for path in place.state.parent.glob("*.jsonl")}
    result = place.sample(4)
    assert (result.resumed, result.workloads) == (True, 2)
    assert not {f"{text}.jsonl" for text in place.sampled} & tried


def test_the_last_round_does_not_work(place: Place) -> None:
    with pytest.raises(ProfilerError, match="could be measured"):
        place.sample(1, World(uncompilable=lambda config: True))
    assert not place.state.exists()
    assert place.sample(1).resumed is False


def test_some_kernels_do_not_work(place: Place) -> None:
    crashed: set[str] = set()

    def crashing(config: str) -> bool:
        """The first config that is tried at all, wherever it comes again."""
        crashed.add(config) if not crashed else None
        return config in crashed

    result = place.sample(2, World(crashing=crashing))
    assert result.failures > 0
    assert result.measured == result.kernels


def test_a_population_that_is_used_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "draws", lambda count, precisions, seed: draws(4, precisions, seed))
    few = len([d for d in draws(4, BOTH) if worth_measuring(d, CPU)])
    result = place.sample(9)
    assert result.workloads == few
    assert result.warnings[-1].startswith(f"{9 - few} of 9 workloads were not found: say another --seed")
    assert not place.state.exists()
    with pytest.raises(ProfilerError, match="there is nothing new to measure: 9 of 9 workloads"):
        place.sample(9)
    assert not place.state.exists()


@pytest.mark.parametrize("wrong", [{"count": 0}, {"precisions": ()}], ids=str)
def test_nothing_is_asked_for(wrong: dict[str, object]) -> None:
    with pytest.raises(ProfilerError, match="nothing to measure"):
        SampleRequest(**wrong)  # type: ignore[arg-type]


# The file of an unfinished run.

ASKED = Asked("0123abcd", 40, ("int8", "int4"), 0, 1, CacheMode.NETWORK)
PENDING = draws(5, BOTH)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.integers(1, 1000),
    st.integers(0, 999),
    st.integers(0, 5),
    st.lists(st.sampled_from(["int8", "int4"]), min_size=1, unique=True),
    st.integers(0, 2**40),
    st.integers(1, 256),
    st.sampled_from(CacheMode),
)
def test_state_survives_the_file(
    tmp_path: Path, count: int, done: int, pending: int, names: list[str], seed: int, threads: int, mode: CacheMode
) -> None:
    asked = Asked("0123abcd", count + done, tuple(names), seed, threads, mode)
    state = Unfinished(asked, done, PENDING[: min(pending, count)])
    path = tmp_path / "sample.json"
    unfinished.save(path, state)
    assert unfinished.load(path, asked) == state
    assert [p.name for p in tmp_path.iterdir()] == ["sample.json"]


def test_a_finished_run_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    assert unfinished.load(path, ASKED) is None
    unfinished.save(path, Unfinished(ASKED, 39))
    unfinished.save(path, Unfinished(ASKED, 40))
    assert list(tmp_path.iterdir()) == []
    unfinished.remove(path)


def good() -> dict[str, object]:
    return {
        "version": 1,
        "asked": {
            "fingerprint": "0123abcd", "count": 40, "precisions": ["int8", "int4"], "seed": 0, "threads": 1,
            "cache_mode": "network",
        },
        "done": 3,
        "pending": [[spec.to_dict() for spec in PENDING[0].specs]],
    }  # fmt: skip


def test_the_format(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    path.write_text(json.dumps(good()))
    assert unfinished.load(path, ASKED) == Unfinished(ASKED, 3, PENDING[:1])
    unfinished.save(path, Unfinished(ASKED, 3, PENDING[:1]))
    assert json.loads(path.read_text()) == good()


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in good().items() if key != name}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Expecting value"),
        ("{", "Expecting"),
        ("[]", "not of version 1"),
        ("null", "not of version 1"),
        ("\x00\x01", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps({**good(), "version": 2}), "not of version 1"),
        (json.dumps(without("asked")), "'asked' is missing"),
        (json.dumps(without("done")), "'done' is missing"),
        (json.dumps({**good(), "done": -1}), "done is not a possible integer"),
        (json.dumps({**good(), "done": 41}), "more workloads are done"),
        (json.dumps({**good(), "done": 40}), "more workloads are done"),
        (json.dumps({**good(), "done": "3"}), "done is not"),
        (json.dumps({**good(), "asked": {}}), "missing 6 required"),
        (json.dumps({**good(), "asked": 3}), "mapping"),
        (json.dumps({**good(), "pending": [[]]}), "several workloads, or of none"),
        (json.dumps({**good(), "pending": [[{}]]}), "not a kernel spec"),
        (json.dumps({**good(), "pending": [3]}), "not iterable"),
        (json.dumps({**good(), "pending": [[d.specs[0].to_dict() for d in PENDING]]}), "several workloads"),
    ],
)
def test_damaged_state_is_one_clear_error(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "sample.json"
    path.write_text(content)
    with pytest.raises(InvalidFile) as error:
        unfinished.load(path, ASKED)
    text = str(error.value)
    assert text.startswith(f"{path}: not the state of an unfinished sample: ")
    assert said in text
    assert "delete the file to begin anew" in text
    assert text.isprintable(), "one line"
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"count": 41}, "count 40 and not 41"),
        ({"precisions": ("int8",)}, "precisions int8,int4 and not int8"),
        ({"seed": 7}, "seed 0 and not 7"),
        ({"threads": 2, "cache_mode": CacheMode.HOT}, "threads 1 and not 2, cache_mode network and not hot"),
        ({"fingerprint": "deadbeef"}, "fingerprint 0123abcd and not deadbeef"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_state_of_another_command_is_refused(tmp_path: Path, other: dict[str, object], said: str) -> None:
    path = tmp_path / "sample.json"
    unfinished.save(path, Unfinished(ASKED, 3, PENDING))
    with pytest.raises(ProfilerError) as error:
        unfinished.load(path, replace(ASKED, **other))  # type: ignore[arg-type]
    assert f"37 of 40 workloads are left of a sample that was asked for otherwise ({said})" in str(error.value)
    assert path.exists()


def test_a_run_refuses_damaged_state_before_it_measures(place: Place) -> None:
    place.state.parent.mkdir(parents=True)
    place.state.write_text("{")
    with pytest.raises(InvalidFile, match=r"sample\.json: not the state"):
        place.sample(2)
    assert place.worlds[-1].log == []
    assert place.state.read_text() == "{"


def test_state_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "sample.json"
    with pytest.raises(OutputError, match=r"sample\.json: cannot be written: "):
        unfinished.save(path, Unfinished(ASKED))
    with pytest.raises(OutputError, match=r"sample\.json: cannot be written: "):
        unfinished.remove(path)


# On this machine.

_RUN = """
import sys
from pathlib import Path
from profiler.sampling.stage import SampleRequest, sample
result = sample(SampleRequest(device="cpu", count=2, trials=1, out=Path(sys.argv[1])))
print(result.resumed, result.workloads, result.kernels, result.measured)
"""


@pytest.mark.compile
@pytest.mark.skipif(platform.system() != "Linux", reason="the host device is Linux only")
def test_killed_on_this_machine(tmp_path: Path) -> None:
    here = Place(tmp_path / "out")
    folder = here.state.parent
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _RUN, str(here.out)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    killed = start()
    limit = time.monotonic() + 60
    while time.monotonic() < limit and killed.poll() is None and not list(folder.glob("*.jsonl")):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert (killed.communicate()[0], killed.returncode) == ("", -signal.SIGKILL)
    state = json.loads(here.state.read_text())
    assert (state["done"], len(state["pending"])) == (0, 1)
    kept = {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}
    assert kept
    again = start()
    said = again.communicate(timeout=120)[0].split()
    assert (again.returncode, said[:3]) == (0, ["True", "2", "4"])
    assert len(here.sampled) == 2
    assert {len(specs) for specs in here.sampled.values()} == {2}
    for name, content in kept.items():
        whole = content[: content.rfind(b"\n") + 1]
        assert (folder / name).read_bytes().startswith(whole), "nothing was thrown away"
    assert here.measured_twice() == []
    assert not here.state.exists()
