"""What is timed on a GPU goes there in batches behind a spinning kernel, so that it runs without launch gaps.

    spin | what is timed, with its events | clock
    ~~~~~ meanwhile everything behind it is put into the stream; then it is released

The spinning kernel ends by itself after a while, or a mistake would block the GPU. What was timed then has launch gaps
and does not count; the batch is repeated, and shorter.

A card that had nothing to do runs at idle clocks, and takes a while of work to raise them. So it is kept busy before
anything is timed (`Batches.wake`), and again when it had nothing to do since the last batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Tuple

from profiler.devices.cuda_driver import CudaDriver
from profiler.devices.cuda_probes import TOUCH_STEP_BYTES, Probes
from profiler.devices.protocol import KernelFailure
from profiler.errors import DeviceError
from profiler.record import FailureKind

QUEUE_COMMANDS = 700
"""That a batch may put into the stream: launches and events, far from the 1024 that a driver's queue holds. A full one
would block this process behind the spinning kernel."""
SPIN_LIMIT_S = 0.2
ATTEMPTS = 5
"""In a row, each half as long as the one before."""
L2_SIZES = 3
WAKE_LIMIT_S = 0.5
CLOCK_S = 100e-6
"""Of counting the clock."""
_LOOK_EVERY_S = 0.005  # at the clock, while the card is woken
_STEADY = 0.01  # two looks that differ by less
_AWAKE = 0.5  # of the rated clock: no card idles there
_RAMP_S = 0.1  # of work, after which a card that is still below that is taken to be held there (locked, capped)
_IDLE_S = 0.05  # without work, after which a card may have gone to sleep

Done = Tuple[int, float]
"""A batch that counts: how much it was of, and the clock of an SM in MHz behind it."""


class Batches:
    """Batches on one GPU. Everything that they need is made here, so that nothing is while the GPU spins.

    clock : seconds of host time. Raises `DeviceError` for a GPU on which the probe kernels do not work.
    """

    def __init__(self, driver: CudaDriver, clock: Callable[[], float] = monotonic) -> None:
        self._driver = driver
        self._host_s = clock
        self._ended_s = -math.inf  # when the card had work last
        self.probes = Probes(driver)
        l2_bytes = driver.properties.l2_cache_bytes
        if l2_bytes <= 0:
            raise DeviceError(f"the driver does not tell how large the L2 cache of {driver.properties.name} is")
        self._scratch_bytes = whole_steps(L2_SIZES * l2_bytes)
        self._scratch = driver.allocate(self._scratch_bytes)
        driver.fill(self._scratch, 0, self._scratch_bytes)
        self.flush()  # evicts what filling it left to be written
        driver.wait()

    def flush(self) -> None:
        """Evict from L2 what lies there: put into the stream what reads other memory through it."""
        self.probes.touch(self._scratch, self._scratch_bytes)

    def wake(self) -> None:
        """Keep the card busy until its clock is steady: two looks in a row agree, and not at an idle clock.

        A card that idles agrees with itself as well; one that stays below `_AWAKE` is given `_RAMP_S` to leave it.
        After `WAKE_LIMIT_S` of host time the clock is taken as it is. Raises `DriverError`.
        """
        awake_mhz = _AWAKE * self._driver.properties.clock_rate_khz / 1e3
        begin_s, before_mhz = self._host_s(), 0.0
        while True:
            mhz = self._busy_mhz()
            self.worked()
            busy_s = self._ended_s - begin_s
            steady = abs(mhz - before_mhz) <= _STEADY * mhz and (mhz >= awake_mhz or busy_s >= _RAMP_S)
            if steady or busy_s >= WAKE_LIMIT_S:
                return
            before_mhz = mhz

    def worked(self) -> None:
        """The card had work until now."""
        self._ended_s = self._host_s()

    def take(self, count: int, most: int, put: Callable[[int], None], what: str = "launches") -> Iterator[Done]:
        """Batches until ``count`` is done, each of ``most`` at the utmost. What a batch left (its events) is to be read
        before the next one is asked for.

        put : puts so many into the stream, launches and events alone. what : they are, for messages. A card that had no
        work for a while is woken first; not for nothing. After a batch that could not be queued in time there is half
        as much in one: this driver's queue may be shorter than others', or the machine slower. Raises `KernelFailure`
        (UNSTABLE) if batches cannot be kept free of launch gaps, and `DriverError`.
        """
        if count and self._host_s() - self._ended_s > _IDLE_S:
            self.wake()
        done, failed = 0, 0
        while done < count:
            batch = min(most, count - done)
            self._run(put, batch)
            if self.probes.was_released():
                done, failed = done + batch, 0
                yield batch, self.probes.clock_mhz()
                continue
            failed += 1
            if failed == ATTEMPTS:
                raise KernelFailure(
                    FailureKind.UNSTABLE,
                    f"{batch} {what} could not be queued within {SPIN_LIMIT_S:g} s, and neither could more: this "
                    "machine or its GPU is too busy with something else, or CUDA_LAUNCH_BLOCKING is set",
                )
            most = max(1, batch // 2)

    def _busy_mhz(self) -> float:
        """Clock of an SM after a little work."""
        begin_s = self._host_s()
        while self._host_s() - begin_s < _LOOK_EVERY_S:
            self.flush()
            self._driver.wait()
        self.probes.clock(CLOCK_S)
        return self.probes.clock_mhz()

    def _run(self, put: Callable[[int], None], batch: int) -> None:
        self.probes.spin(SPIN_LIMIT_S)
        try:
            put(batch)
            self.probes.clock(CLOCK_S)
        finally:
            self.probes.release()
        self._driver.wait()
        self.worked()


def whole_steps(nbytes: int) -> int:
    """Rounded up to what `Probes.touch` reads at once."""
    return -(-nbytes // TOUCH_STEP_BYTES) * TOUCH_STEP_BYTES
