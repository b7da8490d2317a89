"""Kernels listed in a CSV file by the columns of the LUT's schema that describe one; a LUT file is such a list."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.lut.schema import KEY_COLUMNS
from profiler.workload import KernelSpec, distinct

KERNEL_COLUMNS = KEY_COLUMNS[: KEY_COLUMNS.index("threads")]
"""Other columns are allowed, and not read."""
_MAY_BE_EMPTY = ("input2_dtype", "weight_dtype")
_TEXTS = ("op", "input_dtype", *_MAY_BE_EMPTY, "output_dtype", "epilogue", "input_layout", "output_layout")


def read_kernels(path: Path) -> tuple[KernelSpec, ...]:
    """The kernels of the file, each once. Raises `InvalidFile` naming the file, and the line that is wrong."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidFile(f"{path}: is not UTF-8 text; give a CSV file of kernels, or a LUT") from None
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = [column for column in KERNEL_COLUMNS if column not in (lines.fieldnames or ())]
        if missing:
            names = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            raise InvalidFile(
                f"{path}, line 1: missing column{'s' * (len(missing) > 1)}: {names}; a kernel is described by "
                f"{', '.join(KERNEL_COLUMNS)}"
            )
        kernels = distinct([_kernel(cells, f"{path}, line {lines.line_num}") for cells in lines])
    except csv.Error as error:
        raise InvalidFile(f"{path}, line {lines.line_num + 1}: is not CSV: {error}") from None
    if not kernels:
        raise InvalidFile(f"{path}: lists no kernel")
    return kernels


def _kernel(cells: Mapping[str | None, str | None], place: str) -> KernelSpec:
    values: dict[str, str | int | None] = {}
    if None in cells:  # DictReader's name for what has no column
        raise InvalidFile(f"{place}: has more cells than the header")
    for column in KERNEL_COLUMNS:
        cell = cells[column]
        if cell is None:
            raise InvalidFile(f"{place}: has fewer cells than the header")
        if column in _TEXTS:
            values[column] = None if not cell and column in _MAY_BE_EMPTY else cell
        elif cell.isascii() and cell.isdigit() and len(cell) < 18:
            values[column] = int(cell)
        else:
            raise InvalidFile(f"{place}, {column}: '{cell}' is not a natural number")
    try:
        return KernelSpec.from_dict(values)
    except InvalidWorkload as error:
        raise InvalidFile(f"{place}: {error}") from None
