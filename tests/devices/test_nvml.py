"""NVML through a stand-in for pynvml: what is read and refused, what held a card back, the lock of its clock."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.devices.clock_lock import locked_clocks
from profiler.devices.gpu_facts import GpuFacts
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.gpu_state import ClockReason, GpuLimits, GpuProcess, GpuState, compare
from profiler.devices.nvml import ListedGpu, Nvml
from profiler.devices.protocol import Throttling
from profiler.errors import DeviceError

from . import fake_nvml
from .fake_nvml import FakeGpu, FakeNvml, FakeProcess

A100 = FakeGpu(name="NVIDIA A100-SXM4-40GB", uuid="GPU-ffff", pci_bus_id="00010000:3b:00.0", capability=(8, 0))


def nvml(fake: FakeNvml) -> Nvml:
    return Nvml(load=lambda: fake)


def monitor(fake: FakeNvml) -> GpuMonitor:
    return GpuMonitor(nvml(fake), fake.gpus[0].uuid)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(DeviceError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("in_bytes", [False, True])
def test_cards_are_listed(in_bytes: bool) -> None:
    """Index, spelling of the bus as CUDA has it (NVML pads the domain to eight digits), in old and new releases."""
    fake = FakeNvml(gpus=[FakeGpu(), replace(A100)], in_bytes=in_bytes)
    first, second = nvml(fake).gpus()
    assert first == ListedGpu(0, "Tesla T4", FakeGpu().uuid, "0000:00:1E.0", (7, 5), 15 * 2**30)
    assert (second.index, second.pci_bus_id, second.capability) == (1, "10000:3B:00.0", (8, 0))
    assert fake.sessions == 0


def test_a_card_that_says_little_is_listed() -> None:
    names = ("nvmlDeviceGetPciInfo", "nvmlDeviceGetCudaComputeCapability", "nvmlDeviceGetMemoryInfo")
    fake = FakeNvml(gpus=[FakeGpu(refusals=dict.fromkeys(names, fake_nvml.NOT_SUPPORTED))])
    assert nvml(fake).gpus() == (ListedGpu(0, "Tesla T4", FakeGpu().uuid),)


@pytest.mark.parametrize("code", [fake_nvml.GPU_IS_LOST, fake_nvml.NO_PERMISSION])
def test_a_card_that_does_not_answer_hides_no_other(code: int) -> None:
    """It is lost, or belongs to somebody else; the others keep their numbers."""
    silent = FakeGpu(uuid="GPU-0", refusals={"nvmlDeviceGetUUID": code})
    fake = FakeNvml(gpus=[silent, FakeGpu()])
    (gpu,) = nvml(fake).gpus()
    assert (gpu.index, gpu.uuid) == (1, FakeGpu().uuid)
    assert GpuMonitor(nvml(fake), gpu.uuid).facts().name == "Tesla T4"
    message = refusal(lambda: GpuMonitor(nvml(fake), "GPU-0"))
    assert "GPU-0 is not on this machine" in message
    assert f"GPU 0: {'the GPU does not answer' if code == fake_nvml.GPU_IS_LOST else 'Insufficient'}" in message
    fake.gpus.pop()
    assert fake_nvml.ERROR_TEXTS[code] in refusal(nvml(fake).gpus)


def test_no_card_at_all() -> None:
    assert nvml(FakeNvml(gpus=[])).gpus() == ()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (fake_nvml.LIBRARY_NOT_FOUND, "--gpus all"),
        (fake_nvml.DRIVER_NOT_LOADED, "modprobe nvidia"),
        (fake_nvml.NO_PERMISSION, "group"),
        (fake_nvml.VERSION_MISMATCH, "restart"),
        (fake_nvml.UNKNOWN, "Unknown Error"),
    ],
)
def test_without_a_driver(code: int, advice: str) -> None:
    message = refusal(lambda: monitor(FakeNvml(refusals={"nvmlInit": code})))
    assert "the NVIDIA driver does not answer" in message
    assert fake_nvml.ERROR_TEXTS[code] in message
    assert advice in message


@pytest.mark.parametrize("in_bytes", [False, True])
def test_facts(in_bytes: bool) -> None:
    card = FakeGpu(power_limit_w=62.5, persistence=False, compute_mode=3)
    facts = monitor(FakeNvml(gpus=[card], in_bytes=in_bytes)).facts()
    assert facts == GpuFacts(
        name="Tesla T4",
        uuid=card.uuid,
        pci_bus_id="0000:00:1E.0",
        driver="535.129.03",
        cuda_version=(12, 2),
        vbios="90.04.96.00.A0",
        power_limit_w=62.5,
        default_power_limit_w=70.0,
        ecc=True,
        persistence=False,
        compute_mode="exclusive process",
        mig=False,
        base_sm_clock_mhz=585,
        max_sm_clock_mhz=1590,
        max_memory_clock_mhz=5001,
        unreadable=(),
    )
    assert facts.notes == (
        "driver 535.129.03, VBIOS 90.04.96.00.A0",
        "the power limit is 62.5 W, below the card's default of 70 W",
        "persistence mode is off",
    )


def test_a_card_as_it_should_be_gives_no_cause_for_doubt() -> None:
    assert monitor(FakeNvml()).facts().notes == ("driver 535.129.03, VBIOS 90.04.96.00.A0",)


def test_a_partitioned_card() -> None:
    with_mig, without = FakeNvml(gpus=[FakeGpu(mig=True)]), FakeNvml(gpus=[FakeGpu(mig=False)])
    assert monitor(with_mig).facts().mig
    assert not monitor(without).facts().mig


def test_state() -> None:
    card = FakeGpu(temperature_c=61, power_w=68.25, energy_j=12.5, sm_clock_mhz=900, reasons=fake_nvml.SW_POWER_CAP)
    card.violations_ns.update({fake_nvml.POWER: 7, fake_nvml.THERMAL: 8, fake_nvml.BOARD_LIMIT: 9})
    assert monitor(FakeNvml(gpus=[card])).state() == GpuState(
        reasons=ClockReason.SW_POWER_CAP,
        power_violation_ns=7,
        thermal_violation_ns=8,
        board_violation_ns=9,
        sm_clock_mhz=900,
        memory_clock_mhz=5000,
        temperature_c=61,
        power_w=68.25,
        energy_j=12.5,
    )


def test_limits_are_the_state_without_the_rest() -> None:
    card = FakeGpu(reasons=fake_nvml.GPU_IDLE)
    watch = monitor(FakeNvml(gpus=[card]))
    state = watch.state()
    assert watch.limits() == GpuLimits(**{f.name: getattr(state, f.name) for f in fields(GpuLimits)})


def test_others_on_the_card() -> None:
    """Ours are left out; a process of another container has no name here, and a driver need not tell its memory."""
    card = FakeGpu(
        compute_processes=[FakeProcess(7), FakeProcess(8), FakeProcess(9, "/usr/bin/ollama", 5)],
        graphics_processes=[FakeProcess(3, "/usr/lib/xorg/Xorg", None), FakeProcess(9, "/usr/bin/ollama", 5)],
    )
    fake = FakeNvml(gpus=[card])
    state = monitor(fake).state(own_pids=(7, 8))
    assert state.others == (GpuProcess(3, "/usr/lib/xorg/Xorg", None), GpuProcess(9, "/usr/bin/ollama", 5))
    assert state.notes == ("other processes on the card: Xorg, ollama",)
    card.graphics_processes.clear()
    card.compute_processes[2].name = None
    state = monitor(fake).state(own_pids=(7, 8))
    assert state.others == (GpuProcess(9, "", 5),)
    assert state.notes == ("1 process on the card that this system does not show",)


def test_old_releases_of_pynvml_and_old_drivers() -> None:
    """The clock reasons had another name; a driver may lack the newest version of a function."""
    card = FakeGpu(reasons=fake_nvml.SW_POWER_CAP)
    old = FakeNvml(gpus=[card], missing={"nvmlDeviceGetCurrentClocksEventReasons"})
    assert monitor(old).state().reasons == ClockReason.SW_POWER_CAP
    old_driver = FakeNvml(
        gpus=[card], refusals={"nvmlDeviceGetCurrentClocksEventReasons": fake_nvml.FUNCTION_NOT_FOUND}
    )
    state = monitor(old_driver).state()
    assert (state.reasons, state.unreadable) == (ClockReason.SW_POWER_CAP, ())


def test_a_driver_that_lacks_what_pynvml_wants() -> None:
    """The error for it is none of NVML's."""

    def mismatch(gpu: FakeGpu) -> Any:
        raise fake_nvml.FakeMismatchError("use a versioned function")

    fake = FakeNvml()
    fake.__dict__["nvmlDeviceGetComputeRunningProcesses"] = mismatch
    assert monitor(fake).state().unreadable == ("compute processes: not in this driver",)


