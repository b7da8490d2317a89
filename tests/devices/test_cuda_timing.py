"""The timed window on a fake GPU: what is put into the stream, in which order, and when a batch does not count."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from profiler.devices.cuda_batches import ATTEMPTS, SPIN_LIMIT_S, WAKE_LIMIT_S
from profiler.devices.cuda_driver import DriverError, GpuProperties
from profiler.devices.cuda_probes import Probes
from profiler.devices.cuda_timing import BATCH_LAUNCHES, Timer
from profiler.devices.protocol import KernelFailure
from profiler.errors import DeviceError
from profiler.record import CacheMode, FailureKind

from .fake_cuda import DEFAULT_SHARED_BYTES, QUEUE_COMMANDS, Deadlock, FakeCuda, FakeFunction
from .fake_cuda_scenario import Scenario

PTX = b".version 6.4\n.visible .entry nothing(.param .u64 unused) { ret; }"
SCRATCH_BYTES = 3 * (4 << 20)  # a T4's L2 is 4 MiB
INPUTS = ((4096, 1000), (65536, 32))


@dataclass
class Kernel:
    """An empty kernel of 2 us that pretends to have two inputs, and waits on the host for a while now and then."""

    driver: FakeCuda
    function: FakeFunction
    inputs: tuple[tuple[int, int], ...] = ()
    delays_s: list[float] = field(default_factory=list)

    def launch(self) -> None:
        if self.delays_s:
            self.driver.host_s += self.delays_s.pop(0)
        self.driver.launch(self.function, (1, 1, 1), 1, 0, (0,))


@pytest.fixture
def driver() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def timer(driver: FakeCuda) -> Timer:
    """Of a card that is awake."""
    timer = Timer(driver, lambda: driver.host_s)
    timer.wake()
    return timer


@pytest.fixture
def kernel(driver: FakeCuda) -> Kernel:
    function = driver.function(driver.load(PTX), "nothing")
    base = driver.allocate(1 << 20)
    kernel = Kernel(driver, function, tuple((base + offset, nbytes) for offset, nbytes in INPUTS))
    kernel.launch()
    driver.wait()
    return kernel


def window(driver: FakeCuda, timer: Timer, kernel: Kernel, launches: int, mode: CacheMode) -> Sequence[str]:
    """What the GPU did: names, touches with their bytes."""
    driver.history.clear()
    timer.time(kernel, launches, mode)
    return [f"touch {ran.arguments[1]}" if ran.name == "touch" else ran.name for ran in driver.history]


TIMED = ["event", "nothing", "event"]
FLUSH = [f"touch {SCRATCH_BYTES}"]


@pytest.mark.parametrize(
    ("mode", "ahead", "ahead_of_floor"),
    [
        (CacheMode.HOT, [], []),
        (CacheMode.COLD, FLUSH, FLUSH),
        (CacheMode.NETWORK, [*FLUSH, "touch 1008", "touch 32"], FLUSH),  # in whole steps of 16 bytes
    ],
)
def test_order_of_the_window(
    driver: FakeCuda, timer: Timer, kernel: Kernel, mode: CacheMode, ahead: list[str], ahead_of_floor: list[str]
) -> None:
    expected = ["spin", *2 * (ahead + TIMED), *ahead_of_floor, *TIMED, "clock"]
    assert window(driver, timer, kernel, 2, mode) == expected


def test_inputs_are_touched_where_they_lie(driver: FakeCuda, timer: Timer, kernel: Kernel) -> None:
    window(driver, timer, kernel, 1, CacheMode.NETWORK)
    touched = [ran.arguments[0] for ran in driver.history if ran.name == "touch"]
    assert touched[1:3] == [address for address, _ in kernel.inputs]


@pytest.mark.parametrize("launches", [1, 99, 100, 101, 250])
def test_batches(driver: FakeCuda, timer: Timer, kernel: Kernel, launches: int) -> None:
    driver.history.clear()
    timing = timer.time(kernel, launches, CacheMode.NETWORK)
    batches = -(-launches // BATCH_LAUNCHES)
    assert len(timing.times_s) == launches
    assert len(timing.clocks_mhz) == len(timing.floors_s) == batches
    assert [ran.name for ran in driver.history].count("spin") == batches


def test_no_launches(driver: FakeCuda, timer: Timer, kernel: Kernel) -> None:
    assert window(driver, timer, kernel, 0, CacheMode.COLD) == []


def test_the_largest_batch_fits_the_queue(timer: Timer, kernel: Kernel) -> None:
    """In the fake, as on a GPU, a full queue would stand still; a kernel has three inputs at most."""
    kernel.inputs = (*kernel.inputs, kernel.inputs[0])
    timer.time(kernel, BATCH_LAUNCHES, CacheMode.NETWORK)


def test_times_are_free_of_launch_gaps(timer: Timer, kernel: Kernel) -> None:
    """A call takes the host longer than the kernel takes the GPU."""
    timing = timer.time(kernel, 50, CacheMode.COLD)
    assert timing.times_s == pytest.approx([2e-6] * 50)
    assert timing.floors_s == pytest.approx([2e-6])


def test_without_a_spinning_kernel_there_would_be_gaps(
    timer: Timer, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the fake has what the window keeps out."""
    monkeypatch.setattr(Probes, "spin", lambda self, limit_s: None)
    monkeypatch.setattr(Probes, "was_released", lambda self: True)
    assert max(timer.time(kernel, 50, CacheMode.HOT).times_s) > 3e-6


