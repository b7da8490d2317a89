"""From the sum of a network's kernels to the latency of the whole network, by end-to-end measurements.

latency = offset + slope * sum: launches, gaps and caches that a kernel by itself does not show. One measurement gives a
slope alone; two or more of different sums an offset too, by least squares.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiler.errors import InvalidFile

COLUMNS = ("network", "batch", "fingerprint", "lut_sum_s", "latency_s")
"""Of a file of end-to-end measurements; others are allowed, and not read."""

_NO_SLOPE = 1e-9
"""A part of the latency that is rounding of the fit, not the kernels."""


@dataclass(frozen=True)
class EndToEnd:
    """One configuration of bits: the sum over its kernels in the LUT, and the measured latency, in seconds."""

    lut_sum_s: float
    latency_s: float


@dataclass(frozen=True)
class Calibration:
    """``worst`` is the largest relative error over the measurements that it was fitted to."""

    offset_s: float
    slope: float
    points: int
    worst: float

    def latency_s(self, sum_s: float) -> float:
        """Of the network whose kernels take that sum."""
        return self.offset_s + self.slope * sum_s

    def sum_s(self, latency_s: float) -> float:
        """The sum with which the network takes that latency."""
        return (latency_s - self.offset_s) / self.slope


def calibrate(points: Sequence[EndToEnd]) -> Calibration:
    """Raises `ValueError` where a network gets no slower with its kernels, which contradicts the model."""
    sums = np.array([point.lut_sum_s for point in points])
    latencies = np.array([point.latency_s for point in points])
    if len(set(sums.tolist())) > 1:
        slope, offset = map(float, np.polyfit(sums, latencies, 1))
    else:
        slope, offset = float(latencies.mean() / sums[0]), 0.0
    if not slope * sums.max() > _NO_SLOPE * latencies.max():
        raise ValueError("the end-to-end latencies do not grow with the sums of the kernels; measure again")
    worst = float(np.max(np.abs(offset + slope * sums - latencies) / latencies))
    return Calibration(offset, slope, len(points), worst)


def read_end_to_end(path: Path, network: str, batch: int, fingerprint: str) -> tuple[EndToEnd, ...]:
    """The measurements of that network on that instrument. Raises `InvalidFile` naming the line that is wrong, and for
    a file that holds none of them."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidFile(f"{path}: is not UTF-8 text; give a CSV file with {', '.join(COLUMNS)}") from None
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    found = []
    try:
        missing = [column for column in COLUMNS if column not in (lines.fieldnames or ())]
        if missing:
            raise InvalidFile(f"{path}, line 1: missing column {missing[0]}; needed are {', '.join(COLUMNS)}")
        for cells in lines:
            place = f"{path}, line {lines.line_num}"
            point = EndToEnd(*(_seconds(cells[column], f"{place}, {column}") for column in COLUMNS[3:]))
            if (cells["network"], cells["batch"], cells["fingerprint"]) == (network, str(batch), fingerprint):
                found.append(point)
    except csv.Error as error:
        raise InvalidFile(f"{path}, line {lines.line_num + 1}: is not CSV: {error}") from None
    if not found:
        raise InvalidFile(f"{path}: no measurement of {network}, batch {batch}, on instrument {fingerprint}")
    return tuple(found)


def _seconds(cell: str | None, place: str) -> float:
    try:
        value = float(cell or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InvalidFile(f"{place}: '{cell}' is not a positive number of seconds")
    return value