NEEDED = {"nvmlInit", "nvmlShutdown", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"}


@pytest.mark.parametrize("name", sorted(set(fake_nvml.FUNCTION_NAMES) - NEEDED))
@pytest.mark.parametrize("way", [fake_nvml.NOT_SUPPORTED, fake_nvml.NO_PERMISSION, fake_nvml.UNKNOWN, "missing"])
def test_no_refusal_is_fatal(name: str, way: int | str) -> None:
    fake = FakeNvml(missing={name}) if way == "missing" else FakeNvml(refusals={name: int(way)})
    fake.gpus[0].compute_processes.append(FakeProcess(1))
    watch = monitor(fake)
    texts = (*watch.facts().unreadable, *watch.state().unreadable)
    assert all(": " in text and len(text) < 80 for text in texts)
    assert watch.facts().uuid == fake.gpus[0].uuid


def test_refusals_are_noted() -> None:
    card = FakeGpu(refusals={"nvmlDeviceGetTotalEnergyConsumption": fake_nvml.NOT_SUPPORTED})
    fake = FakeNvml(gpus=[card], refusals={"nvmlDeviceGetEccMode": fake_nvml.NO_PERMISSION})
    watch = monitor(fake)
    assert watch.facts().unreadable == ("ECC: Insufficient Permissions",)
    assert watch.facts().ecc is None
    state = watch.state()
    assert (state.energy_j, state.unreadable) == (None, ("energy counter: Not Supported",))
    assert state.notes == ("not readable: energy counter: Not Supported",)
    card.refusals.clear()
    assert watch.state().unreadable == (), "a refusal is of its reading only"


def test_energy_and_power_by_themselves() -> None:
    """Asked often: nothing else is read, and what is refused is known by its latest answer."""
    card = FakeGpu(power_w=31.25, energy_j=1234.567)
    fake = FakeNvml(gpus=[card])
    watch = monitor(fake)
    fake.calls.clear()
    assert (watch.read_j(), watch.power_w(), watch.refusals) == (1234.567, 31.25, ())
    assert fake.calls == ["nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"]
    card.refusals["nvmlDeviceGetTotalEnergyConsumption"] = fake_nvml.NOT_SUPPORTED
    assert (watch.read_j(), watch.refusals) == (None, ("energy counter: Not Supported",))
    card.refusals = {"nvmlDeviceGetPowerUsage": fake_nvml.NO_PERMISSION}
    assert (watch.read_j(), watch.power_w()) == (1234.567, None)
    assert watch.refusals == ("power: Insufficient Permissions",)
    card.lost = True
    for call in (watch.read_j, watch.power_w):
        with pytest.raises(DeviceError, match="does not answer any more"):
            call()


@pytest.mark.parametrize(
    ("code", "advice"), [(fake_nvml.GPU_IS_LOST, "restart the machine"), (fake_nvml.RESET_REQUIRED, "--gpu-reset")]
)
def test_a_lost_card(code: int, advice: str) -> None:
    fake = FakeNvml()
    watch = monitor(fake)
    fake.gpus[0].refusals = {"nvmlDeviceGetPowerUsage": code}
    assert advice in refusal(watch.state)


def test_lost_in_every_call() -> None:
    fake = FakeNvml()
    watch = monitor(fake)
    fake.gpus[0].lost = True
    for call in (watch.facts, watch.limits, watch.state):
        assert "GPU is lost" in refusal(call)


def test_a_card_that_is_not_here() -> None:
    fake = FakeNvml(gpus=[replace(A100)])
    assert "GPU-1a2b is not on this machine" in refusal(lambda: GpuMonitor(nvml(fake), "GPU-1a2b"))
    assert fake.sessions == 0


def test_sessions_end_once() -> None:
    """Two monitors share the process; NVML counts how often it was initialized."""
    fake = FakeNvml(gpus=[FakeGpu(), replace(A100)])
    with GpuMonitor(nvml(fake), "GPU-ffff") as one:
        other = monitor(fake)
        assert (one.facts().name, other.facts().name) == (A100.name, "Tesla T4")
        other.close()
        other.close()
        assert one.state().temperature_c == 45
    assert fake.sessions == 0


NONE = ClockReason(0)
HARMLESS = (
    ClockReason.GPU_IDLE,
    ClockReason.APPLICATIONS_CLOCKS_SETTING,
    ClockReason.SYNC_BOOST,
    ClockReason.DISPLAY_CLOCK_SETTING,
    ClockReason.RELIABILITY,
)


@pytest.mark.parametrize("reason", HARMLESS)
def test_harmless_reasons(reason: ClockReason) -> None:
    assert compare(GpuLimits(reason), GpuLimits(reason)) == Throttling()


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        (ClockReason.HW_SLOWDOWN, "HwSlowdown"),
        (ClockReason.SW_THERMAL_SLOWDOWN, "SwThermalSlowdown"),
        (ClockReason.HW_THERMAL_SLOWDOWN, "HwThermalSlowdown"),
        (ClockReason.HW_POWER_BRAKE_SLOWDOWN, "HwPowerBrakeSlowdown"),
    ],
)
def test_slowdowns_have_nvmls_names(reason: ClockReason, name: str) -> None:
    assert compare(GpuLimits(NONE), GpuLimits(reason)) == Throttling(name)
    idle = reason | ClockReason.GPU_IDLE
    assert compare(GpuLimits(NONE), GpuLimits(idle)) == Throttling(name)


