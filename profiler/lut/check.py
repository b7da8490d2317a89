"""What is wrong with a LUT file: `python -m profiler lut check FILE`. Reading one uses the same eyes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import InvalidFile
from profiler.lut.schema import COLUMNS, LUT_SCHEMA, LutRow, RowError


@dataclass(frozen=True)
class Finding:
    """One defect of a file. ``line`` counts from 1 (the header); ``column`` is empty where the whole line is meant."""

    line: int
    column: str
    message: str
    remedy: str

    @property
    def text(self) -> str:
        """For people, in one line."""
        place = f"line {self.line}, {self.column}" if self.column else f"line {self.line}"
        return f"{place}: {self.message}; {self.remedy}"


def check(path: Path) -> list[Finding]:
    """All defects of the file, in the order of its lines; empty if it is sound.

    A file whose schema or columns are unknown yields that one finding: nothing further could be trusted. Raises
    `InvalidFile` if it cannot be read at all.
    """
    return scan(path)[1]


def scan(path: Path) -> tuple[list[LutRow], list[Finding]]:
    """The sound rows of the file, in its order, and its defects. Raises `InvalidFile` if it cannot be read at all."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InvalidFile(f"{path}: there is no such file") from None
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [Finding(line, "", "is not UTF-8 text", "restore the file, or move it away and measure again")]
    rows: list[LutRow] = []
    findings: list[Finding] = []
    lines = _lines(text, findings)
    header = next(lines, (1, []))[1]
    records = list(lines)
    defect = _header_finding(header, records)
    if defect is not None:
        return [], [defect]
    first_line: dict[tuple[int | str, ...], int] = {}
    fingerprints: set[str] = set()
    for number, values in records:
        if len(values) != len(header):
            message = f"has {len(values)} cells, not {len(header)}"
            findings.append(Finding(number, "", message, "the line is torn or was edited: restore or delete it"))
            continue
        try:
            row = LutRow.from_cells(dict(zip(header, values, strict=True)))
        except RowError as error:
            findings += [Finding(number, f.column, f.message, f.remedy) for f in error.faults]
            continue
        if row.key in first_line:
            message = f"the same kernel, conditions, source and fingerprint as line {first_line[row.key]}"
            findings.append(Finding(number, "", message, "keep one of the two lines"))
            continue
        if row.fingerprint not in fingerprints and rows:
            message = f"{row.fingerprint} ({row.device_name}) is another instrument than {rows[0].fingerprint}"
            findings.append(Finding(number, "fingerprint", message, "move its rows to a file of their own"))
        fingerprints.add(row.fingerprint)
        first_line[row.key] = number
        rows.append(row)
    return rows, sorted(findings, key=lambda f: f.line)


def _lines(text: str, findings: list[Finding]) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line. What the CSV syntax forbids ends the file, with a finding."""
    torn = "the file is torn: restore it, or delete the last line and measure again"
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 1
    try:
        for values in reader:
            yield number, values
            number = reader.line_num + 1
    except csv.Error as error:
        findings.append(Finding(number, "", f"is not CSV: {error}", torn))
        return
    if text and not text.endswith("\n"):
        findings.append(Finding(number - 1, "", "does not end: the last line break is missing", torn))


def _header_finding(header: Sequence[str], records: Sequence[tuple[int, Sequence[str]]]) -> Finding | None:
    """What is wrong with the schema, if anything; the version first, since it explains all the rest."""
    if "schema" in header:
        place = header.index("schema")
        for number, values in records:
            if len(values) == len(header) and values[place] != str(LUT_SCHEMA):
                message = f"unknown schema version '{values[place]}' (this program knows {LUT_SCHEMA})"
                return Finding(number, "schema", message, "read it with the version of the profiler that wrote it")
    remedy = "this is no LUT of the profiler, or its header was edited: restore it, or move it away and measure again"
    for columns, what in (
        ([c for c in COLUMNS if c not in header], "missing"),
        ([c for c in header if c not in COLUMNS], "unknown"),
        ([c for i, c in enumerate(header) if c in header[:i]], "repeated"),
    ):
        if columns:
            names = ", ".join(columns[:4]) + (f" and {len(columns) - 4} more" if len(columns) > 4 else "")
            return Finding(1, columns[0], f"{what} column{'s' * (len(columns) > 1)}: {names}", remedy)
    return None
