"""Whose turn it is on this machine: any number of runs compile at a time, or one of them measures."""

from __future__ import annotations

import fcntl
import os
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
    """Turns by a lock file, among all runs of a user that measure the same device. A turn ends with its process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def of_device(slug: str) -> MachineTurns:
        """The turns of a device of this machine; the lock is in the system's folder for temporary files."""
        return MachineTurns(Path(tempfile.gettempdir()) / f"lowbit-profiler-{os.getuid()}-{slug}.lock")

    def compiling(self) -> AbstractContextManager[None]:
        """Until the turn ends nobody measures."""
        return self._turn(fcntl.LOCK_SH)

    def measuring(self) -> AbstractContextManager[None]:
        """Until the turn ends nobody else compiles or measures."""
        return self._turn(fcntl.LOCK_EX)

    @contextmanager
    def _turn(self, kind: int) -> Iterator[None]:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ProfilerError(
                f"{self.path}: the lock between runs cannot be made: {error.strerror}; "
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
