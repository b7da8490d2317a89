"""The GPU with a fake driver behind it and real cubins: conformance, and everything that can go wrong in its worker."""

from __future__ import annotations

import os
import signal
import statistics
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.artifact import ArgSpec, Artifact, Role
from profiler.devices.cuda import CudaDevice
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.nvml import Nvml
from profiler.devices.protocol import Device, KernelFailure, Throttling
from profiler.errors import DeviceError
from profiler.measure import measure
from profiler.record import CacheMode, Conditions, Failure, FailureKind, Measurement

from . import cuda_sources
from .conformance import QUICK, RUN, DeviceConformance, Kernels
from .cuda_kernels import concat, conv, fake_device, faulty, relabelled, split_conv
from .fake_cuda import STICKY
from .fake_cuda_scenario import Fault, Scenario
from .fake_cuda_worker import worker_command
from .fake_nvml import HW_SLOWDOWN, NOT_SUPPORTED, POWER, SW_POWER_CAP, FakeGpu, FakeNvml, FakeProcess

pytestmark = pytest.mark.compile

WRONG = Fault(flip=17)
CRASH = Fault(code=700)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., CudaDevice]]:
    """Opens devices, and closes them in the end."""
    devices: list[CudaDevice] = []

    def open_one(scenario: Scenario | None = None, card: FakeGpu | None = None, time_limit_s: float = 20) -> CudaDevice:
        folder = tmp_path / str(len(devices))
        folder.mkdir()
        devices.append(fake_device(scenario or Scenario(), folder, card, time_limit_s))
        return devices[-1]

    yield open_one
    for device in devices:
        device.close()


def cuda_kernels() -> Kernels:
    return Kernels(
        right=conv(),
        also_right=split_conv(),
        wrong=relabelled(conv(), "wrong"),
        crashing=relabelled(split_conv(), "crashing"),
        refused=replace(conv(), arch="sm_90"),
        refusal="sm_90",
    )


class TestCudaConformance(DeviceConformance):
    @pytest.fixture
    def device(self, kernels: Kernels, tmp_path: Path) -> Iterator[Device]:
        scenario = Scenario(faults={kernels.wrong.sha256: WRONG, kernels.crashing.sha256: CRASH})
        with fake_device(scenario, tmp_path) as device:
            yield device

    @pytest.fixture
    def kernels(self) -> Kernels:
        return cuda_kernels()


def failure_of(device: CudaDevice, artifact: Artifact) -> KernelFailure:
    """How a kernel fails, and proof that the device goes on after it."""
    good = device.load(split_conv())
    device.verify(good)
    with pytest.raises(KernelFailure) as caught:
        device.verify(device.load(artifact))
    device.verify(good)
    assert len(device.time(good, 2, CacheMode.HOT)) == 2
    device.verify(device.load(concat()))
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("code", sorted(STICKY - {214, 220}))
def test_a_lost_context_is_replaced(opened: Callable[..., CudaDevice], code: int) -> None:
    bad, scenario = faulty(conv(), Fault(code=code))
    device = opened(scenario)
    device.load(conv())
    before = device.worker_pid
    failure = failure_of(device, bad)
    assert failure.kind is (FailureKind.TIMEOUT if code == 702 else FailureKind.CRASH)
    assert f" {code}," in failure.message
    assert device.worker_pid != before


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1, FailureKind.LAUNCH), (2, FailureKind.UNSTABLE), (701, FailureKind.LAUNCH), (801, FailureKind.LAUNCH)],
)
def test_a_refused_launch_leaves_the_context_alone(
    opened: Callable[..., CudaDevice], code: int, kind: FailureKind
) -> None:
    """A full memory is another process's, and of the day."""
    bad, scenario = faulty(conv(), Fault(code=code))
    device = opened(scenario)
    device.load(conv())
    before = device.worker_pid
    failure = failure_of(device, bad)
    assert failure.kind is kind
    assert f" {code}," in failure.message
    assert device.worker_pid == before


@pytest.mark.parametrize("code", [214, 220, 802])
def test_a_broken_gpu_is_not_blamed_on_the_kernel(opened: Callable[..., CudaDevice], code: int) -> None:
    bad, scenario = faulty(conv(), Fault(code=code))
    device = opened(scenario)
    with pytest.raises(DeviceError, match=str(code)):
        device.verify(device.load(bad))


