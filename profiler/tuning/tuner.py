"""The loop over kernels: search each, then measure the winners of a workload, all precisions side by side.

    per workload:  per kernel:  [ propose, build ] -> [ screen ] -> journal -> [ propose, build ] -> [ screen ] -> ...
                   all kernels: [ build ] -> [ final, interleaved ] -> journal

A bracket is a turn: the first kind is shared with other runs that compile, the second is had alone. Nothing is kept in
memory that the journal does not hold, so a run that is killed goes on where it stopped, and two runs at once use what
the other one has found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from profiler.artifact import Artifact
from profiler.measure.stability import require_stable
from profiler.record import Failure, Measurement
from profiler.space.config import ScheduleConfig, parse_config
from profiler.tuning.cost_model import CostModel
from profiler.tuning.database import Tried, TuningDatabase
from profiler.tuning.events import (
    BatchBuilt,
    CandidateTried,
    FinalsStarted,
    Listener,
    SpecFinished,
    SpecSearched,
    SpecStarted,
    ignore,
)
from profiler.tuning.search import StopReason, Strategy, propose
from profiler.tuning.workbench import Batch, Bench, Candidate, SpaceOf
from profiler.workload import KernelSpec, Workload

_FAVOURITES = 2  # configs that are taken over from each sibling


@dataclass(frozen=True)
class Budget:
    """What a tuner may spend.

    trials : configs of a kernel that are tried, those of earlier runs included. sibling_trials : the same for a kernel
    that differs only in its epilogue or output type from one that was searched. batch : configs that
    are built and measured at a time. finalists : the fastest configs of a kernel that are measured once more.
    side_by_side : kernels whose finalists are measured in turn; what a killed run has to measure again at most.
    extend : search on where an earlier run has finished, if it tried fewer configs than are granted now; a kernel with
    so few trials that no search could have converged is searched on in any case.
    """

    trials: int = 32
    sibling_trials: int = 8
    batch: int = 8
    finalists: int = 3
    side_by_side: int = 4
    extend: bool = False

    def __post_init__(self) -> None:
        if min(self.trials, self.sibling_trials, self.batch, self.finalists, self.side_by_side) < 1:
            raise ValueError("trials, sibling_trials, batch, finalists and side_by_side must be at least 1")


@dataclass(frozen=True)
class SpecResult:
    """What became of a kernel. ``best`` is its final measurement; None if no config of it works.

    ``failures`` are those that the journal holds of it, whoever wrote them.
    """

    spec: KernelSpec
    best: Measurement | None
    tried: int
    failures: tuple[Failure, ...]
    reason: StopReason


@dataclass
class Tuner:
    """Finds and measures the best config of kernels on one device.

    ``space`` gives the valid configs of a kernel; ``seed`` decides what is tried against the model's advice.
    """

    bench: Bench
    space: SpaceOf
    model: CostModel
    database: TuningDatabase
    budget: Budget = field(default_factory=Budget)
    strategy: Strategy = field(default_factory=Strategy)
    listener: Listener = ignore
    seed: int = 0

    def tune(self, specs: Sequence[KernelSpec]) -> tuple[SpecResult, ...]:
        """One result per distinct kernel, in their order; those of one workload are tuned one after the other.

        Raises `InvalidFile` for a damaged journal, `ProfilerError` if one cannot be written, and what the device and
        the builder raise when they cannot work at all. What was measured until then is in the journals.
        """
        groups: dict[Workload, list[KernelSpec]] = {}
        for spec in dict.fromkeys(specs):
            groups.setdefault(spec.workload, []).append(spec)
        results: dict[KernelSpec, SpecResult] = {}
        for workload, group in groups.items():
            results.update(self._tune_workload(workload, group))
        return tuple(results[spec] for spec in dict.fromkeys(specs))

    def _tune_workload(self, workload: Workload, group: Sequence[KernelSpec]) -> Mapping[KernelSpec, SpecResult]:
        reasons: dict[KernelSpec, StopReason] = {}
        built: dict[Candidate, Artifact] = {}
        for spec in group:
            reasons[spec] = self._search(spec, built)
        self._finals(workload, group, built)
        known = self.database.tried(workload)
        results: dict[KernelSpec, SpecResult] = {}
        for spec in group:
            tried = known.get(spec, Tried())
            results[spec] = SpecResult(spec, tried.best, len(tried), tuple(tried.failed.values()), reasons[spec])
            self.listener(SpecFinished(spec, tried.best, len(tried), len(tried.failed), reasons[spec]))
        return results

    def _search(self, spec: KernelSpec, built: dict[Candidate, Artifact]) -> StopReason:
        """Try configs until the budget or the strategy says enough; what was built is added to ``built``."""
        tried = self._tried(spec)
        enough = min(self._trials(spec), self.strategy.least_familiar_trials)
        if tried.finished and not self.budget.extend and len(tried) >= enough:
            return StopReason.KNOWN
        with self.bench.compiling():
            space = self.space(spec)
        if tried.finished and len(tried) >= min(enough, len(space)) and not self.budget.extend:
            return StopReason.KNOWN  # a space of few configs
        self.listener(SpecStarted(spec, len(space), self._trials(spec), len(tried)))
        while True:
            batch = self._next_batch(spec, space)
            if isinstance(batch, StopReason):
                tried = self._tried(spec)
                self.listener(SpecSearched(spec, len(tried), batch, _fastest_s(tried)))
                return batch
            self._journal(spec, batch.failures)
            built.update({(spec, artifact.config): artifact for artifact in batch.artifacts})
            with self.bench.measuring():
                # Another run may have measured the same while this one built or waited.
                tried = self._tried(spec)
                records = self.bench.screen([a for a in batch.artifacts if a.config not in tried])
                self._journal(spec, records)
            require_stable(records)

    def _next_batch(self, spec: KernelSpec, space: Sequence[ScheduleConfig]) -> Batch | StopReason:
        with self.bench.compiling():
            tried, trials = self._tried(spec), self._trials(spec)
            if len(tried) >= trials:
                return StopReason.TRIALS
            self.model.fit(self.database.measurements())
            proposal = propose(
                spec,
                space,
                tried.measured_s,
                tried.failed,
                self._favourites(spec),
                self.model,
                min(self.budget.batch, trials - len(tried)),
                self.seed,
                self.strategy,
            )
            if proposal.stop is not None:
                return proposal.stop
            batch = self.bench.build([(spec, config) for config in proposal.configs])
        self.listener(BatchBuilt(spec, len(batch.artifacts), len(batch.failures), batch.elapsed_s))
        return batch

    def _finals(self, workload: Workload, group: Sequence[KernelSpec], built: dict[Candidate, Artifact]) -> None:
        """Measure the finalists of all kernels in turn; where all of a kernel's fail, its next ones."""
        while wanted := self._finalists(workload, group):
            with self.bench.compiling():
                missing = [c for c in wanted if c not in built]
                batch = self.bench.build([(spec, parse_config(config)) for spec, config in missing])
            self.database.append(workload, batch.failures)
            built.update({(artifact.spec, artifact.config): artifact for artifact in batch.artifacts})
            self.listener(FinalsStarted(tuple(dict.fromkeys(spec for spec, _ in wanted)), len(wanted)))
            with self.bench.measuring():
                now = self._finalists(workload, group)
                records = self.bench.final([built[c] for c in wanted if c in now and c in built])
                self.database.append(workload, records)
                require_stable(records)
                if self._finalists(workload, group) == wanted:
                    raise RuntimeError(f"measuring the finalists of {workload.text} left no records")

    def _finalists(self, workload: Workload, group: Sequence[KernelSpec]) -> tuple[Candidate, ...]:
        """The fastest configs of the first kernels whose winner has no final measurement, without those that have one.

        Kernels of one epilogue in all precisions stand next to each other in a group, so they are measured together.
        """
        known = self.database.tried(workload)
        unfinished = [(spec, known[spec]) for spec in group if spec in known and not self._settled(known[spec])]
        return tuple(
            (spec, config)
            for spec, tried in unfinished[: self.budget.side_by_side]
            for config in tried.ranked[: self.budget.finalists]
            if config not in tried.finals or self._doubtful(tried.finals[config])
        )

    def _settled(self, tried: Tried) -> bool:
        return tried.finished and (tried.best is None or not self._doubtful(tried.best))

    def _doubtful(self, final: Measurement) -> bool:
        """Contaminated, and by an earlier run: this one tries once more."""
        return final.summary.contaminated and final.run_id != self.bench.run.run_id

    def _trials(self, spec: KernelSpec) -> int:
        """Few if a sibling with the same operands was searched with more trials, or with as many and earlier."""
        known = self.database.tried(spec.workload)
        own, enough = len(known.get(spec, ())), self.budget.sibling_trials
        earlier = True
        for sibling, tried in known.items():
            if sibling == spec:
                earlier = False
                continue
            searched = tried.finished or len(tried) >= enough
            before = len(tried) > own or (earlier and len(tried) == own)
            if searched and before and _operands(sibling) == _operands(spec):
                return enough
        return self.budget.trials

    def _favourites(self, spec: KernelSpec) -> tuple[str, ...]:
        """The best configs of the workload's other kernels, those with the same operands first."""
        others = [(s, t) for s, t in self.database.tried(spec.workload).items() if s != spec]
        others.sort(key=lambda item: (_operands(item[0]) != _operands(spec), item[0].key))
        return tuple(config for _, tried in others for config in tried.ranked[:_FAVOURITES])

    def _tried(self, spec: KernelSpec) -> Tried:
        return self.database.tried(spec.workload).get(spec, Tried())

    def _journal(self, spec: KernelSpec, records: Sequence[Measurement | Failure]) -> None:
        self.database.append(spec.workload, records)
        tried = self._tried(spec)
        for number, record in enumerate(records, start=len(tried) - len(records) + 1):
            self.listener(CandidateTried(spec, record, number, _fastest_s(tried)))


def _operands(spec: KernelSpec) -> tuple[object, ...]:
    return (spec.input_dtype, spec.weight_dtype, spec.input_layout)


def _fastest_s(tried: Tried) -> float | None:
    return min(tried.measured_s.values(), default=None)
