"""The columns of a LUT, and its row: one price of one kernel on one instrument, with how it came about.

All quantities are SI, the unit is in the column's name. An empty cell is "does not apply" or "not known". Floats are
written as the shortest text that reads back to the same number.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from functools import cached_property
from typing import Any

from profiler.errors import InvalidWorkload
from profiler.record import CacheMode, Conditions
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

LUT_SCHEMA = 1
"""1: first version."""


class Source(str, Enum):
    """Where a latency comes from. It is part of the key: a predicted row never replaces a measured one."""

    MEASURED = "measured"
    PUBLISHED = "published"
    PREDICTED = "predicted"


_WORKLOAD_COLUMNS = tuple(f.name for f in fields(Workload))
_TYPE_COLUMNS = ("input_dtype", "input2_dtype", "weight_dtype", "output_dtype")
_SPEC_COLUMNS = (*_WORKLOAD_COLUMNS, *_TYPE_COLUMNS, "epilogue", "input_layout", "output_layout")

KEY_COLUMNS = (*_SPEC_COLUMNS, "threads", "cache_mode", "source", "fingerprint")
"""A table has one row of each key."""

VALUE_COLUMNS = (
    "latency_median_s",
    "latency_q1_s",
    "latency_q3_s",
    "latency_ci95_low_s",
    "latency_ci95_high_s",
    "samples",
    "discarded",
    "sm_clock_mhz_low",
    "sm_clock_mhz_high",
    "power_capped_fraction",
    "energy_j",
    "macs",
    "native",
    "config",
    "artifact_sha256",
)
CIRCUMSTANCE_COLUMNS = ("schema", "device", "device_name", "arch", "citation", "run_id", "tool_version", "measured_at")
COLUMNS = (*KEY_COLUMNS, *VALUE_COLUMNS, *CIRCUMSTANCE_COLUMNS)

_ENUMS: Mapping[str, type[Enum]] = {
    "op": Op,
    **dict.fromkeys(_TYPE_COLUMNS, DType),
    "epilogue": Epilogue,
    "cache_mode": CacheMode,
    "source": Source,
}
_OPTIONAL_ENUMS = ("input2_dtype", "weight_dtype")
_INTEGERS = (*_WORKLOAD_COLUMNS[1:], "threads", "samples", "discarded", "macs")
_FLOATS = ("latency_median_s", "measured_at")
_OPTIONAL_FLOATS = (
    "latency_q1_s",
    "latency_q3_s",
    "latency_ci95_low_s",
    "latency_ci95_high_s",
    "sm_clock_mhz_low",
    "sm_clock_mhz_high",
    "power_capped_fraction",
    "energy_j",
)
_SECONDS = ("latency_median_s", *_OPTIONAL_FLOATS[:4])
_TEXTS = (
    "fingerprint",
    "config",
    "artifact_sha256",
    "device",
    "device_name",
    "arch",
    "citation",
    "run_id",
    "tool_version",
)
_SHORTEST_S, _LONGEST_S = 1e-12, 1e9
"""Below a clock of whatever processor, and above what anybody waits for."""
_LARGEST = 1e12
"""Of clocks in MHz, energies in joules, and dates in seconds since 1970."""
_BOOLEANS: Mapping[str, bool] = {"true": True, "false": False, "True": True, "False": False}


@dataclass(frozen=True)
class Fault:
    """What is wrong with one cell of a row, and what to do."""

    column: str
    message: str
    remedy: str = "correct the cell, or delete the line and measure again"


class RowError(ValueError):
    """A row that contradicts itself; ``faults`` lists everything that was found."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{f.column}: {f.message}" for f in faults))
        self.faults = faults