@pytest.mark.parametrize(
    ("code", "said"), [(100, "no GPU"), (46, "taken"), (803, "different versions"), (222, "newer CUDA")]
)
def test_a_gpu_that_cannot_be_opened(opened: Callable[..., CudaDevice], code: int, said: str) -> None:
    device = opened(Scenario(start_code=code))
    for _ in range(2):
        with pytest.raises(DeviceError, match=said) as caught:
            device.load(conv())
        assert "\n" not in str(caught.value)


def test_a_hang_is_killed(opened: Callable[..., CudaDevice]) -> None:
    bad, scenario = faulty(conv(), Fault(hang=True))
    failure = failure_of(opened(scenario, time_limit_s=1.0), bad)
    assert failure.kind is FailureKind.TIMEOUT
    assert "no answer within 1.5 s (verify)" in failure.message


def test_a_hang_while_timed(opened: Callable[..., CudaDevice]) -> None:
    """Waking the card, and 5 times a batch of 0.2 s at most with what belongs to its launches, may come on top."""
    bad, scenario = faulty(conv(), Fault(hang=True, right_launches=1))
    device = opened(scenario, time_limit_s=0.5)
    handle = device.load(bad)
    device.verify(handle)
    with pytest.raises(KernelFailure, match=r"no answer within 2(\.0\d)? s \(time\)") as caught:
        device.time(handle, 1, CacheMode.HOT)
    assert caught.value.kind is FailureKind.TIMEOUT


def test_killed_between_calls(opened: Callable[..., CudaDevice]) -> None:
    device = opened()
    handles = [device.load(conv()), device.load(concat())]
    for handle in handles:
        assert device.worker_pid is not None
        os.kill(device.worker_pid, signal.SIGKILL)
        device.recheck(handle)  # in the new worker nothing is left of a launch
        assert len(device.time(handle, 3, CacheMode.NETWORK)) == 3  # without having been verified by this worker
    device.verify(handles[0])


def test_killed_during_a_call(opened: Callable[..., CudaDevice]) -> None:
    """The kernel did not do it: the call is made once more; not twice, or it would never end."""
    bad, scenario = faulty(conv(), Fault(hang=True))
    device = opened(scenario, time_limit_s=20)
    handle = device.load(bad)
    killed: list[int] = []
    over = threading.Event()

    def kill_workers() -> None:
        while not over.wait(0.1):
            pid = device.worker_pid
            if pid is not None and pid not in killed:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_workers)
    killer.start()
    try:
        with pytest.raises(KernelFailure, match="SIGKILL") as caught:
            device.verify(handle)
    finally:
        over.set()
        killer.join()
    assert caught.value.kind is FailureKind.CRASH
    assert len(killed) == 2


@pytest.mark.parametrize(
    ("artifact", "fault", "said"),
    [
        (conv, Fault(flip=0), "1 of 2048 output bytes differ; the first is byte 0"),
        (conv, Fault(writes_at=("output", 2048)), "outside of its argument 'output'"),
        (conv, Fault(writes_at=("output", -1)), "outside of its argument 'output'"),
        (split_conv, Fault(writes_at=("input", -4096)), "outside of its argument 'input'"),
        (split_conv, Fault(writes_at=("counters", 200)), "outside of its argument 'counters'"),
        (conv, Fault(writes_at=("input", 5)), "into its argument 'input'"),
        (conv, Fault(writes_at=("weight", 9215)), "into its argument 'weight'"),
        (split_conv, Fault(writes_at=("counters", 0)), "left its argument 'counters' other than zero"),
        (concat, Fault(writes_at=("output", 599)), "1 of 600 output bytes differ; the first is byte 599"),
    ],
)
def test_wrong_outputs(
    opened: Callable[..., CudaDevice], artifact: Callable[[], Artifact], fault: Fault, said: str
) -> None:
    bad, scenario = faulty(artifact(), fault)
    failure = failure_of(opened(scenario), bad)
    assert failure.kind is FailureKind.WRONG_OUTPUT
    assert said in failure.message


