"""The memory on the GPU that a kernel works on: one stretch, its arguments one after another between guard zones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from profiler.devices.cuda_driver import Bytes, CudaDriver

ALIGNMENT = 256
"""Of every argument, as of memory that the driver gives."""
GUARD_BYTES = 4096

_PATTERN: Bytes = np.random.default_rng(0).integers(0, 256, GUARD_BYTES + ALIGNMENT, dtype=np.uint8)


class GpuArena:
    """Buffers of the given sizes. ``addresses`` : where they begin, also of a buffer of 0 bytes.

    | guard | buffer 0, up to the alignment | guard | buffer 1, up to the alignment | guard |

    What is between the end of a buffer and the next one belongs to the guard. Raises `DriverError` if memory is short.
    """

    def __init__(self, driver: CudaDriver, sizes: Sequence[int]) -> None:
        self._driver = driver
        self._sizes = tuple(sizes)
        offsets, at = [], GUARD_BYTES
        for size in sizes:
            offsets.append(at)
            at += -(-size // ALIGNMENT) * ALIGNMENT + GUARD_BYTES
        self.nbytes = at
        self._base = driver.allocate(at)
        self.addresses = tuple(self._base + offset for offset in offsets)
        ends = [0, *(offset + size for offset, size in zip(offsets, sizes))]
        self._guards = tuple((self._base + end, begin - end) for end, begin in zip(ends, [*offsets, at]))

    def draw_guards(self) -> None:
        """Write the guard zones."""
        for address, size in self._guards:
            self._driver.write(address, _PATTERN[:size])

    def overwritten(self) -> int | None:
        """Index of the buffer next to which something was written; None if all guard zones are as they were drawn."""
        for index, (address, size) in enumerate(self._guards):
            changed = np.flatnonzero(self._driver.read(address, size) != _PATTERN[:size])
            if changed.size:
                nearer_to_the_one_before = changed[0] < size // 2
                return min(max(index - int(nearer_to_the_one_before), 0), len(self._sizes) - 1)
        return None

    def read(self, index: int) -> Bytes:
        """Contents of a buffer."""
        size = self._sizes[index]
        return self._driver.read(self.addresses[index], size) if size else np.zeros(0, np.uint8)

    def write(self, index: int, data: Bytes) -> None:
        """Set a buffer; ``data`` has its size."""
        assert data.size == self._sizes[index]
        if data.size:
            self._driver.write(self.addresses[index], data)

    def fill(self, index: int, value: int) -> None:
        """Set every byte of a buffer."""
        if self._sizes[index]:
            self._driver.fill(self.addresses[index], value, self._sizes[index])

    def free(self) -> None:
        """Give the memory back."""
        self._driver.free(self._base)
