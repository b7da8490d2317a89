"""Builds and measures batches, in turns with other runs on this machine: nothing compiles while a kernel is timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from profiler.artifact import Artifact
from profiler.devices.protocol import Device
from profiler.measure import CPU_RULES, Rules, Run, StoppingRule, measure
from profiler.measure.energy import ENERGY_RULE, EnergyRule
from profiler.measure.kernel_energy import KernelEnergy, measure_energy
from profiler.measure.turns import NoTurns, Turns
from profiler.record import FINAL_STAGE, SCREEN_STAGE, Conditions, Failure, Measurement
from profiler.space.config import ScheduleConfig
from profiler.workload import KernelSpec

if TYPE_CHECKING:
    from profiler.kernels.pool_build import BuildFailure  # importing it needs TVM, using it does not

Request = tuple[KernelSpec, ScheduleConfig]
Candidate = tuple[KernelSpec, str]
"""A kernel and the text of a config of it."""


class Builder(Protocol):
    """`kernels.pool_build.BuildPool`, or what stands for it."""

    def build(self, requests: Sequence[Request]) -> Sequence[Artifact | BuildFailure]:
        """Compile all; results in the order of the requests."""
        ...


@dataclass(frozen=True)
class Batch:
    """What came of some requests: kernels to be measured, and records of those that could not be built."""

    artifacts: tuple[Artifact, ...]
    failures: tuple[Failure, ...]
    elapsed_s: float


class Bench(Protocol):
    """What a tuner works with: a `Workbench`, or one whose device and compiler are on other machines."""

    @property
    def run(self) -> Run: ...

    def compiling(self) -> AbstractContextManager[None]: ...

    def measuring(self) -> AbstractContextManager[None]: ...

    def build(self, requests: Sequence[Request]) -> Batch: ...

    def screen(self, artifacts: Sequence[Artifact]) -> tuple[Measurement | Failure, ...]: ...

    def final(self, artifacts: Sequence[Artifact]) -> tuple[Measurement | Failure, ...]: ...

    def energy(self, artifact: Artifact) -> KernelEnergy: ...


@dataclass(frozen=True)
class Workbench:
    """A device, a compiler, and the turns they take. The artifacts are for ``conditions.threads`` threads."""

    device: Device
    builder: Builder
    conditions: Conditions
    run: Run
    turns: Turns = field(default_factory=NoTurns)
    rules: Rules = CPU_RULES
    energy_rule: EnergyRule = ENERGY_RULE

    def compiling(self) -> AbstractContextManager[None]:
        """The turn in which `build` may be called, and whatever else takes processor time."""
        return self.turns.compiling()

    def measuring(self) -> AbstractContextManager[None]:
        """The turn in which `screen`, `final` and `energy` may be called."""
        return self.turns.measuring()

    def build(self, requests: Sequence[Request]) -> Batch:
        """Compile; what fails becomes a record."""
        begin = time.perf_counter()
        results = self.builder.build(requests) if requests else ()
        instrument = self.device.fingerprint(self.run.compiler).digest
        return batch_of(results, time.perf_counter() - begin, instrument, self.conditions, self.run)

    def screen(self, artifacts: Sequence[Artifact]) -> tuple[Measurement | Failure, ...]:
        """Measure candidates quickly, in turn."""
        return self._measure(artifacts, self.rules.screen, SCREEN_STAGE)

    def final(self, artifacts: Sequence[Artifact]) -> tuple[Measurement | Failure, ...]:
        """Measure what may enter the LUT, in turn: what shall be compared belongs into one call."""
        return self._measure(artifacts, self.rules.final, FINAL_STAGE)

    def energy(self, artifact: Artifact) -> KernelEnergy:
        """Joules of a launch, or why there are none."""
        return measure_energy(self.device, artifact, self.conditions, self.run, self.energy_rule)

    def _measure(
        self, artifacts: Sequence[Artifact], rule: StoppingRule, stage: str
    ) -> tuple[Measurement | Failure, ...]:
        if not artifacts:
            return ()
        return measure(self.device, artifacts, self.conditions, rule, stage, self.run)


def batch_of(
    results: Sequence[Artifact | BuildFailure], elapsed_s: float, instrument: str, conditions: Conditions, run: Run
) -> Batch:
    """What a builder gave, its failures as records; ``instrument`` is the digest of a fingerprint."""
    failures = tuple(
        Failure(
            spec=result.spec,
            config=result.config,
            conditions=conditions,
            fingerprint=instrument,
            kind=result.kind,
            message=result.message,
            run_id=run.run_id,
            measured_at=time.time(),
            tool_version=run.tool_version,
        )
        for result in results
        if not isinstance(result, Artifact)
    )
    return Batch(tuple(result for result in results if isinstance(result, Artifact)), failures, elapsed_s)


SpaceOf = Callable[[KernelSpec], Sequence[ScheduleConfig]]
"""The valid configs of a kernel on the device, in a fixed order."""