@pytest.mark.parametrize("mhz", [585.0, 1590.0])
def test_the_clock_is_counted(mhz: float) -> None:
    driver = FakeCuda(Scenario(clock_mhz=mhz))
    probes = Probes(driver)
    probes.clock(100e-6)
    assert probes.clock_mhz() == pytest.approx(mhz, rel=1e-4)


BATCH = ["spin", *TIMED, *TIMED, "clock"]
WOKEN = 2 * [*FLUSH, "clock"]
"""Two looks that agree, each behind some touches in a row, which are written once here."""


def without_repetitions(done: Sequence[str]) -> list[str]:
    """Of what flushes L2."""
    return [name for name, before in zip(done, ["", *done], strict=False) if [name] != FLUSH or name != before]


def test_a_card_without_work_is_woken(driver: FakeCuda, timer: Timer, kernel: Kernel) -> None:
    """Not behind a short pause, and not for nothing."""
    for _ in range(3):
        assert window(driver, timer, kernel, 1, CacheMode.HOT) == BATCH
        driver.host_s += 0.04
    driver.host_s += 0.02
    assert window(driver, timer, kernel, 0, CacheMode.HOT) == []
    assert without_repetitions(window(driver, timer, kernel, 1, CacheMode.HOT)) == WOKEN + BATCH


def test_a_new_timer_knows_no_card_that_is_awake(driver: FakeCuda, kernel: Kernel) -> None:
    timer = Timer(driver, lambda: driver.host_s)
    assert without_repetitions(window(driver, timer, kernel, 1, CacheMode.HOT)) == WOKEN + BATCH


@pytest.mark.parametrize("ramp_s", [0.0, 0.01, 0.05, 0.09])
def test_it_is_kept_busy_until_its_clock_is_up(ramp_s: float) -> None:
    """Although two looks at an idle card agree."""
    driver = FakeCuda(Scenario(ramp_s=ramp_s))
    timer = Timer(driver, lambda: driver.host_s)
    for pause_s in (0.0, 1.0):
        driver.host_s += pause_s
        begin_s = driver.host_s
        timer.wake()
        assert driver.host_s - begin_s == pytest.approx(max(0.01, ramp_s), abs=11e-3)
        probes = Probes(driver)
        probes.clock(100e-6)
        assert probes.clock_mhz() == pytest.approx(1590, rel=1e-3)


def test_a_card_that_is_held_at_a_low_clock() -> None:
    """Locked, or by its power limit: nothing is to be waited for, but that cannot be known at once."""
    driver = FakeCuda(Scenario(clock_mhz=585.0))
    begin_s = driver.host_s
    Timer(driver, lambda: driver.host_s).wake()
    assert driver.host_s - begin_s == pytest.approx(0.1, abs=10e-3)