def test_a_slowdown_that_ended_during_the_batch() -> None:
    """But an unexplained one before the batch is what a card says while it leaves its idle clock."""
    assert compare(GpuLimits(ClockReason.SW_THERMAL_SLOWDOWN), GpuLimits(NONE)) == Throttling("SwThermalSlowdown")
    assert compare(GpuLimits(ClockReason.HW_SLOWDOWN), GpuLimits(NONE)) == Throttling()


def test_counters_show_what_came_and_went_during_the_batch() -> None:
    zero = GpuLimits(NONE, 5, 5, 5)
    assert compare(zero, zero) == Throttling()
    assert compare(zero, replace(zero, thermal_violation_ns=6)) == Throttling("thermal violation counter")
    assert compare(zero, replace(zero, power_violation_ns=6)) == Throttling("", power_capped=True)
    assert compare(zero, replace(zero, board_violation_ns=6)) == Throttling("", power_capped=True)


@pytest.mark.parametrize("reason", [ClockReason.SW_POWER_CAP, ClockReason.BOARD_LIMIT])
def test_a_power_cap_is_no_slowdown(reason: ClockReason) -> None:
    assert compare(GpuLimits(NONE), GpuLimits(reason)) == Throttling("", power_capped=True)
    assert compare(GpuLimits(reason), GpuLimits(NONE)) == Throttling("", power_capped=True)
    both = reason | ClockReason.SW_THERMAL_SLOWDOWN
    assert compare(GpuLimits(NONE), GpuLimits(both)) == Throttling("SwThermalSlowdown", power_capped=True)


