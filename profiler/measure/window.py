"""The loop of a measurement; its shape is drawn in the package's docstring."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from profiler.artifact import Artifact
from profiler.devices.protocol import Device, KernelFailure, Recorded
from profiler.measure.rule import StoppingRule
from profiler.record import Circumstances, Conditions, Failure, Measurement
from profiler.statistics import summarize

_STEADY = 0.05  # two warm-up bursts that differ by less are steady
_BURST_SHARE = 0.01  # of the budget: one burst
_WARM_UP_SHARE = 0.2  # of the budget: all bursts

_CLOCK_STEP_S = 1e-9  # no launch takes less

Clock = Callable[[], float]


@dataclass(frozen=True)
class Run:
    """Who measures: what records say of their origin. ``compiler`` is part of the fingerprint."""

    run_id: str
    tool_version: str
    compiler: str


@dataclass
class _Candidate:
    """A kernel on its way through the rounds. ``spent_s`` is wall time since its warm-up began."""

    index: int
    artifact: Artifact
    handle: int
    launches: int = 1
    uncounted: int = 1
    spent_s: float = 0.0
    samples_s: list[float] = field(default_factory=list)
    discarded: int = 0


def measure(
    device: Device,
    artifacts: Sequence[Artifact],
    conditions: Conditions,
    rule: StoppingRule,
    stage: str,
    run: Run,
    clock: Clock = time.perf_counter,
) -> tuple[Measurement | Failure, ...]:
    """One record per artifact, in their order.

    All artifacts are loaded at the same time and sampled in turn; those that shall be compared belong into one call.
    What fails becomes a `Failure` and loses none of the others. A `Recorded` device hands its records on unchanged.

    stage : ``screen`` or ``final``, as in `Measurement`. clock : seconds of wall time, for the budget only.

    Raises `DeviceError` if the device itself does not work, `NotRecorded` if a recorded one does not know an artifact,
    and `ValueError` for an artifact that was built for another number of threads.
    """
    for artifact in artifacts:
        if artifact.threads != conditions.threads:
            raise ValueError(f"the artifact is for {artifact.threads} threads, the conditions say {conditions.threads}")
    if isinstance(device, Recorded):
        return tuple(device.recall(artifact, conditions, stage) for artifact in artifacts)
    return _Window(device, conditions, rule, stage, run, clock).measure(artifacts)


class _Window:
    def __init__(
        self, device: Device, conditions: Conditions, rule: StoppingRule, stage: str, run: Run, clock: Clock
    ) -> None:
        self._device = device
        self._conditions = conditions
        self._rule = rule
        self._stage = stage
        self._run = run
        self._clock = clock
        self._fingerprint = device.fingerprint(run.compiler).digest
        self._failures: dict[int, Failure] = {}

    def measure(self, artifacts: Sequence[Artifact]) -> tuple[Measurement | Failure, ...]:
        self._device.circumstances()  # forget what was before
        candidates: list[_Candidate] = []
        try:
            for index, artifact in enumerate(artifacts):
                candidate = self._ready(index, artifact)
                if candidate is not None:
                    candidates.append(candidate)
            self._rounds(candidates)
            for _ in range(self._rule.repeats):
                self._repeat([c for c in candidates if c.index not in self._failures and _contaminated(c)])
            circumstances = self._device.circumstances()
        finally:
            for candidate in candidates:
                self._unload(candidate.handle)
        records: dict[int, Measurement | Failure] = {
            candidate.index: self._measurement(candidate, circumstances)
            for candidate in candidates
            if candidate.samples_s
        }
        return tuple({**records, **self._failures}[index] for index in range(len(artifacts)))

    def _ready(self, index: int, artifact: Artifact) -> _Candidate | None:
        """The loaded, verified and warmed up candidate; None if it failed."""
        try:
            handle = self._device.load(artifact)
        except KernelFailure as failure:
            self._fail(index, artifact, failure)
            return None
        candidate = _Candidate(index, artifact, handle)
        try:
            self._device.verify(handle)
            self._warm_up(candidate)
        except BaseException as error:
            self._unload(handle)
            if not isinstance(error, KernelFailure):
                raise
            self._fail(index, artifact, error)
            return None
        return candidate

    def _warm_up(self, candidate: _Candidate) -> None:
        """Bursts of launches until two in a row take the same time, or a share of the budget is spent."""
        burst_s = _BURST_SHARE * self._rule.budget_s
        launches, before_s = 1, math.inf
        while True:
            begin = self._clock()
            launch_s = max(statistics.median(self._time(candidate, launches)), _CLOCK_STEP_S)
            wall_s = self._clock() - begin
            candidate.spent_s += wall_s
            steady = abs(launch_s - before_s) <= _STEADY * launch_s
            per_launch_s = max(wall_s / launches, launch_s)
            if steady or candidate.spent_s >= _WARM_UP_SHARE * self._rule.budget_s:
                break
            before_s = launch_s
            launches = max(1, int(burst_s / per_launch_s))
        candidate.launches = self._rule.launches(launch_s, per_launch_s)
        candidate.uncounted = self._rule.uncounted(launch_s)

    def _rounds(self, candidates: Sequence[_Candidate]) -> None:
        """One sample of each candidate that is not done, in alternating order, until all are done or failed."""
        turn = list(candidates)
        while turn:
            for candidate in turn:
                begin = self._clock()
                try:
                    times_s = self._time(candidate, candidate.uncounted + candidate.launches)
                except KernelFailure as failure:
                    self._fail(candidate.index, candidate.artifact, failure)
                    continue
                candidate.spent_s += self._clock() - begin
                candidate.samples_s.append(statistics.fmean(times_s[candidate.uncounted :]))
            turn = [c for c in reversed(turn) if not self._finished(c)]

    def _finished(self, candidate: _Candidate) -> bool:
        return candidate.index in self._failures or self._rule.done(candidate.samples_s, candidate.spent_s)

    def _repeat(self, candidates: Sequence[_Candidate]) -> None:
        for candidate in candidates:
            candidate.discarded += len(candidate.samples_s)
            candidate.samples_s, candidate.spent_s = [], 0.0
        self._rounds(candidates)

    def _time(self, candidate: _Candidate, launches: int) -> tuple[float, ...]:
        return self._device.time(candidate.handle, launches, self._conditions.cache_mode)

    def _unload(self, handle: int) -> None:
        with suppress(KernelFailure):
            self._device.unload(handle)

    def _fail(self, index: int, artifact: Artifact, failure: KernelFailure) -> None:
        self._failures[index] = Failure(
            spec=artifact.spec,
            config=artifact.config,
            conditions=self._conditions,
            fingerprint=self._fingerprint,
            kind=failure.kind,
            message=failure.message,
            run_id=self._run.run_id,
            measured_at=time.time(),
            tool_version=self._run.tool_version,
        )

    def _measurement(self, candidate: _Candidate, circumstances: Circumstances) -> Measurement:
        notes = list(circumstances.notes)
        if candidate.discarded:
            notes.append(f"measured again: the first {candidate.discarded} samples were contaminated")
        if _contaminated(candidate):
            notes.append("contaminated: the median lies far above the minimum")
        return Measurement(
            spec=candidate.artifact.spec,
            config=candidate.artifact.config,
            conditions=self._conditions,
            fingerprint=self._fingerprint,
            artifact_sha256=candidate.artifact.sha256,
            samples_s=tuple(candidate.samples_s),
            launches_per_sample=candidate.launches,
            discarded=candidate.discarded,
            stage=self._stage,
            run_id=self._run.run_id,
            measured_at=time.time(),
            tool_version=self._run.tool_version,
            native=candidate.artifact.native,
            circumstances=replace(circumstances, notes=tuple(notes)),
        )


def _contaminated(candidate: _Candidate) -> bool:
    return summarize(candidate.samples_s).contaminated
