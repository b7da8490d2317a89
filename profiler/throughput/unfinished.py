"""``<file>.<digest>.windows.jsonl`` beside a file of throughputs: the windows that a run has taken, as they come.

Points are written when all their windows are there. Whatever ends a run before, the same command takes those that are
missing. A line is a window, behind a first line that says what the file is; a torn last line is dropped. The file is
gone when the run has come to its end.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from profiler.errors import InvalidFile, OutputError
from profiler.output_folder import is_still, writing
from profiler.throughput.point import Window
from profiler.typed_json import integer, typed, without_repetition

FORMAT, WINDOWS_VERSION = "lowbit-profiler windows", 1
"""1: first version."""
_HEADER = (json.dumps({"format": FORMAT, "version": WINDOWS_VERSION}) + "\n").encode()
_DIGITS = 12


@dataclass(frozen=True)
class Taken:
    """A window of the point of that index, in the order of the run. ``no_energy`` and ``notes`` as in
    `network.steady.SteadyWindow`."""

    point: int
    window: Window
    no_energy: str
    notes: tuple[str, ...]
    run_id: str

    def __post_init__(self) -> None:
        if self.point < 0:
            raise ValueError("the index of a point is not negative")


def path_for(throughputs: Path, run: Sequence[str]) -> Path:
    """``run`` : texts that say what is run and how; whoever goes on with the windows has the same ones."""
    digest = hashlib.sha256(json.dumps(list(run)).encode()).hexdigest()[:_DIGITS]
    return throughputs.with_name(f"{throughputs.name.removesuffix('.json')}.{digest}.windows.jsonl")


class Unfinished:
    """The windows of a run, as a context manager. ``taken`` are those of earlier runs and of this one.

    Entering it raises `InvalidFile` for a damaged file, and `OutputError` for one that cannot be written or that
    another run has in hand.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: list[Taken] = []
        self._file: IO[bytes]

    def __enter__(self) -> Unfinished:
        while True:
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self.path, "a+b")
            try:
                self._lock()
                if is_still(self._file, self.path):  # a run that has come to its end may have removed it meanwhile
                    self._begin()
                    return self
            except BaseException:
                self._file.close()
                raise
            self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.taken:
            self.finished()
        self._file.close()

    def append(self, taken: Taken) -> None:
        """It is on disk when this returns."""
        self._write((json.dumps(asdict(taken), allow_nan=False) + "\n").encode())
        self.taken.append(taken)

    def finished(self) -> None:
        """Nothing is left to go on with."""
        with writing(self.path):
            self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{self.path}: another run of the same command is at work; wait for its end") from None

    def _begin(self) -> None:
        self._file.seek(0)
        whole, _, _ = self._file.read().rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        if lines and lines[0] + b"\n" != _HEADER:
            raise InvalidFile(f"{self.path}, line 1: no windows of this version of the profiler; move the file away")
        self.taken = [self._read(line, number) for number, line in enumerate(lines[1:], start=2)]
        with writing(self.path):
            self._file.truncate(len(whole) + 1 if whole else 0)
        if not lines:
            self._write(_HEADER)

    def _read(self, line: bytes, number: int) -> Taken:
        try:
            body = json.loads(line.decode(), object_pairs_hook=without_repetition, parse_int=integer)
            found: Taken = typed(Taken, body, "the window")
        except (ValueError, RecursionError) as error:
            raise InvalidFile(f"{self.path}, line {number}: {error}; move the file away, and measure again") from None
        return found

    def _write(self, line: bytes) -> None:
        with writing(self.path):
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
