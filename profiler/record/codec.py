"""A record as a line of JSON.

Version 1: first version. 2: circumstances may hold ``power_w`` and ``floor_s``, fingerprints ``sustained`` and
``locked_sm_clock_mhz``. 3: records of energy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.record.checks import escaped
from profiler.record.circumstances import Circumstances, Conditions
from profiler.record.energy import Energy, EnergyWindow
from profiler.record.fingerprint import Fingerprint
from profiler.record.records import EnergyMeasurement, Failure, Measurement, Record
from profiler.workload import KernelSpec

RECORD_VERSION = 3

_TYPES: Mapping[str, type] = {
    "measurement": Measurement,
    "energy": EnergyMeasurement,
    "failure": Failure,
    "fingerprint": Fingerprint,
}


def encode(record: Record) -> str:
    """One line of JSON, without the newline."""
    kind = next(name for name, cls in _TYPES.items() if isinstance(record, cls))
    body = {f.name: getattr(record, f.name) for f in fields(record)}
    for name, value in body.items():
        if isinstance(value, KernelSpec):
            body[name] = value.to_dict()
        elif isinstance(value, (Conditions, Circumstances, Energy)):
            body[name] = asdict(value)
    return json.dumps({"version": RECORD_VERSION, "type": kind, **body}, separators=(",", ":"))


def decode(line: str, origin: str = "record") -> Record:
    """Inverse of `encode`; raises `InvalidFile` naming ``origin``, for values of a wrong kind too."""
    try:
        body: dict[str, Any] = json.loads(line)
        version = body.pop("version")
        if isinstance(version, bool) or version not in range(1, RECORD_VERSION + 1):
            raise ValueError(f"unknown version (this is version {RECORD_VERSION})")
        cls = _TYPES[body.pop("type")]
        if "spec" in body:
            body["spec"] = KernelSpec.from_dict(body["spec"])
        if "conditions" in body:
            body["conditions"] = Conditions(**body["conditions"])
        if "circumstances" in body:
            body["circumstances"] = _circumstances(body["circumstances"])
        if "energy" in body:
            body["energy"] = _energy(body["energy"])
        if "samples_s" in body:
            body["samples_s"] = tuple(body["samples_s"])
        record: Record = cls(**body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidWorkload) as error:
        raise InvalidFile(f"{origin}: not a record of the profiler: {escaped(str(error))}") from None
    return record


def _circumstances(body: dict[str, Any]) -> Circumstances:
    return Circumstances(**{**body, "notes": _listed(body.get("notes", []))})


def _energy(body: dict[str, Any]) -> Energy:
    windows = tuple(EnergyWindow(**window) for window in _listed(body["windows"]))
    return Energy(**{**body, "windows": windows, "notes": _listed(body.get("notes", []))})


def _listed(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError("notes or windows are no list")
    return tuple(value)
