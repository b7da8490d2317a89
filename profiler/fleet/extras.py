"""What cards measure beside the jobs, when there is none for them: the reference kernels, others' winners, energies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from profiler.fleet.lane import Confirmation, Extra, Lane, Metering, References, Work
from profiler.fleet.ledger import Job
from profiler.fleet.spread import Spread, spread_of
from profiler.measure.energy import NoEnergy
from profiler.measure.kernel_energy import KernelEnergy
from profiler.record import Failure
from profiler.tuning.database import Tried
from profiler.tuning.tuner import SpecResult
from profiler.tuning.workbench import Candidate
from profiler.workload import KernelSpec, Workload


@dataclass
class Extras:
    """``complete`` : whether every card shall have a latency of every kernel that some card of its model has.
    ``energy`` : whether joules are measured, by each card of all that it has the latency of (of what it searched,
    unless ``complete``), one kernel at a time. ``attempts`` : at an energy on one instrument, if each is lost."""

    complete: bool
    energy: bool = False
    attempts: int = 3
    _compared: dict[str, Mapping[str, float]] = field(default_factory=dict)  # by card
    _comparing: set[str] = field(default_factory=set)
    _searched: dict[Job, Lane] = field(default_factory=dict)  # by whom
    _confirmed: set[tuple[Job, str]] = field(default_factory=set)  # with the digest of the instrument; or tried to
    _metering: dict[str, Metering] = field(default_factory=dict)  # by card
    _metered: Counter[tuple[KernelSpec, str]] = field(default_factory=Counter)  # attempts, on that instrument
    _unmetered: dict[tuple[Workload, str], tuple[KernelSpec, ...]] = field(default_factory=dict)  # on that instrument
    _silent: dict[str, str] = field(default_factory=dict)  # by card, why it tells no joules after all

    def next(self, lane: Lane, working: Collection[Lane], results: Mapping[KernelSpec, SpecResult]) -> Extra | None:
        """What the lane has to do. ``working`` are all that are there, ``results`` the best of each kernel so far."""
        if self._shall_compare(lane, working):
            return References()
        confirmation = self._confirmation(lane, results) if self.complete else None
        return confirmation or (self._missing_energy(lane) if self.energy else None)

    def heard(self, work: Work) -> None:
        """Journals may hold more of it now, wherever that was."""
        if isinstance(work, Metering | Confirmation):
            work = work.job
        if isinstance(work, Job):
            known = self._unmetered.items()
            self._unmetered = {name: specs for name, specs in known if name[0] != work.workload}

    def begun(self, lane: Lane, work: Work) -> None:
        if isinstance(work, References):
            self._comparing.add(lane.place.card)
        elif isinstance(work, Confirmation):
            self._confirmed.add((work.job, lane.fingerprint.digest))
        elif isinstance(work, Metering):
            self._metering[lane.place.card] = work
            self._metered[work.spec, lane.fingerprint.digest] += 1

    def metered(self, lane: Lane, metering: Metering, found: KernelEnergy) -> None:
        """A config that failed has left its place to another one, whose energy is a new one to measure."""
        self._metering.pop(lane.place.card, None)
        if isinstance(found, NoEnergy):
            self._silent[lane.place.card] = found.reason
        elif isinstance(found, Failure):
            del self._metered[metering.spec, lane.fingerprint.digest]

    def no_energies(self, lanes: Iterable[Lane]) -> tuple[str, ...]:
        """Why cards told no joules, a line each."""
        reasons: dict[str, list[str]] = {}
        for lane in lanes if self.energy else ():
            reason = lane.no_energy or self._silent.get(lane.place.card, "")
            if reason:
                reasons.setdefault(reason, []).append(lane.place.text)
        return tuple(f"{reason} ({', '.join(dict.fromkeys(places))})" for reason, places in reasons.items())

    def searched(self, job: Job, lane: Lane) -> None:
        self._searched[job] = lane

    def compared(self, lane: Lane, latencies_s: Mapping[str, float]) -> None:
        self._compared[lane.place.card] = latencies_s

    def failed(self, lane: Lane, work: Extra) -> None:
        """It came back unfinished. An energy is asked for again; a comparison or a confirmation is not."""
        if isinstance(work, References):
            self.compared(lane, {})
        elif isinstance(work, Metering):
            self.dropped(lane, work)

    def dropped(self, lane: Lane, work: Work | None) -> None:
        """The lane is gone in the middle of it: another one of the card may do it."""
        if isinstance(work, References):
            self._comparing.discard(lane.place.card)
        elif isinstance(work, Confirmation):
            self._confirmed.discard((work.job, lane.fingerprint.digest))
        elif isinstance(work, Metering):
            self._metering.pop(lane.place.card, None)

    def spreads(self, lanes: Iterable[Lane]) -> tuple[Spread, ...]:
        """Between the cards of each model, where two of them were measured."""
        compared = {lane.place.card: lane for lane in lanes if lane.place.card in self._compared}
        hosts = Counter(lane.place.sight.host for lane in compared.values())
        models: dict[tuple[str, str], dict[str, Mapping[str, float]]] = {}
        for card, lane in compared.items():
            host = lane.place.sight.host
            alone = host if hosts[host] == 1 else f"{host} (worker {lane.place.offer.name})"
            models.setdefault(_model(lane), {})[lane.place.device.uuid or alone] = self._compared[card]
        spreads = (spread_of(name, found) for (name, _), found in models.items())
        return tuple(spread for spread in spreads if spread is not None)

    def _shall_compare(self, lane: Lane, working: Collection[Lane]) -> bool:
        """A card that was not compared yet, beside another one of its model."""
        card = lane.place.card
        kin = {other.place.card for other in working if _model(other) == _model(lane)}
        return card not in self._compared and card not in self._comparing and len(kin) > 1

    def _confirmation(self, lane: Lane, results: Mapping[KernelSpec, SpecResult]) -> Confirmation | None:
        """Winners of another card of the model, of a job whose kernels this one has not measured to the end."""
        instrument = lane.fingerprint.digest
        for job, other in self._searched.items():
            if (job, instrument) in self._confirmed or _model(other) != _model(lane):
                continue
            winners = _lacking(lane, job, results)
            if winners:
                return Confirmation(job, winners)
            self._confirmed.add((job, instrument))
        return None

    def _missing_energy(self, lane: Lane) -> Metering | None:
        """Of a kernel that the card has the latency of. While it measures one, it gets no other."""
        card, instrument = lane.place.card, lane.fingerprint.digest
        if lane.no_energy or card in self._silent or card in self._metering:
            return None
        busy = {metering.spec for other, metering in self._metering.items() if other != card}
        for job, other in self._searched.items():
            own = other.fingerprint.digest == instrument
            if not own and not (self.complete and _model(other) == _model(lane)):
                continue
            for spec in self._unmetered_of(lane, job):
                if self._metered[spec, instrument] < self.attempts and spec not in busy:
                    return Metering(job, spec)
        return None

    def _unmetered_of(self, lane: Lane, job: Job) -> tuple[KernelSpec, ...]:
        """Remembered until something is heard of the job: it is asked whenever somebody looks for work."""
        name = job.workload, lane.fingerprint.digest
        if name not in self._unmetered:
            self._unmetered[name] = lane.energies.missing(job.specs)
        return self._unmetered[name]


def _lacking(lane: Lane, job: Job, results: Mapping[KernelSpec, SpecResult]) -> tuple[Candidate, ...]:
    known = lane.tuner.database.tried(job.workload)
    found: list[Candidate] = []
    for best in (results[spec].best for spec in job.specs):
        if best is None:
            continue
        tried = known.get(best.spec, Tried())
        if tried.best is None and best.config not in tried.failed:
            found.append((best.spec, best.config))
    return tuple(found)


def _model(lane: Lane) -> tuple[str, str]:
    return lane.fingerprint.device_name, lane.fingerprint.arch