def test_a_card_that_tells_nothing() -> None:
    """As some virtual GPUs; one of the two sources is enough to tell."""
    assert compare(GpuLimits(), GpuLimits()) is None
    assert compare(GpuLimits(NONE), GpuLimits()) == Throttling()
    assert compare(GpuLimits(None, 1, None, None), GpuLimits(None, 1, None, None)) == Throttling()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_unknown_reasons_of_later_drivers_are_no_reason(before: int, after: int) -> None:
    """The oracle reads bits, as nvml.h numbers them; bits above 0x400 are not known to this version."""
    card = FakeGpu(coming_reasons=[before, after])
    watch = monitor(FakeNvml(gpus=[card]))
    found = compare(watch.limits(), watch.limits())
    assert found is not None
    assert bool(found.slowdown) == bool(after & 0xE8 or before & 0xE0)
    assert found.power_capped == bool((before | after) & 0x204)


def test_locking_the_clock() -> None:
    fake = FakeNvml()
    card = fake.gpus[0]
    with locked_clocks(nvml(fake), card.uuid, 1005) as lock:
        assert (card.locked_mhz, lock.mhz) == (1005, 1005)
        assert f"sudo nvidia-smi -i {card.uuid} -rgc" in lock.text
        assert "may fall below" in lock.text, "above the base clock nothing is promised"
    assert card.locked_mhz is None
    assert fake.sessions == 0


