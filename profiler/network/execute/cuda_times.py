"""How runs of a network are timed on a GPU.

    undisturbed   spin | event graph event event graph event ...      | event nothing event | clock
    marked        spin | event kernel event kernel event ... kernel event ... | event nothing event | clock
    launched      event kernel kernel ... kernel event

An undisturbed run is one graph, as it is deployed. A marked run is the same kernels launched one by one, with an event
behind each: a step's time goes from mark to mark, so it holds what an event costs, and what lies between two kernels.
Both are behind a spinning kernel (`devices.cuda_batches`), so that nothing of the host's lies between. `launched` is a
run without graph and without spinning kernel: what a program takes that launches kernel by kernel from Python.

The empty kernel is timed behind each batch in the same way: what events and a launch take by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
import numpy.typing as npt

from profiler.devices.cuda_batches import QUEUE_COMMANDS, Batches
from profiler.devices.cuda_driver import CudaDriver, Event
from profiler.devices.cuda_kernel import blamed
from profiler.devices.cuda_work import keep_busy
from profiler.network.execute.cuda_network import CardNetwork

Ns = npt.NDArray[np.int64]

_COMMANDS = QUEUE_COMMANDS - 3  # without the empty kernel and its events


@dataclass
class RunTimes:
    """``totals_ns`` of each run, and of marked ones ``ends_ns`` [runs, steps]: when each step ended, since the run's
    start. Of each batch ``clocks_mhz`` of an SM and ``floors_s`` of the empty kernel."""

    totals_ns: Ns
    ends_ns: Ns
    clocks_mhz: list[float] = field(default_factory=list)
    floors_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Worked:
    """So many runs in so many seconds of the host's clock."""

    runs: int
    duration_s: float


class NetworkTimer:
    """Times networks on one GPU. clock : seconds of host time. All calls raise `KernelFailure`, or `DeviceError`."""

    def __init__(self, driver: CudaDriver, clock: Callable[[], float] = monotonic) -> None:
        self._driver = driver
        self._host_s = clock
        self._batches = Batches(driver, clock)
        self._events: list[Event] = []
        self._floor = (driver.event(), driver.event())

    @blamed()
    def undisturbed(self, network: CardNetwork, runs: int) -> RunTimes:
        """Each run is one graph."""
        network.ready()
        times = RunTimes(np.zeros(runs, np.int64), np.zeros((0, len(network.plan.steps)), np.int64))
        most = max(1, _COMMANDS // (len(network.plan.steps) + 2))  # a graph may take as much room as its kernels would
        events = self._prepared(2 * min(most, runs))

        def put(batch: int) -> None:
            for run in range(batch):
                self._driver.record(events[2 * run])
                network.launch_graph()
                self._driver.record(events[2 * run + 1])
            self._put_floor()

        done = 0
        for batch, clock_mhz in self._batches.take(runs, most, put, "runs"):
            for run in range(batch):
                times.totals_ns[done + run] = self._ns(events[2 * run], events[2 * run + 1])
            done += batch
            self._note(times, clock_mhz)
        return times

    @blamed()
    def marked(self, network: CardNetwork, runs: int) -> RunTimes:
        """Each run is its kernels one by one. A run that does not fit a batch goes in parts."""
        network.ready()
        steps = len(network.plan.steps)
        ends = np.zeros((runs, steps), np.int64)
        times = RunTimes(np.zeros(runs, np.int64), ends)
        part = min(steps, (_COMMANDS - 1) // 2)
        if part == steps:
            self._take_marked(network, times, range(runs), range(steps))
        else:
            for run in range(runs):
                for first in range(0, steps, part):
                    self._take_marked(network, times, range(run, run + 1), range(first, min(first + part, steps)))
        times.totals_ns[:] = ends[:, -1] if steps else 0
        return times

    @blamed()
    def launched(self, network: CardNetwork) -> float:
        """Seconds of one run whose kernels are launched one by one while it runs."""
        network.ready()
        begin, end = self._prepared(2)
        self._driver.record(begin)
        network.launch_all()
        self._driver.record(end)
        self._driver.wait()
        self._batches.worked()
        return self._driver.elapsed_s(begin, end)

    @blamed()
    def work(self, network: CardNetwork, duration_s: float) -> Worked:
        """Keep the card busy with runs for so long, and to the end of the last of them."""
        network.ready()
        runs = 0

        def put() -> None:
            nonlocal runs
            network.launch_graph()
            runs += 1

        spent_s = keep_busy(self._driver, put, duration_s, self._host_s)
        self._batches.worked()
        return Worked(runs, spent_s)

    def _take_marked(self, network: CardNetwork, times: RunTimes, runs: range, steps: range) -> None:
        """These steps of these runs, a batch of several runs at once."""
        most = max(1, _COMMANDS // (2 * len(steps) + 1))
        marks = len(steps) + 1
        events = self._prepared(marks * min(most, len(runs)))

        def put(batch: int) -> None:
            for run in range(batch):
                self._driver.record(events[marks * run])
                for at, step in enumerate(steps):
                    network.launch(step)
                    self._driver.record(events[marks * run + at + 1])
            self._put_floor()

        done = runs.start
        for batch, clock_mhz in self._batches.take(len(runs), most, put, "runs"):
            for run in range(batch):
                begin, *passed = events[marks * run : marks * (run + 1)]
                before = times.ends_ns[done + run, steps.start - 1] if steps.start else 0
                times.ends_ns[done + run, steps.start : steps.stop] = [
                    before + self._ns(begin, mark) for mark in passed
                ]
            done += batch
            self._note(times, clock_mhz)

    def _prepared(self, count: int) -> list[Event]:
        """So many events, made before anything spins."""
        while len(self._events) < count:
            self._events.append(self._driver.event())
        return self._events[:count]

    def _put_floor(self) -> None:
        begin, end = self._floor
        self._driver.record(begin)
        self._batches.probes.nothing()
        self._driver.record(end)

    def _note(self, times: RunTimes, clock_mhz: float) -> None:
        times.clocks_mhz.append(clock_mhz)
        times.floors_s.append(self._driver.elapsed_s(*self._floor))

    def _ns(self, begin: Event, end: Event) -> int:
        return round(self._driver.elapsed_s(begin, end) * 1e9)
