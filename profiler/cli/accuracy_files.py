"""The files of an evaluation of accuracy: CSV, and a figure with the same as CSV beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from profiler.cli.figure_file import draw, require_file, require_format
from profiler.errors import OutputError
from profiler.output_folder import removed_if_empty, write_whole
from profiler.report.content.accuracy import Accuracies, table_of
from profiler.report.content.table import to_csv

_BEGINS = b"configuration,bits,weight_bytes,"


@contextmanager
def required(csv: Path | None, plot: Path | None) -> Iterator[tuple[Path, ...]]:
    """`require` around the work: an error in here leaves no empty folder that was not there before."""
    with ExitStack() as stack:
        for path in (csv, plot):
            if path is not None:
                stack.enter_context(removed_if_empty(path.parent))
        yield require(csv, plot)


def require(csv: Path | None, plot: Path | None) -> tuple[Path, ...]:
    """The tables that will be written, ahead of the work. Raises `OutputError` for what cannot be written, and for a
    file that something else would lose."""
    tables = [] if csv is None else [csv]
    if plot is not None:
        require_format(plot)
        if csv is not None and csv.resolve() == plot.resolve():
            raise OutputError(f"{plot}: is to be the table and the figure; leave --csv out, or name another file")
        tables.append(plot.with_suffix(".csv"))
    tables = list(dict.fromkeys(tables))
    for path in (*tables, *([plot] if plot is not None else [])):
        require_file(path)
    for path in tables:
        if path.exists():
            with path.open("rb") as file:
                if file.read(len(_BEGINS)) != _BEGINS:
                    raise OutputError(f"{path}: is there and is no table of accuracies; name another file")
    return tuple(tables)


def write(accuracies: Accuracies, tables: tuple[Path, ...], plot: Path | None) -> None:
    """Each in one step; ``tables`` as of `require`."""
    for path in tables:
        write_whole(path, to_csv(table_of(accuracies)).encode())
    if plot is not None:
        draw(plot, accuracies)
