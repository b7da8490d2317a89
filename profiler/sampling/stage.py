"""The stage: proposals, each measured in all precisions side by side, until as many workloads as asked for are done.

LUT and journals -> what is known -> proposal -> sample.json -> measured -> LUT and journals -> what is known -> ...
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from profiler.campaign import Campaign, MeasureRequest, Progress, Round, choose_device, opened
from profiler.devices.discover import Vendor
from profiler.doubts import why_none
from profiler.errors import ProfilerError
from profiler.predictor.population import Draw
from profiler.record import Conditions
from profiler.sampling import unfinished
from profiler.sampling.chooser import ROUND, Chooser, Reason
from profiler.sampling.unfinished import Asked, Unfinished
from profiler.workload import INT4, INT8, Precision

FILE = "sample.json"
"""Beside the journals, as long as a run is not finished."""


@dataclass(frozen=True, kw_only=True)
class SampleRequest(MeasureRequest):
    """What a user asks of `sample`, beside how to measure.

    ``seed`` decides which workloads are drawn at all. ``model`` is the file of a fitted model of the device, for one
    whose LUT does not tell yet where intervals are wide.
    """

    count: int = ROUND
    precisions: tuple[Precision, ...] = (INT8, INT4)
    seed: int = 0
    model: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or not self.precisions:
            raise ProfilerError(f"{self.count} workloads in {len(self.precisions)} precisions are nothing to measure")


@dataclass(frozen=True)
class Plan:
    """A `campaign.Plan`: what is proposed when ``done`` of ``count`` workloads have been measured."""

    proposal: tuple[Draw, ...]
    reason: Reason
    done: int
    count: int
    device_name: str
    note: str = ""

    @property
    def kernels(self) -> int:
        return sum(len(draw.specs) for draw in self.proposal)

    @property
    def headline(self) -> str:
        return (
            f"{self.done} of {self.count} workloads are done; next {len(self.proposal)} {self.reason.value}: "
            f"{self.kernels} kernels on {self.device_name}"
        )


@dataclass(frozen=True)
class SampleResult:
    """What a run has measured: ``workloads`` and ``kernels`` that have a latency now, ``measured`` of these kernels by
    this run itself (the others by the one that it went on with, if ``resumed``). ``failures`` counts candidates that
    did not compile, crashed, hung or computed something else; ``energies`` of the kernels are known; ``warnings`` are
    lines that a reader should know."""

    device: str
    device_name: str
    fingerprint: str
    conditions: Conditions
    workloads: int
    kernels: int
    measured: int
    failures: int
    resumed: bool
    elapsed_s: float
    lut_path: Path
    logs: Path
    warnings: tuple[str, ...] = ()
    energies: int = 0


def sample(request: SampleRequest, progress: Progress | None = None, vendor: Vendor | None = None) -> SampleResult:
    """Measure the workloads that teach most, and write their rows to the LUT of the device.

    The first half of them fills the space; the others, as soon as the LUT holds enough rows or a model is given, are
    those of which the latency model is least certain. A run that is killed goes on where it stopped when the same is
    asked for again. Raises `ProfilerError` for whatever the user can mend; what was measured until then is kept.
    """
    begin = time.monotonic()
    progress = progress or Progress()
    choice = choose_device(request, vendor)
    with opened(request, choice, progress.tuning, vendor) as campaign:
        path, asked = campaign.database.folder / FILE, _asked(request, campaign)
        left = unfinished.load(path, asked)
        chooser = Chooser(campaign, request.count, request.precisions, request.seed, request.model)
        state = left or Unfinished(asked)
        notes = [*campaign.notes, *([] if left is None else [_resumed(left)])]
        rounds: list[Round] = []
        while state.left:
            reason = Reason.PENDING
            if not state.pending:
                with campaign.compiling():
                    proposal, reason = chooser.propose(state.done)
                if not proposal:
                    break
                state = replace(state, pending=proposal)
                unfinished.save(path, state)
            progress.planned(
                Plan(state.pending, reason, state.done, request.count, choice.device.name, "; ".join(notes))
            )
            notes.clear()
            rounds.append(campaign.measure([spec for draw in state.pending for spec in draw.specs]))
            state = Unfinished(asked, state.done + len(state.pending))
            unfinished.save(path, state)
            _require_rows(rounds[-1], campaign)  # the next run shall try others
        unfinished.remove(path)
    return _result(request, campaign, rounds, state.left, left is not None, time.monotonic() - begin)


def _asked(request: SampleRequest, campaign: Campaign) -> Asked:
    return Asked(
        fingerprint=campaign.fingerprint.short,
        count=request.count,
        precisions=tuple(precision.name for precision in request.precisions),
        seed=request.seed,
        threads=request.threads,
        cache_mode=request.cache_mode,
    )


def _resumed(left: Unfinished) -> str:
    return f"going on with an unfinished sample: {left.done} of {left.asked.count} workloads were done"


def _require_rows(done: Round, campaign: Campaign) -> None:
    """A device on which nothing of a whole round works will not do better in the next one."""
    if not done.rows:
        reason = why_none(done.results[0], campaign.target)
        raise ProfilerError(f"none of {len(done.results)} kernels could be measured: {reason}")


def _result(
    request: SampleRequest, campaign: Campaign, rounds: Sequence[Round], missing: int, resumed: bool, elapsed_s: float
) -> SampleResult:
    exhausted = f"{missing} of {request.count} workloads were not found: say another --seed, which draws others"
    if not rounds:
        raise ProfilerError(f"there is nothing new to measure: {exhausted}")
    results = list(chain.from_iterable(done.results for done in rounds))
    kernels = [result.spec for result in results if result.best is not None]
    lut_path = next(done.lut_path for done in reversed(rounds) if done.lut_path is not None)
    return SampleResult(
        device=campaign.target.slug,
        device_name=campaign.fingerprint.device_name,
        fingerprint=campaign.fingerprint.short,
        conditions=request.conditions,
        workloads=len({spec.workload for spec in kernels}),
        kernels=len(kernels),
        measured=sum(len(done.measured) for done in rounds),
        failures=sum(len(result.failures) for result in results),
        resumed=resumed,
        elapsed_s=elapsed_s,
        lut_path=lut_path,
        logs=campaign.database.folder,
        energies=sum(len(done.energies) for done in rounds),
        warnings=(*campaign.warnings(rounds, lut_path), *([exhausted] if missing else [])),
    )
