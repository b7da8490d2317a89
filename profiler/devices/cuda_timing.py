"""The timed window on a GPU.

    spin | prepare | event kernel event | prepare | event kernel event | ... | prepare | event nothing event | clock
    ~~~~~ meanwhile everything behind it is put into the stream; then it is released, and there are no launch gaps

Ahead of each launch the caches are prepared, outside of its two events:

- ``cold``: three times L2's size is read, since L2 does not evict strictly by age. It is read and not written, because
  lines that were written would still have to go to memory when the timed kernel evicts them, at its cost. (The
  instruction caches of the SMs, which this does not reach, stay as the last launch left them.)
- ``network``: the same, then the kernel's inputs are read, so that they lie in L2 as the previous layer left them.
  Of inputs that exceed L2 only what was read last stays there, as of what the previous layer wrote.
- ``hot``: nothing is done.

Behind the launches an empty kernel is timed the same way (the floor: what events and a launch take by themselves; it
is told, never subtracted), and the SM clock is counted.

The spinning kernel ends by itself after a while, or a mistake would block the GPU. What was timed then has launch gaps
and does not count; the batch is repeated, and shorter.

A card that had nothing to do runs at idle clocks, and takes a while of work to raise them. So it is kept busy before a
kernel is timed (`Timer.wake`), and again when it had nothing to do since the last batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from profiler.devices.cuda_driver import CudaDriver
from profiler.devices.cuda_probes import TOUCH_STEP_BYTES, Probes
from profiler.devices.protocol import KernelFailure
from profiler.errors import DeviceError
from profiler.record import CacheMode, FailureKind

BATCH_LAUNCHES = 100
"""With what belongs to each of them far from the 1024 launches that a driver's queue holds: a full one would block
this process behind the spinning kernel."""
SPIN_LIMIT_S = 0.2
ATTEMPTS = 5
"""In a row, each half as long as the one before."""
L2_SIZES = 3
WAKE_LIMIT_S = 0.5
_CLOCK_S = 100e-6
_LOOK_EVERY_S = 0.005  # at the clock, while the card is woken
_STEADY = 0.01  # two looks that differ by less
_AWAKE = 0.5  # of the rated clock: no card idles there
_RAMP_S = 0.1  # of work, after which a card that is still below that is taken to be held there (locked, capped)
_IDLE_S = 0.05  # without work, after which a card may have gone to sleep


class Timed(Protocol):
    """A kernel with its arguments. It has run before."""

    @property
    def inputs(self) -> tuple[tuple[int, int], ...]:
        """Address and size in bytes of what the previous layers left."""
        ...

    def launch(self) -> None:
        """Put it into the stream."""
        ...


@dataclass(frozen=True)
class Timing:
    """``times_s`` of each launch; of each batch ``clocks_mhz`` of an SM, and ``floors_s`` of the empty kernel."""

    times_s: tuple[float, ...] = ()
    clocks_mhz: tuple[float, ...] = ()
    floors_s: tuple[float, ...] = ()

    def __add__(self, other: Timing) -> Timing:
        return Timing(self.times_s + other.times_s, self.clocks_mhz + other.clocks_mhz, self.floors_s + other.floors_s)


class _Nothing:
    """The empty kernel, in the place of a kernel."""

    def __init__(self, probes: Probes) -> None:
        self.inputs: tuple[tuple[int, int], ...] = ()
        self.launch = probes.nothing


class Timer:
    """Times kernels on one GPU. Everything that it needs is made here, so that nothing is while the GPU spins.

    clock : seconds of host time.
    """

    def __init__(self, driver: CudaDriver, clock: Callable[[], float] = monotonic) -> None:
        self._driver = driver
        self._host_s = clock
        self._ended_s = -math.inf  # when the card had work last
        self._probes = Probes(driver)
        self._nothing = _Nothing(self._probes)
        self._events = [(driver.event(), driver.event()) for _ in range(BATCH_LAUNCHES + 1)]
        l2_bytes = driver.properties.l2_cache_bytes
        if l2_bytes <= 0:
            raise DeviceError(f"the driver does not tell how large the L2 cache of {driver.properties.name} is")
        self._scratch_bytes = _whole_steps(L2_SIZES * l2_bytes)
        self._scratch = driver.allocate(self._scratch_bytes)
        driver.fill(self._scratch, 0, self._scratch_bytes)
        self._probes.touch(self._scratch, self._scratch_bytes)  # evicts what filling it left to be written
        driver.wait()

    def wake(self) -> None:
        """Keep the card busy until its clock is steady: two looks in a row agree, and not at an idle clock.

        A card that idles agrees with itself as well; one that stays below `_AWAKE` is given `_RAMP_S` to leave it.
        After `WAKE_LIMIT_S` of host time the clock is taken as it is. Raises `DriverError`.
        """
        awake_mhz = _AWAKE * self._driver.properties.clock_rate_khz / 1e3
        begin_s, before_mhz = self._host_s(), 0.0
        while True:
            mhz = self._busy_mhz()
            self._ended_s = self._host_s()
            busy_s = self._ended_s - begin_s
            steady = abs(mhz - before_mhz) <= _STEADY * mhz and (mhz >= awake_mhz or busy_s >= _RAMP_S)
            if steady or busy_s >= WAKE_LIMIT_S:
                return
            before_mhz = mhz

    def _busy_mhz(self) -> float:
        """Clock of an SM after a little work."""
        begin_s = self._host_s()
        while self._host_s() - begin_s < _LOOK_EVERY_S:
            self._probes.touch(self._scratch, self._scratch_bytes)
            self._driver.wait()
        self._probes.clock(_CLOCK_S)
        return self._probes.clock_mhz()

    def time(self, kernel: Timed, launches: int, mode: CacheMode) -> Timing:
        """Raises `KernelFailure` (UNSTABLE) if batches cannot be kept free of launch gaps, and `DriverError`.

        A card that had no work for a while is woken first; not for 0 launches.

        After a batch that could not be queued in time there are half as many launches in one: this driver's queue may
        be shorter than others', or the machine slower.
        """
        if launches and self._host_s() - self._ended_s > _IDLE_S:
            self.wake()
        timing, most, failed = Timing(), BATCH_LAUNCHES, 0
        while len(timing.times_s) < launches:
            batch = min(most, launches - len(timing.times_s))
            self._run(kernel, batch, mode)
            if self._probes.was_released():
                timing += self._read(batch)
                failed = 0
                continue
            failed += 1
            if failed == ATTEMPTS:
                raise KernelFailure(
                    FailureKind.UNSTABLE,
                    f"{batch} launches could not be queued within {SPIN_LIMIT_S:g} s, and neither could more: this "
                    "machine or its GPU is too busy with something else, or CUDA_LAUNCH_BLOCKING is set",
                )
            most = max(1, batch // 2)
        return timing

    def _read(self, launches: int) -> Timing:
        *times_s, floor_s = (self._driver.elapsed_s(*events) for events in self._events[: launches + 1])
        return Timing(tuple(times_s), (self._probes.clock_mhz(),), (floor_s,))

    def _run(self, kernel: Timed, launches: int, mode: CacheMode) -> None:
        self._probes.spin(SPIN_LIMIT_S)
        try:
            for index in range(launches):
                self._put(kernel, index, mode)
            self._put(self._nothing, launches, mode)
            self._probes.clock(_CLOCK_S)
        finally:
            self._probes.release()
        self._driver.wait()
        self._ended_s = self._host_s()

    def _put(self, kernel: Timed, index: int, mode: CacheMode) -> None:
        if mode is not CacheMode.HOT:
            self._probes.touch(self._scratch, self._scratch_bytes)
        if mode is CacheMode.NETWORK:
            for address, nbytes in kernel.inputs:
                self._probes.touch(address, _whole_steps(nbytes))  # the guard zone behind it is long enough
        begin, end = self._events[index]
        self._driver.record(begin)
        kernel.launch()
        self._driver.record(end)


def _whole_steps(nbytes: int) -> int:
    return -(-nbytes // TOUCH_STEP_BYTES) * TOUCH_STEP_BYTES
