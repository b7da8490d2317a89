"""A device that answers from what live runs recorded, and from nothing else.

What was not recorded raises `NotRecorded`; nothing is interpolated, and an artifact is known by the digest of its
bytes. `measure` hands the records on unchanged (`protocol.Recorded`). The calls of `protocol.Device` work too: `time`
gives the recorded samples one after the other, and begins again when they are used up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from profiler.artifact import Artifact
from profiler.devices.protocol import EnergyCounter, KernelFailure, Worked
from profiler.errors import DeviceError, NotRecorded
from profiler.record import (
    FINAL_STAGE,
    CacheMode,
    Circumstances,
    Conditions,
    EnergyMeasurement,
    Failure,
    FailureKind,
    Fingerprint,
    Journal,
    Measurement,
    Record,
)


@dataclass
class _Loaded:
    artifact: Artifact
    calls: int = 0


class ReplayDevice:
    """Answers from records of one instrument.

    records : what journals hold, in any order. fingerprint : which instrument, by the first digits of its digest;
    needed only where the records are of several. Raises `DeviceError` if the records are of none or of several.
    """

    def __init__(self, records: Iterable[Record], fingerprint: str = "") -> None:
        known = list(records)
        instruments = {r.digest: r for r in known if isinstance(r, Fingerprint) and r.digest.startswith(fingerprint)}
        if len(instruments) != 1:
            found = ", ".join(f"{f.short} ({f.device_name})" for f in instruments.values()) or "no fingerprint"
            raise DeviceError(f"a replay needs the records of exactly one instrument; these hold: {found}")
        digest, self._fingerprint = instruments.popitem()
        self._measurements = [r for r in known if isinstance(r, Measurement) and r.fingerprint == digest]
        self._energies = [r for r in known if isinstance(r, EnergyMeasurement) and r.fingerprint == digest]
        self._failures = [r for r in known if isinstance(r, Failure) and r.fingerprint == digest]
        self._kernels: dict[int, _Loaded] = {}
        self._next_handle = 1
        self._circumstances = Circumstances()

    @staticmethod
    def from_journals(paths: Sequence[Path], fingerprint: str = "") -> ReplayDevice:
        """The device that wrote these journals. Raises `InvalidFile` for what is no journal."""
        return ReplayDevice((record for path in paths for record in Journal(path).read()), fingerprint)

    @property
    def slug(self) -> str:
        return self._fingerprint.device

    def fingerprint(self, compiler: str) -> Fingerprint:
        """The recorded one; raises `NotRecorded` for another compiler."""
        if compiler != self._fingerprint.compiler:
            raise NotRecorded(
                f"the records of {self.slug} are of kernels of '{self._fingerprint.compiler}', not of '{compiler}'"
            )
        return self._fingerprint

    def recall(self, artifact: Artifact, conditions: Conditions, stage: str) -> Measurement | Failure:
        """The latest record of the artifact under these conditions; raises `NotRecorded`."""
        measured = self._measured(artifact, lambda r: r.conditions == conditions and r.stage == stage)
        found = measured or self._failed(artifact, lambda r: r.conditions == conditions)
        if found is None:
            raise NotRecorded(f"{_named(artifact)}: no {stage} record with {conditions.cache_mode.value} cache")
        return found

    def load(self, artifact: Artifact) -> int:
        """Raises `KernelFailure` as recorded, `NotRecorded` if there is no record at all."""
        if self._measured(artifact) is None:
            failure = self._failed(artifact)
            if failure is None:
                raise NotRecorded(f"{_named(artifact)}: no record of this artifact")
            if failure.kind is not FailureKind.WRONG_OUTPUT:
                raise KernelFailure(failure.kind, failure.message)
        handle = self._next_handle
        self._next_handle += 1
        self._kernels[handle] = _Loaded(artifact)
        return handle

    def verify(self, handle: int) -> None:
        artifact = self._kernels[handle].artifact
        failure = None if self._measured(artifact) else self._failed(artifact)
        if failure is not None:
            raise KernelFailure(failure.kind, failure.message)

    def time(self, handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        """The next recorded sample, once for each launch; of the final measurement where there is one."""
        kernel = self._kernels[handle]
        final = self._measured(kernel.artifact, lambda r: r.conditions.cache_mode is mode and r.stage == FINAL_STAGE)
        measurement = final or self._measured(kernel.artifact, lambda r: r.conditions.cache_mode is mode)
        if measurement is None:
            raise NotRecorded(f"{_named(kernel.artifact)}: no record with {mode.value} cache")
        sample_s = measurement.samples_s[kernel.calls % len(measurement.samples_s)]
        kernel.calls += 1
        self._circumstances = measurement.circumstances
        return (sample_s,) * launches

    def recall_energy(self, artifact: Artifact, conditions: Conditions) -> EnergyMeasurement:
        """The latest of that artifact under these conditions; raises `NotRecorded`."""
        found = [r for r in self._energies if r.artifact_sha256 == artifact.sha256 and r.conditions == conditions]
        if not found:
            raise NotRecorded(f"{_named(artifact)}: no energy with {conditions.cache_mode.value} cache")
        return max(found, key=lambda r: r.measured_at)

    def work(self, handle: int, duration_s: float, mode: CacheMode) -> Worked:
        """As many launches as fit, by the recorded samples; no time passes."""
        sample_s = self.time(handle, 1, mode)[0]
        return Worked(max(1, math.ceil(duration_s / sample_s)))

    @property
    def counter(self) -> EnergyCounter:
        """Counts nothing: energies are recalled, or not known."""
        return _NoCounter()

    def recheck(self, handle: int) -> None:
        """Nothing but what `verify` says: the records were judged when they were made."""
        self.verify(handle)

    def throttling(self) -> None:
        """The records were judged when they were made."""

    def unload(self, handle: int) -> None:
        del self._kernels[handle]

    def circumstances(self) -> Circumstances:
        """Those of the measurement that was replayed last."""
        return self._circumstances

    def close(self) -> None:
        self._kernels.clear()

    def __enter__(self) -> ReplayDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _measured(
        self, artifact: Artifact, wanted: Callable[[Measurement], bool] = lambda _: True
    ) -> Measurement | None:
        digest, threads = artifact.sha256, artifact.threads
        found = [
            r
            for r in self._measurements
            if r.artifact_sha256 == digest and r.conditions.threads == threads and wanted(r)
        ]
        return max(found, key=lambda r: r.measured_at, default=None)

    def _failed(self, artifact: Artifact, wanted: Callable[[Failure], bool] = lambda _: True) -> Failure | None:
        found = [
            r
            for r in self._failures
            if (r.spec, r.config, r.conditions.threads) == (artifact.spec, artifact.config, artifact.threads)
            and wanted(r)
        ]
        return max(found, key=lambda r: r.measured_at, default=None)


class _NoCounter:
    """An `EnergyCounter` of what does not run."""

    name = "replay"
    refusals = ("a replay has no energy but what was recorded",)

    def read_j(self) -> None:
        return None

    def power_w(self) -> None:
        return None


def _named(artifact: Artifact) -> str:
    return f"{artifact.spec.key}, config {artifact.config}, artifact {artifact.sha256[:8]}"
