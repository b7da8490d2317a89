"""The loop: plan, measure, journal, until all is measured, the time is spent, or somebody says stop."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Callable, Protocol, Union

import numpy as np

from profiler.bundle.box import plan
from profiler.bundle.box.archive import Archive
from profiler.bundle.box.bar import Bar
from profiler.bundle.box.manifest import Configuration, Manifest
from profiler.bundle.box.network_record import NetworkFault, NetworkRecord
from profiler.bundle.box.plan import Agenda, EnergyStep, Ledger, NetworkStep, Pace, Phase, Step
from profiler.bundle.box.results import NO_ENERGY, End, Header, Reason, Results, ResultsFile
from profiler.devices.protocol import Device
from profiler.errors import DeviceError, FingerprintMismatch, InvalidFile
from profiler.measure import Run, measure, new_run_id, rules_of
from profiler.measure.energy import NoEnergy, why_none
from profiler.measure.kernel_energy import measure_energy
from profiler.measure.stability import require_stable
from profiler.measure.throttle import KERNEL_WAITS_S
from profiler.measure.turns import MachineTurns, NoTurn
from profiler.record import (
    FINAL_STAGE,
    SCREEN_STAGE,
    STAGES,
    Failure,
    Fingerprint,
    KernelRecord,
    Measurement,
    escaped,
    of_the_device,
)
from profiler.units import format_duration

_LABELS = {Phase.FIRST: "first measurements", Phase.SCREEN: "candidates", Phase.LAST: "the fastest once more"}

Clock = Callable[[], float]
AnyStep = Union[Step, NetworkStep, EnergyStep]


class Networks(Protocol):
    """What runs the bundle's networks on the device: `network_run.NetworkRunner`."""

    def round(self, configuration: Configuration, run: Run, fingerprint: str) -> NetworkRecord: ...


@dataclass(frozen=True)
class Budget:
    """``seconds`` of wall time (infinite: no limit) since ``begin_s`` of the ``clock``. ``sleep`` waits so many."""

    seconds: float = math.inf
    begin_s: float = 0.0
    clock: Clock = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @property
    def left_s(self) -> float:
        return self.seconds - (self.clock() - self.begin_s)

    def wait(self, seconds: float) -> None:
        """Not beyond what is left."""
        self.sleep(min(seconds, max(0.0, self.left_s)))


class _Pacer:
    """Learns how long a candidate takes, and a round of a network beside what it was reckoned with."""

    def __init__(self) -> None:
        self._spent_s = dict.fromkeys(STAGES, 0.0)
        self._candidates = dict.fromkeys(STAGES, 0)
        self._network_s = self._reckoned_s = 0.0

    def learn(self, step: AnyStep, spent_s: float) -> None:
        if isinstance(step, EnergyStep):
            return  # its windows are as long as they are
        if isinstance(step, NetworkStep):
            self._network_s += spent_s
            self._reckoned_s += step.reckoned_s
            return
        self._spent_s[step.phase.stage] += spent_s
        self._candidates[step.phase.stage] += len(step.candidates)

    @property
    def pace(self) -> Pace:
        usual = Pace()
        return Pace(
            final_s=self._mean_s(FINAL_STAGE, usual.final_s),
            screen_s=self._mean_s(SCREEN_STAGE, usual.screen_s),
            network=self._network_s / self._reckoned_s if self._reckoned_s else usual.network,
        )

    def _mean_s(self, stage: str, usual_s: float) -> float:
        count = self._candidates[stage]
        return self._spent_s[stage] / count if count else usual_s


