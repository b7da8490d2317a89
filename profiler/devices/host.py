"""The host CPU.

Kernels run in one worker process (`host_worker`), so that a crash or a hang takes nothing else down. It is a plain
subprocess: it works inside process pools too. After it died the next call starts another, and kernels that were loaded
in the old one are loaded again when they are used next.

    this process                          worker
    HostDevice.time(handle, 20, mode) --> lowbit_time of the artifact (kernels/cpu/runtime.c)
              <-- 20 durations, or the end of the pipe (crash), or nothing in time (killed)
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from profiler.artifact import Artifact
from profiler.devices.host_state import HostObserver
from profiler.devices.pipe import Closed, Header, Overdue, Pipe
from profiler.devices.protocol import KernelFailure
from profiler.errors import DeviceError
from profiler.hardware import CpuSpec, host_cpu
from profiler.record import CacheMode, Circumstances, FailureKind, Fingerprint

START_LIMIT_S = 60.0
LOAD_LIMIT_S = 120.0
"""Most of loading is drawing and packing the arguments."""

# Flags of /proc/cpuinfo that programs can use; the others name bugs, mitigations and what the kernel found out, and
# come and go with its releases.
_USABLE = re.compile(
    r"sse|ssse|avx|amx|fma|f16c|bmi|popcnt|abm|aes|vaes|gfni|sha|adx|movbe|clflush|clwb|vpclmul|pclmul|erms|fsrm"
)


def worker_command() -> tuple[str, ...]:
    """How the worker is started; the parent's process id is appended."""
    return (sys.executable, "-m", "profiler.devices.host_worker")


class _Died(Exception):
    """The worker ended instead of answering. ``signal`` is None if it exited by itself."""

    def __init__(self, text: str, signal: int | None) -> None:
        super().__init__(text)
        self.signal = signal


@dataclass
class _Loaded:
    """A kernel as this side knows it: where it was loaded last, and how long a launch may take."""

    artifact: Artifact
    worker: _Worker | None = None
    launch_s: float | None = None


class _Worker:
    """A running worker process."""

    def __init__(self, command: Sequence[str]) -> None:
        read_errors, write_errors = os.pipe()
        os.set_blocking(read_errors, False)
        os.set_blocking(write_errors, False)  # who prints much loses the rest, and never waits for a reader
        self._errors = read_errors
        try:
            self.process = subprocess.Popen(
                [*command, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=write_errors,
                bufsize=0,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for this process; it ends the worker by closing its input
            )
        except OSError as error:
            os.close(read_errors)
            raise DeviceError(f"the measuring process does not start: {error}") from None
        finally:
            os.close(write_errors)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._pipe = Pipe(self.process.stdout.fileno(), self.process.stdin.fileno())
        try:
            self.cpus: tuple[int, ...] = tuple(self._pipe.receive(START_LIMIT_S)[0]["cpus"])
        except (Closed, Overdue, ValueError, KeyError) as error:
            late = f"no answer within {START_LIMIT_S:g} s" if isinstance(error, Overdue) else ""
            self.end()
            reason = self._said() or late or f"it ended with exit status {self.process.returncode}"
            self.close()
            raise DeviceError(f"the measuring process ({' '.join(command)}) does not start: {reason}") from None
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, header: Header, payload: bytes, limit_s: float) -> tuple[Header, bytes]:
        """The answer to a request. Raises `_Died` or `Overdue`; the worker is then of no further use."""
        try:
            self._pipe.send(header, payload)
            return self._pipe.receive(limit_s)
        except Closed:
            raise self._death() from None

    def _death(self) -> _Died:
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return _Died("it closed the pipes of the measuring process", None)
        said = self._said()
        suffix = f" ({said})" if said else ""
        if status >= 0:
            return _Died(f"it ended the measuring process with exit status {status}{suffix}", None)
        with suppress(ValueError):
            return _Died(f"{signal.Signals(-status).name}{suffix}", -status)
        return _Died(f"signal {-status}{suffix}", -status)

    def _said(self) -> str:
        """The last line on standard error."""
        with suppress(OSError):
            lines = os.read(self._errors, 1 << 16).decode(errors="replace").strip().splitlines()
            return lines[-1].strip() if lines else ""
        return ""

    def end(self) -> None:
        """End the process, at once."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the process and give its pipes back."""
        self.end()
        for file in (self.process.stdin, self.process.stdout):
            if file:
                file.close()
        with suppress(OSError):
            os.close(self._errors)
        self._errors = -1