def test_the_clock_that_is_locked_by_default() -> None:
    """The base clock, where the card names one."""
    fake = FakeNvml()
    with locked_clocks(nvml(fake), fake.gpus[0].uuid) as lock:
        assert (fake.gpus[0].locked_mhz, lock.promised) == (585, True)
    boosting = FakeNvml(gpus=[FakeGpu(base_sm_clock_mhz=1980, max_sm_clock_mhz=1980)])
    with locked_clocks(nvml(boosting), FakeGpu().uuid) as lock:
        assert (lock.mhz, lock.promised) == (1980, False)
        assert "may fall below" in lock.text
    fake.refusals["nvmlDeviceGetDefaultApplicationsClock"] = fake_nvml.NOT_SUPPORTED
    with locked_clocks(nvml(fake), fake.gpus[0].uuid) as lock:
        assert (fake.gpus[0].locked_mhz, lock.promised) == (1590, False)
    fake.refusals["nvmlDeviceGetMaxClockInfo"] = fake_nvml.NOT_SUPPORTED
    assert "--clock-mhz" in refusal(lambda: enter(fake))


def enter(fake: FakeNvml, mhz: int | None = None) -> None:
    with locked_clocks(nvml(fake), fake.gpus[0].uuid, mhz):
        raise AssertionError("locked")


def test_clocks_that_the_card_does_not_have() -> None:
    fake = FakeNvml()
    message = refusal(lambda: enter(fake, 1000))
    assert "300 to 1590 MHz, near it 990, 1005" in message
    assert "nvmlDeviceSetGpuLockedClocks" not in fake.calls
    fake.refusals["nvmlDeviceGetSupportedGraphicsClocks"] = fake_nvml.NOT_SUPPORTED
    with locked_clocks(nvml(fake), fake.gpus[0].uuid, 1000):
        assert fake.gpus[0].locked_mhz == 1000, "a card that does not list its clocks is asked"


@pytest.mark.parametrize(
    ("code", "advice"), [(fake_nvml.NO_PERMISSION, "sudo"), (fake_nvml.NOT_SUPPORTED, "Not Supported")]
)
def test_a_lock_that_is_denied(code: int, advice: str) -> None:
    fake = FakeNvml(refusals={"nvmlDeviceSetGpuLockedClocks": code, "nvmlDeviceResetGpuLockedClocks": code})
    message = refusal(lambda: enter(fake))
    assert "cannot be locked at 585 MHz" in message
    assert advice in message
    assert fake.sessions == 0


def test_a_reset_that_fails_is_said() -> None:
    fake = FakeNvml()

    def measure() -> None:
        with locked_clocks(nvml(fake), fake.gpus[0].uuid):
            fake.refusals["nvmlDeviceResetGpuLockedClocks"] = fake_nvml.UNKNOWN

    message = refusal(measure)
    assert "stays locked" in message
    assert "-rgc" in message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_clock_is_given_back_when_interrupted(number: signal.Signals) -> None:
    fake = FakeNvml()
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def measure() -> None:
        with locked_clocks(nvml(fake), fake.gpus[0].uuid):
            assert fake.gpus[0].locked_mhz == 585
            signal.raise_signal(number)

    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        measure()
    if number != signal.SIGINT:
        assert caught.value.args == (128 + number,), "as the shell reports a death by that signal"
    assert fake.gpus[0].locked_mhz is None
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_second_ctrl_c_does_not_keep_the_clock_locked() -> None:
    fake = FakeNvml()
    unlock = fake.nvmlDeviceResetGpuLockedClocks

    def interrupted(gpu: FakeGpu) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        unlock(gpu)

    fake.__dict__["nvmlDeviceResetGpuLockedClocks"] = interrupted
    with pytest.raises(KeyboardInterrupt), locked_clocks(nvml(fake), fake.gpus[0].uuid):
        raise KeyboardInterrupt
    assert fake.gpus[0].locked_mhz is None


