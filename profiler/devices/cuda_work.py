"""A kernel of the GPU at work: launched again and again without a pause, on copies of its arguments (`rotation`).

    graph graph graph ... | graph graph graph ... | ...      a graph is up to 256 launches, one after the other
                          ^ the host looks at its clock, some 50 ms later

Launched one by one from Python, a short kernel would end before the next one is in the stream, and the card would wait
at times. So short kernels are launched as graphs; where there is no package for them a note says that they are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from profiler.devices.cuda_driver import CudaDriver, DriverError, Graph
from profiler.devices.cuda_kernel import CudaKernel, blamed
from profiler.devices.cuda_memory import ALIGNMENT
from profiler.devices.rotation import Rotation
from profiler.errors import DeviceError

_GRAPH_LAUNCHES = 256
_RING = 256
"""Launches of the ring at least, where they are short."""
_SHORT_S = 1e-3
"""A longer launch hides what launching the next one takes of the host."""
_CHUNK_S = 0.05
"""Of work that is put into the stream at once."""


def keep_busy(driver: CudaDriver, put: Callable[[], None], duration_s: float, clock: Callable[[], float]) -> float:
    """Put work into the stream, again and again, for so long and to the end of the last of it; the seconds that were.

    clock : seconds of host time. Raises `DriverError`.
    """
    chunk, begin_s = 1, clock()
    while True:
        chunk_begin_s = clock()
        for _ in range(chunk):
            put()
        driver.wait()
        now_s = clock()
        if now_s - begin_s >= duration_s:
            return now_s - begin_s
        each_s = (now_s - chunk_begin_s) / chunk
        left_s = duration_s - (now_s - begin_s)
        chunk = max(1, min(2 * chunk, math.ceil(min(_CHUNK_S, left_s) / max(each_s, 1e-9))))


class BackToBack:
    """Launches of one kernel in a ring of its arguments' copies, which ends with the arguments themselves.

    launch_s : what a launch takes, roughly. The kernel has run before. What the driver reports raises what it means.
    """

    def __init__(self, driver: CudaDriver, kernel: CudaKernel, rotated: Rotation, launch_s: float) -> None:
        self._driver, self._kernel = driver, kernel
        self._memory: int | None = None
        self._graphs: list[tuple[Graph, int]] = []
        self.note = rotated.note
        with blamed("no memory for copies of its arguments"):
            copies = self._copied(rotated)
        self._ring: Sequence[Sequence[int]] = copies
        if launch_s >= _SHORT_S:
            return
        self._ring = copies * -(-_RING // len(copies))
        try:
            with blamed("making graphs of its launches"):
                self._capture()
        except DeviceError as error:
            self.close_graphs()
            said = f"launched one by one, so that the card may have waited between launches: {error}"
            self.note = f"{self.note}; {said}" if self.note else said

    @blamed()
    def work(self, duration_s: float, clock: Callable[[], float]) -> int:
        """At least so long; how many launches there were. The last one was on the arguments themselves."""
        steps = self._steps()
        runs = at = 0

        def put() -> None:
            nonlocal runs, at
            step, launches = steps[at]
            step()
            runs, at = runs + launches, (at + 1) % len(steps)

        keep_busy(self._driver, put, duration_s, clock)
        if at:
            self._kernel.launch()
            self._driver.wait()
            runs += 1
        return runs

    def close(self) -> None:
        """Give graphs and memory back."""
        self.close_graphs()
        if self._memory is not None:
            with blamed("unloading"):
                self._driver.free(self._memory)
            self._memory = None

    def close_graphs(self) -> None:
        graphs, self._graphs = self._graphs, []
        with blamed("unloading"):
            for graph, _ in graphs:
                self._driver.drop_graph(graph)

    def _steps(self) -> list[tuple[Callable[[], None], int]]:
        if self._graphs:
            return [(partial(self._driver.launch_graph, graph), launches) for graph, launches in self._graphs]
        return [(partial(self._kernel.launch_on, arguments), 1) for arguments in self._ring]

    def _capture(self) -> None:
        for start in range(0, len(self._ring), _GRAPH_LAUNCHES):
            part = self._ring[start : start + _GRAPH_LAUNCHES]

            def put(part: Sequence[Sequence[int]] = part) -> None:
                for arguments in part:
                    self._kernel.launch_on(arguments)

            self._graphs.append((self._driver.capture(put), len(part)))

    def _copied(self, rotated: Rotation) -> list[list[int]]:
        """The arguments of each copy, in one stretch of memory; those of the kernel last."""
        own = list(self._kernel.addresses)
        copies = rotated.copies - 1
        if not copies:
            return [own]
        initial = [self._kernel.initial(index) for index in rotated.indices]
        rooms = [-(-data.size // ALIGNMENT) * ALIGNMENT for data in initial]
        stride = sum(rooms)
        self._memory = base = self._driver.allocate(copies * stride)
        try:
            one = np.zeros(stride, np.uint8)
            offsets = [sum(rooms[:place]) for place in range(len(rooms))]
            for data, offset in zip(initial, offsets):
                one[offset : offset + data.size] = data
            self._driver.write(base, np.tile(one, copies))
        except DriverError:
            self.close()
            raise
        found = [list(own) for _ in range(copies)]
        for copy, arguments in enumerate(found):
            for index, offset in zip(rotated.indices, offsets):
                arguments[index] = base + copy * stride + offset
        return [*found, own]
