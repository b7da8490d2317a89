"""From a worker that the scheduler lists to lanes: is it alike, what has it, what is its card as an instrument."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from profiler import __version__
from profiler.campaign import budget_of, gpu_target, known_configs, require_sound_lut
from profiler.errors import DeviceError
from profiler.fleet import worker_side
from profiler.fleet.bench import FleetBench, PoliteModel, RemoteCard, polite_space
from profiler.fleet.compilers import Compilers, FleetBuilder
from profiler.fleet.events import FleetEvent
from profiler.fleet.lane import Broken, Lane, Report, Tuned
from profiler.fleet.link import Link, Stopped, TaskFailed, WorkerLost
from profiler.fleet.offers import Offer, Place, other_package, places_of
from profiler.fleet.orders import CardFacts, SeatKey, Unusable, code_sha256
from profiler.fleet.reference import BuiltReferences, ReferenceWork
from profiler.fleet.request import FleetRequest
from profiler.fleet.roster import Roster, Watch
from profiler.fleet.spread import FOLDER
from profiler.hardware import CpuSpec
from profiler.kernels.cache import ArtifactCache
from profiler.measure import Run, rules_of
from profiler.measure.energy import ENERGY_RULE
from profiler.measure.turns import MachineTurns
from profiler.predictor.configs.learned import LearnedModel
from profiler.predictor.model_state import ConfigLatency
from profiler.record import Fingerprint, Journal, Measurement
from profiler.targets import CpuTarget, Target, require_driver
from profiler.tuning.cost_model import CostModel
from profiler.tuning.database import TuningDatabase
from profiler.tuning.events import TuneEvent
from profiler.tuning.tuner import Tuner
from profiler.workload import Workload


@dataclass(frozen=True)
class Opened:
    """The lanes of a place are ready."""

    lanes: tuple[Lane, ...]
    note: str


@dataclass(frozen=True)
class Looked:
    """A worker was looked at, to the end; its lanes have been told before. ``refused`` says why it takes no part, or
    what it lacks; empty if all is well. ``short``: it lacks cards that other workers have. ``gone``: it left meanwhile,
    and is looked at again should it return."""

    offer: Offer
    refused: str = ""
    short: bool = False
    gone: bool = False


Tell = Callable[[Report | Opened | Looked | FleetEvent], None]


@dataclass
class Opening:
    """Looks at workers, each in a thread of its own, and tells what it finds. ``run`` has no compiler yet.

    ``alone`` : whether a fingerprint's digest belongs to one card of the fleet alone.
    """

    request: FleetRequest
    link: Link
    roster: Roster
    compilers: Compilers
    run: Run
    tell: Tell
    stopping: threading.Event
    alone: Callable[[str], bool]
    built: BuiltReferences = field(default_factory=BuiltReferences)
    taken: dict[str, str] = field(default_factory=dict)  # cards, by worker address
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look_at(self, offer: Offer) -> None:
        threading.Thread(target=self._look_at, args=(offer,), name=f"look {offer.address}", daemon=True).start()

    def free_cards(self, present: Collection[str]) -> bool:
        """Those of workers that are not ``present`` any more may be others'. Whether there are some.

        A card that does not work stays with its worker as long as that is there.
        """
        with self._lock:
            left = [card for card, address in self.taken.items() if address not in present]
            for card in left:
                del self.taken[card]
        return bool(left)

    def _free(self, places: Iterable[Place]) -> None:
        with self._lock:
            for place in places:
                if self.taken.get(place.card) == place.offer.address:
                    del self.taken[place.card]

    def _look_at(self, offer: Offer) -> None:
        try:
            self.tell(self._open(offer))
        except Stopped:
            pass
        except TaskFailed as error:
            self.tell(Looked(offer, str(error)))
        except WorkerLost:
            self.tell(Looked(offer, gone=True))
        except DeviceError as error:
            self.tell(Looked(offer, str(error)))
        except BaseException as error:
            self.tell(Broken(error))

    def _open(self, offer: Offer) -> Looked:
        watch = self._watch(offer)
        different = self.link.versions.difference(self.link.versions_of(offer.address))
        if different:
            return Looked(offer, f"it runs {different}; make all machines alike")
        try:
            patient = self._patient(watch)
            sight = self.link.ask(worker_side.look, self.request.seat, workers=[offer.address], watch=patient)
        except TaskFailed as error:
            return Looked(offer, f"it cannot run this package: {error}")
        if isinstance(sight, Unusable):
            return Looked(offer, sight.message)
        other = other_package(sight, __version__, code_sha256())
        if other:
            return Looked(offer, f"it has {other}; make all machines alike")
        self.roster.sights[offer.address] = sight
        if not offer.amount(self.request.device):
            return Looked(offer)
        if self.request.threads > sight.cpus:
            return Looked(offer, f"{self.request.threads} threads do not fit the {sight.cpus} CPUs that it may use")
        with self._lock:
            others = {card for card, address in self.taken.items() if address != offer.address}
            has = len(self.taken) - len(others)
            places, lacking = places_of(offer, sight, self.request.device, frozenset(self.taken), has)
            short = bool(lacking) and any(found.uuid in others for found in sight.devices)
            for place in places:
                self.taken[place.card] = offer.address
        for number, place in enumerate(places):
            try:
                opened = self._opened(place, watch)
            except DeviceError as error:
                self._free([place])
                lacking = str(error)
            except BaseException:
                self._free(places[number:])
                raise
            else:
                self.tell(opened)
        return Looked(offer, lacking, short)

    def _watch(self, offer: Offer) -> Watch:
        def still_wanted() -> None:
            if self.stopping.is_set():
                raise Stopped
            self.roster.require(offer.address)

        return still_wanted

    def _patient(self, watch: Watch) -> Watch:
        """The same, and no longer than others' batches may take: all threads of a worker may be in what never ends."""
        limit_s = self.request.limits.answer_s(1)
        end_s = time.monotonic() + limit_s

        def still_in_time() -> None:
            watch()
            if time.monotonic() > end_s:
                raise TaskFailed(f"it gave no answer within {limit_s:.0f} s")

        return still_in_time

    def _opened(self, place: Place, watch: Watch) -> Opened:
        request, options = self.request, self.request.seat_options
        facts = self.link.ask(
            worker_side.open_card,
            request.seat,
            SeatKey(place.device.uuid, options),
            request.limits.start_s,
            workers=[place.offer.address],
            watch=self._patient(watch),
            resources={request.device: 1},
        )
        if isinstance(facts, Unusable):
            raise DeviceError(f"{place.text}: {facts.message}")
        target = _target(facts, request)
        compiler = self.compilers.compiler(target.backend, place.sight.arch, watch)
        if compiler.cuda_major is not None and not isinstance(facts.hardware, CpuSpec):
            require_driver(compiler.cuda_major, facts.hardware.driver_version)
        fingerprint = replace(facts.fingerprint, compiler=compiler.text)
        require_sound_lut(request.out / "lut", request.device, fingerprint)
        known = known_configs(request.predictor, fingerprint, request.conditions)
        cache = ArtifactCache(request.out / "kernels" / request.device) if request.on_gpus else None
        card = RemoteCard(
            place, fingerprint, options, request.device, request.seat, self.link, self.roster, request.limits
        )
        closed = threading.Event()

        def still_open() -> None:
            watch()
            if closed.is_set():
                raise Stopped

        bench = FleetBench(
            card,
            FleetBuilder(self.compilers, target.backend, place.sight.arch, still_open, cache),
            request.conditions,
            replace(self.run, compiler=compiler.text),
            rules_of(request.on_gpus),
            still_open,
            ENERGY_RULE,
        )
        slots = range(request.jobs_at_once)
        lanes = [self._lane(place, n, target, bench, known, closed) for n in slots]
        for lane in lanes:
            lane.no_energy = facts.no_energy
        return Opened(tuple(lanes), facts.clocks)

    def _lane(
        self,
        place: Place,
        slot: int,
        target: Target,
        bench: FleetBench,
        known: Sequence[ConfigLatency],
        closed: threading.Event,
    ) -> Lane:
        request, fingerprint = self.request, bench.card.fingerprint
        logs, turns = request.out / "tuning_logs" / request.device, MachineTurns.of_cpu(request.limits.compilers_turn_s)

        def model(more: Sequence[ConfigLatency]) -> CostModel:
            return PoliteModel(LearnedModel(target.device, target.threads, (*known, *more)), turns)

        def database(folder: str) -> TuningDatabase:
            return TuningDatabase(logs / folder, fingerprint, request.conditions, self.run.run_id)

        def foreign(workload: Workload) -> tuple[Measurement, ...]:
            return _of_others(own.path(workload), fingerprint, bench)

        def listen(event: TuneEvent) -> None:
            self.tell(Tuned(lane, event))

        own = database("")
        tuner = Tuner(
            bench=bench,
            space=polite_space(target.space, turns),
            model=model(()),
            database=own,
            budget=budget_of(request.trials),
            listener=listen,
        )
        reference = ReferenceWork(target, database(FOLDER), self.built, lambda: self.alone(fingerprint.digest))
        lane = Lane(place, slot, fingerprint, target, tuner, bench, model, foreign, reference, self.tell, closed)
        return lane


def _of_others(path: Path, fingerprint: Fingerprint, bench: FleetBench) -> tuple[Measurement, ...]:
    """The measurements of a journal that are of other cards of the kind, under the same conditions."""
    kin: set[str] = set()
    found: list[Measurement] = []
    for record in Journal(path).read():
        if isinstance(record, Fingerprint):
            alike = (record.device, record.arch) == (fingerprint.device, fingerprint.arch)
            if alike and record != fingerprint:
                kin.add(record.digest)
        elif isinstance(record, Measurement) and record.fingerprint in kin and record.conditions == bench.conditions:
            found.append(record)
    return tuple(found)


def _target(facts: CardFacts, request: FleetRequest) -> Target:
    if isinstance(facts.hardware, CpuSpec):
        return CpuTarget(facts.hardware, request.threads)
    return gpu_target(facts.hardware, request)
