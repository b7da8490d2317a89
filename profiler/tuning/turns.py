"""Whose turn it is on this machine: any number of runs compile at a time, or one of them measures."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from profiler.errors import ProfilerError


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

    def compiling(self) -> AbstractContextManager[None]:
        """Until the turn ends nobody measures the CPU."""
        return _turn(self.path, fcntl.LOCK_SH)

    def measuring(self) -> AbstractContextManager[None]:
        """Until the turn ends nobody else measures the device; if it is the CPU, nobody compiles."""
        return _turn(self._measured, fcntl.LOCK_EX)


def _lock(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"lowbit-profiler-{os.getuid()}-{name}.lock"


@contextmanager
def _turn(path: Path, kind: int) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ProfilerError(
            f"{path}: the lock between runs cannot be made: {error.strerror}; "
            "set TMPDIR to a folder that can be written"
        ) from None
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


class NoTurns:
    """For a device that nobody else measures."""

    @contextmanager
    def compiling(self) -> Iterator[None]:
        yield

    @contextmanager
    def measuring(self) -> Iterator[None]:
        yield
