"""Sensitivities as files: CSV, and JSON of a versioned schema.

CSV. A header and a line per layer: ``layer``, a column per precision with its cost, and any of the columns
``perturbation_<precision>``, ``trace``, ``trace_stderr``, ``probes``, ``parameters`` (see `LayerSensitivity`; a cell of
these may be empty, a cost may not). Other columns are refused. Lines ahead of the header that begin with ``#`` are
remarks, of which three kinds are read: ``# sensitivity: 1`` (the version; an unknown one is refused),
``# method: TEXT`` and ``# citation: TEXT``. A file without them is of version 1 and of a method that is not stated.

JSON, version 1::

    {"sensitivity": 1, "method": TEXT, "citation": TEXT,
     "layers": [{"layer": NAME, "cost": {"int8": 0.1, "int4": 3.0}, "perturbation": {...}, "trace": 0.02,
                 "trace_stderr": 0.001, "probes": 40, "parameters": 36864}]}

of which ``sensitivity`` and ``layers``, with ``layer`` and ``cost``, must be there.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.errors import InvalidFile, ProfilerError
from profiler.output_folder import write_whole
from profiler.sensitivity.table import LayerSensitivity, Sensitivity
from profiler.workload import PRECISIONS

SENSITIVITY_VERSION = 1
NOT_STATED = "method not stated"

_FIRST = "layer"
_MOST_QUOTED = 60
_PERTURBATION = "perturbation_"
_REALS = ("trace", "trace_stderr")
_COUNTS = ("probes", "parameters")
_REMARK = re.compile(r"#\s*(sensitivity|method|citation)\s*:(.*)", re.DOTALL)
_REAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


def read_sensitivity(path: Path) -> Sensitivity:
    """The table in the file: JSON where its name ends in .json, CSV where it ends in .csv; otherwise JSON if the text
    begins with a brace. Raises `InvalidFile` of one line with the file, and the line, column or field that is wrong.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from None
    except ValueError:
        raise InvalidFile(f"{path}: is not UTF-8 text; give a sensitivity file, CSV or JSON") from None
    return parse_sensitivity(text, str(path), path.suffix)


def parse_sensitivity(text: str, place: str, suffix: str = "") -> Sensitivity:
    """As `read_sensitivity`, of a text; ``place`` is what errors call it."""
    if not text.strip():
        raise InvalidFile(f"{place}: is empty; give a sensitivity file, CSV or JSON")
    suffix = suffix.lower()
    if suffix == ".json" or (suffix != ".csv" and text.lstrip().startswith("{")):
        return _from_json(text, place)
    return _from_csv(text, place)


def write_sensitivity(sensitivity: Sensitivity, path: Path) -> None:
    """Replace the file in one step: JSON where its name ends in .json, CSV otherwise. The same table gives the same
    bytes. Raises `OutputError` if it cannot be written.
    """
    text = to_json(sensitivity) if path.suffix.lower() == ".json" else to_csv(sensitivity)
    write_whole(path, text.encode())


