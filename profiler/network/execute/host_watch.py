"""What runs a network on this machine's CPU, which kernels can, and what is seen of the CPU meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar

from profiler.artifact import Artifact
from profiler.devices.host_state import HostObserver
from profiler.hardware import CpuSpec
from profiler.network.execute.process import NetworkFailure, TimedRuns
from profiler.record import Circumstances, FailureKind

T = TypeVar("T")
WORKER = (sys.executable, "-m", "profiler.network.execute.host_worker")


def require_runnable(network: str, artifact: Artifact, cpu: CpuSpec) -> None:
    """Raises `NetworkFailure` (LAUNCH) for a kernel of several threads, or of another CPU."""
    missing = sorted(set(artifact.features) - cpu.features)
    reason = ""
    if artifact.threads != 1:
        reason = f"is built for {artifact.threads} threads; networks run on one: build it for one thread"
    elif missing:
        reason = f"uses {', '.join(missing)}, which this CPU lacks"
    if reason:
        raise NetworkFailure(FailureKind.LAUNCH, f"network '{network}': kernel {artifact.spec.key} {reason}")


class HostWatch:
    """What Linux tells of the machine, and the worker of the core's clock: a `timed.Watch`."""

    def __init__(self, cpu: CpuSpec) -> None:
        self._observer = HostObserver(virtual="hypervisor" in cpu.features)
        self._clocks_mhz: list[float] = []
        self._timed_runs = self._interrupted = 0

    def begin(self, pids: Collection[int]) -> None:
        self._observer.observe(tuple(pids), ())
        self._clocks_mhz = []
        self._timed_runs = self._interrupted = 0

    def timed(self, ask: Callable[[], TimedRuns]) -> TimedRuns:
        done = ask()
        self._clocks_mhz.append(done.header["clock_mhz"])
        self._timed_runs += len(done.totals_s)
        self._interrupted += done.header["interrupted"]
        return done

    def worked(self, ask: Callable[[], T]) -> T:
        """Its speed is not looked at meanwhile, which would take time of the work."""
        return ask()

    def circumstances(self, pids: Collection[int]) -> Circumstances:
        seen = self._observer.observe(tuple(pids), self._clocks())
        if not self._interrupted:
            return seen
        note = f"other processes were let in {self._interrupted} times during {self._timed_runs} runs"
        return replace(seen, notes=(*seen.notes, note))

    def _clocks(self) -> tuple[float, ...]:
        """The middle eight tenths of what was seen of the core's clock: an interrupted probe reads low."""
        seen = sorted(self._clocks_mhz)
        tenth = len(seen) // 10
        return tuple(seen[tenth : len(seen) - tenth])
