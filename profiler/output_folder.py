"""The folder of a run's output, tried before minutes are spent on what shall lie in it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from profiler.errors import OutputError

_ROOM_BYTES = 1 << 20  # less than what a run writes


def require_writable(folder: Path) -> None:
    """Make the folder. Raises `OutputError` if it cannot be made or takes no files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM_BYTES))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            f"{folder}: cannot be written: {reason}; choose another place with --out (make: OUT=)"
        ) from None
