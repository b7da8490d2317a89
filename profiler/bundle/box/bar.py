"""Progress on standard error without a package: a bar that is drawn over on a terminal, lines in a while elsewhere."""

from __future__ import annotations

import os
import time
from typing import TextIO

_WIDTH = 20
_LINE_EVERY_S = 10.0


class Bar:
    """Drawn only when it is told to: nothing of ours runs while a kernel is timed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._begin = time.monotonic()
        self._last: float | None = None
        self._shown = ""

    def show(self, done: int, total: int, text: str) -> None:
        """``text`` says what is under way."""
        now = time.monotonic()
        elapsed = int(now - self._begin)
        clock = f"{elapsed // 60}:{elapsed % 60:02d}"
        if self._terminal:
            filled = _WIDTH * done // max(total, 1)
            line = f"[{'#' * filled}{'-' * (_WIDTH - filled)}] {done}/{total} {clock} {text}"
            self._draw(line[: self._columns() - 1])
        elif self._last is None or now - self._last >= _LINE_EVERY_S or done == total:
            self._last = now
            self._write(f"[{done}/{total}, {clock}] {text}\n")

    def line(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        self._write(text + "\n")

    def clear(self) -> None:
        """Leave the terminal as if there had been no bar."""
        if self._shown:
            self._write("\r" + " " * len(self._shown) + "\r")
            self._shown = ""

    def _draw(self, line: str) -> None:
        self._write("\r" + line.ljust(len(self._shown)))
        self._shown = line

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns
        except OSError:
            return 80
