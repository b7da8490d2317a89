"""The GPU at hand, through PyCUDA: conformance, kernels that really crash and hang, and what a time must at least be.

pytest -m gpu tests/devices/test_cuda_gpu.py
"""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from profiler.devices.cuda import CudaDevice
from profiler.devices.discover import Vendor, discover
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.nvml import Nvml
from profiler.devices.protocol import Device, KernelFailure
from profiler.measure import measure
from profiler.record import CacheMode, Conditions, FailureKind, Measurement

from .conformance import QUICK, RUN, DeviceConformance, Kernels
from .cuda_sources import BODIES, artifact

pytestmark = pytest.mark.gpu


def open_gpu(time_limit_s: float = 10.0) -> CudaDevice:
    here = discover()
    usable = [gpu for gpu in here.gpus if not gpu.obstacle]
    if not usable:
        pytest.fail(f"the gpu tests need a GPU; found: {here.text}")
    gpu = usable[0]
    command = (*Vendor().worker, gpu.pci_bus_id)
    return CudaDevice(gpu.slug, command, GpuMonitor(Nvml(), gpu.uuid), time_limit_s=time_limit_s)


@pytest.fixture(scope="module")
def shared() -> Iterator[CudaDevice]:
    with open_gpu() as device:
        yield device


class TestGpuConformance(DeviceConformance):
    @pytest.fixture
    def device(self) -> Iterator[Device]:
        with open_gpu() as device:
            yield device

    @pytest.fixture
    def kernels(self, shared: CudaDevice) -> Kernels:
        arch = shared.properties.arch
        foreign = "sm_75" if shared.properties.capability[0] != 7 else "sm_80"
        return Kernels(
            right=artifact("right", arch),
            also_right=artifact("uses_workspace", arch),
            wrong=artifact("wrong", arch),
            crashing=artifact("illegal_address", arch),
            refused=artifact("right", foreign),
            refusal=f"built for {foreign}",
        )


def failure_of(device: CudaDevice, body: str) -> KernelFailure:
    """How a kernel fails, and proof that the device goes on after it."""
    arch = device.properties.arch
    good = device.load(artifact("right", arch))
    device.verify(good)
    with pytest.raises(KernelFailure) as caught:
        device.verify(device.load(artifact(body, arch)))
    device.verify(good)
    assert len(device.time(good, 3, CacheMode.NETWORK)) == 3
    return caught.value


@pytest.mark.parametrize(
    ("body", "code"), [("illegal_address", 700), ("misaligned_address", 716), ("traps", (715, 719))]
)
def test_crashes(shared: CudaDevice, body: str, code: int | tuple[int, ...]) -> None:
    failure = failure_of(shared, body)
    assert failure.kind is FailureKind.CRASH
    codes = code if isinstance(code, tuple) else (code,)
    assert any(f", {one}," in failure.message for one in codes), failure.message


def test_a_hang_is_killed() -> None:
    with open_gpu(time_limit_s=3.0) as device:
        assert failure_of(device, "hangs").kind is FailureKind.TIMEOUT


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("wrong", "1 of 2048 output bytes differ; the first is byte 17"),
        ("accumulates", "output bytes differ"),
        ("behind_output", "outside of its argument 'output'"),
        ("ahead_of_output", "outside of its argument 'output'"),
        ("into_input", "into its argument 'input'"),
    ],
)
def test_wrong_outputs(shared: CudaDevice, body: str, said: str) -> None:
    failure = failure_of(shared, body)
    assert failure.kind is FailureKind.WRONG_OUTPUT
    assert said in failure.message


@pytest.mark.parametrize(("body", "shared_bytes"), [("right", 0), ("uses_workspace", 0), ("uses_shared", 51200)])
def test_right_outputs(shared: CudaDevice, body: str, shared_bytes: int) -> None:
    handle = shared.load(artifact(body, shared.properties.arch, shared_bytes))
    shared.verify(handle)
    for mode in CacheMode:
        shared.time(handle, 250, mode)
    shared.verify(handle)
    shared.unload(handle)


def test_killed_between_calls(shared: CudaDevice) -> None:
    handle = shared.load(artifact("right", shared.properties.arch))
    assert shared.worker_pid is not None
    os.kill(shared.worker_pid, signal.SIGKILL)
    assert len(shared.time(handle, 3, CacheMode.COLD)) == 3
    shared.verify(handle)


def test_times_are_those_of_the_gpus_own_timer(shared: CudaDevice) -> None:
    """A kernel that waits for 2 ms by %globaltimer takes 2 ms, and a little for starting."""
    handle = shared.load(artifact("slow", shared.properties.arch))
    shared.verify(handle)
    times_s = shared.time(handle, 10, CacheMode.HOT)
    assert min(times_s) > 1.995e-3
    assert max(times_s) < 2.1e-3


def test_evicted_memory_is_slower(shared: CudaDevice) -> None:
    """1 MiB of workspace is in L2 after the last launch, and in no cache after it was flushed."""
    handle = shared.load(artifact("reads_workspace", shared.properties.arch))
    shared.verify(handle)
    medians_s = {mode: statistics.median(shared.time(handle, 200, mode)) for mode in CacheMode}
    assert medians_s[CacheMode.HOT] < medians_s[CacheMode.COLD]
    assert medians_s[CacheMode.HOT] < medians_s[CacheMode.NETWORK]


def test_circumstances_of_a_measurement(shared: CudaDevice) -> None:
    kernel = artifact("uses_workspace", shared.properties.arch)
    (record,) = measure(shared, [kernel], Conditions(1, CacheMode.NETWORK), QUICK, "final", RUN)
    assert isinstance(record, Measurement)
    seen = record.circumstances
    assert seen.floor_s is not None
    assert 0 < seen.floor_s < record.summary.median_s
    assert seen.sm_clock_mhz_low is not None
    assert seen.sm_clock_mhz_high is not None
    most_mhz = 1.05 * shared.properties.clock_rate_khz / 1e3
    assert 100 < seen.sm_clock_mhz_low <= seen.sm_clock_mhz_high < most_mhz


def free_bytes(device: CudaDevice) -> int:
    """Of the card's memory, as NVML sees it."""
    pynvml.nvmlInit()
    try:
        card = pynvml.nvmlDeviceGetHandleByUUID(device.fingerprint("cc").uuid)
        return int(pynvml.nvmlDeviceGetMemoryInfo(card).free)
    finally:
        pynvml.nvmlShutdown()


NOISE_BYTES = 32 << 20
"""What the driver may keep of its own, and others on the card may take meanwhile."""


def test_unloaded_kernels_leave_no_memory_behind() -> None:
    """Each of them takes more than 1 MiB."""
    with open_gpu() as device:
        kernel = artifact("uses_workspace", device.properties.arch)
        for number in range(201):
            handle = device.load(kernel)
            device.verify(handle)
            device.unload(handle)
            if number == 0:
                free_before = free_bytes(device)
        assert abs(free_bytes(device) - free_before) < NOISE_BYTES


def test_crashes_leave_no_memory_behind() -> None:
    """Nor does any context, of some hundred MiB, outlive its process."""
    with open_gpu() as device:
        free_before, pids = [], set()
        for _ in range(6):
            assert failure_of(device, "illegal_address").kind is FailureKind.CRASH
            free_before.append(free_bytes(device))
            pids.add(device.worker_pid)
        assert len(pids) == 6
        assert max(free_before) - min(free_before) < NOISE_BYTES


def test_every_body_is_tried() -> None:
    tried = Path(__file__).read_text()
    assert all(f'"{body}"' in tried for body in BODIES)
