"""Tables as the page shows them: each cell as text for people, beside the number that it is sorted by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import isinf, isnan

from profiler.report.content.report import NamedTable
from profiler.report.content.table import Cell, Column, cell_text

_SENTENCE = 40
"""Characters; a column with a longer text may be broken into lines where a table is too wide."""
_CHOICES = "verdict"
"""Columns of that name, or whose name ends so (``int4_verdict``), have few values: rows can be chosen by them."""


@dataclass(frozen=True)
class CellView:
    """``value`` is the number in JavaScript's words, None of text and empty cells; ``empty`` ones are sorted last."""

    text: str
    value: str | None
    empty: bool


@dataclass(frozen=True)
class ColumnView:
    """``text``: aligned and sorted as text, ``sentences`` if long. ``choices``: the values that rows can be chosen by,
    with their counts."""

    title: str
    text: bool
    sentences: bool
    choices: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class TableView:
    """``name`` is that of its CSV file, without suffix."""

    name: str
    title: str
    columns: tuple[ColumnView, ...]
    rows: tuple[tuple[CellView, ...], ...]

    @property
    def heading(self) -> int:
        """The index of the column that names the rows: the first one of text."""
        return next((index for index, column in enumerate(self.columns) if column.text), 0)


def view_of(named: NamedTable) -> TableView:
    """Every cell as `cell_text` has it."""
    table = named.table
    columns = tuple(_column(column, [row[index] for row in table.rows]) for index, column in enumerate(table.columns))
    rows = tuple(
        tuple(_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)) for row in table.rows
    )
    return TableView(named.name, named.title, columns, rows)


def _column(column: Column, cells: list[Cell]) -> ColumnView:
    choices: Counter[str] = Counter()
    if column.name.split("_")[-1] == _CHOICES:
        choices.update(cell_text(cell, column.kind) for cell in cells)
    sentences = any(isinstance(cell, str) and len(cell) > _SENTENCE for cell in cells)
    return ColumnView(column.title, column.kind.is_text, sentences, tuple(choices.items()))


def _cell(cell: Cell, column: Column) -> CellView:
    empty = cell is None or cell == "" or (isinstance(cell, float) and isnan(cell))
    value = None if empty or isinstance(cell, str) else _number(cell)
    return CellView(cell_text(cell, column.kind), value, empty)


def _number(value: Cell) -> str:
    """The shortest text that JavaScript's ``Number`` reads back to the same number."""
    if isinstance(value, float) and isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)
