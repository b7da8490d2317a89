"""When to stop, because it is the device that cannot be measured."""

from __future__ import annotations

from collections.abc import Sequence

from profiler.errors import DeviceError
from profiler.record import Failure, KernelRecord, of_the_device


def require_stable(records: Sequence[KernelRecord]) -> None:
    """Raises `DeviceError` if none of the kernels could be measured because of the device."""
    last = records[-1] if records else None
    if isinstance(last, Failure) and all(of_the_device(record) for record in records):
        raise DeviceError(
            f"the device cannot be measured now: {last.message}; what was measured is kept, the same command goes on "
            "from there"
        )
