"""A kernel of the GPU at work, on a fake driver: what is launched, on which copies, and what is given back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from profiler.devices.arguments import SampleArguments
from profiler.devices.cuda import CudaDevice
from profiler.devices.cuda_driver import DriverError
from profiler.devices.cuda_kernel import CudaKernel
from profiler.devices.cuda_work import BackToBack
from profiler.devices.protocol import KernelFailure
from profiler.devices.rotation import Rotation, rotation
from profiler.record import CacheMode, FailureKind

from .cuda_kernels import conv, fake_device, faulty, split_conv
from .fake_cuda import FakeCuda
from .fake_cuda_scenario import Fault, Scenario
from .fake_nvml import HW_SLOWDOWN, NOT_SUPPORTED, FakeGpu

pytestmark = pytest.mark.compile


class Card:
    """A kernel on a fake card. launch_s : what the kernel is said to take."""

    def __init__(self, rotated: Rotation, scenario: Scenario | None = None, launch_s: float = 1e-5) -> None:
        self.driver = FakeCuda(scenario)
        self.driver.learn(split_conv())
        self.kernel = CudaKernel(self.driver, split_conv(), SampleArguments().of(split_conv()))
        self.kernel.verify()
        self.loaded_bytes = self.driver.used_bytes
        self.busy = BackToBack(self.driver, self.kernel, rotated, launch_s)
        self.driver.history.clear()

    def work(self, duration_s: float) -> int:
        return self.busy.work(duration_s, lambda: self.driver.host_s)

    @property
    def launched_on(self) -> list[tuple[int, ...]]:
        return [ran.arguments for ran in self.driver.history if ran.name == split_conv().entry]

    @property
    def graphs(self) -> int:
        return sum(ran.name == "graph" for ran in self.driver.history)


@pytest.mark.parametrize("copies", [1, 3, 7])
def test_short_kernels_go_as_graphs(copies: int) -> None:
    card = Card(Rotation((1, 2), copies))
    runs = card.work(0.004)
    assert len(card.launched_on) == runs >= 256
    assert card.graphs >= 1
    on = Counter(card.launched_on)
    assert len(on) == copies
    assert max(on.values()) - min(on.values()) <= 1
    assert card.launched_on[-1] == card.kernel.addresses
    card.kernel.recheck()
    assert card.busy.note == ""


def test_only_what_is_rotated_has_copies() -> None:
    card = Card(Rotation((1, 2), 4))
    card.work(0.0)
    own = card.kernel.addresses
    for given in set(card.launched_on):
        assert [i for i, (a, b) in enumerate(zip(given, own, strict=True)) if a != b] in ([], [1, 2])
        for index in (1, 2):
            size = split_conv().args[index].nbytes
            assert given[index] % 256 == 0
            assert (card.driver.read(given[index], size) == card.kernel.initial(index)).all()


def test_every_mode_of_a_real_kernel_computes_the_right_thing() -> None:
    for mode in CacheMode:
        card = Card(rotation(split_conv().args, mode, 1 << 14))
        card.work(0.001)
        card.kernel.recheck()
        assert (len(set(card.launched_on)) == 1) == (mode is CacheMode.HOT)


def test_long_kernels_are_launched_one_by_one() -> None:
    card = Card(Rotation((1,), 3), Scenario(kernel_s=2e-3), launch_s=2e-3)
    runs = card.work(0.05)
    assert card.graphs == 0
    assert 25 <= runs <= 29
    assert runs == len(card.launched_on)
    assert card.launched_on[-1] == card.kernel.addresses


def test_without_the_package_for_graphs_a_note_says_so() -> None:
    card = Card(Rotation((1,), 3, "short of copies"), Scenario(graphs=False))
    assert card.work(0.001) == len(card.launched_on) > 1
    assert card.graphs == 0
    assert card.busy.note.startswith("short of copies; launched one by one, so that the card may have waited")
    assert "there is no package for graphs here" in card.busy.note


def test_the_card_is_busy_for_as_long_as_it_shall() -> None:
    card = Card(Rotation((), 1), Scenario(kernel_s=1e-4, noise=0.0))
    begin_s = card.driver.gpu_s
    runs = card.work(0.3)
    assert 0.3 <= card.driver.gpu_s - begin_s < 0.4
    assert runs * 1e-4 == pytest.approx(card.driver.gpu_s - begin_s, rel=0.02), "there are no gaps"


def test_everything_is_given_back() -> None:
    card = Card(Rotation((1, 2), 5))
    assert card.driver.used_bytes > card.loaded_bytes
    card.work(0.0)
    card.busy.close()
    assert card.driver.used_bytes == card.loaded_bytes
    card.busy.close()


def test_no_memory_for_copies_is_of_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KernelFailure, match="no memory for copies of its arguments") as caught:
        Card(Rotation((1,), 1 << 20))
    assert caught.value.kind is FailureKind.UNSTABLE

    def refuse(*_: object) -> None:
        raise DriverError(2, "cuMemcpyHtoD")

    card = Card(Rotation((), 1))
    monkeypatch.setattr(card.driver, "write", refuse)
    with pytest.raises(KernelFailure):
        BackToBack(card.driver, card.kernel, Rotation((1,), 3), 1.0)
    assert card.driver.used_bytes == card.loaded_bytes


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., CudaDevice]]:
    devices: list[CudaDevice] = []

    def open_one(scenario: Scenario | None = None, card: FakeGpu | None = None) -> CudaDevice:
        folder = tmp_path / str(len(devices))
        folder.mkdir()
        devices.append(fake_device(scenario or Scenario(), folder, card))
        return devices[-1]

    yield open_one
    for device in devices:
        device.close()


def test_through_the_worker(opened: Callable[..., CudaDevice]) -> None:
    card = FakeGpu()
    device = opened(card=card)
    handle = device.load(conv())
    device.verify(handle)
    assert device.counter.read_j() == 1000.0
    card.coming_reasons = [0, HW_SLOWDOWN]
    device.work(handle, 0.0, CacheMode.HOT)
    throttling = device.throttling()
    assert throttling is not None
    assert throttling.slowdown == "HwSlowdown"
    device.work(handle, 0.0, CacheMode.HOT)
    assert device.throttling() != throttling
    assert device.circumstances().sm_clock_mhz_low == pytest.approx(1590, rel=0.01)
    card.refusals = {"nvmlDeviceGetTotalEnergyConsumption": NOT_SUPPORTED}
    assert (device.counter.read_j(), device.counter.power_w()) == (None, 27.5)
    assert device.counter.refusals == ("energy counter: Not Supported",)


def test_a_kernel_that_goes_wrong_while_it_works(opened: Callable[..., CudaDevice]) -> None:
    bad, scenario = faulty(conv(), Fault(code=700, right_launches=50))
    device = opened(scenario)
    good = device.load(split_conv())
    handle = device.load(bad)
    device.verify(handle)
    with pytest.raises(KernelFailure, match="ILLEGAL_ADDRESS"):
        device.work(handle, 0.0, CacheMode.HOT)
    device.verify(good)
    assert device.work(good, 0.0, CacheMode.HOT).runs >= 1
    flips, scenario = faulty(conv(), Fault(flip=3, right_launches=50))
    other = opened(scenario)
    handle = other.load(flips)
    other.verify(handle)
    other.work(handle, 0.0, CacheMode.HOT)
    with pytest.raises(KernelFailure, match="1 of 2048 output bytes differ"):
        other.recheck(handle)


def test_initial_contents() -> None:
    card = Card(Rotation((), 1))
    for index, arg in enumerate(split_conv().args):
        found = card.kernel.initial(index)
        assert found.size == arg.nbytes
        assert arg.name in SampleArguments().of(split_conv()) or not np.any(found)
