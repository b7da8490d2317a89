"""The process in which kernels run: ``python -m profiler.devices.host_worker <pid of the parent>``.

How it speaks with its parent is in `worker_loop`. Requests: load (payload: the artifact), verify, time, work,
recheck, unload, clocks.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from profiler.artifact import Artifact, Role
from profiler.devices.arguments import SampleArguments, compare_output, output_index, wrong_output
from profiler.devices.buffers import POISON, Arena
from profiler.devices.host_work import BackToBack
from profiler.devices.pipe import Header
from profiler.devices.protocol import KernelFailure
from profiler.devices.rotation import Rotation, rotation
from profiler.devices.shared_object import SharedObject
from profiler.devices.worker_loop import Operation, serve
from profiler.record import CacheMode, FailureKind

_MODES = {CacheMode.HOT: 0, CacheMode.NETWORK: 1, CacheMode.COLD: 2}
_ROLES = {Role.INPUT: 0, Role.PARAMETER: 1, Role.OUTPUT: 2, Role.INOUT: 3, Role.WORKSPACE: 4}

Bytes = npt.NDArray[np.uint8]


class _Region(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_int64), ("role", ctypes.c_int))


class _Kernel:
    """An artifact with its arguments in memory."""

    def __init__(self, artifact: Artifact, packed: dict[str, Bytes], cpus: list[int]) -> None:
        self.artifact = artifact
        self._output = output_index(artifact, packed)
        try:
            self._arena = Arena([arg.nbytes for arg in artifact.args])
        except OSError as error:
            total = sum(arg.nbytes for arg in artifact.args)
            raise KernelFailure(FailureKind.LAUNCH, f"no memory for {total} bytes of arguments: {error}") from None
        self._initial = {arg.name: packed[arg.name] for arg in artifact.args if arg.role is Role.INOUT}
        pairs = list(zip(artifact.args, self._arena.views))
        for arg, view in pairs:
            if arg.name in packed:
                view[:] = packed[arg.name]
        constant = [(arg, view) for arg, view in pairs if arg.role in (Role.INPUT, Role.PARAMETER)]
        self._constant = [(arg.name, view, zlib.crc32(view.data)) for arg, view in constant]
        self._launched = False
        self._at_work: dict[Rotation, BackToBack] = {}
        self._library = SharedObject(artifact.code)
        try:
            self._connect(cpus)
        except KernelFailure:
            self._library.close()
            raise

    def _connect(self, cpus: list[int]) -> None:
        self._library.require_abi()
        pointer, count = ctypes.c_void_p, len(self.artifact.args)
        self._entry = ctypes.cast(self._library.function(self.artifact.entry), pointer)
        self._time = self._library.function(
            "lowbit_time", pointer, pointer, ctypes.c_int64, ctypes.c_int, pointer, ctypes.c_int, pointer
        )
        self._clock_hz = self._library.clock_hz()
        self._pointers = (pointer * count)(*self._arena.addresses)
        self._regions = (_Region * count)(
            *(
                _Region(address, arg.nbytes, _ROLES[arg.role])
                for address, arg in zip(self._arena.addresses, self.artifact.args)
            )
        )
        threads = self.artifact.threads
        os.sched_setaffinity(0, cpus[:threads])
        error = self._library.function("lowbit_prepare", ctypes.c_int)(threads)
        if error == errno.EAGAIN and threads > len(cpus):
            raise KernelFailure(FailureKind.LAUNCH, f"{threads} threads, but only {len(cpus)} CPUs may be used")
        if error:
            raise KernelFailure(FailureKind.LAUNCH, f"{threads} threads could not be started: {os.strerror(error)}")

    def launch(self, launches: int, mode: CacheMode) -> npt.NDArray[np.int64]:
        """Nanoseconds of each launch."""
        elapsed = np.zeros(launches, np.int64)
        error = self._time(
            self._entry,
            self._pointers,
            launches,
            _MODES[mode],
            self._regions,
            len(self._regions),
            elapsed.ctypes.data,
        )
        if error:
            raise KernelFailure(FailureKind.LAUNCH, f"the timing loop refused: {os.strerror(error)}")
        self._launched = self._launched or launches > 0
        return elapsed

    def work(self, duration_s: float, mode: CacheMode, cache_bytes: int) -> tuple[int, str]:
        """Launches without a pause, for at least so long: how many, and what was not as the mode wants it."""
        rotated = rotation(self.artifact.args, mode, cache_bytes)
        if rotated not in self._at_work:
            views, addresses = self._arena.views, self._arena.addresses
            self._at_work = {rotated: BackToBack(self._library, self._entry.value, views, addresses, rotated)}
        kernel = self._at_work[rotated]
        self._launched = True
        return kernel.work(duration_s), kernel.note

    def clock_mhz(self) -> float:
        """How fast the core runs right now."""
        return float(self._clock_hz()) * 1e-6

    def verify(self) -> float:
        """Seconds of the launch."""
        for arg, view in zip(self.artifact.args, self._arena.views):
            if arg.role is Role.INOUT:
                view[:] = self._initial[arg.name]
            elif arg.role in (Role.OUTPUT, Role.WORKSPACE):
                view[:] = POISON
        elapsed = self.launch(1, CacheMode.HOT)
        self._compare()
        return float(elapsed[0]) * 1e-9

    def recheck(self) -> None:
        """Compare what the last launch left; nothing if there was none."""
        if self._launched:
            self._compare()

    def _compare(self) -> None:
        overwritten = self._arena.overwritten()
        if overwritten is not None:
            wrong_output(f"wrote outside of its argument '{self.artifact.args[overwritten].name}'")
        for name, view, digest in self._constant:
            if zlib.crc32(view.data) != digest:
                wrong_output(f"wrote into its argument '{name}'")
        compare_output(self.artifact, self._arena.views[self._output])

    def close(self) -> None:
        self._library.close()


class _Worker:
    def __init__(self, cpus: list[int]) -> None:
        self.cpus = cpus
        self._kernels: dict[int, _Kernel] = {}
        self._clocks_mhz: list[float] = []  # beside each timed batch, since they were asked for
        self._arguments = SampleArguments()

    def operations(self) -> Mapping[str, Operation]:
        """What answers which request."""
        return {
            "load": self._load,
            "verify": self._verify,
            "time": self._time,
            "work": self._work,
            "recheck": self._recheck,
            "unload": self._unload,
            "clocks": self._clocks,
        }

    def _load(self, request: Header, payload: bytes) -> tuple[Header, bytes]:
        artifact = Artifact.from_bytes(payload)
        self._kernels[request["handle"]] = _Kernel(artifact, self._arguments.of(artifact), self.cpus)
        return {}, b""

    def _verify(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        return {"elapsed_s": self._kernels[request["handle"]].verify()}, b""

    def _time(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        kernel = self._kernels[request["handle"]]
        elapsed_ns = kernel.launch(request["launches"], CacheMode(request["mode"]))
        self._clocks_mhz.append(kernel.clock_mhz())
        return {}, elapsed_ns.tobytes()

    def _work(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        kernel = self._kernels[request["handle"]]
        runs, note = kernel.work(request["duration_s"], CacheMode(request["mode"]), request["cache_bytes"])
        self._clocks_mhz.append(kernel.clock_mhz())
        return {"runs": runs, "note": note}, b""

    def _recheck(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        self._kernels[request["handle"]].recheck()
        return {}, b""

    def _unload(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        self._kernels.pop(request["handle"]).close()
        return {}, b""

    def _clocks(self, _: Header, __: bytes) -> tuple[Header, bytes]:
        seen, self._clocks_mhz = sorted(self._clocks_mhz), []
        if not seen:
            return {"low": None, "high": None}, b""
        tenth = len(seen) // 10  # an interrupted probe reads low
        return {"low": seen[tenth], "high": seen[-1 - tenth]}, b""


def choose_cpus(allowed: set[int], sysfs: Path = Path("/sys/devices/system/cpu")) -> list[int]:
    """The CPUs in the order in which threads get them: fast cores first, each core once before any of them twice.

    Among equals the highest number first, because the first CPU serves most interrupts.
    """

    def number(path: Path) -> int:
        with suppress(OSError, ValueError):
            return int(path.read_text())
        return 0

    def core(cpu: int) -> str:
        with suppress(OSError):
            return (sysfs / f"cpu{cpu}/topology/thread_siblings_list").read_text()
        return str(cpu)

    def speed(cpu: int) -> tuple[int, int]:
        return number(sysfs / f"cpu{cpu}/cpu_capacity"), number(sysfs / f"cpu{cpu}/cpufreq/cpuinfo_max_freq")

    seen: dict[str, int] = {}
    turns: dict[int, int] = {}
    for cpu in sorted(allowed, reverse=True):
        turns[cpu] = seen.get(core(cpu), 0)
        seen[core(cpu)] = turns[cpu] + 1
    return sorted(allowed, key=lambda cpu: (turns[cpu], *(-s for s in speed(cpu)), -cpu))


def _start() -> tuple[Header, Mapping[str, Operation]]:
    worker = _Worker(choose_cpus(os.sched_getaffinity(0)))
    return {"cpus": worker.cpus}, worker.operations()


if __name__ == "__main__":
    serve(int(sys.argv[1]), _start)