def test_a_clock_that_is_never_steady(driver: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for long."""
    timer, readings = Timer(driver, lambda: driver.host_s), itertools.cycle([1500.0, 1530.0])

    def unsteady_mhz(_: Probes) -> float:
        driver.wait()
        return next(readings)

    monkeypatch.setattr(Probes, "clock_mhz", unsteady_mhz)
    begin_s = driver.host_s
    timer.wake()
    assert driver.host_s - begin_s == pytest.approx(WAKE_LIMIT_S, abs=10e-3)


def test_looks_at_the_clock_while_waking_are_no_batches(timer: Timer, driver: FakeCuda, kernel: Kernel) -> None:
    driver.host_s += 1.0
    assert len(timer.time(kernel, 1, CacheMode.HOT).clocks_mhz) == 1


def test_a_batch_that_was_held_up_is_repeated_in_halves(driver: FakeCuda, timer: Timer, kernel: Kernel) -> None:
    kernel.delays_s = [0.0, 0.3, 0.0, 0.0, 0.0, 0.3]  # of four launches, and of two of them
    driver.history.clear()
    timing = timer.time(kernel, 4, CacheMode.HOT)
    assert timing.times_s == pytest.approx([2e-6] * 4)
    assert len(timing.clocks_mhz) == 4, "one by one"
    assert [ran.name for ran in driver.history].count("spin") == 6


def test_a_batch_that_is_always_held_up(timer: Timer, kernel: Kernel) -> None:
    kernel.delays_s = [0.3] * ATTEMPTS
    with pytest.raises(KernelFailure) as caught:
        timer.time(kernel, 1, CacheMode.HOT)
    assert caught.value.kind is FailureKind.UNSTABLE
    assert timer.time(kernel, 1, CacheMode.HOT).times_s == pytest.approx([2e-6])


def test_the_stream_is_released_whatever_happens(driver: FakeCuda, timer: Timer, kernel: Kernel) -> None:
    """An error while the batch is queued must not leave the GPU spinning to its limit."""

    def fail() -> None:
        raise KeyboardInterrupt

    kernel.launch = fail  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        timer.time(kernel, 1, CacheMode.HOT)
    begin_s = driver.gpu_s
    driver.wait()
    assert driver.gpu_s - begin_s < SPIN_LIMIT_S / 2


def test_a_gpu_without_a_known_cache() -> None:
    class Silent(FakeCuda):
        @property
        def properties(self) -> GpuProperties:
            return replace(super().properties, l2_cache_bytes=0)

    with pytest.raises(DeviceError, match="L2"):
        Timer(Silent())


def test_a_gpu_that_does_not_see_host_memory(driver: FakeCuda) -> None:
    """Nothing could release its spinning kernel."""
    flag = driver.flag()
    deaf = replace(flag)
    driver.flag = lambda: deaf  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="host memory"):
        Timer(driver)


class TestFake:
    """That the fake stands still where a GPU would, so that the tests above mean something."""

    def test_a_first_launch_behind_a_spinning_kernel(self, driver: FakeCuda) -> None:
        probes = Probes(driver)
        function = driver.function(driver.load(PTX), "nothing")
        probes.spin(1.0)
        with pytest.raises(Deadlock, match="first time"):
            driver.launch(function, (1, 1, 1), 1, 0, (0,))

    def test_a_full_queue(self, driver: FakeCuda) -> None:
        probes = Probes(driver)
        probes.spin(1.0)
        for _ in range(QUEUE_COMMANDS):
            probes.nothing()
        with pytest.raises(Deadlock, match="queue"):
            probes.nothing()

    def test_a_spin_that_nobody_releases_ends(self, driver: FakeCuda) -> None:
        probes = Probes(driver)
        begin_s = driver.gpu_s
        probes.spin(0.2)
        assert not probes.was_released()
        assert driver.gpu_s - begin_s == pytest.approx(0.2, rel=0.01)

    def test_limits_of_a_launch(self, driver: FakeCuda) -> None:
        module = driver.load(PTX)
        usual, raised = driver.function(module, "nothing"), driver.function(module, "nothing", 60000)
        for function, threads, shared_bytes in ((usual, 1025, 0), (usual, 1, DEFAULT_SHARED_BYTES + 1)):
            with pytest.raises(DriverError) as caught:
                driver.launch(function, (1, 1, 1), threads, shared_bytes, (0,))
            assert caught.value.code == 1
        driver.launch(raised, (1, 1, 1), 1, 60000, (0,))

    def test_illegal_addresses_stay(self, driver: FakeCuda) -> None:
        probes = Probes(driver)
        probes.touch(16, 16)
        for call in (driver.wait, driver.event, probes.nothing, lambda: driver.allocate(1)):
            with pytest.raises(DriverError) as caught:
                call()
            assert caught.value.code == 700
