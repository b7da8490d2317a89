"""Tables of a report: typed columns, so that one table becomes CSV (SI units), Markdown and HTML (for people)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from profiler.units import format_count, format_duration, format_energy
from profiler.verdict import Span

Cell = str | float | int | None
"""None is an empty cell: does not apply, or not known."""


class Kind(str, Enum):
    """What a column holds, and so how people read it."""

    TEXT = "text"
    SECONDS = "seconds"
    JOULES = "joules"
    RATIO = "ratio"
    PERCENT = "percent"
    RATE = "rate"
    """Operations per second."""
    NUMBER = "number"

    @property
    def is_text(self) -> bool:
        return self is Kind.TEXT


@dataclass(frozen=True)
class Column:
    """``name`` heads it in CSV and ends in its SI unit; ``title`` heads it for people."""

    name: str
    title: str
    kind: Kind = Kind.TEXT


@dataclass(frozen=True)
class Table:
    """Rows have a cell for each of the columns; raises `ValueError` otherwise."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} cells in a table of {len(self.columns)} columns")
            for cell, column in zip(row, self.columns, strict=True):
                if cell is not None and column.kind.is_text != isinstance(cell, str):
                    raise ValueError(f"column {column.name} is {column.kind.value} and cannot hold {cell!r}")


def span_cells(span: Span | None) -> tuple[float | None, float | None, float | None]:
    """A latency and the ends of its interval, in seconds; the ends are empty where they are not known."""
    if span is None:
        return None, None, None
    return (span.latency_s, span.low_s, span.high_s) if span.known else (span.latency_s, None, None)


def cell_text(cell: Cell, kind: Kind) -> str:
    """For people; ``-`` where there is nothing."""
    if cell is None or cell == "":
        return "-"
    if isinstance(cell, str):
        return cell
    if kind is Kind.SECONDS:
        return format_duration(cell)
    if kind is Kind.JOULES:
        return format_energy(cell)
    if kind is Kind.RATIO:
        return f"{cell:.2f}x"
    if kind is Kind.PERCENT:
        return f"{cell:.1f}%"
    if kind is Kind.RATE:
        return f"{format_count(cell)}op/s"
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}"


def to_csv(table: Table) -> str:
    """Numbers as the shortest text that reads back to the same number; an empty cell is empty. A text that a
    spreadsheet would take for a formula begins with an apostrophe: a name in a hostile file stays a name."""
    lines = [_csv_line([column.name for column in table.columns]), *map(_csv_line, table.rows)]
    return "".join(lines)


def _csv_line(row: Sequence[Cell]) -> str:
    """A writer of lines that end with CR LF quotes a CR in a text, as readers need it; the line ends with LF."""
    text = io.StringIO()
    cells = ["" if c is None else _csv_text(c) if isinstance(c, str) else repr(c) for c in row]
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _csv_text(text: str) -> str:
    """Source of the characters: OWASP, CSV injection."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def to_markdown(table: Table) -> str:
    """A pipe table; what Markdown would read as markup is escaped."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Table) -> Iterator[str]:
    yield "| " + " | ".join(markdown_text(column.title) for column in table.columns) + " |"
    yield "|" + "|".join("---" if column.kind.is_text else "---:" for column in table.columns) + "|"
    for row in table.rows:
        cells = (cell_text(cell, column.kind) for cell, column in zip(row, table.columns, strict=True))
        yield "| " + " | ".join(map(markdown_text, cells)) + " |"


def markdown_text(text: str) -> str:
    """Any text as Markdown that shows it as it is, on one line."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#|!~$&" else c for c in " ".join(text.splitlines()))