def to_csv(sensitivity: Sensitivity) -> str:
    """The CSV file's content; numbers are the shortest that read back the same."""
    precisions, layers = sensitivity.precisions, sensitivity.layers
    cells: dict[str, list[Any]] = {_FIRST: [layer.name for layer in layers]}
    cells |= {p: [layer.cost[p] for layer in layers] for p in precisions}
    cells |= {f"{_PERTURBATION}{p}": [layer.perturbation.get(p) for layer in layers] for p in precisions}
    cells |= {column: [getattr(layer, column) for layer in layers] for column in (*_REALS, *_COUNTS)}
    columns = [column for column, values in cells.items() if any(value is not None for value in values)]
    out = io.StringIO()
    out.write(f"# sensitivity: {SENSITIVITY_VERSION}\n# method: {sensitivity.method}\n")
    if sensitivity.citation:
        out.write(f"# citation: {sensitivity.citation}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(_cell, cells[column]) for column in columns), strict=True))
    return out.getvalue()


def to_json(sensitivity: Sensitivity) -> str:
    """The JSON file's content."""
    body = {
        "sensitivity": SENSITIVITY_VERSION,
        "method": sensitivity.method,
        "citation": sensitivity.citation,
        "layers": [_layer_body(layer) for layer in sensitivity.layers],
    }
    return json.dumps(body, indent=1) + "\n"


def _layer_body(layer: LayerSensitivity) -> dict[str, Any]:
    body: dict[str, Any] = {"layer": layer.name, "cost": dict(layer.cost), "perturbation": dict(layer.perturbation)}
    body |= {name: getattr(layer, name) for name in (*_REALS, *_COUNTS)}
    return {name: value for name, value in body.items() if value is not None and value != {}}


def _cell(value: str | float | None) -> str:
    return "" if value is None else value if isinstance(value, str) else repr(value)


def _from_csv(text: str, place: str) -> Sensitivity:
    remarks, skipped, rest = _remarks(text, place)
    lines = csv.reader(io.StringIO(rest, newline=""), strict=True)
    columns: list[str] = []
    layers: dict[str, LayerSensitivity] = {}
    try:
        for cells in lines:
            here = f"{place}, line {skipped + lines.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _columns(cells, here)
                continue
            layer = _csv_layer(columns, cells, here)
            if layer.name in layers:
                raise InvalidFile(f"{here}, {_FIRST}: '{layer.name}' is listed twice")
            layers[layer.name] = layer
    except csv.Error as error:
        raise InvalidFile(f"{place}, line {skipped + lines.line_num}: is not CSV: {error}") from None
    if not layers:
        raise InvalidFile(f"{place}: lists no layer")
    return _sensitivity(remarks, layers.values(), place)


def _remarks(text: str, place: str) -> tuple[dict[str, str], int, str]:
    """What the lines ahead of the header say, their number, and the rest of the text."""
    remarks: dict[str, str] = {}
    lines = io.StringIO(text, newline="").readlines()
    count = 0
    for line in lines:
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            break
        count += 1
        match = _REMARK.fullmatch(stripped)
        if match is None:
            continue
        name, value = match[1], match[2].strip()
        if name in remarks:
            raise InvalidFile(f"{place}, line {count}: '# {name}:' is there twice")
        if name == "sensitivity" and value != str(SENSITIVITY_VERSION):
            raise InvalidFile(
                f"{place}, line {count}: version {_quoted(value)} of a sensitivity file; known is {SENSITIVITY_VERSION}"
            )
        remarks[name] = value
    return remarks, count, "".join(lines[count:])


def _columns(cells: Sequence[str], place: str) -> list[str]:
    """The header's names, precisions in lower case; each is known and there once."""
    columns = [cell.strip() for cell in cells]
    columns = [name.lower() if name.lower() in PRECISIONS else name for name in columns]
    optional = (*(f"{_PERTURBATION}{p}" for p in PRECISIONS), *_REALS, *_COUNTS)
    if _FIRST not in columns:
        raise InvalidFile(f"{place}: missing column: {_FIRST}; a sensitivity file has {_FIRST},{','.join(PRECISIONS)}")
    for name in columns:
        if name != _FIRST and name not in PRECISIONS and name not in optional:
            raise InvalidFile(
                f"{place}: unknown column {_quoted(name)}; precisions are {', '.join(PRECISIONS)}, further columns "
                f"{', '.join(optional)}"
            )
        if columns.count(name) > 1:
            raise InvalidFile(f"{place}: column {name!r} is there twice")
    if not any(name in PRECISIONS for name in columns):
        raise InvalidFile(f"{place}: missing column: the cost of a precision, one or more of {', '.join(PRECISIONS)}")
    return columns


def _csv_layer(columns: Sequence[str], cells: Sequence[str], place: str) -> LayerSensitivity:
    if len(cells) != len(columns):
        raise InvalidFile(f"{place}: has {len(cells)} cells, the header {len(columns)}")
    row = dict(zip(columns, cells, strict=True))
    values: dict[str, Any] = {"cost": {}, "perturbation": {}}
    for column, cell in row.items():
        if column == _FIRST:
            values["name"] = cell
        elif column in PRECISIONS:
            values["cost"][column] = _real(cell, f"{place}, {column}")
        elif cell.strip():
            if column in _COUNTS:
                values[column] = _count(cell, f"{place}, {column}")
            elif column in _REALS:
                values[column] = _real(cell, f"{place}, {column}")
            else:
                values["perturbation"][column.removeprefix(_PERTURBATION)] = _real(cell, f"{place}, {column}")
    return _layer(values, place)


def _real(cell: str, place: str) -> float:
    text = cell.strip()
    if not text:
        raise InvalidFile(f"{place}: is empty; give a number")
    if _REAL.fullmatch(text) is None:
        raise InvalidFile(f"{place}: {_quoted(cell)} is not a number")
    return float(text)


def _count(cell: str, place: str) -> int:
    text = cell.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidFile(f"{place}: {_quoted(cell)} is not a natural number")
    return int(text)


def _quoted(text: str) -> str:
    """On one line, whatever it is: an unclosed quotation mark makes one cell of many lines."""
    return repr(text) if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]!r}..."


