"""``tuning_logs/<device>/end_to_end.csv``: what networks took from end to end on a box, as `allocate --end-to-end`
reads it and `run --sweep` writes it.

A row is one of each network, batch, instrument, configuration and choice of kernels; of two the later one stays
(`lut.age`). It is no LUT, so it does not lie in lut/.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from profiler.allocation.calibration import COLUMNS
from profiler.bundle.box.end_to_end import EndToEnd
from profiler.bundle.box.results import Header
from profiler.errors import InvalidFile
from profiler.lut.age import age_rank

NAME = "end_to_end.csv"
_ALL = (*COLUMNS, "configuration", "narrow_layers", "rounds", "kernels", "measured_at")
_KEY = ("network", "batch", "fingerprint", "configuration", "kernels")
_KERNEL_DIGITS = 8

Row = Mapping[str, str]


def rows_of(header: Header, networks: Iterable[EndToEnd]) -> tuple[Row, ...]:
    """Of those that have a latency and a sum of their kernels, and never failed but for the device's sake."""
    return tuple(
        {
            "network": header.network,
            "batch": str(header.batch),
            "fingerprint": header.fingerprint.short,
            "lut_sum_s": repr(one.lut_sum_s),
            "latency_s": repr(one.summary.median_s),
            "configuration": one.configuration,
            "narrow_layers": str(one.narrow_layers),
            "rounds": str(one.rounds),
            "kernels": one.kernels[:_KERNEL_DIGITS],
            "measured_at": repr(one.measured_at),
        }
        for one in networks
        if one.summary is not None and one.lut_sum_s is not None and (one.fault is None or one.fault.of_the_device)
    )


def merged(path: Path, new: Sequence[Row]) -> bytes | None:
    """The file's content with these rows in it, ordered by key; None where there are none. Raises `InvalidFile` for a
    file that is there and is another one."""
    if not new:
        return None
    now = time.time()
    rows: dict[tuple[str, ...], Row] = {}
    for row in (*(_read(path) if path.exists() else ()), *new):
        key = tuple(row[column] for column in _KEY)
        if key not in rows or age_rank(_age(rows[key]), now) <= age_rank(_age(row), now):
            rows[key] = row
    text = io.StringIO()
    writer = csv.DictWriter(text, _ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[key] for key in sorted(rows))
    return text.getvalue().encode()


def _age(row: Row) -> float:
    return float(row["measured_at"])


def _read(path: Path) -> tuple[Row, ...]:
    try:
        lines = csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True)
        rows = tuple(lines)
        if tuple(lines.fieldnames or ()) != _ALL:
            raise ValueError("line 1: its columns are others")
        for number, row in enumerate(rows, start=2):
            if None in row or None in row.values():
                raise ValueError(f"line {number}: it has too few or too many cells")
            _age(row)
        return rows
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}; move it away or repair it") from None
    except (ValueError, csv.Error) as error:
        raise InvalidFile(f"{path}: not a file of end-to-end latencies of `ingest`: {error}; move it away") from None
