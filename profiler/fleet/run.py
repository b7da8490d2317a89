"""The loop that leads a fleet: it alone knows what is open, gives work to lanes that have none, and hears what came.

every second: who is there?  -> new workers are looked at (`opening`), those of the lost ones' jobs go on elsewhere
a lane is idle               -> the next job for its card (`ledger`), else the reference kernels, once, else what other
                                cards of its model have found
a report                     -> the ledger, the display
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from profiler.errors import ProfilerError
from profiler.fleet import worker_side
from profiler.fleet.compilers import Compilers
from profiler.fleet.events import (
    ExtraLost,
    FleetEvent,
    FleetProgress,
    JobLost,
    PlaceClosed,
    PlaceOpened,
    Tally,
    WorkerRefused,
)
from profiler.fleet.extras import Extras
from profiler.fleet.lane import Broken, Compared, Ended, Failed, Finished, Lane, Metered, Report, Tuned, Work
from profiler.fleet.ledger import Holder, Job, Ledger, Status
from profiler.fleet.link import Link
from profiler.fleet.offers import COMPILE, Offer, Place
from profiler.fleet.opening import Looked, Opened, Opening
from profiler.fleet.request import FleetRequest
from profiler.fleet.roster import Roster
from profiler.fleet.spread import Spread
from profiler.measure import Run
from profiler.record import FailureKind
from profiler.tuning.tuner import SpecResult
from profiler.workload import KernelSpec

_HEAR_S = 0.2
_END_S = 2.0  # for lanes that are in the middle of something at home


@dataclass
class FleetRun:
    """``lanes`` holds all that ever worked; ``results`` the best of each kernel; ``losses`` counts jobs that
    came back unfinished."""

    request: FleetRequest
    link: Link
    run: Run
    progress: FleetProgress
    lanes: dict[str, Lane] = field(default_factory=dict)
    results: dict[KernelSpec, SpecResult] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    clocks: list[str] = field(default_factory=list)
    losses: int = 0
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        limits = self.request.limits
        self._reports: queue.SimpleQueue[Report | Opened | Looked | FleetEvent] = queue.SimpleQueue()
        self._roster = Roster(limits.silent_s)
        self._stopping = threading.Event()
        self._compilers = compilers = Compilers(self.link, self._roster, limits, self._refuse)
        self._opening = Opening(
            self.request, self.link, self._roster, compilers, self.run, self._reports.put, self._stopping, self._alone
        )
        self._working: dict[str, Lane] = {}
        self._looked: set[str] = set()
        self._freed = 0  # how often cards of workers that left became free
        self._looking: dict[str, int] = {}  # and how often that was when the look began
        self._short: dict[str, str] = {}  # what was said to those that lack a card which another worker has
        self._hands: dict[str, Work] = {}  # in flight, by lane
        self._strikes: Counter[str] = Counter()  # in a row, by place
        self._extras = Extras(self.request.complete, self.request.energy, limits.attempts)
        self._last_look_s = -math.inf
        self._gather_until_s: float | None = None
        self._last_lane_s = time.monotonic()
        self._tally: Tally | None = None
        self._known_kernels: dict[tuple[Job, str], int] = {}
        self._threads: list[threading.Thread] = []

    def measure(self, jobs: Sequence[Job]) -> None:
        """Bring all jobs to their end. Raises `ProfilerError` if nobody is left who could; whatever happens, what came
        home is in the journals when this returns."""
        self.ledger = Ledger(jobs, self._begun, self.request.limits.attempts)
        try:
            while self.ledger.open or self._hands or any(map(self._more, self._working.values())):
                self._look()
                self.ledger.settle(self._present)
                self._give_work()
                self._show()
                self._hear()
        finally:
            self._end()

    def spreads(self) -> tuple[Spread, ...]:
        """Between the cards of each model, where two of them were measured."""
        return self._extras.spreads(self.lanes.values())

    def no_energies(self) -> tuple[str, ...]:
        """Why cards told no joules, a line each; nothing where nobody asked."""
        return self._extras.no_energies(self.lanes.values())

    @property
    def _places(self) -> tuple[Place, ...]:
        return tuple({lane.place.key: lane.place for lane in self._working.values()}.values())

    @property
    def _present(self) -> tuple[Holder, ...]:
        return tuple(lane.holder for lane in self._working.values())

    def _look(self) -> None:
        limits, now_s = self.request.limits, time.monotonic()
        if now_s - self._last_look_s < limits.look_every_s:
            return
        self._last_look_s = now_s
        for address in self._roster.update(self.link.offers(), now_s):
            self._compilers.forget(address)
            self._short.pop(address, None)
        present = self._roster.present
        for place in self._places:
            if place.offer.address not in present:
                self._close(place, "its worker is gone")
        self._looked &= set(present)
        if self._opening.free_cards(present):
            self._freed += 1
            self._looked -= self._short.keys()
        for address, offer in present.items():
            if self._of_use(offer) and address not in self._looked | self._looking.keys():
                self._looking[address] = self._freed
                self._opening.look_at(offer)
        if self._gather_until_s is None and self._looking:
            self._gather_until_s = now_s + limits.gather_s
        if self._working or self._looking:
            self._last_lane_s = now_s
        elif now_s - self._last_lane_s > limits.workers_s:
            raise ProfilerError(self._nobody(present))

    def _of_use(self, offer: Offer) -> bool:
        return bool(offer.amount(self.request.device) or offer.amount(COMPILE))

    def _nobody(self, present: Mapping[str, Offer]) -> str:
        device = self.request.device
        if self.lanes:
            return (
                f"no worker of {self.link.address} is left that offers {device}, and "
                f"{self.ledger.count(Status.WAITING)} workloads are open; what was measured is kept, the same command "
                "goes on from there"
            )
        if self.refused:
            return f"no worker of {self.link.address} can be used: {self.refused[-1]}"
        offered = sorted({f"{name}={amount:g}" for o in present.values() for name, amount in o.resources.items()})
        return (
            f"no worker of {self.link.address} offers {device}: start one with --resources '{device}=1'; "
            f"{len(present)} workers are there, offering {', '.join(offered) or 'nothing'}"
        )

    @property
    def _gathering(self) -> bool:
        """Whether the first workers are still being looked at. One of them may have the card that a job was begun on by
        an earlier run, and who comes first shall not take it away."""
        end_s = self._gather_until_s
        self._gather_until_s = end_s = -math.inf if not self._looking and end_s is not None else end_s
        return end_s is None or time.monotonic() < end_s

    def _give_work(self) -> None:
        if self._gathering:
            return
        for key, lane in sorted(self._working.items(), key=lambda item: item[1].slot):  # each card one, before a second
            if lane.busy:
                continue
            work = self.ledger.take(lane.holder, self._present) or self._more(lane)
            if work is None:
                continue
            self._extras.begun(lane, work)
            self._hands[key] = work
            lane.give(work)

    def _more(self, lane: Lane) -> Work | None:
        """What a card has to do beside jobs."""
        return self._extras.next(lane, self._working.values(), self.results)

    def _alone(self, digest: str) -> bool:
        return len({lane.place.card for lane in list(self.lanes.values()) if lane.fingerprint.digest == digest}) == 1

    def _begun(self, job: Job, instrument: str) -> int:
        """Remembered as long as nobody works on the job: it is asked of each whenever somebody looks for work."""
        if (job, instrument) not in self._known_kernels:
            lane = next(lane for lane in self._working.values() if lane.fingerprint.digest == instrument)
            known = lane.tuner.database.tried(job.workload)
            self._known_kernels[job, instrument] = sum(len(known[spec]) for spec in job.specs if spec in known)
        return self._known_kernels[job, instrument]

    def _forget(self, job: Job) -> None:
        self._known_kernels = {key: known for key, known in self._known_kernels.items() if key[0] != job}

    def _hear(self) -> None:
        """One report after the other, until there is none."""
        limit_s = _HEAR_S
        while True:
            try:
                report = self._reports.get(timeout=limit_s)
            except queue.Empty:
                return
            limit_s = 0.001
            self._note(report)

    def _note(self, report: Report | Opened | Looked | FleetEvent) -> None:
        if isinstance(report, Broken):
            raise report.error
        if isinstance(report, Opened):
            self._opened(report)
        elif isinstance(report, Looked):
            self._was_looked_at(report)
        elif isinstance(report, Tuned):
            if report.lane.key in self._working:
                self.progress.tuning(report.event)
        elif isinstance(report, Ended):
            self._came_back(report)
        else:
            if isinstance(report, WorkerRefused):
                self.refused.append(f"worker {report.worker}: {report.reason}")
            self.progress.fleet(report)

    def _was_looked_at(self, looked: Looked) -> None:
        address = looked.offer.address
        freed = self._looking.pop(address)
        if looked.gone:
            return
        if not (looked.short and self._freed > freed):
            self._looked.add(address)
        before = self._short.pop(address, "")
        if looked.short:
            self._short[address] = looked.refused
        if looked.refused != before:
            self.refused = [said for said in self.refused if not before or not said.endswith(before)]
            if looked.refused:
                self._refuse(looked.offer.text, looked.refused)

    def _opened(self, opened: Opened) -> None:
        place = opened.lanes[0].place
        self._strikes[place.key] = 0
        self.progress.fleet(PlaceOpened(place.text, opened.note))
        if opened.note:
            self.clocks.append(f"{place.text}: {opened.note}")
        for lane in opened.lanes:
            self._working[lane.key] = self.lanes[lane.key] = lane
            self._threads.append(lane.start())

    def _came_back(self, report: Ended) -> None:
        lane, key, place = report.lane, report.lane.key, report.lane.place
        self._extras.heard(report.work)
        if self._working.get(key) is not lane:  # it was closed, and what it had in hand went elsewhere
            if isinstance(report, Failed) and report.work in self.ledger.given_up:
                self._note_given_up(report)
            return
        lane.busy = False
        self._hands.pop(key)
        if isinstance(report, Failed):
            self._failed(report)
            return
        self._strikes[place.key] = 0
        if isinstance(report, Compared):
            self._extras.compared(lane, report.latencies_s)
        elif isinstance(report, Metered):
            self._extras.metered(lane, report.work, report.found)
            self._replaced(report)
        elif isinstance(report, Finished):
            self._finished(report)

    def _failed(self, report: Failed) -> None:
        lane, place, work = report.lane, report.lane.place, report.work
        self._strikes[place.key] += not report.blameless
        self._last_look_s = -math.inf  # before it gets more work: is it still there?
        if not isinstance(work, Job):
            self._extras.failed(lane, work)
            self.progress.fleet(ExtraLost(work.text, place.text, report.reason))
        elif self._lost(lane, work, report.reason):
            self._note_given_up(report)
        if report.last or self._strikes[place.key] >= self.request.limits.strikes:
            self._close(place, report.reason)

    def _finished(self, report: Finished) -> None:
        for result in report.results:
            known = self.results.get(result.spec)
            if known is None or known.best is None:
                self.results[result.spec] = result
        complete = not any(_may_work_elsewhere(result) for result in report.results)
        self._forget(report.work)
        self._extras.searched(report.work, report.lane)
        self.ledger.finished(report.work, report.lane.holder, complete, self._present)

    def _replaced(self, report: Metered) -> None:
        """A best config that has failed is none any more, if it was this card's."""
        for result in report.results:
            known = self.results[result.spec].best
            if known is not None and known.fingerprint == report.lane.fingerprint.digest:
                self.results[result.spec] = result

    def _lost(self, lane: Lane, job: Job, reason: str) -> bool:
        """Whether the job is given up."""
        self.losses += 1
        self._forget(job)
        given_up = self.ledger.lost(job, lane.holder, reason)
        self.progress.fleet(JobLost(job, lane.place.text, reason, given_up))
        return given_up

    def _note_given_up(self, report: Failed) -> None:
        assert isinstance(report.work, Job)
        report.lane.note_given_up(report, len(self.ledger.losses(report.work)))

    def _close(self, place: Place, reason: str) -> None:
        """All lanes of the place; what they had in hand goes elsewhere."""
        self.progress.fleet(PlaceClosed(place.text, reason))
        for key, lane in list(self._working.items()):
            if lane.place.key == place.key:
                del self._working[key]
                lane.closed.set()
                work = self._hands.pop(key, None)
                self._extras.dropped(lane, work)
                if isinstance(work, Job):
                    self._lost(lane, work, reason)

    def _refuse(self, worker: str, reason: str) -> None:
        """Called by any thread."""
        self._reports.put(WorkerRefused(worker, reason))

    def _show(self) -> None:
        count = self.ledger.count
        tally = Tally(
            len(self._places),
            count(Status.IN_FLIGHT),
            count(Status.DONE),
            count(Status.WAITING),
            count(Status.GIVEN_UP),
        )
        if tally != self._tally:
            self._tally = tally
            self.progress.fleet(tally)

    def _end(self) -> None:
        """Have everybody stop. What lanes are about to write they write; nobody waits for workers."""
        self._stopping.set()
        end_s = time.monotonic() + _END_S
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        self.link.tell(worker_side.release, [a for a in self._roster.sights if a in self._roster.present])


def _may_work_elsewhere(result: SpecResult) -> bool:
    """Whether a kernel has no latency because of what happened on the card; the compiler is the same everywhere."""
    own = (FailureKind.COMPILE, FailureKind.UNSTABLE)
    return result.best is None and any(failure.kind not in own for failure in result.failures)
