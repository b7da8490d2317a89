"""Artifacts from worker processes: as many at a time as there are workers, and a compiler that aborts ends no run.

A worker is a fresh interpreter (`kernels.build_worker`) that takes pickled requests on its standard input and answers
on its standard output. LLVM ends the process on some inputs ("LLVM ERROR: Cannot select"), so nothing is compiled in
the process that holds the run, which needs no TVM.
"""

from __future__ import annotations

import os
import pickle
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from profiler.artifact import Artifact
from profiler.errors import CompilerError
from profiler.kernels.backend import Backend
from profiler.kernels.toolchain import ToolchainError
from profiler.record import FailureKind
from profiler.space.config import ScheduleConfig, to_text
from profiler.workload import KernelSpec

BUILD_TIMEOUT_S = 60.0
"""Far above the second that a kernel takes; a compiler that loops is stopped."""


@dataclass(frozen=True)
class BuildFailure:
    """A config that could not be compiled, and why."""

    spec: KernelSpec
    config: str
    kind: FailureKind
    message: str


@dataclass(frozen=True)
class BuildRequest:
    spec: KernelSpec
    config: ScheduleConfig


_FOLDER = "lowbit-toolchain-"
_START_LIMIT_S = 60.0
READY = "ready"
"""What a worker says first."""


class BuildPool:
    """Compiles on up to ``workers`` processes, as a context manager. Without a compiler `ToolchainError` is raised."""

    def __init__(self, backend: Backend, workers: int = 2, timeout_s: float = BUILD_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._resources = ExitStack()
        _remove_leftovers()
        folder = self._resources.enter_context(
            tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-", ignore_cleanup_errors=True)
        )
        arguments = [sys.executable, "-m", "profiler.kernels.build_worker", folder]
        self._new_worker = partial(_Worker, arguments, folder, backend)
        self._count = workers
        self._workers: list[_Worker] = []  # as many as requests need: a run that knows everything needs none

    def __enter__(self) -> BuildPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._resources.close()

    def build(self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]) -> list[Artifact | BuildFailure]:
        """Compile all; the results are in the order of the requests."""
        results = dict(self.stream(requests))
        return [results[i] for i in range(len(requests))]

    def stream(
        self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]
    ) -> Iterator[tuple[int, Artifact | BuildFailure]]:
        """Compile all; results as they come, each with the index of its request. It may be left early."""
        self._start_workers(len(requests))
        waiting = deque(enumerate(BuildRequest(spec, config) for spec, config in requests))
        again: set[int] = set()
        busy: dict[_Worker, tuple[int, BuildRequest, float]] = {}
        known: dict[_Worker, KernelSpec] = {}
        try:
            while waiting or busy:
                for worker in self._workers:
                    if worker not in busy and waiting:
                        others = {request.spec for _, request, _ in busy.values()}
                        index, request = _take(waiting, known.get(worker), others)
                        known[worker] = request.spec
                        worker.send(request)
                        busy[worker] = (index, request, time.monotonic() + self._timeout_s)
                for worker in self._ready(busy):
                    index, request, _ = busy.pop(worker)
                    result = self._received(worker, request)
                    if result is None and index not in again:
                        again.add(index)
                        waiting.append((index, request))
                    else:
                        yield index, result or _killed(request)
        finally:
            for worker in busy:  # its answer is to nobody's question any more
                worker.stop()
                self._workers.remove(worker)

    def _start_workers(self, wanted: int) -> None:
        new = [self._new_worker() for _ in range(min(self._count, wanted) - len(self._workers))]
        self._workers += new
        for worker in new:
            worker.await_ready()

    def _ready(self, busy: dict[_Worker, tuple[int, BuildRequest, float]]) -> list[_Worker]:
        """Workers that answered, died, or ran out of time."""
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                selector.register(worker.answers, selectors.EVENT_READ, worker)
            deadline = min(limit for _, _, limit in busy.values())
            events = selector.select(max(0.0, deadline - time.monotonic()))
            if events:
                return [cast(_Worker, key.data) for key, _ in events]
        late = [worker for worker, (_, _, limit) in busy.items() if limit <= time.monotonic()]
        for worker in late:
            worker.kill()
        return late

    def _received(self, worker: _Worker, request: BuildRequest) -> Artifact | BuildFailure | None:
        """The result; None if somebody killed the worker, which says nothing about the config."""
        answer = worker.receive()
        if isinstance(answer, Artifact):
            return answer
        if isinstance(answer, ToolchainError):
            raise answer
        if isinstance(answer, CompilerError):
            return _failure(request, FailureKind.COMPILE, str(answer))
        timed_out, message = worker.killed, worker.epitaph()
        killed = worker.exit_code == -signal.SIGKILL
        worker.restart()
        if timed_out:
            return _failure(request, FailureKind.TIMEOUT, f"the compiler took longer than {self._timeout_s:g} s")
        return None if killed else _failure(request, FailureKind.COMPILE, message)


def _take(
    waiting: deque[tuple[int, BuildRequest]], known: KernelSpec | None, others: set[KernelSpec]
) -> tuple[int, BuildRequest]:
    """The next request for a worker: of the kernel that it built last, else of one that no other worker is at.

    The reference output of a kernel, which whoever builds it keeps, can take longer than the compilation.
    """
    ranks = (0 if r.spec == known else 1 if r.spec not in others else 2 for _, r in waiting)
    position = min(enumerate(ranks), key=lambda numbered: numbered[1])[0]
    taken = waiting[position]
    del waiting[position]
    return taken


def _remove_leftovers() -> None:
    """Folders of runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _failure(request: BuildRequest, kind: FailureKind, message: str) -> BuildFailure:
    return BuildFailure(request.spec, to_text(request.config), kind, message)


def _killed(request: BuildRequest) -> BuildFailure:
    text = "the compiler process was killed twice (by the system, for want of memory?)"
    return _failure(request, FailureKind.COMPILE, text)


class _Worker:
    """A process with its own session: Ctrl-C is for the run, and whatever it started ends with it.

    ``folder`` gets all temporary files, also those that a killed compiler leaves.
    """

    def __init__(self, arguments: list[str], folder: str, backend: Backend) -> None:
        self._arguments, self._backend = arguments, backend
        self._environment = {**os.environ, "TMPDIR": folder}
        self.killed = False
        self._start()

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self._process = subprocess.Popen(
            self._arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment,
            start_new_session=True,
        )
        self.killed = False
        self.send(self._backend)

    @property
    def answers(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def send(self, message: object) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the worker is dead: its answers end, which is what the reader acts on

    def await_ready(self) -> None:
        """Wait until it has imported what it needs: that takes a second, in which nobody must measure."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.answers, selectors.EVENT_READ)
            if not selector.select(_START_LIMIT_S):
                self.kill()
        self.receive()

    def receive(self) -> object:
        """An artifact, an error or `READY`; None if the worker died."""
        try:
            return pickle.load(self.answers)
        except (EOFError, pickle.UnpicklingError):
            return None

    @property
    def exit_code(self) -> int:
        """Of a worker that died; negative: the signal."""
        return self._process.wait()

    def epitaph(self) -> str:
        """What a worker that died left behind."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the compiler process ended with {self.exit_code}" + (f": {lines[-1]}" if lines else "")

    def kill(self) -> None:
        self.killed = True
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self._start()
        self.await_ready()

    def stop(self) -> None:
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self._errors.close()
