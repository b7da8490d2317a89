"""What NVML tells of a GPU while a network is timed there, and what is done about it: a `timed.Watch`.

monitor.limits()
NetworkProcess.time(runs, marks)   --> the timed window (cuda_times)
monitor.limits()                       slowed down for heat or by the hardware: wait, and all of it again
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from profiler.devices.cuda import Monitor
from profiler.devices.gpu_state import compare
from profiler.devices.protocol import Throttling
from profiler.measure.throttle import KERNEL_WAITS_S, Patience, Throttle
from profiler.network.execute.process import TimedRuns
from profiler.record import Circumstances

T = TypeVar("T")


class CudaWatch:
    """The rules are those of kernels (`measure.throttle`): what was slowed down is discarded and taken again after a
    bounded wait; what was held back by the power limit counts, is told, and is answered with rests.

    monitor : of the card on which the network runs; whoever opened it closes it. sustained : no rests. clock : seconds
    of wall time. sleep : waits so many seconds.
    """

    def __init__(
        self,
        monitor: Monitor,
        sustained: bool = False,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._monitor = monitor
        self._sustained, self._clock, self._sleep = sustained, clock, sleep
        self._throttling: Throttling | None = None
        self.begin(())

    def begin(self, pids: Collection[int]) -> None:
        self._throttle = Throttle(self, self._sustained, self._clock, self._sleep)
        self._patience = Patience(KERNEL_WAITS_S, "this network")
        self._clocks_mhz: list[float] = []
        self._floors_s: list[float] = []
        self._stream_launches_s: list[float] = []
        self._capped: list[bool] = []  # of each request, where the card can tell
        self._discarded = 0

    def throttling(self) -> Throttling | None:
        """What held the card back during the last request."""
        return self._throttling

    def timed(self, ask: Callable[[], TimedRuns]) -> TimedRuns:
        done = self._taken(self._throttle, ask)
        self._clocks_mhz += done.header["clocks_mhz"]
        self._floors_s += done.header["floors_s"]
        if done.header["stream_launch_s"] is not None:
            self._stream_launches_s.append(done.header["stream_launch_s"])
        return done

    def worked(self, ask: Callable[[], T]) -> T:
        """Rests would end the steady state, so there are none: what a card does under its power limit is then what it
        does."""
        return self._taken(Throttle(self, True, self._clock, self._sleep), ask)

    def _taken(self, throttle: Throttle, ask: Callable[[], T]) -> T:
        """What came of the request that counts."""
        done: list[T] = []

        def once() -> tuple[float, ...]:
            before = self._monitor.limits()
            done.append(ask())
            self._throttling = compare(before, self._monitor.limits())
            return ()

        batch = throttle.take(once, self._patience)
        self._discarded += batch.discarded
        if batch.power_capped is not None:
            self._capped.append(batch.power_capped)
        return done[-1]

    @property
    def stream_launch_s(self) -> float | None:
        """Seconds of a run whose kernels are launched one by one while it runs, as Python does it; the median."""
        return statistics.median(self._stream_launches_s) if self._stream_launches_s else None

    def circumstances(self, pids: Collection[int]) -> Circumstances:
        """The clock is that of the SMs, counted behind each batch; low and high are the extremes."""
        state = self._monitor.state(pids)
        return Circumstances(
            sm_clock_mhz_low=min(self._clocks_mhz, default=None),
            sm_clock_mhz_high=max(self._clocks_mhz, default=None),
            temperature_c=state.temperature_c,
            power_w=state.power_w,
            power_capped_fraction=sum(self._capped) / len(self._capped) if self._capped else None,
            floor_s=statistics.median(self._floors_s) if self._floors_s else None,
            notes=(*self._monitor.facts().notes, *state.notes, *self._notes()),
        )

    def _notes(self) -> list[str]:
        found = []
        if any(self._capped):
            found.append(f"the power limit held the clock back in {sum(self._capped)} of {len(self._capped)} requests")
        if self._discarded:
            found.append(f"requests that were slowed down and made again: {self._discarded}")
        if self.stream_launch_s is not None:
            found.append(f"launched kernel by kernel instead of as a graph, a run takes {self.stream_launch_s:.6g} s")
        return found