def test_handlers_of_others_stay() -> None:
    """And in a thread, which may set none, the lock works all the same."""
    fake = FakeNvml()
    seen: list[Any] = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(fake.gpus[0].locked_mhz))
    try:
        with locked_clocks(nvml(fake), fake.gpus[0].uuid):
            signal.raise_signal(signal.SIGTERM)
        assert seen == [585]
    finally:
        signal.signal(signal.SIGTERM, former)

    def lock() -> None:
        with locked_clocks(nvml(fake), fake.gpus[0].uuid):
            seen.append(fake.gpus[0].locked_mhz)

    thread = threading.Thread(target=lock)
    thread.start()
    thread.join()
    assert seen == [585, 585]
    assert fake.gpus[0].locked_mhz is None


def test_the_stand_in_is_like_pynvml() -> None:
    """Names, numbers of arguments, error codes and texts, bits of the reasons, against the module that is installed."""
    real = pytest.importorskip("pynvml")
    for name, function in fake_nvml._FUNCTIONS.items():
        wanted = inspect.signature(getattr(real, name)).parameters.values()
        ours = len(inspect.signature(function).parameters) - 1
        assert sum(p.default is p.empty for p in wanted) <= ours <= len(wanted), name
    for code, words in fake_nvml.ERROR_TEXTS.items():
        assert str(real.NVMLError(code)) == words
        assert real.NVMLError(code).value == code
    for code in ("NOT_SUPPORTED", "NO_PERMISSION", "GPU_IS_LOST", "DRIVER_NOT_LOADED", "LIBRARY_NOT_FOUND"):
        assert getattr(real, f"NVML_ERROR_{code}") == getattr(fake_nvml, code)
    for policy in ("POWER", "THERMAL", "BOARD_LIMIT", "RELIABILITY"):
        assert getattr(real, f"NVML_PERF_POLICY_{policy}") == getattr(fake_nvml, policy)
    for reason in ClockReason:
        for prefix in ("nvmlClocksEventReason", "nvmlClocksThrottleReason"):
            (name,) = reason.names
            assert getattr(real, prefix + name, int(reason)) == reason
    assert (real.NVML_CLOCK_GRAPHICS, real.NVML_CLOCK_SM, real.NVML_CLOCK_MEM) == (0, 1, 2)
    assert real.NVML_TEMPERATURE_GPU == 0


@pytest.mark.compile
@pytest.mark.parametrize("flags", [(), ("-DOLD_DRIVER",)], ids=["driver of today", "driver of 2021"])
def test_the_real_pynvml(flags: tuple[str, ...], tmp_path: Path) -> None:
    """On a library in C that pretends to be NVIDIA's: structures, versions of functions, texts and refusals."""
    pytest.importorskip("pynvml")
    folder = Path(__file__).parent / "libnvml"
    library = tmp_path / "libnvidia-ml.so.1"
    compiler = ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *flags]
    subprocess.run([*compiler, "-o", str(library), str(folder / "libnvml.c")], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.devices.libnvml.watch"],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    card = FakeGpu(
        reasons=fake_nvml.SW_POWER_CAP,
        violations_ns={policy: 10**12 + policy for policy in range(6)},
        compute_processes=[FakeProcess(4242, "/usr/bin/ollama", 8 << 30), FakeProcess(4243, None, None)],
        refusals={
            "nvmlDeviceGetTotalEnergyConsumption": fake_nvml.NOT_SUPPORTED,
            "nvmlDeviceGetEccMode": fake_nvml.NO_PERMISSION,
        },
    )
    fake = FakeNvml(gpus=[card])
    (gpu,) = nvml(fake).gpus()
    expected = [gpu, monitor(fake).facts(), monitor(fake).state(), 585, 1590]
    assert done.stdout.splitlines() == [str(item) for item in expected]
