"""What every device can do. One conformance suite (tests/devices) runs over all that implement it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

from profiler.artifact import Artifact
from profiler.record import (
    CacheMode,
    Circumstances,
    Conditions,
    EnergyMeasurement,
    Failure,
    FailureKind,
    Fingerprint,
    Measurement,
)

DeviceT = TypeVar("DeviceT", bound="Device")


class KernelFailure(Exception):
    """A kernel that could not be launched, crashed, hung or computed something else. Becomes a `record.Failure`."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Throttling:
    """What held a device back. ``slowdown`` names a thermal or hardware slowdown, and is empty if there was none;
    ``power_capped``: its clock was lowered to stay within its power limit, the normal state of a small card."""

    slowdown: str = ""
    power_capped: bool = False


@dataclass(frozen=True)
class Worked:
    """``runs`` of a kernel, one behind the other. ``note`` says what was not as the cache mode wants it, and is empty
    where all was."""

    runs: int
    note: str = ""


class EnergyCounter(Protocol):
    """A device that tells its energy or its power. None is what it does not tell, `refusals` says why."""

    @property
    def name(self) -> str:
        """What tells it, e.g. ``NVML``."""
        ...

    def read_j(self) -> float | None:
        """Since some beginning."""
        ...

    def power_w(self) -> float | None:
        """At this moment."""
        ...

    @property
    def refusals(self) -> Sequence[str]: ...


class Device(Protocol):
    """A device with loaded kernels. Not for use by two threads at once.

    A kernel that misbehaves raises `KernelFailure`, and harms no other kernel that is loaded. A device that cannot
    work at all raises `DeviceError`. An unknown handle is a `KeyError`.
    """

    @property
    def slug(self) -> str:
        """Names the files of this device, e.g. ``cpu`` or ``t4``."""
        ...

    def fingerprint(self, compiler: str) -> Fingerprint:
        """What makes this device, with kernels of that compiler, an instrument."""
        ...

    def load(self, artifact: Artifact) -> int:
        """Bring the kernel onto the device, with the arguments of its `Check`; the handle for the other calls."""
        ...

    def verify(self, handle: int) -> None:
        """Launch once on a poisoned output and compare every byte; `WRONG_OUTPUT` if one differs."""
        ...

    def time(self, handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        """Seconds of each of so many launches in a row, the caches having been prepared ahead of each."""
        ...

    def work(self, handle: int, duration_s: float, mode: CacheMode) -> Worked:
        """Launch without a pause for at least so long, and at least once. The caches are as `rotation` has it.

        What that takes besides, memory for one, is made by the first call and kept until the next mode. A process that
        was lost while it worked is a failure, since nobody knows how much it had done.
        """
        ...

    @property
    def counter(self) -> EnergyCounter:
        """Of this device's energy. It may be asked from another thread while the device works."""
        ...

    def recheck(self, handle: int) -> None:
        """Compare what the last launch of `time` or `work` left, without launching; `WRONG_OUTPUT` if a byte differs.

        Passes where nothing is left of a launch, as in a process that took the place of another.
        """
        ...

    def throttling(self) -> Throttling | None:
        """What held the device back during the last `time` or `work`; None if it cannot tell."""
        ...

    def unload(self, handle: int) -> None:
        """Give the kernel's memory back. The handle is void."""
        ...

    def circumstances(self) -> Circumstances:
        """What changes by the minute, since the last call. Not to be called while something is timed."""
        ...

    def close(self) -> None:
        """End everything that was started. Handles are void; a second call does nothing."""
        ...

    def __enter__(self: DeviceT) -> DeviceT: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Recorded(Protocol):
    """A device that remembers instead of measuring. What it was told is handed on unchanged, never measured anew."""

    def recall(self, artifact: Artifact, conditions: Conditions, stage: str) -> Measurement | Failure:
        """The record of that artifact; raises `NotRecorded`."""
        ...

    def recall_energy(self, artifact: Artifact, conditions: Conditions) -> EnergyMeasurement | Failure:
        """The record of its energy; raises `NotRecorded`."""
        ...