def run(
    archive: Archive,
    device: Device,
    networks: Networks | None,
    turns: MachineTurns,
    file: ResultsFile,
    budget: Budget,
    bar: Bar,
) -> End:
    """Measure what the file does not hold yet, in turns with other runs, and say how it ended. ``networks`` None leaves
    those of the bundle out.

    Whatever ends it, the file is closed by its last line. Raises `InvalidFile` and `FingerprintMismatch` for a file of
    another bundle or instrument, which is left as it is, and whatever the device raises when it cannot work at all.
    """
    manifest, results = archive.manifest, file.results
    fingerprint = device.fingerprint(manifest.compiler)
    no_energy = why_none(device.counter) if manifest.energy else ""
    if no_energy:
        bar.line(f"no energies: {no_energy}")
    if results.header is None:
        file.begin(_header(manifest, fingerprint, no_energy))
    else:
        _require_same(results.header, manifest, fingerprint, str(file.path))
    known = [record for record in results.records if not of_the_device(record)]
    ledger = Ledger(known, [record for record in results.networks if not record.of_the_device])
    configurations = manifest.configurations if networks is not None else ()
    agenda = plan.agenda(manifest.kernels, configurations, manifest.energy and not no_energy)
    if results.end is not None and plan.finished(agenda, ledger):
        return results.end
    session = _Session(archive, device, networks, turns, file, budget, bar, agenda, ledger, results)
    try:
        reason = session.measure_all()
    except KeyboardInterrupt:
        file.end(session.end(Reason.INTERRUPTED))
        raise
    except Exception:  # a defect too: what was measured is as sound as before
        file.end(session.end(Reason.FAILED))
        raise
    end = session.end(reason)
    file.end(end)
    return end


class _Session:
    def __init__(
        self,
        archive: Archive,
        device: Device,
        networks: Networks | None,
        turns: MachineTurns,
        file: ResultsFile,
        budget: Budget,
        bar: Bar,
        agenda: Agenda,
        ledger: Ledger,
        before: Results,
    ) -> None:
        self._archive = archive
        self._device = device
        self._networks = networks
        self._turns = turns
        self._file = file
        self._budget = budget
        self._bar = bar
        self._ledger = ledger
        found = (*before.records, *before.networks)
        self._failures = sum(isinstance(record, (Failure, NetworkFault)) for record in found)
        self._measurements = len(found) - self._failures
        manifest = archive.manifest
        run_id = new_run_id()
        self._run = Run(run_id, manifest.tool_version, manifest.compiler)
        self._fingerprint = device.fingerprint(manifest.compiler).digest
        self._agenda = agenda
        self._pacer = _Pacer()

    def end(self, reason: Reason) -> End:
        return End(reason, self._measurements, self._failures, time.time())

    def measure_all(self) -> Reason:
        while True:
            found = self._take_turn()
            if found is None:
                return Reason.COMPLETE if plan.finished(self._agenda, self._ledger) else Reason.BUDGET
            if isinstance(found, tuple):
                self._file.append(found)
                self._keep(found)
                require_stable(found)
            else:
                self._file.append_network(found)
                self._keep_network(found)

    def _take_turn(self) -> tuple[KernelRecord, ...] | NetworkRecord | None:
        """What a step has given, planned when the wait for the turn was over. None if there is nothing left to do, or
        no time for it."""
        budget = self._budget
        try:
            with self._turns.measuring(max(0.0, budget.left_s)):
                step = plan.next_step(self._agenda, self._ledger, self._pacer.pace, budget.left_s, budget.seconds)
                if step is None:
                    return None
                self._show(step)
                begin = budget.clock()
                found = self._carry_out(step)
        except NoTurn:
            return None
        self._pacer.learn(step, budget.clock() - begin)
        if budget.left_s > 0:
            return found
        # The waits for a stable device were cut short: that it was none is not said.
        if isinstance(found, tuple):
            return tuple(record for record in found if not of_the_device(record))
        return () if found.of_the_device else found

    def _carry_out(self, step: AnyStep) -> tuple[KernelRecord, ...] | NetworkRecord:
        if isinstance(step, EnergyStep):
            return self._meter(step)
        if isinstance(step, NetworkStep):
            assert self._networks is not None
            return self._networks.round(step.configuration, self._run, self._fingerprint)
        return self._measure(step)

    def _measure(self, step: Step) -> tuple[Measurement | Failure, ...]:
        artifacts = [self._archive.artifact(candidate) for _, candidate in step.candidates]
        rules = rules_of(self._archive.manifest.is_gpu)
        rule = rules.screen if step.phase is Phase.SCREEN else rules.final
        conditions = self._archive.manifest.conditions
        stage = step.phase.stage
        return measure(self._device, artifacts, conditions, rule, stage, self._run, sleep=self._budget.wait)

    def _meter(self, step: EnergyStep) -> tuple[KernelRecord, ...]:
        """Its record. None where the device tells no energy after all, which is not asked for again then; nor where a
        slowdown would have to be waited for longer than there is time."""
        needed_s = plan.energy_s(self._pacer.pace)
        patience_s = max(0.0, min(KERNEL_WAITS_S, self._budget.left_s - 2 * needed_s))
        manifest = self._archive.manifest
        artifact = self._archive.artifact(step.candidate)
        found = measure_energy(self._device, artifact, manifest.conditions, self._run, patience_s=patience_s)
        if isinstance(found, NoEnergy):
            self._bar.line(f"no energies: {found.reason}")
            self._agenda = replace(self._agenda, energy=False)
            return ()
        return () if of_the_device(found) and patience_s < KERNEL_WAITS_S else (found,)

    def _keep(self, records: tuple[KernelRecord, ...]) -> None:
        self._ledger.add(records)
        for record in records:
            if isinstance(record, Failure):
                self._failures += 1
                message = escaped(record.message)
                self._bar.line(f"failed ({record.kind.value}): {record.spec.key}: {record.config}: {message}")
            else:
                self._measurements += 1

    def _keep_network(self, record: NetworkRecord) -> None:
        """And say how long it takes. Raises `DeviceError` where it is the device that cannot be measured."""
        self._ledger.add_network(record)
        name = f"network {record.configuration}"
        if not isinstance(record, NetworkFault):
            self._measurements += 1
            median_s = statistics.median(record.samples_s)
            self._bar.line(
                f"{name}: {format_duration(median_s)} end to end, round {self._ledger.rounds(record.configuration)} of "
                f"{plan.ROUNDS}, {len(record.steps)} steps as the integer oracle says"
            )
            return
        self._failures += 1
        self._bar.line(f"failed ({record.kind.value}): {name}: {escaped(record.message)}")
        if record.of_the_device:
            raise DeviceError(
                f"the device cannot be measured now: {record.message}; what was measured is kept, the same command "
                "goes on from there"
            )

    def _show(self, step: AnyStep) -> None:
        progress = plan.progress(self._agenda, self._ledger)
        if isinstance(step, NetworkStep):
            self._bar.show(*progress.rounds, f"networks: {step.configuration.name}")
            return
        if isinstance(step, EnergyStep):
            self._bar.show(*progress.metered, f"energies: {step.kernel.spec.workload.text}")
            return
        counts = {Phase.FIRST: progress.first, Phase.SCREEN: progress.tried, Phase.LAST: progress.settled}
        done, total = counts[step.phase]
        kernel, _ = step.candidates[0]
        self._bar.show(done, total, f"{_LABELS[step.phase]}: {kernel.spec.workload.text}")