def test_launches_that_are_refused(opened: Callable[..., CudaDevice]) -> None:
    base = conv()
    assert base.launch is not None
    assert base.resources is not None
    large = replace(base.resources, shared_bytes=70000)
    newer = replace(base.resources, cubin_abi=8, least_driver="580.65.06")
    workspace = ArgSpec("workspace", Role.WORKSPACE, 1 << 31)
    broken = {
        "which is no GPU": replace(base, arch="avx2", launch=None, resources=None),
        "built for sm_90, and Tesla T4 is sm_75": replace(base, arch="sm_90"),
        "built for sm_80": replace(base, arch="sm_80"),
        "the cubin needs CUDA 13.0 (driver 580.65.06 or newer); update the driver, or compile with CUDA 12": replace(
            base, resources=newer
        ),
        "takes 70000 bytes of shared memory, Tesla T4 has 65536": replace(base, resources=large),
        "CUDA_ERROR_INVALID_IMAGE": replace(base, code=b"not a cubin"),
        "CUDA_ERROR_NOT_FOUND": replace(base, entry="another"),
        "there is nothing to pass as argument 'more'": replace(
            base, args=(*base.args, ArgSpec("more", Role.PARAMETER, 4))
        ),
        "argument 'input' has 2048 bytes, the artifact wants 7": replace(
            base, args=(ArgSpec("input", Role.INPUT, 7), *base.args[1:])
        ),
        "the kernel's arguments take 2147": replace(base, args=(*base.args, workspace)),
    }
    device = opened()
    for said, one in broken.items():
        with pytest.raises(KernelFailure) as caught:
            device.load(one)
        assert said in caught.value.message
        assert caught.value.kind is FailureKind.LAUNCH
    device.verify(device.load(base))


def test_a_cubin_of_a_newer_cuda(opened: Callable[..., CudaDevice]) -> None:
    """It is refused ahead of the driver, which would only say that it cannot read it; an older one is welcome."""
    newer, older = conv("13"), conv("12")
    device = opened(Scenario(driver_version=(12, 2)))
    with pytest.raises(KernelFailure, match=r"supports CUDA 12\.2, the cubin needs CUDA 13\.0") as caught:
        device.load(newer)
    assert caught.value.kind is FailureKind.LAUNCH
    assert newer.resources is not None
    unknown = replace(newer, resources=replace(newer.resources, cubin_abi=9))
    with pytest.raises(KernelFailure, match=r"INVALID_IMAGE.*compile with an older CUDA"):
        device.load(unknown)
    device.verify(device.load(older))
    updated = opened(Scenario(driver_version=(13, 0)))
    for kernel in (newer, older):
        updated.verify(updated.load(kernel))


def test_memory_is_given_back(opened: Callable[..., CudaDevice]) -> None:
    """Also that of kernels which failed to load."""
    device = opened(Scenario(memory_bytes=20 << 20))  # 12 MiB are the scratch buffer
    too_much = replace(conv(), args=(*conv().args, ArgSpec("workspace", Role.WORKSPACE, 8 << 20)))
    for _ in range(3):
        with pytest.raises(KernelFailure, match="OUT_OF_MEMORY"):
            device.load(too_much)
    for _ in range(100):
        handle = device.load(split_conv())
        device.unload(handle)
    device.verify(device.load(split_conv()))


def test_more_shared_memory_than_by_default(opened: Callable[..., CudaDevice]) -> None:
    base = conv()
    assert base.launch is not None
    assert base.resources is not None
    launch, resources = replace(base.launch, shared_bytes=60000), replace(base.resources, shared_bytes=60000)
    device = opened()
    device.verify(device.load(replace(base, launch=launch, resources=resources)))


@pytest.mark.parametrize(("body", "shared_bytes"), [("right", 0), ("uses_workspace", 0), ("uses_shared", 51200)])
def test_the_kernels_of_the_gpu_tests(opened: Callable[..., CudaDevice], body: str, shared_bytes: int) -> None:
    """That they compile, and are launched as they should be (`test_cuda_gpu`)."""
    device = opened(Scenario(kernel_s=20e-6))
    handle = device.load(cuda_sources.artifact(body, "sm_75", shared_bytes))
    device.verify(handle)
    assert len(device.time(handle, 3, CacheMode.NETWORK)) == 3


