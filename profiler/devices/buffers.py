"""The memory that a kernel works on.

All arguments of a kernel lie in one stretch of memory, in huge pages where the system has them: which physical pages a
process happens to get decides how its buffers fall into the caches, and is what makes two runs of one kernel differ
most. Each argument lies between two guard zones; what a kernel writes there is found when it is verified.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

ALIGNMENT = 64
GUARD_BYTES = 4096 + 5 * ALIGNMENT
"""Not a multiple of a page: buffers that share their low 12 address bits make loads wait for unrelated stores."""

_HUGE_PAGE = 2 << 20
_MADV_COLLAPSE = 25  # Linux 6.1: make huge pages now; Python has no name for it yet
_PATTERN: Bytes = np.random.default_rng(0).integers(0, 256, GUARD_BYTES, dtype=np.uint8)
POISON = 0xA5


class Arena:
    """Buffers of the given sizes, zeroed, each 64-byte aligned and between guard zones.

    views : one 1-d uint8 array per buffer. addresses : where they begin, also for a buffer of 0 bytes.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        padded = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
        total = -(-(sum(padded) + GUARD_BYTES * (len(sizes) + 1)) // _HUGE_PAGE) * _HUGE_PAGE
        memory = mmap.mmap(-1, total + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        whole: npt.NDArray[Any] = np.frombuffer(memory, dtype=np.uint8)
        first = -whole.ctypes.data % _HUGE_PAGE
        with suppress(OSError, AttributeError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        whole[first : first + total] = 0
        with suppress(OSError):
            memory.madvise(_MADV_COLLAPSE, first, total)
        views, guards, addresses, at = [], [], [], first
        for size, room in zip(sizes, padded):
            guards.append(whole[at : at + GUARD_BYTES])
            at += GUARD_BYTES
            views.append(whole[at : at + size])
            addresses.append(whole.ctypes.data + at)  # NumPy's address of an empty view is not to be used
            guards.append(whole[at + size : at + room])  # up to the alignment: 0 to 63 bytes
            at += room
        guards.append(whole[at : at + GUARD_BYTES])
        for guard in guards:
            guard[:] = _PATTERN[: guard.size]
        self.views: tuple[Bytes, ...] = tuple(views)
        self.addresses: tuple[int, ...] = tuple(addresses)
        self._guards = guards

    def overwritten(self) -> int | None:
        """Index of the buffer next to which something was written; None if all guard zones are as they were."""
        for index, guard in enumerate(self._guards):
            changed = np.flatnonzero(guard != _PATTERN[: guard.size])
            if changed.size:
                nearer_to_the_one_before = index % 2 == 0 and changed[0] < guard.size // 2
                return min(max(index // 2 - nearer_to_the_one_before, 0), len(self.views) - 1)
        return None
