"""The loop of a measurement; its shape is drawn in the package's docstring."""

from __future__ import annotations

import math
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from profiler.artifact import Artifact
from profiler.devices.protocol import Device, KernelFailure, Recorded
from profiler.measure.rule import StoppingRule
from profiler.measure.throttle import KERNEL_WAITS_S, Batch, Patience, Throttle
from profiler.record import FINAL_STAGE, Circumstances, Conditions, Failure, FailureKind, Measurement
from profiler.statistics import summarize

_STEADY = 0.05  # two warm-up bursts that differ by less are steady
_BURST_SHARE = 0.01  # of the budget: one burst
_WARM_UP_SHARE = 0.2  # of the budget: all bursts

_CLOCK_STEP_S = 1e-9  # no launch takes less


@dataclass(frozen=True)
class Run:
    """Who measures: what records say of their origin. ``compiler`` is part of the fingerprint."""

    run_id: str
    tool_version: str
    compiler: str


def new_run_id() -> str:
    """When a run began, by the clock on the wall, and eight digits that no other run has."""
    return time.strftime("%Y%m%dT%H%M%S-") + uuid.uuid4().hex[:8]


@dataclass
class _Candidate:
    """A kernel on its way through the rounds.

    ``spent_s`` is the wall time of its batches since its warm-up began, without waits and rests. Of its samples,
    ``capped`` were taken under the power cap, None if the device cannot tell. ``slowed`` and ``contaminated`` count
    the samples that were discarded.
    """

    index: int
    artifact: Artifact
    handle: int
    launches: int = 1
    uncounted: int = 1
    spent_s: float = 0.0
    samples_s: list[float] = field(default_factory=list)
    capped: int | None = None
    slowed: int = 0
    contaminated: int = 0
    patience: Patience = field(default_factory=lambda: Patience(KERNEL_WAITS_S))


def measure(
    device: Device,
    artifacts: Sequence[Artifact],
    conditions: Conditions,
    rule: StoppingRule,
    stage: str,
    run: Run,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Measurement | Failure, ...]:
    """One record per artifact, in their order.

    All artifacts are loaded at the same time and sampled in turn; those that shall be compared belong into one call.
    What fails becomes a `Failure` and loses none of the others. A `Recorded` device hands its records on unchanged.

    The stage ``final`` ends with a second look at every output, as the last timed launch left it (`Device.recheck`).

    Waits and rests (`throttle`) are no part of a kernel's budget; a device whose fingerprint says ``sustained`` gets no
    rests.

    stage : ``screen`` or ``final``, as in `Measurement`. clock : seconds of wall time, for the budget only. sleep :
    waits so many seconds.

    Raises `DeviceError` if the device itself does not work, `NotRecorded` if a recorded one does not know an artifact,
    and `ValueError` for an artifact that was built for another number of threads.
    """
    for artifact in artifacts:
        if artifact.threads != conditions.threads:
            raise ValueError(f"the artifact is for {artifact.threads} threads, the conditions say {conditions.threads}")
    if isinstance(device, Recorded):
        return tuple(device.recall(artifact, conditions, stage) for artifact in artifacts)
    return _Window(device, conditions, rule, stage, run, clock, sleep).measure(artifacts)


class _Window:
    def __init__(
        self,
        device: Device,
        conditions: Conditions,
        rule: StoppingRule,
        stage: str,
        run: Run,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._device = device
        self._conditions = conditions
        self._rule = rule
        self._stage = stage
        self._run = run
        fingerprint = device.fingerprint(run.compiler)
        self._throttle = Throttle(device, fingerprint.sustained, clock, sleep)
        self._fingerprint = fingerprint.digest
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
            if self._stage == FINAL_STAGE:
                self._recheck([c for c in candidates if c.index not in self._failures])
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
        call_s = self._call_s(candidate)
        while True:
            batch = self._time(candidate, launches)
            launch_s = max(statistics.median(batch.times_s), _CLOCK_STEP_S)
            candidate.spent_s += batch.wall_s
            steady = abs(launch_s - before_s) <= _STEADY * launch_s
            per_launch_s = max((batch.wall_s - call_s) / launches, launch_s)
            if steady or candidate.spent_s >= _WARM_UP_SHARE * self._rule.budget_s:
                break
            before_s = launch_s
            launches = max(1, int(burst_s / per_launch_s))
        candidate.launches = self._rule.launches(launch_s, per_launch_s, call_s)
        candidate.uncounted = self._rule.uncounted(launch_s)

    def _call_s(self, candidate: _Candidate) -> float:
        """Wall time of asking the device for nothing: what every sample costs, however many launches it has."""
        call_s = self._time(candidate, 0).wall_s
        candidate.spent_s += call_s
        return call_s

    def _rounds(self, candidates: Sequence[_Candidate]) -> None:
        """One sample of each candidate that is not done, in alternating order, until all are done or failed."""
        turn = list(candidates)
        while turn:
            for candidate in turn:
                try:
                    batch = self._time(candidate, candidate.uncounted + candidate.launches)
                    sample_s = _sample_s(batch.times_s[candidate.uncounted :])
                except KernelFailure as failure:
                    self._fail(candidate.index, candidate.artifact, failure)
                    continue
                candidate.spent_s += batch.wall_s
                candidate.samples_s.append(sample_s)
                candidate.slowed += batch.discarded
                if batch.power_capped is not None:
                    candidate.capped = (candidate.capped or 0) + batch.power_capped
            turn = [c for c in reversed(turn) if not self._finished(c)]

    def _finished(self, candidate: _Candidate) -> bool:
        return candidate.index in self._failures or self._rule.done(candidate.samples_s, candidate.spent_s)

    def _repeat(self, candidates: Sequence[_Candidate]) -> None:
        for candidate in candidates:
            candidate.contaminated += len(candidate.samples_s)
            candidate.samples_s, candidate.spent_s, candidate.capped = [], 0.0, None
        self._rounds(candidates)

    def _recheck(self, candidates: Sequence[_Candidate]) -> None:
        """A kernel may be right once, launched by itself, and wrong in a row of launches."""
        for candidate in candidates:
            try:
                self._device.recheck(candidate.handle)
            except KernelFailure as failure:
                self._fail(candidate.index, candidate.artifact, failure)

    def _time(self, candidate: _Candidate, launches: int) -> Batch:
        return self._throttle.take(
            lambda: self._device.time(candidate.handle, launches, self._conditions.cache_mode), candidate.patience
        )

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
        capped = None if candidate.capped is None else candidate.capped / len(candidate.samples_s)
        if candidate.slowed:
            notes.append(f"samples that were slowed down and taken again: {candidate.slowed}")
        if candidate.contaminated:
            notes.append(f"measured again: the first {candidate.contaminated} samples were contaminated")
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
            discarded=candidate.slowed + candidate.contaminated,
            stage=self._stage,
            run_id=self._run.run_id,
            measured_at=time.time(),
            tool_version=self._run.tool_version,
            native=candidate.artifact.native,
            circumstances=replace(circumstances, power_capped_fraction=capped, notes=tuple(notes)),
        )


def _contaminated(candidate: _Candidate) -> bool:
    return summarize(candidate.samples_s).contaminated


def _sample_s(times_s: Sequence[float]) -> float:
    """Seconds per launch. Raises `KernelFailure` for what no clock should say."""
    sample_s = statistics.fmean(times_s)
    if not sample_s > 0:
        text = f"the device's clock gave {sample_s:g} s for a launch, the mean of {len(times_s)}"
        raise KernelFailure(FailureKind.UNSTABLE, text)
    return sample_s
