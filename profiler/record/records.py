"""What came of measuring a kernel: a latency, an energy, or a reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Union

from profiler.record.checks import require_bool, require_count, require_digest, require_number, require_text
from profiler.record.circumstances import Circumstances, Conditions
from profiler.record.energy import Energy
from profiler.record.fingerprint import Fingerprint
from profiler.statistics import Summary, summarize
from profiler.workload import KernelSpec

SCREEN_STAGE, FINAL_STAGE = "screen", "final"
STAGES = (SCREEN_STAGE, FINAL_STAGE)


class FailureKind(str, Enum):
    """Why a candidate has no latency."""

    COMPILE = "compile"
    LAUNCH = "launch"
    CRASH = "crash"
    TIMEOUT = "timeout"
    WRONG_OUTPUT = "wrong_output"
    UNSTABLE = "unstable"


@dataclass(frozen=True)
class Measurement:
    """Raw samples of one artifact, its output having been compared bit for bit.

    ``samples_s`` are seconds per launch, each the mean over ``launches_per_sample`` launches. ``stage`` is ``screen``
    for a candidate of the search and ``final`` for what enters the LUT. ``measured_at`` is Unix time in seconds.
    """

    spec: KernelSpec
    config: str
    conditions: Conditions
    fingerprint: str
    artifact_sha256: str
    samples_s: tuple[float, ...]
    launches_per_sample: int
    discarded: int
    stage: str
    run_id: str
    measured_at: float
    tool_version: str
    native: bool = True
    circumstances: Circumstances = field(default_factory=Circumstances)

    def __post_init__(self) -> None:
        _check_origin(self)
        if self.stage not in STAGES:
            raise ValueError(f"stage {self.stage!r} is none of {', '.join(STAGES)}")
        require_digest("artifact_sha256", self.artifact_sha256)
        require_count("launches_per_sample", self.launches_per_sample, least=1)
        require_count("discarded", self.discarded)
        require_bool("native", self.native)
        if not isinstance(self.circumstances, Circumstances):
            raise ValueError("the circumstances are none")
        for sample_s in self.samples_s:
            require_number("a sample", sample_s)
        summarize(self.samples_s)

    @property
    def summary(self) -> Summary:
        return summarize(self.samples_s)


@dataclass(frozen=True)
class EnergyMeasurement:
    """Raw windows of one artifact at work, launched back to back, its output having been compared bit for bit.

    A run of the ``energy`` is a launch. ``measured_at`` is Unix time in seconds.
    """

    spec: KernelSpec
    config: str
    conditions: Conditions
    fingerprint: str
    artifact_sha256: str
    energy: Energy
    run_id: str
    measured_at: float
    tool_version: str
    circumstances: Circumstances = field(default_factory=Circumstances)

    def __post_init__(self) -> None:
        _check_origin(self)
        require_digest("artifact_sha256", self.artifact_sha256)
        if not isinstance(self.energy, Energy) or not isinstance(self.circumstances, Circumstances):
            raise ValueError("the energy or the circumstances are none")


@dataclass(frozen=True)
class Failure:
    """A candidate without a latency, and why. ``message`` is for people, ``kind`` for programs."""

    spec: KernelSpec
    config: str
    conditions: Conditions
    fingerprint: str
    kind: FailureKind
    message: str
    run_id: str
    measured_at: float
    tool_version: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FailureKind(self.kind))
        _check_origin(self)
        if not isinstance(self.message, str):
            raise ValueError("message is not a text")


def _check_origin(record: Measurement | EnergyMeasurement | Failure) -> None:
    if not isinstance(record.spec, KernelSpec) or not isinstance(record.conditions, Conditions):
        raise ValueError("spec or conditions are none")
    for extent in fields(record.spec.workload)[1:]:
        require_count(extent.name, getattr(record.spec.workload, extent.name))
    for layout in ("input_layout", "output_layout"):
        require_text(layout, getattr(record.spec, layout))
    for name in ("config", "fingerprint", "run_id", "tool_version"):
        require_text(name, getattr(record, name))
    require_number("measured_at", record.measured_at)


KernelRecord = Union[Measurement, EnergyMeasurement, Failure]
"""What is known of a kernel."""
Record = Union[Measurement, EnergyMeasurement, Failure, Fingerprint]
"""What a line of a journal holds. A journal starts with the `Fingerprint` that its records refer to by digest."""


def of_the_device(record: Record) -> bool:
    """Whether a failure says something of the device that day and nothing of the kernel, which another run may well
    measure."""
    return isinstance(record, Failure) and record.kind is FailureKind.UNSTABLE
