"""The energy of a kernel, on a device whose time, joules and troubles are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from profiler.artifact import Artifact, Check
from profiler.devices.protocol import EnergyCounter, KernelFailure, Throttling, Worked
from profiler.errors import NotRecorded
from profiler.measure import Run
from profiler.measure.energy import ENERGY_RULE, NoEnergy
from profiler.measure.kernel_energy import KernelEnergy, measure_energy
from profiler.measure.throttle import KERNEL_WAITS_S
from profiler.quantize.packing import Packing
from profiler.record import (
    CacheMode,
    Circumstances,
    Conditions,
    EnergyMeasurement,
    Failure,
    FailureKind,
    Fingerprint,
)
from profiler.workload import DType, KernelSpec, Op, Workload
from tests.measure.test_energy import BUSY_W, IDLE_W, RUN_S, Device, sampled

SPEC = KernelSpec(Workload(Op.MAX_POOL, 1, 8, 8, 16, 16, 2, 2, 2, 2), DType.INT8, DType.INT8)
ARTIFACT = Artifact(SPEC, "a config", 1, "entry", "any", (), (), Packing("plain"), Check(0, ""), "cc", True, b"")
CONDITIONS = Conditions(1, CacheMode.COLD)
RUN = Run("run", "0.1", "cc")
FINGERPRINT = Fingerprint("fake", "Fake", "none", "0", "", "cc")


@dataclass
class Bench:
    """A `Device` around the meter of the energy tests. ``troubles`` raise in the calls of that name, from that number
    on; ``held_back`` says what held the card back during the n-th work."""

    meter: Device = field(default_factory=Device)
    troubles: dict[str, tuple[int, KernelFailure]] = field(default_factory=dict)
    held_back: Callable[[int], Throttling | None] = lambda number: None
    note: str = ""
    log: list[str] = field(default_factory=list)
    counter_of: EnergyCounter | None = None
    slug: str = "fake"

    def fingerprint(self, compiler: str) -> Fingerprint:
        return replace(FINGERPRINT, compiler=compiler)

    def load(self, artifact: Artifact) -> int:
        self._note("load")
        return 7

    def verify(self, handle: int) -> None:
        self._note("verify")

    def time(self, handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        raise NotImplementedError

    def work(self, handle: int, duration_s: float, mode: CacheMode) -> Worked:
        assert (handle, mode) == (7, CONDITIONS.cache_mode)
        self._note("work")
        return Worked(self.meter.work(duration_s) if duration_s else 1, self.note)

    @property
    def counter(self) -> EnergyCounter:
        return self.counter_of or self.meter

    def recheck(self, handle: int) -> None:
        self._note("recheck")

    def throttling(self) -> Throttling | None:
        return self.held_back(self.log.count("work"))

    def unload(self, handle: int) -> None:
        self._note("unload")

    def circumstances(self) -> Circumstances:
        return Circumstances(temperature_c=50.0 + len(self.log))

    def close(self) -> None: ...

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None: ...

    def _note(self, call: str) -> None:
        self.log.append(call)
        number, failure = self.troubles.get(call, (0, None))
        if failure is not None and self.log.count(call) >= number:
            raise failure


def energy_of(bench: Bench, conditions: Conditions = CONDITIONS) -> KernelEnergy:
    meter = bench.meter
    return measure_energy(bench, ARTIFACT, conditions, RUN, ENERGY_RULE, meter.clock, meter.sleep, sampled)


def test_a_record_of_its_windows() -> None:
    bench = Bench(note="what was not so")
    found = energy_of(bench)
    assert isinstance(found, EnergyMeasurement)
    assert bench.log == ["load", "verify", *["work"] * 7, "recheck", "unload"], "copies, then three times two"
    assert bench.meter.log == ["sleep 2", "sleep 2", *["work 2", "work 5"] * 3, "sleep 2", "sleep 2"]
    assert (found.spec, found.config, found.conditions) == (SPEC, "a config", CONDITIONS)
    assert (found.fingerprint, found.artifact_sha256) == (FINGERPRINT.digest, ARTIFACT.sha256)
    assert (found.run_id, found.tool_version) == ("run", "0.1")
    assert found.energy.j_per_run == pytest.approx(BUSY_W * RUN_S, rel=1e-4)
    assert found.energy.above_idle_j_per_run == pytest.approx((BUSY_W - IDLE_W) * RUN_S, rel=1e-4)
    assert found.energy.counter == "made up"
    assert found.energy.notes == ("what was not so",)
    assert found.circumstances.power_capped_fraction is None
    assert found.circumstances.temperature_c == 50.0 + len(bench.log), "looked at in the end"


def test_a_device_that_tells_nothing_is_asked_for_nothing() -> None:
    bench = Bench(Device(counts=False, tells=False))
    assert energy_of(bench) == NoEnergy("energy counter: Not Supported; power: no")
    assert bench.log == bench.meter.log == []


@pytest.mark.parametrize(("call", "number"), [("load", 1), ("verify", 1), ("work", 1), ("work", 5), ("recheck", 1)])
def test_a_kernel_that_fails_is_a_record(call: str, number: int) -> None:
    bench = Bench(troubles={call: (number, KernelFailure(FailureKind.CRASH, "SIGSEGV"))})
    found = energy_of(bench)
    assert isinstance(found, Failure)
    assert (found.kind, found.message) == (FailureKind.CRASH, "while its energy was measured: SIGSEGV")
    assert (found.spec, found.config, found.conditions) == (SPEC, "a config", CONDITIONS)
    assert found.fingerprint == FINGERPRINT.digest
    assert ("unload" in bench.log) == (call != "load")


def test_unloading_may_fail() -> None:
    bench = Bench(troubles={"unload": (1, KernelFailure(FailureKind.CRASH, "gone"))})
    assert isinstance(energy_of(bench), EnergyMeasurement)


def test_a_slowdown_that_passes_is_answered_with_all_windows_again() -> None:
    """In the fifth call, which is in the second window."""
    bench = Bench(held_back=lambda number: Throttling("heat" if number == 5 else "", number > 10))
    found = energy_of(bench)
    assert isinstance(found, EnergyMeasurement)
    assert bench.log.count("work") == 1 + 6 + 6
    assert bench.meter.log.count("sleep 0.5") == 1
    assert found.energy.notes == ("taken again, because the card was slowed down: 1 times",)
    assert found.circumstances.power_capped_fraction == pytest.approx(3 / 6), "of the windows that count"


def test_a_slowdown_that_does_not_pass_is_of_the_device() -> None:
    bench = Bench(held_back=lambda number: Throttling("heat"))
    found = energy_of(bench)
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.UNSTABLE
    assert "slowed down (heat)" in found.message
    waited_s = [float(said.split()[1]) for said in bench.meter.log if said.startswith("sleep ") and said != "sleep 2"]
    assert waited_s[:4] == [0.5, 1.0, 4.0, 8.0], "and 2 among the others"
    assert KERNEL_WAITS_S <= sum(waited_s) + 2 <= KERNEL_WAITS_S + 16


def test_the_copies_are_made_ahead_of_what_counts() -> None:
    """A slowdown while they are made is none of the windows."""
    bench = Bench(held_back=lambda number: Throttling("heat" if number == 1 else ""))
    assert isinstance(energy_of(bench), EnergyMeasurement)
    assert bench.log.count("work") == 7


def test_threads_must_be_those_of_the_conditions() -> None:
    with pytest.raises(ValueError, match="1 threads"):
        energy_of(Bench(), Conditions(2))


def test_what_is_recorded_is_handed_on() -> None:
    recorded = energy_of(Bench())

    class Replay(Bench):
        def recall(self, *_: Any) -> Any:
            raise NotImplementedError

        def recall_energy(self, artifact: Artifact, conditions: Conditions) -> EnergyMeasurement:
            if conditions != CONDITIONS:
                raise NotRecorded("not this one")
            assert isinstance(recorded, EnergyMeasurement)
            return recorded

    assert energy_of(Replay()) is recorded
    with pytest.raises(NotRecorded):
        energy_of(Replay(), Conditions())
