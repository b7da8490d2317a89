"""The files of a Pareto front: CSV, and a figure."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from profiler.allocation_stages.result import Allocation, FrontResult
from profiler.cli.figure_file import draw, require_file, require_format
from profiler.errors import OutputError
from profiler.output_folder import write_whole
from profiler.report_stages.front_content import front_figure

_COLUMNS = ("sensitivity", "latency_s", "size_bytes", "bops", "activation_bytes", "energy_j")
_PARTS = ("measured_s", "published_s", "predicted_s", "bound_s")
"""Of the latency; `LatencyParts` says what they are."""


def require(table: Path | None, plot: Path | None, bits: Path | None = None) -> None:
    """Ahead of the work; ``bits`` is what else will be written. Raises `OutputError` for what cannot be written, and a
    file that something else would lose."""
    if plot is not None:
        require_format(plot)
    named = [path.resolve() for path in (table, plot, bits) if path is not None]
    twice = [path for path in named if named.count(path) > 1]
    if twice:
        raise OutputError(f"{twice[0]}: is to be written twice; name another file for one of --out, --front, --plot")
    for path in (table, plot):
        if path is not None:
            require_file(path)
    if table is not None and table.exists():
        with table.open("rb") as file:
            if not file.read(64).startswith(",".join(_COLUMNS[:3]).encode()):
                raise OutputError(f"{table}: is there and is not a front, which would replace it; name another file")


def write(allocation: Allocation, table: Path | None, plot: Path | None) -> None:
    """What was asked for, each in one step."""
    front = allocation.front
    if front is None:
        return
    if table is not None:
        write_whole(table, to_csv(front, [layer.name for layer in allocation.bits.layers]).encode())
    if plot is not None:
        draw(plot, front_figure(allocation, front))


def to_csv(front: FrontResult, layers: list[str]) -> str:
    """A line per point, from the least to the most sensitive one; a column per layer."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_COLUMNS, *(f"latency_{name}" for name in _PARTS), *layers))
    for point in front.points:
        values = ("" if (value := getattr(point, name)) is None else repr(value) for name in _COLUMNS)
        parts = (repr(getattr(point.latency, name)) for name in _PARTS)
        writer.writerow((*values, *parts, *point.precisions))
    return text.getvalue()
