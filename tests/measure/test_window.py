"""The loop of a measurement, on a device and a clock that are made up, so that every second is known."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import pytest

from profiler.artifact import ArgSpec, Artifact, Check, Role
from profiler.devices.protocol import EnergyCounter, KernelFailure, Throttling, Worked
from profiler.errors import DeviceError
from profiler.measure import FINAL, GPU_RULES, SCREEN, Run, StoppingRule, measure
from profiler.measure.throttle import CALL_WAITS_S, KERNEL_WAITS_S, MOST_REST
from profiler.quantize.packing import Packing
from profiler.record import (
    CacheMode,
    Circumstances,
    Conditions,
    Failure,
    FailureKind,
    Fingerprint,
    Journal,
    Measurement,
)
from profiler.workload import DType, KernelSpec, Op, Workload

RUN = Run("run-1", "1.2.3", "gcc 12")
HOT = Conditions(1, CacheMode.HOT)
SPEC = KernelSpec(Workload(Op.ADD, 1, 1, 1, 8, 8), DType.INT8, DType.INT8, input2_dtype=DType.INT8)
FOUR = StoppingRule(sample_s=1e-3, min_samples=4, max_samples=4, target=0.0, budget_s=10.0)


def artifact(config: str, threads: int = 1) -> Artifact:
    return Artifact(
        spec=SPEC,
        config=config,
        threads=threads,
        entry="entry",
        arch="any",
        features=(),
        args=(ArgSpec("output", Role.OUTPUT, 8),),
        packing=Packing("plain"),
        check=Check(0, ""),
        compiler="gcc 12",
        native=True,
        code=b"",
    )


Durations = Iterator[float]


def constant(launch_s: float) -> Callable[[], Durations]:
    return lambda: itertools.repeat(launch_s)


@dataclass
class FakeDevice:
    """Kernels by config: how long their launches take, or at which call they fail. Keeps a diary.

    overhead_s, call_s : what lies between the launches, and what a call of `time` costs besides.
    held_back : what held the card back, by the config that was timed, its begin and end; None if it cannot tell.
    """

    kernels: dict[str, Callable[[], Durations]]
    overhead_s: float = 0.0
    failing: dict[tuple[str, str], FailureKind] = field(default_factory=dict)
    broken_at: str = ""
    call_s: float = 0.0
    held_back: Callable[[str, float, float], Throttling | None] = lambda config, begin_s, end_s: None
    sustained: bool = False
    slept_s: list[float] = field(default_factory=list)
    timed: tuple[str, float, float] = ("", 0.0, 0.0)
    slug: str = "fake"
    now_s: float = 0.0
    diary: list[tuple[str, str, int]] = field(default_factory=list)
    loaded: dict[int, tuple[str, Durations]] = field(default_factory=dict)
    handles: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    asked: int = 0

    def clock(self) -> float:
        return self.now_s

    def fingerprint(self, compiler: str) -> Fingerprint:
        return Fingerprint("fake", "Fake", "none", "0", "", compiler, sustained=self.sustained)

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    def load(self, artifact: Artifact) -> int:
        self._note("load", artifact.config)
        handle = next(self.handles)
        self.loaded[handle] = (artifact.config, self.kernels[artifact.config]())
        return handle

    def verify(self, handle: int) -> None:
        self._note("verify", self.loaded[handle][0])

    def time(self, handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        config, durations = self.loaded[handle]
        self._note("time", config, launches)
        times_s = tuple(itertools.islice(durations, launches))
        begin_s = self.now_s
        self.now_s += sum(times_s) + self.overhead_s * launches + self.call_s
        self.timed = (config, begin_s, self.now_s)
        return times_s

    def work(self, handle: int, duration_s: float, mode: CacheMode) -> Worked:
        config, durations = self.loaded[handle]
        self._note("work", config)
        begin_s, runs = self.now_s, 0
        while not runs or self.now_s - begin_s < duration_s:
            self.now_s += next(durations)
            runs += 1
        self.timed = (config, begin_s, self.now_s)
        return Worked(runs)

    @property
    def counter(self) -> EnergyCounter:
        raise NotImplementedError

    def recheck(self, handle: int) -> None:
        self._note("recheck", self.loaded[handle][0])

    def throttling(self) -> Throttling | None:
        return self.held_back(*self.timed)

    def unload(self, handle: int) -> None:
        self._note("unload", self.loaded.pop(handle)[0])

    def circumstances(self) -> Circumstances:
        self.asked += 1
        return Circumstances(load_average=float(self.asked))

    def close(self) -> None:
        self.loaded.clear()

    def __enter__(self) -> FakeDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _note(self, call: str, config: str, launches: int = 0) -> None:
        self.diary.append((call, config, launches))
        if call == self.broken_at:
            raise DeviceError("the device is gone")
        if (call, config) in self.failing:
            raise KernelFailure(self.failing[call, config], f"{config} failed in {call}")

    def calls(self, call: str) -> list[str]:
        return [config for name, config, _ in self.diary if name == call]


def run(
    device: FakeDevice, configs: str, rule: StoppingRule = FOUR, stage: str = "final"
) -> tuple[Measurement | Failure, ...]:
    return measure(device, [artifact(c) for c in configs], HOT, rule, stage, RUN, device.clock, device.sleep)


def measured(records: tuple[Measurement | Failure, ...]) -> list[Measurement]:
    found = [record for record in records if isinstance(record, Measurement)]
    assert len(found) == len(records)
    return found


def test_records_say_all_there_is_to_say(tmp_path: Path) -> None:
    device = FakeDevice({"a": constant(1e-4), "b": constant(2e-4)})
    records = measured(run(device, "ab"))
    for record, config, launch_s, launches in zip(records, "ab", (1e-4, 2e-4), (10, 5), strict=True):
        assert record.samples_s == pytest.approx([launch_s] * 4)
        assert record.launches_per_sample == launches
        assert (record.spec, record.config, record.conditions, record.stage) == (SPEC, config, HOT, "final")
        assert (record.run_id, record.tool_version, record.native) == ("run-1", "1.2.3", True)
        assert record.fingerprint == device.fingerprint("gcc 12").digest
        assert record.artifact_sha256 == artifact(config).sha256
        assert (record.discarded, record.circumstances.notes) == (0, ())
        assert record.circumstances.load_average == 2.0, "asked at the end, and once before to begin anew"
    journal = Journal(tmp_path / "log.jsonl")
    journal.append(records)
    assert list(journal.read()) == records
    assert not device.loaded


def test_samples_are_interleaved_in_alternating_order() -> None:
    device = FakeDevice({c: constant(1e-4) for c in "abc"})
    run(device, "abc")
    assert device.calls("load") == device.calls("verify") == ["a", "b", "c"]
    samples = [config for call, config, launches in device.diary if call == "time" and launches == 11]
    assert samples[-12:] == ["a", "b", "c", "c", "b", "a", "a", "b", "c", "c", "b", "a"]


def test_every_sample_begins_with_a_launch_that_does_not_count() -> None:
    def slow_first() -> Durations:
        yield from [5e-4] * 201  # warm-up: 1 + 200 launches of 100 ms; then samples of 1 + 2 launches
        yield from itertools.cycle([5e-3, 5e-4, 5e-4])

    device = FakeDevice({"a": slow_first})
    (record,) = measured(run(device, "a", replace(FOUR, budget_s=10.0)))
    assert record.launches_per_sample == 2
    assert record.samples_s == pytest.approx([5e-4] * 4)


def test_a_kernel_that_fills_a_sample_is_launched_once_for_it() -> None:
    device = FakeDevice({"a": constant(2e-3)})
    (record,) = measured(run(device, "a"))
    assert record.launches_per_sample == 1
    assert [launches for call, _, launches in device.diary if call == "time"][-4:] == [1, 1, 1, 1]


def test_a_sample_is_the_mean_of_its_launches() -> None:
    device = FakeDevice({"a": lambda: itertools.cycle([1e-4, 1e-4, 4e-4])})
    (record,) = measured(run(device, "a"))
    assert all(1e-4 < sample < 3e-4 for sample in record.samples_s)


def test_warm_up_waits_until_the_time_is_steady() -> None:
    def settling() -> Durations:
        return (1e-4 * (1 + 9 * 0.997**i) for i in itertools.count())

    device = FakeDevice({"a": settling})
    (record,) = measured(run(device, "a", replace(FOUR, budget_s=5.0)))
    assert record.samples_s == pytest.approx([1e-4] * 4, rel=0.1)


def test_warm_up_is_bounded() -> None:
    device = FakeDevice({"a": lambda: (1e-4 * 2 ** (i // 50 % 2) for i in itertools.count())})
    run(device, "a", replace(FOUR, budget_s=0.1))
    assert device.now_s < 0.3


def test_each_kernel_stops_by_its_own_rule() -> None:
    noise = random.Random(1)

    def noisy() -> Durations:
        while True:
            yield 1e-2 * noise.uniform(1, 1.25)

    rule = StoppingRule(sample_s=1e-3, min_samples=6, max_samples=30, target=0.001, budget_s=100.0)
    device = FakeDevice({"a": constant(1e-2), "b": noisy})
    steady, scattered = measured(run(device, "ab", rule))
    assert len(steady.samples_s) == 6
    assert len(scattered.samples_s) == 30


@pytest.mark.parametrize("launch_s", [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 5e-3])
@pytest.mark.parametrize("overhead_s", [0.0, 2e-4])
@pytest.mark.parametrize("rule", [SCREEN, FINAL])
def test_cost_of_the_presets(launch_s: float, overhead_s: float, rule: StoppingRule) -> None:
    """The budget counts what lies between the launches, and is kept unless that would leave no samples."""
    noise = random.Random(2)
    device = FakeDevice({"a": lambda: (launch_s * noise.uniform(1, 1.2) for _ in itertools.count())}, overhead_s)
    (record,) = measured(run(device, "a", rule))
    longest_sample_s = 2 * 1.2 * (launch_s + overhead_s) * (record.launches_per_sample + 1)
    assert device.now_s <= 1.05 * rule.budget_s + longest_sample_s
    assert len(record.samples_s) >= rule.min_samples * 2 // 3
    assert len(record.samples_s) <= rule.max_samples


@pytest.mark.parametrize(
    ("rule", "call_s", "launches"),
    [
        (GPU_RULES.screen, 3e-3, 50),  # they fill the 1 ms of a sample
        (GPU_RULES.final, 3e-3, 100),  # and the 2 ms
        (GPU_RULES.screen, 0.0, 50),
        (GPU_RULES.final, 0.0, 100),
        (GPU_RULES.screen, 15e-3, GPU_RULES.screen.least_launches),  # whatever the budget says
        (FINAL, 0.0, 165),  # a share of 20 ms, at 120 us a launch, one of which does not count
        (SCREEN, 0.0, 40),
    ],
)
def test_what_a_call_costs_is_no_launchs_cost(rule: StoppingRule, call_s: float, launches: int) -> None:
    """A kernel of 20 us, and 100 us between its launches, as L2 is flushed there."""
    device = FakeDevice({"a": constant(20e-6)}, overhead_s=1e-4, call_s=call_s)
    (record,) = measured(run(device, "a", rule))
    assert record.launches_per_sample == launches
    assert len(record.samples_s) >= rule.least_samples
    assert device.now_s <= rule.budget_s + 0.02 * rule.budget_s + 2 * (call_s + 1.2e-4 * (launches + 1))


def test_slow_kernels_get_the_least_samples() -> None:
    device = FakeDevice({"a": constant(0.3)})
    (screened,) = measured(run(device, "a", SCREEN, "screen"))
    assert len(screened.samples_s) == SCREEN.least_samples
    (final,) = measured(run(device, "a", FINAL))
    assert len(final.samples_s) == FINAL.least_samples


def test_failures_are_records_and_lose_nobody() -> None:
    device = FakeDevice(
        {c: constant(1e-4) for c in "abcde"},
        failing={
            ("load", "a"): FailureKind.LAUNCH,
            ("verify", "c"): FailureKind.WRONG_OUTPUT,
            ("time", "d"): FailureKind.CRASH,
        },
    )
    records = run(device, "abcde")
    assert [record.config for record in records] == list("abcde")
    kinds = [record.kind if isinstance(record, Failure) else None for record in records]
    assert kinds == [FailureKind.LAUNCH, None, FailureKind.WRONG_OUTPUT, FailureKind.CRASH, None]
    failure = records[2]
    assert isinstance(failure, Failure)
    assert (failure.message, failure.run_id, failure.conditions) == ("c failed in verify", "run-1", HOT)
    assert failure.fingerprint == device.fingerprint("gcc 12").digest
    assert not device.loaded


def test_outputs_are_looked_at_again_in_the_end() -> None:
    """Of every kernel that has samples, behind all of them and before it is unloaded; not of a candidate's."""
    device = FakeDevice(
        {c: constant(1e-4) for c in "abcd"},
        failing={
            ("recheck", "b"): FailureKind.WRONG_OUTPUT,
            ("time", "c"): FailureKind.CRASH,
        },
    )
    records = run(device, "abcd")
    kinds = [record.kind if isinstance(record, Failure) else None for record in records]
    assert kinds == [None, FailureKind.WRONG_OUTPUT, FailureKind.CRASH, None]
    assert device.calls("recheck") == ["a", "b", "d"]
    assert [call for call, _, _ in device.diary][-6:] == 3 * ["recheck"] + 3 * ["unload"]
    assert not device.loaded
    device.diary.clear()
    screened = run(device, "abcd", stage="screen")
    assert isinstance(screened[1], Measurement)
    assert device.calls("recheck") == []


