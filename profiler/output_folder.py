"""The folder of a run's output, tried before minutes are spent on what shall lie in it; files that are there whole."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from profiler.errors import OutputError

_ROOM_BYTES = 1 << 20  # less than what a run writes


def require_writable(folder: Path, variable: str = "OUT") -> None:
    """Make the folder. Raises `OutputError` if it cannot be made or takes no files; make calls it ``variable``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM_BYTES))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            f"{folder}: cannot be written: {reason}; choose another place with --out (make: {variable}=)"
        ) from None


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """An error in here leaves no empty folder that was not there before."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]  # the innermost first
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in new:
                path.rmdir()
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Where the file is written: what the system refuses is an `OutputError` that names it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            f"{path}: cannot be written: {reason}; make its folder writable or choose another one"
        ) from None


def write_whole(path: Path, data: bytes) -> None:
    """Replace the file in one step, making its folder: readers, and whoever comes after a crash, find all of the old
    content or all of the new.

    Raises `OutputError` if it cannot be written; what it held then stays.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        with _alone(temporary) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of that file, ``.<name>.lock`` beside it; it ends with the process, however that ends. Makes the
    folder. Raises `OutputError`."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_name(f".{path.name}.lock"), "ab")  # noqa: SIM115 - closed below, outside of writing
    with lock:
        with writing(path):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _alone(temporary: Path) -> Iterator[IO[bytes]]:
    """The temporary file, empty and locked: another writer waits, and what a killed one left is overwritten."""
    while True:
        with open(temporary, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not is_still(file, temporary):  # the writer that held the lock has renamed it
                continue
            file.truncate(0)
            yield file
            return


def is_still(file: IO[bytes], path: Path) -> bool:
    """Whether the open file is the one that bears the name now: not removed or replaced since it was opened."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
