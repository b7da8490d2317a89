"""A figure that a command draws: its file, whose name ends in its format, and the figure in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from profiler.errors import OutputError
from profiler.output_folder import require_writable, write_whole
from profiler.report.content.front import FORMATS

if TYPE_CHECKING:
    from profiler.report.content.accuracy import Accuracies
    from profiler.report.content.front import FrontFigure
    from profiler.report.content.throughput import ThroughputCurves


def require_format(path: Path) -> None:
    """Raises `OutputError` for an ending that is no format's."""
    if _format_of(path) not in FORMATS:
        raise OutputError(f"{path}: a figure ends in .svg, .png or .pdf")


def require_file(path: Path, variable: str = "OUT") -> None:
    """Ahead of the work, for a figure or a table: makes its folder. Raises `OutputError` for what cannot be written;
    make calls the path ``variable``."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    require_writable(path.parent, variable)


def draw(path: Path, content: FrontFigure | Accuracies | ThroughputCurves, title: str = "") -> None:
    """In one step; ``title`` as of `report.figures.render`."""
    from profiler.report.figures import render  # late: nobody waits for it who wants no figure

    write_whole(path, render(content, _format_of(path), title=title))


def _format_of(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")
