"""The lines of an AutoTVM log: JSON, one record a line, plain or gzip.

``{"input": [target, task, args, kwargs], "config": {"index", "code_hash", "entity": [[name, kind, value], ...]},
"result": [costs, error_no, all_cost, timestamp], "version": 0.2, "tvm_version": "0.7.0"}``, as of
python/tvm/autotvm/record.py of TVM 0.7. Costs are seconds, ``timestamp`` is Unix time.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler.errors import InvalidFile

ERRORS = (
    "no error",
    "the config does not fit the template",
    "host code did not compile",
    "device code did not compile",
    "runtime error on the device",
    "wrong output",
    "timeout while building",
    "timeout while running",
    "unknown error",
)
"""What an ``error_no`` means, by its number."""


class NotUsable(Exception):
    """A sound record that gives no row; the text is the reason, the same for all records of that reason."""


@dataclass(frozen=True)
class LogRecord:
    """One candidate that was built and timed. ``args`` are as in the file: numbers, texts, lists."""

    target: str
    task: str
    args: tuple[Any, ...]
    config: str
    costs_s: tuple[float, ...]
    timestamp: float
    tvm_version: str


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is neither empty nor a comment. Raises `InvalidFile`."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.decode(errors="replace").strip("\n\r")
                if text.strip() and not text.startswith("#"):
                    yield number, text
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InvalidFile(f"{path}: is not a whole gzip file; fetch it again") from None
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from None


def parse(line: str, origin: str) -> LogRecord:
    """The record of a line.

    Raises `NotUsable` for a record of a failure or of an older format, `InvalidFile` naming ``origin`` for a line that
    is not a record.
    """
    if line.count("\t") in (3, 5) and not line.startswith("{"):
        raise NotUsable("pickled record (reading one could run any code)")
    try:
        body = json.loads(line)
        if "i" in body and "r" in body:
            raise NotUsable("record of format 0.1 (TVM 0.6 and before)")
        target, task, args, _ = body["input"]
        costs, error_no, _, timestamp = body["result"]
        config = ",".join(f"{name}={_value(value)}" for name, _, value in body["config"]["entity"])
        record = LogRecord(
            target=_text(target),
            task=_text(task),
            args=tuple(args),
            config=config,
            costs_s=tuple(map(_seconds, costs)),
            timestamp=_number(timestamp),
            tvm_version=_text(body.get("tvm_version", "of unknown version")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InvalidFile(f"{origin}: not a record of AutoTVM; delete the line, or fetch the log again") from None
    if isinstance(error_no, bool) or error_no != 0:
        known = type(error_no) is int and 0 < error_no < len(ERRORS)
        raise NotUsable(f"failed: {ERRORS[error_no] if known else f'error {error_no}'}")
    return record


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"{value!r} is not a text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _seconds(cost: object) -> float:
    """NaN for what is no time though it be a value."""
    return math.nan if isinstance(cost, bool) else _number(cost)


def _value(value: object) -> str:
    """The value of a knob; the parts of a split, a reordering or an annotation are joined by dots."""
    return ".".join(map(str, value)) if isinstance(value, list) else str(value)
