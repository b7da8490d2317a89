"""Whose turn it is on this machine: any number of runs compile at a time, or one of them measures."""

from __future__ import annotations

import fcntl
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from profiler.devices.discover import FoundDevice
from profiler.errors import ProfilerError
from profiler.measure.lock_holders import described, holders, is_stopped

STOPPED_S = 20.0
"""So long somebody is waited for whose process is stopped (by Ctrl-Z, a debugger, an operator): it may go on."""
_LOOK_EVERY_S = 0.05
_COMPILERS_LOOK_EVERY_S = 0.25  # somebody measures meanwhile, who is not to be disturbed
_HOLDERS_EVERY_S = 2.0


class NoTurn(ProfilerError):
    """Somebody else's turn lasted longer than could be waited, or is that of a process that is stopped."""


class Turns(Protocol):
    """Hands out turns; both are context managers and must not be nested."""

    def compiling(self) -> AbstractContextManager[None]: ...

    def measuring(self) -> AbstractContextManager[None]: ...


class MachineTurns:
    """Turns by a lock file, among all runs of a user that measure the same device. A turn ends with its process.

    While the CPU is measured nobody compiles, whatever for: ``path`` is the lock that compiling shares and that
    measuring takes, unless it takes the lock of another device, ``measured``. ``limit_s`` : how long others are waited
    for, in seconds. Where that is finite, entering a turn raises `NoTurn` after it, or after `STOPPED_S` if one of the
    others is stopped.
    """

    def __init__(self, path: Path, measured: Path | None = None, limit_s: float = math.inf) -> None:
        self.path = path
        self._measured = measured or path
        self._limit_s = limit_s
        self._stopped_s = STOPPED_S if math.isfinite(limit_s) else math.inf

    @staticmethod
    def of_cpu(limit_s: float = math.inf) -> MachineTurns:
        """The turns of this machine's CPU; the lock is in the system's folder for temporary files."""
        return MachineTurns(_lock("cpu"), limit_s=limit_s)

    @staticmethod
    def of_gpu(uuid: str, limit_s: float = math.inf) -> MachineTurns:
        """Those of a card. Compiling does not disturb it."""
        return MachineTurns(_lock("cpu"), _lock(re.sub("[^0-9A-Za-z-]", "", uuid)), limit_s)

    @staticmethod
    def of_device(device: FoundDevice, limit_s: float = math.inf) -> MachineTurns:
        """Those of a device of this machine."""
        return MachineTurns.of_gpu(device.uuid, limit_s) if device.is_gpu else MachineTurns.of_cpu(limit_s)

    def compiling(self) -> AbstractContextManager[None]:
        """Until the turn ends nobody measures the CPU."""
        return _turn(self.path, fcntl.LOCK_SH, self._limit_s, self._stopped_s)

    def measuring(self, limit_s: float = math.inf) -> AbstractContextManager[None]:
        """Until the turn ends nobody else measures the device; if it is the CPU, nobody compiles.

        Entering it raises `NoTurn` if others have it for longer than ``limit_s``, too.
        """
        return _turn(self._measured, fcntl.LOCK_EX, min(limit_s, self._limit_s), self._stopped_s)


def _lock(name: str) -> Path:
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise ProfilerError("no folder takes temporary files: set TMPDIR to one that can be written") from None
    return folder / f"lowbit-profiler-{os.getuid()}-{name}.lock"


@contextmanager
def _turn(path: Path, kind: int, limit_s: float, stopped_s: float) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ProfilerError(
            f"{path}: the lock between runs cannot be made: {error.strerror}; "
            "set TMPDIR to a folder that can be written"
        ) from None
    try:
        if math.isinf(limit_s):
            fcntl.flock(descriptor, kind)
        else:
            _lock_within(descriptor, kind, limit_s, stopped_s, path)
        yield
    finally:
        os.close(descriptor)


def _lock_within(descriptor: int, kind: int, limit_s: float, stopped_s: float, path: Path) -> None:
    begin_s = look_s = time.monotonic()
    every_s = _LOOK_EVERY_S if kind == fcntl.LOCK_EX else _COMPILERS_LOOK_EVERY_S
    stopped_since_s = math.inf
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            now_s = time.monotonic()
        left_s = begin_s + limit_s - now_s
        if now_s >= look_s or left_s <= 0:
            look_s = now_s + _HOLDERS_EVERY_S
            others = holders(descriptor)
            stopped = next(filter(is_stopped, others), None)
            stopped_since_s = math.inf if stopped is None else min(stopped_since_s, now_s)
            if stopped is not None and now_s - stopped_since_s >= stopped_s:
                raise NoTurn(
                    f"{path}: {described(stopped)} has the device and is stopped; continue it (kill -CONT {stopped}), "
                    "or end it"
                )
            if left_s <= 0:
                which = f" ({', '.join(map(described, others))})" if others else ""
                raise NoTurn(f"{path}: another run has the device{which}; wait for its end")
        time.sleep(min(every_s, left_s))


class NoTurns:
    """For a device that nobody else measures."""

    @contextmanager
    def compiling(self) -> Iterator[None]:
        yield

    @contextmanager
    def measuring(self) -> Iterator[None]:
        yield
