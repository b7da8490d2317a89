"""A worker process with loaded kernels, from this side: start, ask, notice that it died, start the next one.

It is a plain subprocess, so it works inside process pools too. A crash or a hang takes that process down and nothing
else; kernels that were loaded in it are loaded again when they are used next.

    this process                     worker (`worker_loop`)
    KernelProcess.ask(handle, ...) --> carried out
             <-- an answer, or the end of the pipe (crash), or nothing in time (killed)
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from profiler.artifact import Artifact
from profiler.devices.pipe import Closed, Header, Overdue, Pipe
from profiler.devices.protocol import KernelFailure
from profiler.errors import DeviceError
from profiler.record import FailureKind

START_LIMIT_S = 60.0
LOAD_LIMIT_S = 120.0
"""Most of loading is drawing and packing the arguments."""


class Died(Exception):
    """The worker ended instead of answering. ``signal`` is None if it exited by itself."""

    def __init__(self, text: str, signal: int | None) -> None:
        super().__init__(text)
        self.signal = signal


class Worker:
    """A running worker process. ``greeting`` is what it said of itself when it was ready."""

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
                cwd=os.sep,  # `-m` looks into the working folder first, where another profiler/ may lie
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
            self.greeting: Header = self._pipe.receive(START_LIMIT_S)[0]
        except (Closed, Overdue, ValueError) as error:
            late = f"no answer within {START_LIMIT_S:g} s" if isinstance(error, Overdue) else ""
            self.end()
            reason = self._said() or late or f"it ended with exit status {self.process.returncode}"
            self.close()
            raise DeviceError(f"the measuring process ({' '.join(command)}) does not start: {reason}") from None
        except BaseException:
            self.close()
            raise
        if not self.greeting.get("ok"):
            self.close()
            raise DeviceError(str(self.greeting.get("message", "the measuring process refused to start")))

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, header: Header, payload: bytes, limit_s: float) -> tuple[Header, bytes]:
        """The answer to a request. Raises `Died` or `Overdue`; the worker is then of no further use."""
        try:
            self._pipe.send(header, payload)
            return self._pipe.receive(limit_s)
        except Closed:
            raise self._death() from None

    def _death(self) -> Died:
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return Died("it closed the pipes of the measuring process", None)
        said = self._said()
        suffix = f" ({said})" if said else ""
        if status >= 0:
            return Died(f"it ended the measuring process with exit status {status}{suffix}", None)
        with suppress(ValueError):
            return Died(f"{signal.Signals(-status).name}{suffix}", -status)
        return Died(f"signal {-status}{suffix}", -status)

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


@dataclass
class _Loaded:
    """A kernel as this side knows it, and where it was loaded last."""

    artifact: Artifact
    worker: Worker | None = None


class KernelProcess:
    """Kernels by handle, in a worker that is started when it is first needed and replaced when it died.

    command : how the worker is started; the id of this process is appended. time_limit_s : for requests that name no
    limit of their own.
    """

    def __init__(self, command: Sequence[str], time_limit_s: float) -> None:
        self._command = tuple(command)
        self._time_limit_s = time_limit_s
        self._worker: Worker | None = None
        self._kernels: dict[int, _Loaded] = {}
        self._next_handle = 1

    @property
    def pid(self) -> int | None:
        """Process id of the running worker."""
        return self._worker.process.pid if self._worker else None

    def greeting(self) -> Header:
        """What the worker says of itself; it is started if there is none. Raises `DeviceError` if that fails."""
        return self._running().greeting

    def artifact(self, handle: int) -> Artifact:
        """Raises `KeyError` for a handle that is not known."""
        return self._kernels[handle].artifact

    def load(self, artifact: Artifact) -> int:
        """A new handle. Raises `KernelFailure`: LAUNCH if the worker cannot load the kernel, CRASH or TIMEOUT if
        loading ends or blocks it."""
        handle = self._next_handle
        self._next_handle += 1
        self._kernels[handle] = _Loaded(artifact)
        try:
            self.ask(handle, None)
        except BaseException:
            del self._kernels[handle]
            raise
        return handle

    def unload(self, handle: int) -> None:
        kernel = self._kernels.pop(handle)
        if kernel.worker is not None and kernel.worker is self._worker and self._worker.alive:
            with suppress(KernelFailure, Died):  # a worker that dies of it takes the kernel along
                self._call(self._worker, {"request": "unload", "handle": handle}, b"", self._time_limit_s)

    def ask(
        self, handle: int, request: Header | None, limit_s: float | None = None, once: bool = False
    ) -> tuple[Header, bytes]:
        """Put a request to the worker, having loaded the kernel there; without a request load it only.

        A worker that was killed (by the system for memory, by a person) is replaced once before that counts against
        the kernel, which cannot have sent that signal. ``once``: the request is not made again then; that is UNSTABLE.
        """
        kernel = self._kernels[handle]
        for last in (False, True):
            asked = False
            try:
                worker = self._running()
                answer: tuple[Header, bytes] = ({}, b"")
                if kernel.worker is not worker:
                    load: Header = {"request": "load", "handle": handle}
                    answer = self._call(worker, load, kernel.artifact.to_bytes(), LOAD_LIMIT_S)
                    kernel.worker = worker
                if request is not None:
                    full: Header = {**request, "handle": handle}
                    asked = True
                    answer = self._call(worker, full, b"", limit_s or self._time_limit_s)
                return answer
            except Died as death:
                if once and asked and death.signal == signal.SIGKILL:
                    raise KernelFailure(
                        FailureKind.UNSTABLE, f"{death}: somebody killed the measuring process"
                    ) from None
                if last or death.signal != signal.SIGKILL:
                    raise KernelFailure(FailureKind.CRASH, str(death)) from None
        raise AssertionError

    def inquire(self, request: Header) -> Header | None:
        """The answer to a request that is about no kernel; None if there is no worker that could answer."""
        if self._worker is None or not self._worker.alive:
            return None
        try:
            return self._call(self._worker, request, b"", self._time_limit_s)[0]
        except (KernelFailure, Died):
            return None

    def close(self) -> None:
        """End the worker. Handles are void; a second call does nothing."""
        self._kernels.clear()
        self._drop_worker()

    def _running(self) -> Worker:
        if self._worker is not None and not self._worker.alive:
            self._drop_worker()
        if self._worker is None:
            self._worker = Worker(self._command)
        return self._worker

    def _call(self, worker: Worker, request: Header, payload: bytes, limit_s: float) -> tuple[Header, bytes]:
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
        if answer["last"]:
            self._drop_worker()
        raise refusal(answer)

    def _drop_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def refusal(answer: Header) -> Exception:
    """What to raise for an answer that is not ok: a `KernelFailure`, a `DeviceError`, or a defect of ours."""
    if answer["kind"] == "defect":
        return RuntimeError(f"the measuring process failed:\n{answer['message']}")
    if answer["kind"] == "device":
        return DeviceError(answer["message"])
    return KernelFailure(FailureKind(answer["kind"]), answer["message"])


def _environment() -> Mapping[str, str]:
    """The worker must find this package, and NumPy must not start threads beside the kernels."""
    package = str(Path(__file__).resolve().parents[2])
    others = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **one_thread, "PYTHONPATH": os.pathsep.join([package, *others])}
