"""A network timed on its device, while something watches what else goes on there."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from profiler.devices.protocol import KernelFailure
from profiler.measure.rule import StoppingRule
from profiler.network.execute.process import NetworkProcess, TimedRuns
from profiler.network.execute.times import NETWORK_RULE, NetworkTimes, Times, measured_times
from profiler.record import Circumstances

T = TypeVar("T")


class Watch(Protocol):
    """What is seen of a device while a network is timed there."""

    def begin(self, pids: Collection[int]) -> None:
        """Forget what was before. ``pids`` are our own processes."""
        ...

    def timed(self, ask: Callable[[], TimedRuns]) -> TimedRuns:
        """Carry out a request, and see what goes on meanwhile; again where that makes its times void. Raises
        `KernelFailure` where they never come to count."""
        ...

    def worked(self, ask: Callable[[], T]) -> T:
        """Have seconds of work done, and see what goes on meanwhile; again where that makes it void. Nothing rests
        behind it: work is to be steady. Raises as `timed`."""
        ...

    def circumstances(self, pids: Collection[int]) -> Circumstances:
        """Since the beginning."""
        ...


@dataclass(frozen=True)
class NetworkLatency:
    """``times`` of runs whose outputs were right, and what went on meanwhile."""

    times: NetworkTimes
    circumstances: Circumstances


def timed_network(
    process: NetworkProcess,
    watch: Watch,
    inputs: bytes,
    pids: Callable[[], Collection[int]],
    rule: StoppingRule = NETWORK_RULE,
    clock: Callable[[], float] = time.perf_counter,
) -> NetworkLatency:
    """Time runs on these inputs, in the way that `times` draws.

    The outputs of the last timed run are compared with those of the first one; whether they are right is for others to
    say. pids : our own processes, whose load is not that of others. clock : seconds of wall time, for the budget alone.
    Raises `NetworkFailure`.
    """

    def runs_of(runs: int, marked: bool) -> tuple[Times, Times]:
        try:
            done = watch.timed(lambda: process.time(runs, marked))
        except KernelFailure as failure:
            raise process.failure(failure.kind, failure.message) from None
        return done.totals_s, done.steps_s

    process.set_inputs(inputs)
    first = process.run()
    watch.begin(pids())
    times = measured_times(runs_of, rule, clock)
    circumstances = watch.circumstances(pids())
    process.require_outputs(first)
    notes = list(circumstances.notes)
    if times.discarded:
        notes.append(f"measured again: the first {times.discarded} samples were contaminated")
    if times.contaminated:
        notes.append("contaminated: the median lies far above the minimum, or above the sum of the steps")
    return NetworkLatency(times, replace(circumstances, notes=tuple(notes)))
