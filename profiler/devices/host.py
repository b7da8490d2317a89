"""The host CPU.

Kernels run in one worker process (`kernel_process`, `host_worker`), so that a crash or a hang takes nothing else down.

    this process                          worker
    HostDevice.time(handle, 20, mode) --> lowbit_time of the artifact (kernels/cpu/runtime.c)
              <-- 20 durations, or the end of the pipe (crash), or nothing in time (killed)
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Sequence
from types import TracebackType

from profiler.artifact import Artifact
from profiler.devices.host_state import HostObserver
from profiler.devices.kernel_process import KernelProcess
from profiler.devices.pipe import Header
from profiler.devices.protocol import EnergyCounter, KernelFailure, Worked
from profiler.devices.rapl import RaplCounter
from profiler.devices.rotation import COPIES_LIMIT_S
from profiler.errors import DeviceError
from profiler.hardware import CpuSpec, host_cpu
from profiler.record import CacheMode, Circumstances, FailureKind, Fingerprint

# Flags of /proc/cpuinfo that programs can use, on x86 and on Arm; the others name bugs, mitigations and what the kernel
# found out, and come and go with its releases.
_USABLE = re.compile(
    r"sse|ssse|avx|amx|fma|f16c|bmi|popcnt|abm|aes|vaes|gfni|sha|adx|movbe|clflush|clwb|vpclmul|pclmul|erms|fsrm"
)
_CACHE_BYTES = 32 << 20
_USABLE_ON_ARM = re.compile(r"asimd|fp|sve|sme|i8mm|bf16|atomics")


def worker_command() -> tuple[str, ...]:
    """How the worker is started; the parent's process id is appended."""
    return (sys.executable, "-m", "profiler.devices.host_worker")


class HostDevice:
    """The CPU of this machine, a `protocol.Device`.

    cpu : what it is; read from the system by default. time_limit_s : the longest that one launch may take.
    command : how the worker is started. counter : of its energy, RAPL's by default.
    """

    def __init__(
        self,
        cpu: CpuSpec | None = None,
        time_limit_s: float = 10.0,
        command: Sequence[str] | None = None,
        counter: EnergyCounter | None = None,
    ) -> None:
        self.cpu = cpu or host_cpu()
        self._time_limit_s = time_limit_s
        self._process = KernelProcess(command or worker_command(), time_limit_s)
        self._launch_s: dict[int, float] = {}  # by handle, since it was verified
        self._counter = counter
        self._observer = HostObserver(virtual="hypervisor" in self.cpu.features)

    @property
    def slug(self) -> str:
        return self.cpu.slug

    @property
    def worker_pid(self) -> int | None:
        """Process id of the running worker."""
        return self._process.pid

    def fingerprint(self, compiler: str) -> Fingerprint:
        """Model, usable features and microcode. Neither a machine id (cloud machines of one kind are one instrument)
        nor the kernel's release (none of its code runs inside the timed window)."""
        names = _USABLE_ON_ARM if "asimd" in self.cpu.features else _USABLE
        usable = frozenset(feature for feature in self.cpu.features if names.match(feature))
        described = "\n".join([*sorted(usable), f"microcode {self.cpu.microcode}"])
        return Fingerprint(
            device=self.slug,
            device_name=self.cpu.model,
            arch=self.cpu.isa.value,
            uuid=hashlib.sha256(described.encode()).hexdigest()[:32],
            driver="linux",
            compiler=compiler,
        )

    def load(self, artifact: Artifact) -> int:
        """Raises `KernelFailure`: LAUNCH if this CPU lacks a feature, the code does not load or its arguments do not
        fit, CRASH or TIMEOUT if loading it ends or blocks the worker."""
        missing = sorted(set(artifact.features) - self.cpu.features)
        if missing:
            raise KernelFailure(FailureKind.LAUNCH, f"this CPU lacks {', '.join(missing)}, which the kernel uses")
        return self._process.load(artifact)

    def verify(self, handle: int) -> None:
        answer, _ = self._process.ask(handle, {"request": "verify"})
        self._launch_s[handle] = answer["elapsed_s"]

    def time(self, handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        """Raises `DeviceError` on a CPU that is emulated: no such time may come into a table."""
        self._require_real()
        artifact = self._process.artifact(handle)
        traffic_s = sum(arg.nbytes for arg in artifact.args) / 0.5e9  # of preparing the caches, at worst
        launch_s = 10 * self._launch_s[handle] if handle in self._launch_s else self._time_limit_s
        limit_s = self._time_limit_s + launches * (launch_s + traffic_s)
        request: Header = {"request": "time", "launches": launches, "mode": CacheMode(mode).value}
        _, elapsed_ns = self._process.ask(handle, request, limit_s)
        return tuple(ns * 1e-9 for ns in memoryview(elapsed_ns).cast("q"))

    def work(self, handle: int, duration_s: float, mode: CacheMode) -> Worked:
        """Raises `DeviceError` on a CPU that is emulated. One that does not say how large its last cache is is taken to
        have 32 MB."""
        self._require_real()
        request: Header = {
            "request": "work",
            "duration_s": duration_s,
            "mode": CacheMode(mode).value,
            "cache_bytes": self.cpu.l3_bytes or self.cpu.l2_bytes or _CACHE_BYTES,
        }
        limit_s = COPIES_LIMIT_S + 2 * (self._time_limit_s + duration_s)
        answer, _ = self._process.ask(handle, request, limit_s, once=True)
        return Worked(answer["runs"], answer["note"])

    @property
    def counter(self) -> EnergyCounter:
        if self._counter is None:
            self._counter = RaplCounter()
        return self._counter

    def recheck(self, handle: int) -> None:
        self._process.ask(handle, {"request": "recheck"})

    def throttling(self) -> None:
        """What a CPU's clock did is in the circumstances; no cause is known."""

    def unload(self, handle: int) -> None:
        self._launch_s.pop(handle, None)
        self._process.unload(handle)

    def circumstances(self) -> Circumstances:
        """The clock is that of the measuring core, as a chain of additions beside each timed batch shows it; low and
        high enclose the middle eight tenths."""
        seen = self._process.inquire({"request": "clocks"}) or {"low": None, "high": None}
        clocks_mhz = tuple(mhz for mhz in (seen["low"], seen["high"]) if mhz is not None)
        own = tuple(pid for pid in (os.getpid(), self._process.pid) if pid is not None)
        return self._observer.observe(own, clocks_mhz)

    def close(self) -> None:
        self._launch_s.clear()
        self._process.close()

    def _require_real(self) -> None:
        if self.cpu.emulated_on:
            raise DeviceError(f"the CPU is {self.cpu.model}: nothing is timed there; measure on a real one")

    def __enter__(self) -> HostDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
