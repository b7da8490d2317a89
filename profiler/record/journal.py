"""Records in a file: a line each, appended under a lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from profiler.errors import InvalidFile
from profiler.record.codec import decode, encode
from profiler.record.records import Record


class Journal:
    """An append-only JSONL file of records, safe to share between processes and to be killed at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, records: Iterable[Record]) -> None:
        """Write the records and wait until they are on disk. A torn last line left by a killed run is cut off first."""
        text = "".join(encode(record) + "\n" for record in records).encode()
        if not text:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _cut_torn_line(file.fileno())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Iterator[Record]:
        """All whole records; nothing if the file does not exist. Raises `InvalidFile` naming file and line."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise InvalidFile(f"{self.path}: cannot be read: {error.strerror}; move it away or repair it") from None
        lines = data.split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn, or empty
            yield decode(line.decode(errors="replace"), origin=f"{self.path}, line {number}")


def _cut_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    block = 1 << 16
    end = size
    while end > 0:
        start = max(0, end - block)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)