@dataclass(frozen=True)
class LutRow:
    """One price of one kernel. Fields are named as the columns of the file.

    ``fingerprint`` is `Fingerprint.short` of the instrument. Quartiles and the 95% interval (of the median, or of the
    prediction) may be missing in rows that are not measured. ``measured_at`` is Unix time in seconds (of the
    prediction or publication where nothing was measured here). Raises `RowError` with everything that is wrong.
    """

    spec: KernelSpec
    conditions: Conditions
    source: Source
    fingerprint: str
    device: str
    device_name: str
    arch: str
    latency_median_s: float
    measured_at: float
    tool_version: str
    latency_q1_s: float | None = None
    latency_q3_s: float | None = None
    latency_ci95_low_s: float | None = None
    latency_ci95_high_s: float | None = None
    samples: int = 0
    discarded: int = 0
    sm_clock_mhz_low: float | None = None
    sm_clock_mhz_high: float | None = None
    power_capped_fraction: float | None = None
    energy_j: float | None = None
    native: bool = True
    config: str = ""
    artifact_sha256: str = ""
    citation: str = ""
    run_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", Source(self.source))
        for name in (*_FLOATS, *_OPTIONAL_FLOATS):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))
        faults = tuple(_faults(self))
        if faults:
            raise RowError(faults)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of the whole batch."""
        return self.spec.workload.macs

    @cached_property
    def key(self) -> tuple[int | str, ...]:
        """The cells of `KEY_COLUMNS`: what makes two rows the same one. Keys are ordered."""
        flat = self.spec.to_dict()
        return (
            *(flat[name] if flat[name] is not None else "" for name in _SPEC_COLUMNS),
            self.conditions.threads,
            self.conditions.cache_mode.value,
            self.source.value,
            self.fingerprint,
        )

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """The text of all `COLUMNS`; inverse of `from_cells`."""
        values = (_text(getattr(self, name)) for name in VALUE_COLUMNS)
        circumstances = (_text(getattr(self, name)) for name in CIRCUMSTANCE_COLUMNS[1:])
        return (*map(_text, self.key), *values, str(LUT_SCHEMA), *circumstances)

    @cached_property
    def digest(self) -> str:
        """sha256 of all cells, in hex."""
        return hashlib.sha256("\x1f".join(self.cells).encode()).hexdigest()

    @staticmethod
    def from_cells(cells: Mapping[str, str]) -> LutRow:
        """The row of a line (text by column; all of `COLUMNS` must be there). Raises `RowError`."""
        faults: list[Fault] = []
        parsed = {name: _parse(name, cells[name], faults) for name in COLUMNS if name != "schema"}
        if faults:
            raise RowError(tuple(faults))
        try:
            spec = KernelSpec.from_dict({name: parsed.pop(name) for name in _SPEC_COLUMNS})
            conditions = Conditions(threads=parsed.pop("threads"), cache_mode=parsed.pop("cache_mode"))
        except InvalidWorkload as error:
            raise RowError((Fault("op", f"not a kernel: {error}"),)) from None
        except ValueError as error:
            raise RowError((Fault("threads", str(error)),)) from None
        macs = parsed.pop("macs")
        if macs != spec.workload.macs:
            faults.append(Fault("macs", f"{macs}, but the workload has {spec.workload.macs}", "correct the number"))
        try:
            row = LutRow(spec=spec, conditions=conditions, **parsed)
        except RowError as error:
            raise RowError((*faults, *error.faults)) from None
        if faults:
            raise RowError(tuple(faults))
        return row


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _parse(column: str, text: str, faults: list[Fault]) -> Any:
    """The value of a cell; what cannot be read is added to ``faults``."""
    if column in _ENUMS:
        if not text and column in _OPTIONAL_ENUMS:
            return None
        known = [member.value for member in _ENUMS[column]]
        if text not in known:
            faults.append(Fault(column, f"unknown value '{text}'; known are {', '.join(known)}"))
            return None
        return _ENUMS[column](text)
    if column in _INTEGERS:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            faults.append(Fault(column, f"'{text}' is not an integer"))
            return None
        return int(text)
    if column in _FLOATS or column in _OPTIONAL_FLOATS:
        if not text and column in _OPTIONAL_FLOATS:
            return None
        try:
            return float(text)
        except ValueError:
            faults.append(Fault(column, f"'{text}' is not a number"))
            return None
    if column == "native":
        if text not in _BOOLEANS:
            faults.append(Fault(column, f"'{text}' is neither true nor false"))
            return None
        return _BOOLEANS[text]
    return text


def _faults(row: LutRow) -> Iterator[Fault]:
    """Everything in which a row contradicts itself or its source."""
    yield from _number_faults(row)
    for column in _TEXTS:
        if not getattr(row, column).isprintable():
            yield Fault(column, "holds a line break or another character that cannot be printed", "remove it")
    if not re.fullmatch(r"[0-9a-f]{8}", row.fingerprint):
        yield Fault("fingerprint", f"'{row.fingerprint}' is not eight hex digits")
    if not row.device:
        yield Fault("device", "is empty")
    if row.artifact_sha256 and not re.fullmatch(r"[0-9a-f]{64}", row.artifact_sha256):
        yield Fault("artifact_sha256", f"'{row.artifact_sha256}' is not a sha256 in hex")
    if row.source is Source.MEASURED:
        if row.samples < 1:
            yield Fault("samples", "measured, but there is no sample")
        for column in ("latency_q1_s", "latency_ci95_low_s", "artifact_sha256", "run_id"):
            if getattr(row, column) in (None, ""):
                yield Fault(column, "is empty in a measured row")
    elif row.source is Source.PUBLISHED and not row.citation:
        yield Fault("citation", "published, but nobody is cited", "say who measured it and where it is published")
    elif row.source is Source.PREDICTED and row.samples:
        yield Fault("samples", f"predicted, but there are {row.samples} samples")


def _number_faults(row: LutRow) -> Iterator[Fault]:
    for column in _SECONDS:
        value = getattr(row, column)
        if value is not None and not (math.isfinite(value) and value > 0):
            yield Fault(column, f"{value} is not a positive finite number of seconds")
        elif value is not None and not _SHORTEST_S <= value <= _LONGEST_S:
            yield Fault(column, f"{value} s is no time that a kernel takes ({_SHORTEST_S:g} to {_LONGEST_S:g})")
    for what, low, high in (
        ("quartiles", "latency_q1_s", "latency_q3_s"),
        ("95% interval", "latency_ci95_low_s", "latency_ci95_high_s"),
    ):
        low_s, high_s = getattr(row, low), getattr(row, high)
        if (low_s is None) != (high_s is None):
            yield Fault(low if low_s is None else high, f"is empty, but the other end of the {what} is not")
        elif low_s is not None and not low_s <= row.latency_median_s <= high_s:
            yield Fault(low, f"the {what} {low_s} to {high_s} do not contain the median {row.latency_median_s}")
    for column in ("samples", "discarded"):
        if getattr(row, column) < 0:
            yield Fault(column, f"{getattr(row, column)} is negative")
    for column in ("sm_clock_mhz_low", "sm_clock_mhz_high", "energy_j", "measured_at"):
        value = getattr(row, column)
        if value is not None and not (math.isfinite(value) and value >= 0):
            yield Fault(column, f"{value} is not a finite number of at least 0")
        elif value is not None and value > _LARGEST:
            yield Fault(column, f"{value} is larger than any such number ({_LARGEST:g})")
    clocks = (row.sm_clock_mhz_low, row.sm_clock_mhz_high)
    if clocks[0] is not None and clocks[1] is not None and clocks[0] > clocks[1]:
        yield Fault("sm_clock_mhz_low", f"{clocks[0]} is above sm_clock_mhz_high, {clocks[1]}")
    if row.power_capped_fraction is not None and not 0 <= row.power_capped_fraction <= 1:
        yield Fault("power_capped_fraction", f"{row.power_capped_fraction} is not between 0 and 1")
