"""What is to be measured, who has it in hand, and what becomes of a workload whose worker fails. Nothing of Dask.

          take                 finished
waiting --------> in flight ------------> done
   ^                 | lost, and fewer than so many times: elsewhere, where there is another place
   +-----------------+ finished without a latency: once more, on another instrument, where there is one
                     | lost so many times
                     +------------------> given up
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

from profiler.workload import KernelSpec, Workload


@dataclass(frozen=True)
class Job:
    """The kernels of one workload: they are searched one after the other and measured in turn, on one card."""

    workload: Workload
    specs: tuple[KernelSpec, ...]


def jobs_of(specs: Sequence[KernelSpec]) -> tuple[Job, ...]:
    groups: dict[Workload, list[KernelSpec]] = {}
    for spec in dict.fromkeys(specs):
        groups.setdefault(spec.workload, []).append(spec)
    return tuple(Job(workload, tuple(group)) for workload, group in groups.items())


@dataclass(frozen=True)
class Holder:
    """Who measures: a place (`offers.Place.key`), and the digest of its fingerprint, under which records are kept."""

    place: str
    instrument: str


@dataclass(frozen=True)
class Loss:
    """Why a workload came back unfinished."""

    place: str
    reason: str


class Status(Enum):
    WAITING = "waiting"
    IN_FLIGHT = "in flight"
    DONE = "done"
    GIVEN_UP = "given up"


@dataclass
class _Entry:
    status: Status = Status.WAITING
    losses: list[Loss] = field(default_factory=list)
    failed_on: set[str] = field(default_factory=set)  # instruments on which a kernel had no latency
    finished: bool = False  # at least once

    @property
    def lost_at(self) -> set[str]:
        return {loss.place for loss in self.losses}


class Ledger:
    """begun : how many configs of a job's kernels an instrument's journal knows. A job goes on where most are, if that
    instrument is there, unless it was lost there: records of one are of no use to another.
    attempts : after which a job is given up, if each was lost.
    """

    def __init__(self, jobs: Sequence[Job], begun: Callable[[Job, str], int], attempts: int = 3) -> None:
        self._entries = {job: _Entry() for job in jobs}
        self._begun = begun
        self._attempts = attempts

    def take(self, holder: Holder, present: Collection[Holder]) -> Job | None:
        """The next job for that holder, one of those that are ``present``; None if there is none for it now."""
        for job, entry in self._entries.items():
            if entry.status is Status.WAITING and self._may_take(job, entry, holder, present):
                entry.status = Status.IN_FLIGHT
                return job
        return None

    def finished(self, job: Job, holder: Holder, complete: bool, present: Collection[Holder]) -> bool:
        """Note that the holder came to the end of a job, all of whose kernels have a latency if it is ``complete``.

        True if it shall be tried on another instrument: once, since a kernel that fails twice is to blame itself.
        """
        entry = self._entries[job]
        entry.finished = True
        again = not complete and not entry.failed_on and any(p.instrument != holder.instrument for p in present)
        if not complete:
            entry.failed_on.add(holder.instrument)
        entry.status = Status.WAITING if again else Status.DONE
        return again

    def lost(self, job: Job, holder: Holder, reason: str) -> bool:
        """Note that the holder failed in the middle of a job. True if the job is given up."""
        entry = self._entries[job]
        entry.losses.append(Loss(holder.place, reason))
        over = len(entry.losses) >= self._attempts
        # What was finished on another instrument has its outcome.
        entry.status = Status.WAITING if not over else Status.DONE if entry.finished else Status.GIVEN_UP
        return entry.status is Status.GIVEN_UP

    def settle(self, present: Collection[Holder]) -> None:
        """End jobs that wait for another instrument, if none is there any more."""
        instruments = {holder.instrument for holder in present}
        for entry in self._entries.values():
            if entry.status is Status.WAITING and entry.finished and present and instruments <= entry.failed_on:
                entry.status = Status.DONE

    @property
    def open(self) -> bool:
        """Whether anything waits or is in flight."""
        return any(e.status in (Status.WAITING, Status.IN_FLIGHT) for e in self._entries.values())

    def count(self, status: Status) -> int:
        return sum(entry.status is status for entry in self._entries.values())

    def losses(self, job: Job) -> tuple[Loss, ...]:
        return tuple(self._entries[job].losses)

    @property
    def given_up(self) -> tuple[Job, ...]:
        return tuple(job for job, entry in self._entries.items() if entry.status is Status.GIVEN_UP)

    def _may_take(self, job: Job, entry: _Entry, holder: Holder, present: Collection[Holder]) -> bool:
        if holder.instrument in entry.failed_on:
            return False
        able = [other for other in present if other.instrument not in entry.failed_on]
        elsewhere = [other for other in able if other.place not in entry.lost_at]
        if elsewhere:
            if holder.place in entry.lost_at:
                return False
            able = elsewhere
        begun = {other.instrument: self._begun(job, other.instrument) for other in able}
        most = max(begun.values(), default=0)
        return most == 0 or begun.get(holder.instrument, 0) == most