def _header(manifest: Manifest, fingerprint: Fingerprint, no_energy: str) -> Header:
    return Header(
        manifest=manifest.digest,
        tool_version=manifest.tool_version,
        fingerprint=fingerprint,
        conditions=manifest.conditions,
        network=manifest.network,
        batch=manifest.batch,
        kernels=len(manifest.kernels),
        host={**_host(), **({NO_ENERGY: no_energy} if no_energy else {})},
        started_at=time.time(),
        configurations=len(manifest.configurations),
    )


def _host() -> Mapping[str, str]:
    """What may explain a measurement, and nothing that names the machine or its user."""
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _require_same(header: Header, manifest: Manifest, fingerprint: Fingerprint, path: str) -> None:
    if header.manifest != manifest.digest:
        raise InvalidFile(
            f"{path}: holds results of another bundle ({header.network}, batch {header.batch}, "
            f"{header.fingerprint.device}, {header.kernels} kernels); choose another file with -o"
        )
    if header.fingerprint != fingerprint:
        different = "; ".join(
            f"{f.name} was '{getattr(header.fingerprint, f.name)}' and is '{getattr(fingerprint, f.name)}'"
            for f in fields(Fingerprint)
            if getattr(header.fingerprint, f.name) != getattr(fingerprint, f.name)
        )
        raise FingerprintMismatch(
            f"{path}: was measured on another instrument: {different}; choose another file with -o"
        )
