"""The process in which a whole network runs: ``python -m profiler.network.execute.host_worker <pid of the parent>``.

How it speaks with its parent is in `devices.worker_loop`. Requests are those of `network_worker`.

The kernels come from as many shared objects as there are distinct ones; the loop that runs them (``lowbit_chain`` in
kernels/cpu/runtime.c) is that of the first that has it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact, Role
from profiler.devices.arguments import wrong_output
from profiler.devices.buffers import POISON, Arena
from profiler.devices.host_worker import choose_cpus
from profiler.devices.pipe import Header
from profiler.devices.protocol import KernelFailure
from profiler.devices.shared_object import SharedObject
from profiler.devices.worker_loop import Answer, Operation, serve
from profiler.network.execute.loading import fill_arena
from profiler.network.execute.network_worker import NetworkWorker
from profiler.network.execute.planned import Memory, Plan, PlannedStep
from profiler.record import FailureKind

Bytes = npt.NDArray[np.uint8]

_BATCH_S = 0.05
"""Of work in one call: short beside a window of seconds, and long beside the call."""
_POINTER = ctypes.c_void_p


class _Network:
    """A plan with its memory and code."""

    def __init__(self, plan: Plan, parameters: bytes, artifacts: Sequence[Artifact]) -> None:
        self.plan = plan
        self._artifacts = artifacts
        try:
            self._memory = Arena([plan.arena_nbytes, plan.parameter_nbytes])
        except OSError as error:
            total = plan.arena_nbytes + plan.parameter_nbytes
            raise KernelFailure(FailureKind.LAUNCH, f"no memory for the network's {total} bytes: {error}") from None
        self._arena, self._parameters = self._memory.views
        self._parameters[:] = np.frombuffer(parameters, np.uint8)
        self._digest = zlib.crc32(self._parameters.data)
        self._base = dict(zip((Memory.ARENA, Memory.PARAMETERS), self._memory.addresses))
        libraries = [SharedObject(artifact.code) for artifact in artifacts]
        for library in libraries:
            library.require_abi()
        entries = [
            ctypes.cast(library.function(artifact.entry), _POINTER).value
            for library, artifact in zip(libraries, artifacts)
        ]
        first = next((library for library in libraries if library.has_chain), None)
        if first is None:
            text = "the kernels were built by a version that does not run networks; build them again"
            raise KernelFailure(FailureKind.LAUNCH, text)
        self._chain = first.chain()
        self._clock_hz = first.clock_hz()
        self._libraries = libraries  # their code is mapped as long as they live
        self._entries = (_POINTER * len(plan.steps))(*(entries[step.kernel] for step in plan.steps))
        self._pointers = [self._arguments(step) for step in plan.steps]
        self._args = (_POINTER * len(plan.steps))(*(ctypes.addressof(pointers) for pointers in self._pointers))

    def _arguments(self, step: PlannedStep) -> Any:
        return (_POINTER * len(step.args))(*(self._base[place.memory] + place.offset for place in step.args))

    def set_inputs(self, payload: bytes) -> None:
        fill_arena(self._arena, self.plan, payload)

    def outputs(self) -> bytes:
        """One behind the other, in the plan's order."""
        return b"".join(self._arena[value.place.slice].tobytes() for value in self.plan.outputs)

    def step(self, index: int) -> bytes:
        """Launch one step; what its output holds then. Raises `KernelFailure` if anything else was written."""
        step = self.plan.steps[index]
        roles = [arg.role for arg in self._artifacts[step.kernel].args]
        scratch = [place for place, role in zip(step.args, roles) if role is Role.WORKSPACE]
        for place in (*([step.output] if step.begins else []), *scratch):
            self._arena[place.slice] = POISON
        before = self._arena.copy()
        self.timed(1, marks=False, first=index, steps=1)
        for place in (step.output, *scratch):
            before[place.slice] = self._arena[place.slice]
        changed = np.flatnonzero(before != self._arena)
        if changed.size:
            wrong_output(f"wrote outside of its output, into byte {int(changed[0])} of the activations' memory")
        self._check_guards()
        return self._arena[step.output.slice].tobytes()

    def run(self) -> None:
        """All steps in a row, once."""
        self.timed(1, marks=False)

    def timed(self, runs: int, marks: bool, first: int = 0, steps: int | None = None) -> tuple[bytes, bytes]:
        """Nanoseconds of each run, and with ``marks`` when each step of each run ended, since that run's start."""
        count = len(self.plan.steps) if steps is None else steps
        totals, ends = np.zeros(runs, np.int64), np.zeros(runs * count if marks else 0, np.int64)
        width = ctypes.sizeof(_POINTER)
        error = self._chain(
            ctypes.addressof(self._entries) + first * width,
            ctypes.addressof(self._args) + first * width,
            count,
            runs,
            ends.ctypes.data if marks else None,
            totals.ctypes.data,
        )
        if error:
            raise KernelFailure(FailureKind.LAUNCH, f"the network's loop refused: {os.strerror(error)}")
        return totals.tobytes(), ends.tobytes()

    def check(self) -> None:
        """Raises `KernelFailure` if a parameter is not what it was, or anything was written beside the memory."""
        if zlib.crc32(self._parameters.data) != self._digest:
            wrong_output("wrote into the parameters")
        self._check_guards()

    def _check_guards(self) -> None:
        overwritten = self._memory.overwritten()
        if overwritten is not None:
            wrong_output(f"wrote outside of the {('activations', 'parameters')[overwritten]}' memory")

    def clock_mhz(self) -> float:
        """How fast the core runs right now."""
        return float(self._clock_hz()) * 1e-6


class _Worker(NetworkWorker[_Network]):
    def _made(self, plan: Plan, parameters: bytes, artifacts: Sequence[Artifact]) -> _Network:
        return _Network(plan, parameters, artifacts)

    def _time(self, request: Header, _: bytes) -> Answer:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        totals, ends = self._network.timed(request["runs"], request["marks"])
        interrupted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before
        return {"clock_mhz": self._network.clock_mhz(), "interrupted": interrupted}, totals + ends

    def _work(self, request: Header, _: bytes) -> Answer:
        """Batches of runs without a look at the clock between them, until the time is over."""
        runs, batch, begin_s = 0, 1, time.monotonic()
        while time.monotonic() - begin_s < request["duration_s"]:
            batch_s = np.frombuffer(self._network.timed(batch, marks=False)[0], np.int64).sum() * 1e-9
            runs += batch
            batch = max(1, min(2 * batch, int(batch * _BATCH_S / batch_s) if batch_s else 2 * batch))
        return {"runs": runs}, b""


def _start() -> tuple[Header, Mapping[str, Operation]]:
    cpus = choose_cpus(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[:1])
    return {"cpus": cpus[:1]}, _Worker().operations()


if __name__ == "__main__":
    serve(int(sys.argv[1]), _start)
