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
is told, never subtracted), and the SM clock is counted. Spinning, releasing, waking the card: `cuda_batches`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from profiler.devices.cuda_batches import CLOCK_S, QUEUE_COMMANDS, Batches, whole_steps
from profiler.devices.cuda_driver import CudaDriver
from profiler.devices.cuda_probes import Probes
from profiler.devices.cuda_work import BackToBack
from profiler.record import CacheMode

BATCH_LAUNCHES = QUEUE_COMMANDS // 7
"""With what belongs to each of them: a flush, three inputs that are read, two events."""


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
        self._batches = Batches(driver, clock)
        self._nothing = _Nothing(self._batches.probes)
        self._events = [(driver.event(), driver.event()) for _ in range(BATCH_LAUNCHES + 1)]

    def wake(self) -> None:
        """Keep the card busy until its clock is steady. Raises `DriverError`."""
        self._batches.wake()

    def time(self, kernel: Timed, launches: int, mode: CacheMode) -> Timing:
        """Raises `KernelFailure` (UNSTABLE) if batches cannot be kept free of launch gaps, and `DriverError`."""

        def put(batch: int) -> None:
            for index in range(batch):
                self._put(kernel, index, mode)
            self._put(self._nothing, batch, mode)

        timing = Timing()
        for batch, clock_mhz in self._batches.take(launches, BATCH_LAUNCHES, put):
            *times_s, floor_s = (self._driver.elapsed_s(*events) for events in self._events[: batch + 1])
            timing += Timing(tuple(times_s), (clock_mhz,), (floor_s,))
        return timing

    def work(self, kernel: BackToBack, duration_s: float) -> tuple[int, float]:
        """How many launches there were, and the clock in MHz of an SM behind them. Raises as `BackToBack.work`."""
        launches = kernel.work(duration_s, self._host_s)
        self._batches.probes.clock(CLOCK_S)
        clock_mhz = self._batches.probes.clock_mhz()
        self._batches.worked()
        return launches, clock_mhz

    def _put(self, kernel: Timed, index: int, mode: CacheMode) -> None:
        if mode is not CacheMode.HOT:
            self._batches.flush()
        if mode is CacheMode.NETWORK:
            for address, nbytes in kernel.inputs:
                self._batches.probes.touch(address, whole_steps(nbytes))  # the guard zone behind it is long enough
        begin, end = self._events[index]
        self._driver.record(begin)
        kernel.launch()
        self._driver.record(end)
