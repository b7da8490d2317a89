"""Failures that say something of the device that day, and nothing of the kernel."""

from __future__ import annotations

from collections.abc import Sequence

from profiler.errors import DeviceError
from profiler.record import Failure, FailureKind, Measurement, Record


def of_the_device(record: Record) -> bool:
    """Whether the device was unstable: another run may well measure what this one could not."""
    return isinstance(record, Failure) and record.kind is FailureKind.UNSTABLE


def require_stable(records: Sequence[Measurement | Failure]) -> None:
    """Raises `DeviceError` if none of the kernels could be measured because of the device."""
    last = records[-1] if records else None
    if isinstance(last, Failure) and all(of_the_device(record) for record in records):
        raise DeviceError(
            f"the device cannot be measured now: {last.message}; what was measured is kept, the same command goes on "
            "from there"
        )