class HostDevice:
    """The CPU of this machine, a `protocol.Device`.

    cpu : what it is; read from the system by default. time_limit_s : the longest that one launch may take.
    command : how the worker is started.
    """

    def __init__(
        self, cpu: CpuSpec | None = None, time_limit_s: float = 10.0, command: Sequence[str] | None = None
    ) -> None:
        self.cpu = cpu or host_cpu()
        self._time_limit_s = time_limit_s
        self._command = tuple(command or worker_command())
        self._worker: _Worker | None = None
        self._kernels: dict[int, _Loaded] = {}
        self._next_handle = 1
        self._observer = HostObserver(virtual="hypervisor" in self.cpu.features)

    @property
    def slug(self) -> str:
        return self.cpu.slug

    @property
    def worker_pid(self) -> int | None:
        """Process id of the running worker."""
        return self._worker.process.pid if self._worker else None

    def fingerprint(self, compiler: str) -> Fingerprint:
        """Model, usable features and microcode. Neither a machine id (cloud machines of one kind are one instrument)
        nor the kernel's release (none of its code runs inside the timed window)."""
        usable = self.cpu.features
        if any(_USABLE.match(feature) for feature in usable if feature.startswith("sse")):  # x86; Arm lists no others
            usable = frozenset(feature for feature in usable if _USABLE.match(feature))
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
        handle = self._next_handle
        self._next_handle += 1
        self._kernels[handle] = _Loaded(artifact)
        try:
            self._ask(handle, None, LOAD_LIMIT_S)
        except BaseException:
            del self._kernels[handle]
            raise
        return handle

    def verify(self, handle: int) -> None:
        answer, _ = self._ask(handle, {"request": "verify"}, self._time_limit_s)
        self._kernels[handle].launch_s = answer["elapsed_s"]

    def time(self, handle: int, launches: int, mode: CacheMode) -> tuple[float, ...]:
        kernel = self._kernels[handle]
        traffic_s = sum(arg.nbytes for arg in kernel.artifact.args) / 0.5e9  # of preparing the caches, at worst
        launch_s = self._time_limit_s if kernel.launch_s is None else 10 * kernel.launch_s
        limit_s = self._time_limit_s + launches * (launch_s + traffic_s)
        request: Header = {"request": "time", "launches": launches, "mode": CacheMode(mode).value}
        _, elapsed_ns = self._ask(handle, request, limit_s)
        return tuple(ns * 1e-9 for ns in memoryview(elapsed_ns).cast("q"))

    def unload(self, handle: int) -> None:
        kernel = self._kernels.pop(handle)
        if kernel.worker is not None and kernel.worker is self._worker and self._worker.alive:
            with suppress(KernelFailure, _Died):  # a worker that dies of it takes the kernel along
                self._call(self._worker, {"request": "unload", "handle": handle}, b"", self._time_limit_s)

    def circumstances(self) -> Circumstances:
        """The clock is that of the measuring core, as a chain of additions beside each timed batch shows it; low and
        high enclose the middle eight tenths."""
        worker = self._worker
        if worker is None or not worker.alive:
            return self._observer.observe((os.getpid(),), ())
        try:
            seen, _ = self._call(worker, {"request": "clocks"}, b"", self._time_limit_s)
        except (KernelFailure, _Died):
            seen = {"low": None, "high": None}
        clocks_mhz = tuple(mhz for mhz in (seen["low"], seen["high"]) if mhz is not None)
        return self._observer.observe((os.getpid(), worker.process.pid), clocks_mhz)

    def close(self) -> None:
        self._kernels.clear()
        self._drop_worker()

    def __enter__(self) -> HostDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, handle: int, request: Header | None, limit_s: float) -> tuple[Header, bytes]:
        """Put a request to the worker, having loaded the kernel there; without a request load it only.

        A worker that was killed (by the system for memory, by a person) is replaced once before that counts against
        the kernel, which cannot have sent that signal.
        """
        kernel = self._kernels[handle]
        for last in (False, True):
            try:
                worker = self._running()
                answer: tuple[Header, bytes] = ({}, b"")
                if kernel.worker is not worker:
                    load: Header = {"request": "load", "handle": handle}
                    answer = self._call(worker, load, kernel.artifact.to_bytes(), LOAD_LIMIT_S)
                    kernel.worker = worker
                if request is not None:
                    answer = self._call(worker, {**request, "handle": handle}, b"", limit_s)
                return answer
            except _Died as death:
                if last or death.signal != signal.SIGKILL:
                    raise KernelFailure(FailureKind.CRASH, str(death)) from None
        raise AssertionError

    def _running(self) -> _Worker:
        if self._worker is not None and not self._worker.alive:
            self._drop_worker()
        if self._worker is None:
            self._worker = _Worker(self._command)
        return self._worker

    def _call(self, worker: _Worker, request: Header, payload: bytes, limit_s: float) -> tuple[Header, bytes]:
        try:
            answer, body = worker.ask(request, payload, limit_s)
        except Overdue:
            self._drop_worker()
            text = f"no answer within {limit_s:.3g} s ({request['request']})"
            raise KernelFailure(FailureKind.TIMEOUT, text) from None
        except BaseException:  # also Ctrl-C: half a conversation cannot be continued
            self._drop_worker()
            raise
        if answer["ok"]:
            return answer, body
        if answer["kind"] == "defect":
            raise RuntimeError(f"the measuring process failed:\n{answer['message']}")
        raise KernelFailure(FailureKind(answer["kind"]), answer["message"])

    def _drop_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _environment() -> dict[str, str]:
    """The worker must find this package, and NumPy must not start threads beside the kernels."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **one_thread, "PYTHONPATH": os.pathsep.join(paths)}