def test_a_kernel_that_fails_in_the_rounds() -> None:
    device = FakeDevice({c: constant(1e-4) for c in "ab"})
    original = device.time

    def failing_later(handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        if device.loaded[handle][0] == "a" and len(device.calls("time")) > 7:
            raise KernelFailure(FailureKind.TIMEOUT, "late")
        return original(handle, launches, mode)

    device.time = failing_later  # type: ignore[method-assign]
    first, second = run(device, "ab")
    assert isinstance(first, Failure)
    assert first.kind is FailureKind.TIMEOUT
    assert device.calls("recheck") == ["b"]
    assert isinstance(second, Measurement)
    assert len(second.samples_s) == 4
    assert not device.loaded


def contaminated_for(launches: int) -> Callable[[], Durations]:
    """Every other launch takes twice as long at first; the mean of a sample of one launch shows it."""

    def durations() -> Durations:
        for i in itertools.count():
            yield 0.01 if i >= launches or i % 4 == 0 else 0.02

    return durations


def test_contaminated_samples_are_taken_once_more() -> None:
    rule = replace(FOUR, repeats=1)
    device = FakeDevice({"a": contaminated_for(20), "b": constant(0.01)})
    noisy, quiet = measured(run(device, "ab", rule))
    assert noisy.samples_s == pytest.approx([0.01] * 4)
    assert noisy.discarded == 4
    assert noisy.circumstances.notes == ("measured again: the first 4 samples were contaminated",)
    assert (quiet.discarded, quiet.circumstances.notes) == (0, ())


def test_contamination_that_stays_is_noted_and_bounded() -> None:
    def half() -> Durations:
        yield from [0.01] * 11
        yield from itertools.cycle([0.01, 0.01, 0.02, 0.02, 0.02, 0.02])

    rule = replace(FOUR, min_samples=9, max_samples=9, repeats=1)
    device = FakeDevice({"a": half})
    (record,) = measured(run(device, "a", rule))
    assert record.summary.contaminated
    assert (record.discarded, len(record.samples_s)) == (9, 9)
    assert record.circumstances.notes[-1].startswith("contaminated")
    (screened,) = measured(run(FakeDevice({"a": half}), "a", replace(rule, repeats=0), "screen"))
    assert (screened.discarded, len(screened.samples_s)) == (0, 9)


@pytest.mark.parametrize("call", ["load", "verify", "time", "recheck"])
def test_a_broken_device_is_no_record(call: str) -> None:
    device = FakeDevice({"a": constant(1e-4)}, broken_at=call)
    with pytest.raises(DeviceError, match="gone"):
        run(device, "a")
    assert not device.loaded


def test_wrong_number_of_threads_is_a_defect() -> None:
    device = FakeDevice({"a": constant(1e-4)})
    with pytest.raises(ValueError, match="2 threads"):
        measure(device, [artifact("a", threads=2)], HOT, FOUR, "final", RUN)


def test_nothing_to_measure() -> None:
    assert run(FakeDevice({}), "") == ()


FINE = Throttling()
SLOWED = Throttling("HwThermalSlowdown")
CAPPED = Throttling(power_capped=True)


@pytest.mark.parametrize("told", [None, FINE])
def test_a_device_that_is_not_held_back_never_waits(told: Throttling | None) -> None:
    device = FakeDevice({c: constant(1e-4) for c in "ab"}, held_back=lambda config, begin_s, end_s: told)
    for record in measured(run(device, "ab", FINAL)):
        assert record.circumstances.power_capped_fraction == (None if told is None else 0.0)
        assert (record.discarded, record.circumstances.notes) == (0, ())
    assert device.slept_s == []


def test_a_slowdown_that_ends_costs_samples_and_time_but_no_precision() -> None:
    """The card is hot from the third second on, for five; what was taken then, at half the speed, is not in a sample.

    The waits exceed the budget by far, and yet no kernel is cut short.
    """

    def hot(config: str, begin_s: float, end_s: float) -> Throttling:
        return SLOWED if begin_s < 8 and end_s > 3 else FINE

    device = FakeDevice({}, held_back=hot)

    def durations() -> Durations:
        while True:
            yield 2e-2 if 2.9 < device.now_s < 8 else 1e-2

    device.kernels = {"a": durations, "b": durations}
    rule = StoppingRule(sample_s=0.1, min_samples=20, max_samples=20, target=0.0, budget_s=5.0)
    first, second = measured(run(device, "ab", rule))
    assert first.discarded + second.discarded >= 3
    for record in (first, second):
        assert record.samples_s == pytest.approx([1e-2] * 20)
        note = f"samples that were slowed down and taken again: {record.discarded}"
        assert record.circumstances.notes == ((note,) if record.discarded else ())
    assert 4 < sum(device.slept_s) < 12


def test_warm_up_waits_for_a_hot_card_too() -> None:
    device = FakeDevice({"a": constant(1e-4)}, held_back=lambda config, begin_s, end_s: SLOWED if begin_s < 2 else FINE)
    (record,) = measured(run(device, "a"))
    assert (len(record.samples_s), record.discarded) == (4, 0), "what the warm-up loses is no sample"
    assert sum(device.slept_s) > 1


def test_a_slowdown_that_never_ends_fails_its_kernel_only() -> None:
    """As a kernel that makes the card too hot by itself."""
    device = FakeDevice(
        {c: constant(1e-4) for c in "abc"}, held_back=lambda config, begin_s, end_s: SLOWED if config == "b" else FINE
    )
    first, failure, last = run(device, "abc")
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.UNSTABLE
    assert "HwThermalSlowdown" in failure.message
    assert sum(device.slept_s) == KERNEL_WAITS_S
    for record in (first, last):
        assert isinstance(record, Measurement)
        assert len(record.samples_s) == 4
    assert not device.loaded


@pytest.mark.parametrize("since_s", [0.0, 0.01])
def test_a_card_that_never_cools_down_ends_the_call(since_s: float) -> None:
    """From the first batch on, or in the middle of the samples: one failure for each kernel, within the bound."""
    device = FakeDevice(
        {c: constant(1e-4) for c in "abcdefgh"},
        held_back=lambda config, begin_s, end_s: SLOWED if end_s >= since_s else FINE,
    )
    records = run(device, "abcdefgh", FINAL)
    assert [isinstance(r, Failure) and r.kind is FailureKind.UNSTABLE for r in records] == [True] * 8
    assert sum(device.slept_s) == CALL_WAITS_S
    assert not device.loaded


@pytest.mark.parametrize("rule", [SCREEN, FINAL])
def test_a_card_that_is_always_capped_gives_a_table(rule: StoppingRule) -> None:
    """Every sample is kept and flagged; the rests cost a bounded multiple, and no kernel loses samples to them."""
    noise = random.Random(3)
    kernels = {c: lambda: (1e-4 * noise.uniform(1, 1.2) for _ in itertools.count()) for c in "abcd"}
    device = FakeDevice(dict(kernels), held_back=lambda config, begin_s, end_s: CAPPED)
    records = measured(run(device, "abcd", rule))
    for record in records:
        assert record.circumstances.power_capped_fraction == 1.0
        assert record.discarded == 0
        assert len(record.samples_s) >= rule.min_samples
    rests_s = sum(device.slept_s)
    assert 0 < rests_s <= MOST_REST * (device.now_s - rests_s)
    assert device.now_s <= (1 + MOST_REST) * 4 * 1.2 * rule.budget_s


def test_sustained_measurements_rest_never() -> None:
    device = FakeDevice({"a": constant(1e-4)}, held_back=lambda config, begin_s, end_s: CAPPED, sustained=True)
    (record,) = measured(run(device, "a"))
    assert record.circumstances.power_capped_fraction == 1.0
    assert record.fingerprint == device.fingerprint("gcc 12").digest
    assert device.slept_s == []


def test_rests_keep_a_card_below_its_cap() -> None:
    """A card that averages its power over 100 ms and is capped above half load: few samples are capped."""
    load: list[tuple[float, float]] = []

    def capped(config: str, begin_s: float, end_s: float) -> Throttling:
        load.append((begin_s, end_s))
        busy_s = sum(max(0.0, end - max(begin, end_s - 0.1)) for begin, end in load)
        return CAPPED if busy_s > 0.05 else FINE

    device = FakeDevice({"a": constant(1e-3)}, held_back=capped)
    rule = StoppingRule(sample_s=0.005, min_samples=400, max_samples=400, target=0.0, budget_s=100.0)
    (record,) = measured(run(device, "a", rule))
    fraction = record.circumstances.power_capped_fraction
    assert fraction is not None
    assert 0 < fraction < 0.3


def test_the_capped_fraction_counts_the_samples_of_each_kernel() -> None:
    calls = itertools.count()
    device = FakeDevice(
        {c: constant(0.01) for c in "ab"},
        held_back=lambda config, begin_s, end_s: CAPPED if config == "b" and next(calls) % 2 else FINE,
    )
    never, half = measured(run(device, "ab", replace(FOUR, min_samples=8, max_samples=8)))
    assert never.circumstances.power_capped_fraction == 0.0
    assert half.circumstances.power_capped_fraction == 0.5


def test_samples_that_are_taken_once_more_are_capped_anew() -> None:
    """Capped while the neighbour ran; the fraction is that of the samples that are kept."""
    device = FakeDevice(
        {"a": contaminated_for(20)},
        held_back=lambda config, begin_s, end_s: CAPPED if len(device.calls("time")) < 10 else FINE,
    )
    (record,) = measured(run(device, "a", replace(FOUR, repeats=1)))
    assert record.discarded == 4
    assert record.circumstances.power_capped_fraction is not None
    assert record.circumstances.power_capped_fraction < 1.0


def test_a_clock_that_says_nothing_is_no_latency() -> None:
    device = FakeDevice({"a": constant(0.0), "b": constant(1e-5)})
    failed, fine = run(device, "ab", SCREEN)
    assert isinstance(failed, Failure)
    assert failed.kind is FailureKind.UNSTABLE
    assert "0 s for a launch" in failed.message
    assert isinstance(fine, Measurement)
