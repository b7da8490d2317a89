"""The first ten minutes with a T4, before there is one: `make profile GPU=t4` with real cubins on a pretended card.

What is checked is everything but speed: that the run ends with a table and a sound LUT, that it goes on where it was
stopped, and that whatever can go wrong with a card is said in one line, or becomes a record and a line under the table.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiler.hardware import GPUS
from profiler.lut.check import check
from profiler.lut.store import read
from profiler.record import EnergyMeasurement, Failure, FailureKind, Journal, Measurement
from profiler.space.config import to_text
from profiler.space.gpu import default_config
from profiler.workload import DType, Epilogue, KernelSpec
from tests.devices.fake_cuda import Fault, Scenario
from tests.devices.fake_nvml import HW_SLOWDOWN, NOT_SUPPORTED, SW_POWER_CAP, FakeGpu
from tests.e2e.command import DENSE, KERNELS, LINES, Outcome, Place
from tests.rehearsal.machine import QUICK, Machine

pytestmark = pytest.mark.compile

T4, OTHER_T4 = {"name": "Tesla T4"}, {"name": "Tesla T4", "uuid": "GPU-9999", "pci_bus_id": "00000000:00:05.0"}
A100 = {"name": "NVIDIA A100-SXM4-40GB", "uuid": "GPU-aaaa", "pci_bus_id": "00000000:00:06.0", "capability": (8, 0)}
FC = KernelSpec(
    replace(DENSE.layers[0].workload, batch=8), DType.UINT8, DType.INT32, DType.INT8, epilogue=Epilogue.BIAS
)
BEST = to_text(default_config(FC, GPUS["t4"]))


class Box:
    """A place on a pretended machine."""

    def __init__(self, place: Place, machine: Machine | None = None) -> None:
        self.place = place
        self.machine = machine or Machine()

    def start(self, *options: str, device: str = "t4", model: Path | None = None) -> subprocess.Popen[str]:
        return self.machine.start(self.place, *self.place.profile("--device", device, *options, model=model))

    def profile(self, *options: str, device: str = "t4", model: Path | None = None) -> Outcome:
        return Place.answer(self.start(*options, device=device, model=model), limit_s=300)

    def records(self) -> list[Any]:
        folder = self.place.out / "tuning_logs" / "t4"
        return [record for path in sorted(folder.glob("*.jsonl")) for record in Journal(path).read()]

    def failures(self) -> list[Failure]:
        return [record for record in self.records() if isinstance(record, Failure)]


@pytest.fixture(scope="session")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Box, Outcome]:
    """A run of both precisions that nothing disturbed; what it built is used by the other runs."""
    box = Box(Place(tmp_path_factory.mktemp("rehearsal") / "place"))
    return box, box.profile("--precisions", "int8,int4", "--trials", "8")


@pytest.fixture
def built(rehearsed: tuple[Box, Outcome], tmp_path: Path) -> Place:
    """A place where nothing was measured yet and all kernels are built."""
    place = Place(tmp_path / "place")
    shutil.copytree(rehearsed[0].place.out / "kernels", place.out / "kernels")
    return place


def test_from_nothing_to_a_table(rehearsed: tuple[Box, Outcome]) -> None:
    box, outcome = rehearsed
    assert outcome.code == 0, outcome.err
    assert "on Tesla T4, cache mode network" in outcome.out
    assert "1 thread" not in outcome.out
    lut = box.place.out / "lut" / "t4.csv"
    assert check(lut) == []
    rows = read(lut)
    assert len(rows) == 2 * KERNELS
    assert all(row.device == "t4" and row.arch == "sm_75" and row.samples >= 7 for row in rows)
    assert all(row.sm_clock_mhz_low == pytest.approx(1590, rel=0.01) for row in rows), "the probe's clock"
    assert all(row.power_capped_fraction == 0 for row in rows)
    assert outcome.out.count("conv2d_") + outcome.out.count("dense_") + outcome.out.count("pool_") == LINES
    measured = [record for record in box.records() if isinstance(record, Measurement)]
    assert all(record.circumstances.floor_s == pytest.approx(2e-6, rel=0.2) for record in measured)
    assert box.failures() == []
    assert len(list((box.place.out / "kernels" / "t4").rglob("*.lbk"))) >= 2 * KERNELS


def test_a_second_run_measures_and_builds_nothing(rehearsed: tuple[Box, Outcome]) -> None:
    box, _ = rehearsed
    before = {path: path.read_bytes() for path in box.place.out.rglob("*") if path.is_file()}
    outcome = box.profile("--precisions", "int8,int4", "--trials", "8", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["measured"] == 0
    after = {path: path.read_bytes() for path in box.place.out.rglob("*") if path.is_file()}
    assert after == before


def test_sampled_as_on_a_real_card(built: Place) -> None:
    outcome = Box(built, Machine(quick=False)).profile("--trials", "1", model=built.dense)
    assert outcome.code == 0, outcome.err
    (row,) = read(built.out / "lut" / "t4.csv")
    assert row.samples > QUICK.final.max_samples, "by the rule of a real card, however slow this machine is"


def test_killed_and_started_again(built: Place) -> None:
    box = Box(built)
    process = box.start()
    folder = built.out / "tuning_logs" / "t4"
    limit = time.monotonic() + 60
    while time.monotonic() < limit and not list(folder.glob("*.jsonl")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = [record for record in box.records() if isinstance(record, Measurement)]
    assert kept
    outcome = box.profile()
    assert outcome.code == 0, outcome.err
    measured = [record for record in box.records() if isinstance(record, Measurement)]
    assert measured[: len(kept)] != [], "nothing was thrown away"
    assert {id_of(record) for record in kept} <= {id_of(record) for record in measured}
    assert len({id_of(record) for record in measured}) == len(measured), "nothing was measured twice"
    assert len(read(built.out / "lut" / "t4.csv")) == KERNELS
    assert built.strays() == []


def id_of(record: Measurement) -> tuple[str, str, str]:
    return record.spec.key, record.config, record.stage


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (Fault(code=700), FailureKind.CRASH, "CUDA_ERROR_ILLEGAL_ADDRESS"),
        (Fault(code=719), FailureKind.CRASH, "CUDA_ERROR_LAUNCH_FAILED"),
        (Fault(code=702), FailureKind.TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT"),
        (Fault(flip=7), FailureKind.WRONG_OUTPUT, "the first is byte 7"),
        (Fault(writes_at=("output", -1)), FailureKind.WRONG_OUTPUT, "outside of its argument"),
    ],
    ids=["illegal address", "launch failed", "launch timeout", "wrong output", "wrote outside"],
)
def test_a_kernel_that_goes_wrong_is_a_record_and_the_next_one_works(
    built: Place, fault: Fault, kind: FailureKind, said: str
) -> None:
    box = Box(built, Machine(scenario=Scenario(faults={BEST: fault})))
    outcome = box.profile(model=built.dense)
    assert outcome.code == 0, outcome.err
    (failed,) = box.failures()
    assert (failed.spec, failed.config, failed.kind) == (FC, BEST, kind)
    assert said in failed.message
    assert "\n" not in failed.message
    (row,) = read(built.out / "lut" / "t4.csv")
    assert row.spec == FC
    assert row.config != BEST


def test_a_power_cap_that_never_ends_still_gives_a_table(built: Place) -> None:
    outcome = Box(built, Machine(gpus=({**T4, "reasons": SW_POWER_CAP},))).profile("--trials", "1", model=built.dense)
    assert outcome.code == 0, outcome.err
    rows = read(built.out / "lut" / "t4.csv")
    assert len(rows) == 1
    assert {row.power_capped_fraction for row in rows} == {1.0}
    assert "at its power limit" in outcome.out


def test_a_slowdown_that_ends_costs_a_wait(built: Place) -> None:
    gpu = {**T4, "coming_reasons": [0, HW_SLOWDOWN, HW_SLOWDOWN]}
    outcome = Box(built, Machine(gpus=(gpu,))).profile("--trials", "1", model=built.dense)
    assert outcome.code == 0, outcome.err
    assert len(read(built.out / "lut" / "t4.csv")) == 1


def test_nvml_that_refuses_is_noted(built: Place) -> None:
    refused = (
        "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetViolationStatus",
        "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons",
        "nvmlDeviceGetVbiosVersion", "nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetPowerManagementLimit",
    )  # fmt: skip
    box = Box(built, Machine(gpus=({**T4, "refusals": dict.fromkeys(refused, NOT_SUPPORTED)},)))
    outcome = box.profile("--trials", "1", model=built.dense)
    assert outcome.code == 0, outcome.err
    assert {row.power_capped_fraction for row in read(built.out / "lut" / "t4.csv")} == {None}
    measured = [record for record in box.records() if isinstance(record, Measurement)]
    assert all(any("Not Supported" in note for note in record.circumstances.notes) for record in measured)


@pytest.mark.parametrize(
    ("machine", "device", "said"),
    [
        (Machine((A100,)), "t4", ("there is no t4", "NVIDIA A100-SXM4-40GB (a100, index 0)")),
        (Machine((A100, T4)), "2", ("there is no GPU 2",)),
        (Machine((T4, OTHER_T4)), "GPU-", ("2 UUIDs",)),
        (Machine(scenario=Scenario(driver_version=(11, 4))), "t4", ("CUDA 11.4", "525.60.13", "update the driver")),
        (Machine(scenario=Scenario(start_code=803)), "t4", ("driver",)),
        (Machine(scenario=Scenario(start_code=2)), "t4", ("memory",)),
        (Machine(({**T4, "capability": (7, 0), "name": "Tesla V100"},)), "0", ("7.0", "7.5 (Turing")),
        (Machine(({**T4, "lost": True},)), "t4", ("lost",)),
    ],
    ids=["another card", "no such index", "two of a kind", "old driver", "start", "no memory", "too old", "lost"],
)
def test_a_card_that_cannot_be_measured(place: Place, machine: Machine, device: str, said: tuple[str, ...]) -> None:
    outcome = Box(place, machine).profile(device=device)
    assert outcome.code == 2, outcome.out
    lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in outcome.err
    assert all(part in lines[0] for part in said), lines
    assert not (place.out / "lut" / "t4.csv").exists()


def test_energies_by_nvml(built: Place) -> None:
    outcome = Box(built).profile("--trials", "1", "--energy", model=built.dense)
    assert outcome.code == 0, outcome.err
    assert "energies of 1 kernels by NVML, 1 measured now" in outcome.out
    (record,) = [r for r in Box(built).records() if isinstance(r, EnergyMeasurement)]
    power_w = FakeGpu().power_w
    for window in record.energy.windows:
        assert window.counted_j == pytest.approx(power_w * window.duration_s, rel=0.2)
        assert window.integrated_j == pytest.approx(power_w * window.duration_s, rel=0.1)
    assert record.energy.idle_w == pytest.approx(power_w)
    assert record.circumstances.sm_clock_mhz_low == pytest.approx(1590, rel=0.01)
    (row,) = read(built.out / "lut" / "t4.csv")
    assert row.energy_j == record.energy.j_per_run
    again = Box(built).profile("--trials", "1", "--energy", "--json", model=built.dense)
    told = json.loads(again.out)["energies"]
    assert told["idle_w"] == pytest.approx([power_w] * 2)
    assert (told["kernels"], told["measured"], told["counters"], told["reason"]) == (1, 0, ["NVML"], None)


def test_a_card_that_tells_neither_joules_nor_watts(built: Place) -> None:
    refused = ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage")
    silent = Machine(gpus=({**T4, "refusals": dict.fromkeys(refused, NOT_SUPPORTED)},))
    outcome = Box(built, silent).profile("--trials", "1", "--energy", model=built.dense)
    assert outcome.code == 0, outcome.err
    assert "no energies: energy counter: Not Supported; power: Not Supported" in outcome.out
    assert read(built.out / "lut" / "t4.csv")[0].energy_j is None


def test_the_t4_among_several(built: Place) -> None:
    outcome = Box(built, Machine((A100, T4, OTHER_T4))).profile("--trials", "1", model=built.dense)
    assert outcome.code == 0, outcome.err
    assert "took the first of 2: Tesla T4 (t4, index 1)" in outcome.err + outcome.out
    assert (built.out / "lut" / "t4.csv").exists()


def test_locked_clocks_are_part_of_the_instrument(built: Place) -> None:
    outcome = Box(built).profile("--trials", "1", "--lock-clocks", model=built.dense)
    assert outcome.code == 0, outcome.err
    assert "SM clock locked at 585 MHz" in outcome.out
    locked = {row.fingerprint for row in read(built.out / "lut" / "t4.csv")}
    assert Box(built).profile("--trials", "1", model=built.dense).code == 0
    files = sorted((built.out / "lut").glob("t4*.csv"))
    assert len(files) == 2, "another instrument, another file"
    assert {row.fingerprint for path in files for row in read(path)} > locked
