"""One place at work: a thread that tunes one job after the other on its card, and tells what became of each."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from profiler.errors import DeviceError
from profiler.fleet.bench import CardLost, FleetBench
from profiler.fleet.compilers import CompilersLost
from profiler.fleet.ledger import Holder, Job
from profiler.fleet.link import Stopped, WorkerLost
from profiler.fleet.offers import Place
from profiler.fleet.reference import ReferenceWork
from profiler.measure.kernel_energy import KernelEnergy
from profiler.measure.stability import require_stable
from profiler.predictor.model_state import ConfigLatency
from profiler.record import Failure, FailureKind, Fingerprint, Measurement
from profiler.space.config import parse_config
from profiler.targets import Target
from profiler.tuning.cost_model import CostModel
from profiler.tuning.energies import Energies
from profiler.tuning.events import TuneEvent
from profiler.tuning.tuner import SpecResult, Tuner
from profiler.tuning.workbench import Candidate
from profiler.workload import KernelSpec, Workload


@dataclass(frozen=True)
class Tuned:
    """Something happened to a kernel in a lane."""

    lane: Lane
    event: TuneEvent


@dataclass(frozen=True)
class Finished:
    """A job came to its end."""

    lane: Lane
    work: Job
    results: tuple[SpecResult, ...]


@dataclass(frozen=True)
class Confirmation:
    """Kernels of a job that another card of the model was searched for: their winners shall be measured here too."""

    job: Job
    winners: tuple[Candidate, ...]

    @property
    def text(self) -> str:
        """What it is about, for people; as of all that is no job."""
        return f"what others found of {self.job.workload.text}"


@dataclass(frozen=True)
class References:
    """The reference kernels shall be measured."""

    text = "the reference kernels"


@dataclass(frozen=True)
class Metering:
    """The energy of a kernel of a job shall be measured."""

    job: Job
    spec: KernelSpec

    @property
    def text(self) -> str:
        return f"the energy of {self.spec.key}"


Extra = Confirmation | References | Metering
"""What a card has to do beside jobs."""
Work = Job | Extra


@dataclass(frozen=True)
class Confirmed:
    """The winners were measured."""

    lane: Lane
    work: Confirmation


@dataclass(frozen=True)
class Metered:
    """An energy was measured, or the card told none, or a config failed at it: ``results`` is then what has taken its
    place."""

    lane: Lane
    work: Metering
    found: KernelEnergy
    results: tuple[SpecResult, ...] = ()


@dataclass(frozen=True)
class Compared:
    """The reference kernels were measured: seconds by name."""

    lane: Lane
    work: References
    latencies_s: Mapping[str, float]


@dataclass(frozen=True)
class Failed:
    """Some work came back unfinished.

    ``last`` : the card does not work, so it gets no more. ``blameless`` : nothing was asked of it when it happened.
    ``candidates`` are what was measured then.
    """

    lane: Lane
    work: Work
    reason: str
    candidates: tuple[Candidate, ...] = ()
    last: bool = False
    blameless: bool = False


@dataclass(frozen=True)
class Broken:
    """An error that ends the run: the user's, or a defect of ours."""

    error: BaseException


Ended = Finished | Confirmed | Metered | Compared | Failed
"""What a lane tells of the work that it was given."""
Report = Tuned | Ended | Broken
Tell = Callable[[Report], None]