def test_measured(opened: Callable[..., CudaDevice]) -> None:
    """What a record says of the instrument and the circumstances."""
    card = FakeGpu(temperature_c=61, power_w=55.5, compute_processes=[FakeProcess(1, "/usr/bin/other")])
    device = opened(Scenario(clock_mhz=1350.0, floor_s=3e-6, kernel_s=40e-6), card)
    (record,) = measure(device, [conv()], Conditions(1, CacheMode.NETWORK), QUICK, "final", RUN)
    assert isinstance(record, Measurement)
    assert record.summary.median_s == pytest.approx(40e-6 * 1590 / 1350, rel=0.02)
    seen = record.circumstances
    assert (seen.sm_clock_mhz_low, seen.sm_clock_mhz_high) == (1350.0, 1350.0)
    assert (seen.temperature_c, seen.power_w) == (61, 55.5)
    assert seen.floor_s == pytest.approx(3e-6)
    assert any("other processes on the card: other" in note for note in seen.notes)
    assert any("535.129.03" in note for note in seen.notes)
    assert device.circumstances().floor_s is None  # since the last call nothing was timed


def test_a_card_that_slept_is_woken_first(opened: Callable[..., CudaDevice]) -> None:
    """A cheap screening must not take the idle clock for the kernel's; and the idle clock is nobody's circumstance."""
    device = opened(Scenario(clock_mhz=1350.0, ramp_s=0.08, kernel_s=40e-6, noise=0.0))
    records = measure(device, [conv(), split_conv()], Conditions(1, CacheMode.HOT), QUICK, "screen", RUN)
    for record in records:
        assert isinstance(record, Measurement)
        assert record.samples_s == pytest.approx([40e-6 * 1590 / 1350] * len(record.samples_s))
        seen = record.circumstances
        assert (seen.sm_clock_mhz_low, seen.sm_clock_mhz_high) == (1350.0, 1350.0)


def test_the_lowest_clock_is_told(opened: Callable[..., CudaDevice]) -> None:
    """However few batches ran at it: here a card that takes longer to wake than anyone waits for."""
    device = opened(Scenario(clock_mhz=1350.0, ramp_s=0.2, kernel_s=1e-3))
    handle = device.load(conv())
    device.verify(handle)
    medians_s = [statistics.median(device.time(handle, 10, CacheMode.HOT)) for _ in range(40)]
    assert sum(s > 2e-3 for s in medians_s) in range(1, 4)
    seen = device.circumstances()
    assert (seen.sm_clock_mhz_low, seen.sm_clock_mhz_high) == (300.0, 1350.0)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(flip=17, right_launches=3), "the first is byte 17"),
        (Fault(writes_at=("counters", 0), right_launches=3), "left its argument 'counters' other than zero"),
        (Fault(writes_at=("output", -1), right_launches=3), "outside of its argument 'output'"),
    ],
)
def test_wrong_after_some_launches(opened: Callable[..., CudaDevice], fault: Fault, said: str) -> None:
    bad, scenario = faulty(split_conv(), fault)
    device = opened(scenario)
    handle = device.load(bad)
    device.verify(handle)
    device.time(handle, 2, CacheMode.NETWORK)
    device.recheck(handle)
    device.time(handle, 1, CacheMode.NETWORK)
    with pytest.raises(KernelFailure) as caught:
        device.recheck(handle)
    assert caught.value.kind is FailureKind.WRONG_OUTPUT
    assert said in caught.value.message


def test_a_final_measurement_looks_at_the_output_again(opened: Callable[..., CudaDevice]) -> None:
    """What is right once and wrong in a row of launches gets no time into a table."""
    bad, scenario = faulty(conv(), Fault(flip=17, right_launches=5))
    device, conditions = opened(scenario), Conditions(1, CacheMode.NETWORK)
    screened = measure(device, [bad, split_conv()], conditions, QUICK, "screen", RUN)
    assert all(isinstance(record, Measurement) for record in screened)
    failure, right = measure(device, [bad, split_conv()], conditions, QUICK, "final", RUN)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.WRONG_OUTPUT
    assert isinstance(right, Measurement)