class _DefectInJson(ValueError):
    """Raised by our hooks inside of the parser."""


def _from_json(text: str, place: str) -> Sensitivity:
    try:
        body = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=float)
    except json.JSONDecodeError as error:
        raise InvalidFile(f"{place}, line {error.lineno}, column {error.colno}: is not JSON: {error.msg}") from None
    except RecursionError:
        raise InvalidFile(f"{place}: is nested too deeply") from None
    except ValueError as error:  # ours, and integers of more digits than Python reads
        reason = str(error) if isinstance(error, _DefectInJson) else "a number of too many digits"
        raise InvalidFile(f"{place}: {reason}") from None
    version = body.get("sensitivity") if isinstance(body, dict) else None
    if version is None or isinstance(version, bool):
        raise InvalidFile(f'{place}: is no sensitivity file: it says no version; {{"sensitivity": 1, ...}} is expected')
    if version != SENSITIVITY_VERSION:
        raise InvalidFile(f"{place}: version {version!a} of a sensitivity file; known is {SENSITIVITY_VERSION}")
    _only(body, ("sensitivity", "method", "citation", "layers"), place)
    if not isinstance(body.get("layers"), list) or not body["layers"]:
        raise InvalidFile(f"{place}, layers: must be a list with a member per layer")
    layers: dict[str, LayerSensitivity] = {}
    for number, entry in enumerate(body["layers"]):
        here = f"{place}, layers[{number}]"
        layer = _json_layer(entry, here)
        if layer.name in layers:
            raise InvalidFile(f"{here}: layer '{layer.name}' is listed twice")
        layers[layer.name] = layer
    return _sensitivity(body, layers.values(), place)


def _json_layer(entry: object, place: str) -> LayerSensitivity:
    if not isinstance(entry, dict):
        raise InvalidFile(f"{place}: must be an object with layer and cost")
    _only(entry, ("layer", "cost", "perturbation", *_REALS, *_COUNTS), place)
    for name in ("layer", "cost"):
        if name not in entry:
            raise InvalidFile(f"{place}: {name} is missing")
    values: dict[str, Any] = {("name" if name == "layer" else name): value for name, value in entry.items()}
    for name in ("cost", "perturbation"):
        numbers = values.get(name, {})
        if not isinstance(numbers, dict):
            raise InvalidFile(f"{place}.{name}: must be an object with a number per precision")
        for precision in numbers:
            if precision not in PRECISIONS:
                known = ", ".join(PRECISIONS)
                raise InvalidFile(f"{place}.{name}: unknown precision {precision!a}; known are: {known}")
    return _layer(values, place)


def _only(body: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for name in body:
        if name not in known:
            raise InvalidFile(f"{place}: unknown field {name!a}; known are: {', '.join(known)}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DefectInJson(f"the field {twice!a} is there twice in one object")
    return body


def _layer(values: Mapping[str, Any], place: str) -> LayerSensitivity:
    try:
        return LayerSensitivity(**values)
    except ProfilerError as error:
        raise InvalidFile(f"{place}: {error}") from None


def _sensitivity(remarks: Mapping[str, Any], layers: Iterable[LayerSensitivity], place: str) -> Sensitivity:
    try:
        return Sensitivity(remarks.get("method") or NOT_STATED, tuple(layers), remarks.get("citation") or "")
    except ProfilerError as error:
        raise InvalidFile(f"{place}: {error}") from None
