"""A kernel of the host at work: launched again and again without a pause, on copies of its arguments (`rotation`)."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence

from profiler.devices.buffers import ALIGNMENT, Arena, Bytes
from profiler.devices.protocol import KernelFailure
from profiler.devices.rotation import Rotation
from profiler.devices.shared_object import SharedObject
from profiler.record import FailureKind

_POINTER = ctypes.c_void_p
_RING = 256
"""Launches between two looks at the clock, at least, where they are short."""
_BATCH_S = 0.05
"""Of work in one call: short beside a window of seconds, and long beside the call."""


class BackToBack:
    """Launches of one kernel in a ring of its arguments' copies, which ends with the arguments themselves.

    entry : address of the kernel's function. views, addresses : of its arguments. Raises `KernelFailure`: LAUNCH for
    code that was built before networks were run, UNSTABLE where there is no memory for the copies now.
    """

    def __init__(
        self,
        library: SharedObject,
        entry: int | None,
        views: Sequence[Bytes],
        addresses: Sequence[int],
        rotated: Rotation,
    ) -> None:
        if not library.has_chain:
            text = "it was built by a version whose kernels do not run in a row; build it again"
            raise KernelFailure(FailureKind.LAUNCH, text)
        self._chain = library.chain()
        self._rotated, self.note = rotated, rotated.note
        copies = [*self._copied(views, addresses), list(addresses)]
        self._pointers = [(_POINTER * len(copy))(*copy) for copy in copies]
        rounds = -(-_RING // len(copies))
        self._launches = rounds * len(copies)
        ring = [ctypes.addressof(pointers) for pointers in self._pointers] * rounds
        self._args = (_POINTER * self._launches)(*ring)
        self._entries = (_POINTER * self._launches)(*[entry] * self._launches)

    def work(self, duration_s: float) -> int:
        """At least so long; how many launches there were. The last one was on the arguments themselves."""
        launches, batch, at, begin_s = 0, 1, 0, time.monotonic()
        while True:
            now_s = time.monotonic()
            steps = min(batch, self._launches - at)
            runs = max(1, batch // self._launches) if steps == self._launches else 1
            self._run(at, steps, runs)
            done, at = steps * runs, (at + steps) % self._launches
            launches += done
            ended_s = time.monotonic()
            left_s = begin_s + duration_s - ended_s
            if left_s <= 0:
                break
            launch_s = max(ended_s - now_s, 1e-9) / done
            batch = max(1, min(2 * batch, int(min(_BATCH_S, left_s) / launch_s)))
        if at % len(self._pointers):
            self._run(self._launches - 1, 1, 1)
            launches += 1
        return launches

    def _run(self, first: int, steps: int, runs: int) -> None:
        width = ctypes.sizeof(_POINTER)
        totals_ns = (ctypes.c_int64 * runs)()
        error = self._chain(
            ctypes.addressof(self._entries) + first * width,
            ctypes.addressof(self._args) + first * width,
            steps,
            runs,
            None,
            ctypes.addressof(totals_ns),
        )
        if error:
            raise KernelFailure(FailureKind.LAUNCH, f"the loop of launches refused: {os.strerror(error)}")

    def _copied(self, views: Sequence[Bytes], addresses: Sequence[int]) -> list[list[int]]:
        """Addresses of the arguments of each copy, in one stretch of memory like their own."""
        rotated, copies = self._rotated.indices, self._rotated.copies - 1
        if not copies:
            return []
        rooms = [-(-views[index].size // ALIGNMENT) * ALIGNMENT for index in rotated]
        stride = sum(rooms)
        try:
            self._memory = Arena([copies * stride])
        except OSError as error:
            text = f"no memory for {copies} copies of its arguments, {copies * stride} bytes: {error}"
            raise KernelFailure(FailureKind.UNSTABLE, text) from None
        (memory,), (base,) = self._memory.views, self._memory.addresses
        found = [list(addresses) for _ in range(copies)]
        at = 0
        for index, room in zip(rotated, rooms):
            size = views[index].size
            memory.reshape(copies, stride)[:, at : at + size] = views[index]
            for copy in range(copies):
                found[copy][index] = base + copy * stride + at
            at += room
        return found