@dataclass(eq=False)
class Lane:
    """``slot`` numbers the lanes of a place: while one waits for a compiler another one measures. ``model`` makes a
    cost model that begins with the given latencies of other cards. ``foreign`` are those that journals hold of a
    workload, of other cards of the kind. ``closed`` ends whatever the lane waits for. ``busy`` is for whoever leads
    the run. ``no_energy`` says why the card tells no joules."""

    place: Place
    slot: int
    fingerprint: Fingerprint
    target: Target
    tuner: Tuner
    bench: FleetBench
    model: Callable[[Sequence[ConfigLatency]], CostModel]
    foreign: Callable[[Workload], Sequence[Measurement]]
    reference: ReferenceWork
    tell: Tell
    closed: threading.Event
    busy: bool = False
    no_energy: str = ""
    _inbox: queue.SimpleQueue[Work] = field(default_factory=queue.SimpleQueue)

    @property
    def key(self) -> str:
        return f"{self.place.key} {self.slot}"

    @property
    def holder(self) -> Holder:
        return Holder(self.place.key, self.fingerprint.digest)

    @property
    def energies(self) -> Energies:
        return Energies(self.bench, self.tuner.database, self.tuner.listener)

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=f"lane {self.key}", daemon=True)
        thread.start()
        return thread

    def give(self, work: Work) -> None:
        self.busy = True
        self._inbox.put(work)

    def note_given_up(self, failed: Failed, attempts: int) -> None:
        """Write into the journal that a job was given up after so many attempts, of which this is the last: a failure
        of the device, not of the kernels, so the next run tries them again."""
        assert isinstance(failed.work, Job)
        run = self.bench.run
        failures = [
            Failure(
                spec=spec,
                config=config,
                conditions=self.bench.conditions,
                fingerprint=self.fingerprint.digest,
                kind=FailureKind.UNSTABLE,
                message=f"given up after {attempts} attempts on a fleet: {failed.reason}",
                run_id=run.run_id,
                measured_at=time.time(),
                tool_version=run.tool_version,
            )
            for spec, config in failed.candidates
        ]
        self.tuner.database.append(failed.work.workload, failures)

    def _run(self) -> None:
        while True:
            try:
                work = self._inbox.get(timeout=0.1)
            except queue.Empty:
                try:
                    self.bench.watch()
                except (Stopped, WorkerLost):
                    return  # whoever leads the run sees by itself who is gone
                continue
            try:
                self.tell(self._done(work))
            except Stopped:
                return
            except CardLost as lost:
                self.tell(Failed(self, work, lost.reason, lost.candidates))
            except CompilersLost as lost:
                self.tell(Failed(self, work, str(lost), blameless=True))
            except WorkerLost as lost:
                self.tell(Failed(self, work, str(lost)))
            except DeviceError as error:
                self.tell(Failed(self, work, str(error), last=True))
            except BaseException as error:
                self.tell(Broken(error))
                return

    def _done(self, work: Work) -> Report:
        if isinstance(work, References):
            return Compared(self, work, self.reference.measure(self.bench))
        if isinstance(work, Confirmation):
            return self._confirmed(work)
        if isinstance(work, Metering):
            return self._metered(work)
        return Finished(self, work, self._tuned(work))

    def _confirmed(self, confirmation: Confirmation) -> Confirmed:
        """Winners of another card, measured in turn; a few at a time, as a tuner does it."""
        step = self.tuner.budget.side_by_side
        for start in range(0, len(confirmation.winners), step):
            winners = confirmation.winners[start : start + step]
            batch = self.bench.build([(spec, parse_config(config)) for spec, config in winners])
            records = self.bench.final(batch.artifacts)
            self.tuner.database.append(confirmation.job.workload, (*batch.failures, *records))
            require_stable(records)
        return Confirmed(self, confirmation)

    def _metered(self, metering: Metering) -> Metered:
        found = self.energies.measure(metering.spec)
        failed = isinstance(found, Failure)
        results = self._tuned(replace(metering.job, specs=(metering.spec,))) if failed else ()
        return Metered(self, metering, found, results)

    def _tuned(self, job: Job) -> tuple[SpecResult, ...]:
        foreign = [
            ConfigLatency(m.spec, m.config, m.summary.median_s, m.summary.relative_halfwidth / 2)
            for m in self.foreign(job.workload)
        ]
        tuner = replace(self.tuner, model=self.model(foreign)) if foreign else self.tuner
        return tuner.tune(job.specs)