def test_throttling_is_that_of_the_last_batch(opened: Callable[..., CudaDevice]) -> None:
    card = FakeGpu()
    device = opened(card=card)
    handle = device.load(conv())

    def held_back() -> Throttling | None:
        device.time(handle, 1, CacheMode.HOT)
        return device.throttling()

    assert device.throttling() is None
    assert held_back() == Throttling()
    card.reasons = SW_POWER_CAP
    assert held_back() == Throttling(power_capped=True)
    card.reasons = 0
    card.coming_reasons = [0, HW_SLOWDOWN]
    seen = held_back()
    assert seen is not None
    assert "HwSlowdown" in seen.slowdown
    card.refusals = dict.fromkeys(
        (
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
            "nvmlDeviceGetViolationStatus",
        ),
        NOT_SUPPORTED,
    )
    assert held_back() is None
    card.refusals = {}
    card.violations_ns[POWER] += 1
    assert held_back() == Throttling()  # it grew before the batch


def test_of_a_batch_that_failed_nothing_is_known(opened: Callable[..., CudaDevice]) -> None:
    bad, scenario = faulty(conv(), CRASH)
    device = opened(scenario, FakeGpu(reasons=SW_POWER_CAP))
    device.time(device.load(conv()), 1, CacheMode.HOT)
    assert device.throttling() == Throttling(power_capped=True)
    with pytest.raises(KernelFailure):
        device.time(device.load(bad), 1, CacheMode.HOT)
    assert device.throttling() is None


def test_a_lost_gpu(opened: Callable[..., CudaDevice]) -> None:
    card = FakeGpu()
    device = opened(card=card)
    handle = device.load(conv())
    card.lost = True
    with pytest.raises(DeviceError, match="lost"):
        device.time(handle, 1, CacheMode.HOT)
    with pytest.raises(DeviceError, match="lost"):
        device.circumstances()


def test_properties_and_fingerprint(opened: Callable[..., CudaDevice]) -> None:
    card = FakeGpu(power_limit_w=60.0, ecc=False)
    device = opened(card=card)
    gpu = device.properties
    assert (gpu.name, gpu.arch, gpu.driver_version, gpu.pci_bus_id) == ("Tesla T4", "sm_75", (12, 2), "0000:3B:00.0")
    seen = device.fingerprint("cc")
    assert (seen.device, seen.device_name, seen.arch, seen.uuid) == ("t4", "Tesla T4", "sm_75", card.uuid)
    assert (seen.driver, seen.power_limit_w, seen.ecc, seen.clocks_locked) == ("535", 60.0, False, False)
    assert not seen.sustained


def test_the_worker_is_told_which_gpu(tmp_path: Path) -> None:
    command = (*worker_command(Scenario(), tmp_path / "scenario.json"), "0000:AF:00.0")
    card = FakeGpu()
    monitor = GpuMonitor(Nvml(load=lambda: FakeNvml(gpus=[card])), card.uuid)
    with CudaDevice("t4", command, monitor) as device:
        assert device.properties.pci_bus_id == "0000:AF:00.0"


def test_what_was_asked_for_is_in_the_fingerprint(tmp_path: Path) -> None:
    asked = [(False, None), (True, None), (False, 585), (False, 1005)]
    seen = []
    for sustained, mhz in asked:
        with fake_device(Scenario(), tmp_path, sustained=sustained, locked_sm_clock_mhz=mhz) as device:
            seen.append(device.fingerprint("cc"))
    assert [f.sustained for f in seen] == [False, True, False, False]
    assert [(f.clocks_locked, f.locked_sm_clock_mhz) for f in seen[1:]] == [(False, None), (True, 585), (True, 1005)]
    assert len({f.digest for f in seen}) == 4


def test_a_batch_with_launch_gaps_does_not_count(opened: Callable[..., CudaDevice]) -> None:
    """A host so slow that the spinning kernel ends before everything is queued, or even one launch."""
    device = opened(Scenario(call_s=2e-3))
    handle = device.load(conv())
    assert len(device.time(handle, 90, CacheMode.HOT)) == 90
    device = opened(Scenario(call_s=40e-3))
    handle = device.load(conv())
    with pytest.raises(KernelFailure, match="could not be queued within") as caught:
        device.time(handle, 90, CacheMode.HOT)
    assert caught.value.kind is FailureKind.UNSTABLE
    device.verify(handle)
