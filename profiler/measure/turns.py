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

_LOOK_EVERY_S = 0.05


class NoTurn(ProfilerError):
    """Somebody else's turn lasted longer than could be waited."""


class Turns(Protocol):
    """Hands out turns; both are context managers and must not be nested."""

    def compiling(self) -> AbstractContextManager[None]: ...

    def measuring(self) -> AbstractContextManager[None]: ...


class MachineTurns:
    """Turns by a lock file, among all runs of a user that measure the same device. A turn ends with its process.

    While the CPU is measured nobody compiles, whatever for: ``path`` is the lock that compiling shares and that
    measuring takes, unless it takes the lock of another device, ``measured``.
    """

    def __init__(self, path: Path, measured: Path | None = None) -> None:
        self.path = path
        self._measured = measured or path

    @staticmethod
    def of_cpu() -> MachineTurns:
        """The turns of this machine's CPU; the lock is in the system's folder for temporary files."""
        return MachineTurns(_lock("cpu"))

    @staticmethod
    def of_gpu(uuid: str) -> MachineTurns:
        """Those of a card. Compiling does not disturb it."""
        return MachineTurns(_lock("cpu"), _lock(re.sub("[^0-9A-Za-z-]", "", uuid)))

    @staticmethod
    def of_device(device: FoundDevice) -> MachineTurns:
        """Those of a device of this machine."""
        return MachineTurns.of_gpu(device.uuid) if device.is_gpu else MachineTurns.of_cpu()

    def compiling(self) -> AbstractContextManager[None]:
        """Until the turn ends nobody measures the CPU."""
        return _turn(self.path, fcntl.LOCK_SH)

    def measuring(self, limit_s: float = math.inf) -> AbstractContextManager[None]:
        """Until the turn ends nobody else measures the device; if it is the CPU, nobody compiles.

        Entering it raises `NoTurn` if others have it for longer than ``limit_s``.
        """
        return _turn(self._measured, fcntl.LOCK_EX, limit_s)


def _lock(name: str) -> Path:
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise ProfilerError("no folder takes temporary files: set TMPDIR to one that can be written") from None
    return folder / f"lowbit-profiler-{os.getuid()}-{name}.lock"


@contextmanager
def _turn(path: Path, kind: int, limit_s: float = math.inf) -> Iterator[None]:
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
            _lock_within(descriptor, kind, limit_s, path)
        yield
    finally:
        os.close(descriptor)


def _lock_within(descriptor: int, kind: int, limit_s: float, path: Path) -> None:
    end_s = time.monotonic() + limit_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise NoTurn(f"{path}: another run has the device; wait for its end") from None
            time.sleep(min(_LOOK_EVERY_S, left_s))


class NoTurns:
    """For a device that nobody else measures."""

    @contextmanager
    def compiling(self) -> Iterator[None]:
        yield

    @contextmanager
    def measuring(self) -> Iterator[None]:
        yield
