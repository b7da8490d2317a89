"""What a tuner works with when card and compiler are elsewhere: the same steps as those of a `tuning.Workbench`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from profiler.artifact import Artifact
from profiler.errors import DeviceError
from profiler.fleet import worker_side
from profiler.fleet.compilers import FleetBuilder
from profiler.fleet.limits import FleetLimits
from profiler.fleet.link import Link, WorkerLost
from profiler.fleet.offers import Place
from profiler.fleet.orders import (
    EnergyOrder,
    Hung,
    Measured,
    MeasureOrder,
    Occupied,
    SeatKey,
    SeatOptions,
    Unusable,
)
from profiler.fleet.roster import Roster, Watch
from profiler.measure import Rules, Run, StoppingRule
from profiler.measure.energy import ENERGY_RULE, EnergyRule, NoEnergy
from profiler.measure.kernel_energy import KernelEnergy
from profiler.measure.turns import Turns
from profiler.predictor.configs.prediction import Prediction
from profiler.record import (
    FINAL_STAGE,
    SCREEN_STAGE,
    Conditions,
    EnergyMeasurement,
    Failure,
    Fingerprint,
    KernelRecord,
    Measurement,
    decode,
)
from profiler.space.config import ScheduleConfig
from profiler.tuning.cost_model import CostModel
from profiler.tuning.workbench import Batch, Candidate, Request, SpaceOf, batch_of
from profiler.workload import KernelSpec


class CardLost(Exception):
    """A place that did not bring a measurement to its end; ``candidates`` are what it was about."""

    def __init__(self, reason: str, candidates: tuple[Candidate, ...]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.candidates = candidates


@dataclass(frozen=True)
class RemoteCard:
    """A card on a worker. ``resource`` is what a measurement takes of it, ``command`` starts its measuring process."""

    place: Place
    fingerprint: Fingerprint
    options: SeatOptions
    resource: str
    command: tuple[str, ...]
    link: Link
    roster: Roster
    limits: FleetLimits

    def measure(
        self,
        artifacts: Sequence[Artifact],
        conditions: Conditions,
        rule: StoppingRule,
        stage: str,
        run: Run,
        watch: Watch,
    ) -> tuple[Measurement | Failure, ...]:
        """One record per artifact, in their order: as `measure.measure`, there.

        Raises `DeviceError` if the card does not work, and `CardLost` if the worker is lost or hangs, or if others have
        the card for long.
        """
        limit_s = self.limits.measuring_s(len(artifacts))
        order = MeasureOrder(
            tuple(a.to_bytes() for a in artifacts), conditions, rule, stage, run, self.limits.turn_s, limit_s
        )
        begin = time.time()
        answer: Measured = self._answer(worker_side.measure, order, _candidates(artifacts), watch)
        records = []
        for line in answer.lines:
            record = self._own(line, begin)
            assert not isinstance(record, EnergyMeasurement), "latencies were asked for"
            records.append(record)
        return tuple(records)

    def energy(
        self, artifact: Artifact, conditions: Conditions, rule: EnergyRule, run: Run, watch: Watch
    ) -> KernelEnergy:
        """As `kernel_energy.measure_energy`, there. Raises as `measure`."""
        limit_s = self.limits.metering_s(rule)
        order = EnergyOrder(artifact.to_bytes(), conditions, rule, run, self.limits.turn_s, limit_s)
        begin = time.time()
        answer = self._answer(worker_side.measure_energy, order, _candidates([artifact]), watch)
        if isinstance(answer, NoEnergy):
            return answer
        record = self._own(answer.lines[0], begin)
        assert not isinstance(record, Measurement), "an energy was asked for"
        return record

    def _answer(
        self, task: Callable[..., Any], order: MeasureOrder | EnergyOrder, about: tuple[Candidate, ...], watch: Watch
    ) -> Any:
        """What the task says of the order, on the worker of this card."""
        address = self.place.offer.address
        end_s = time.monotonic() + self.limits.answer_s(order.limit_s)

        def still_in_time() -> None:
            watch()
            if time.monotonic() > end_s:
                raise WorkerLost("it did not answer within its limit")

        try:
            answer = self.link.ask(
                task,
                self.command,
                SeatKey(self.place.device.uuid, self.options),
                order,
                self.limits.start_s,
                workers=[address],
                watch=still_in_time,
                resources={self.resource: 1},
            )
        except WorkerLost as lost:
            raise CardLost(str(lost), about) from None
        if isinstance(answer, (Hung, Occupied)):
            raise CardLost(answer.message, about)
        if isinstance(answer, Unusable):
            raise DeviceError(f"{self.place.text}: {answer.message}")
        return answer

    def _own(self, line: str, begin: float) -> KernelRecord:
        """``begin`` : when it was asked for. Dates order records, and the clock of a worker may be wrong."""
        record = decode(line, f"an answer of {self.place.text}")
        if isinstance(record, Fingerprint) or record.fingerprint != self.fingerprint.digest:
            raise DeviceError(f"{self.place.text}: the card is not what it was at first (driver, power limit?)")
        return replace(record, measured_at=min(max(record.measured_at, begin), time.time()))


@dataclass(frozen=True)
class FleetBench:
    """A `tuning.workbench.Bench`: nothing of it runs here, so there are no turns to take here."""

    card: RemoteCard
    builder: FleetBuilder
    conditions: Conditions
    run: Run
    rules: Rules
    watch: Watch
    energy_rule: EnergyRule = ENERGY_RULE

    def compiling(self) -> AbstractContextManager[None]:
        return nullcontext()

    def measuring(self) -> AbstractContextManager[None]:
        return nullcontext()

    def build(self, requests: Sequence[Request]) -> Batch:
        begin = time.perf_counter()
        results = self.builder.build(requests) if requests else ()
        elapsed_s = time.perf_counter() - begin
        return batch_of(results, elapsed_s, self.card.fingerprint.digest, self.conditions, self.run)

    def screen(self, artifacts: Sequence[Artifact]) -> tuple[Measurement | Failure, ...]:
        return self._measure(artifacts, self.rules.screen, SCREEN_STAGE)

    def final(self, artifacts: Sequence[Artifact]) -> tuple[Measurement | Failure, ...]:
        return self._measure(artifacts, self.rules.final, FINAL_STAGE)

    def energy(self, artifact: Artifact) -> KernelEnergy:
        return self.card.energy(artifact, self.conditions, self.energy_rule, self.run, self.watch)

    def _measure(
        self, artifacts: Sequence[Artifact], rule: StoppingRule, stage: str
    ) -> tuple[Measurement | Failure, ...]:
        if not artifacts:
            return ()
        return self.card.measure(artifacts, self.conditions, rule, stage, self.run, self.watch)


class PoliteModel:
    """A cost model that takes the turn of those who compile: this machine's CPU may be among those that are measured.

    It waits for nothing else meanwhile, so nobody can wait for it in a circle.
    """

    def __init__(self, model: CostModel, turns: Turns) -> None:
        self._model = model
        self._turns = turns

    def fit(self, measurements: Iterable[Measurement]) -> None:
        with self._turns.compiling():
            self._model.fit(measurements)

    def predict(self, spec: KernelSpec, configs: Sequence[ScheduleConfig]) -> Prediction:
        with self._turns.compiling():
            return self._model.predict(spec, configs)


def polite_space(space: SpaceOf, turns: Turns) -> SpaceOf:
    """The same configs, worked out as `PoliteModel` does."""

    def asked(spec: KernelSpec) -> Sequence[ScheduleConfig]:
        with turns.compiling():
            return space(spec)

    return asked


def _candidates(artifacts: Sequence[Artifact]) -> tuple[Candidate, ...]:
    return tuple((artifact.spec, artifact.config) for artifact in artifacts)
