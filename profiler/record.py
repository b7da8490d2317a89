"""Records: what was measured, on which instrument, under which circumstances, or why it could not be.

One format, three uses: a live run writes it, a bundle brings it back, `devices/replay.py` reads it. A journal is a
JSONL file, one record a line, appended under a lock; a torn last line (a killed run) is recognised and dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Union

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.statistics import Summary, summarize
from profiler.workload import KernelSpec

RECORD_VERSION = 2
"""1: first version. 2: circumstances may hold ``power_w`` and ``floor_s``, fingerprints ``sustained`` and
``locked_sm_clock_mhz``."""
STAGES = ("screen", "final")


class CacheMode(str, Enum):
    """State of the caches ahead of each timed launch.

    ``network``: weights evicted, the input as the previous layer left it; ``cold``: everything evicted; ``hot``:
    everything as the last launch left it.
    """

    NETWORK = "network"
    COLD = "cold"
    HOT = "hot"


class FailureKind(str, Enum):
    """Why a candidate has no latency."""

    COMPILE = "compile"
    LAUNCH = "launch"
    CRASH = "crash"
    TIMEOUT = "timeout"
    WRONG_OUTPUT = "wrong_output"
    UNSTABLE = "unstable"


@dataclass(frozen=True)
class Fingerprint:
    """What makes two measurements the same instrument. What changes by the minute is in `Circumstances` instead.

    Fields that a kind of device does not have are empty strings or None. ``sustained``: launched without rests, under
    the card's power cap.
    """

    device: str
    device_name: str
    arch: str
    uuid: str
    driver: str
    compiler: str
    power_limit_w: float | None = None
    ecc: bool | None = None
    clocks_locked: bool | None = None
    sustained: bool = False
    locked_sm_clock_mhz: int | None = None

    def __post_init__(self) -> None:
        if self.power_limit_w is not None:
            object.__setattr__(self, "power_limit_w", float(self.power_limit_w))  # 70 and 70.0 are one instrument

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, in hex; without what version 1 did not know where it says nothing."""
        body = asdict(self)
        for name in ("sustained", "locked_sm_clock_mhz"):
            if not body[name]:
                del body[name]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    @property
    def short(self) -> str:
        """The eight hex digits that stand in file names and in the LUT."""
        return self.digest[:8]


@dataclass(frozen=True)
class Conditions:
    """What the user chose about the measurement; part of a LUT row's key."""

    threads: int = 1
    cache_mode: CacheMode = CacheMode.NETWORK

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache_mode", CacheMode(self.cache_mode))
        if self.threads < 1:
            raise ValueError("threads must be at least 1")


@dataclass(frozen=True)
class Circumstances:
    """What changes by the minute. None is "could not be read"; ``notes`` say why, or what should raise doubt.

    ``power_w`` is the card's draw, ``floor_s`` what an empty kernel takes in the same timed window.
    """

    sm_clock_mhz_low: float | None = None
    sm_clock_mhz_high: float | None = None
    temperature_c: float | None = None
    load_average: float | None = None
    power_capped_fraction: float | None = None
    power_w: float | None = None
    floor_s: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """Raw samples of one artifact, its output having been compared bit for bit.

    ``samples_s`` are seconds per launch, each the mean over ``launches_per_sample`` launches. ``stage`` is ``screen``
    for a candidate of the search and ``final`` for what enters the LUT. ``measured_at`` is Unix time in seconds.
    """

    spec: KernelSpec
    config: str
    conditions: Conditions
    fingerprint: str
    artifact_sha256: str
    samples_s: tuple[float, ...]
    launches_per_sample: int
    discarded: int
    stage: str
    run_id: str
    measured_at: float
    tool_version: str
    native: bool = True
    circumstances: Circumstances = field(default_factory=Circumstances)

    def __post_init__(self) -> None:
        _check_origin(self)
        if self.stage not in STAGES:
            raise ValueError(f"stage '{self.stage}' is none of {', '.join(STAGES)}")
        if not re.fullmatch(r"[0-9a-f]{64}", str(self.artifact_sha256)):
            raise ValueError("artifact_sha256 is not a digest")

    @property
    def summary(self) -> Summary:
        return summarize(self.samples_s)


@dataclass(frozen=True)
class Failure:
    """A candidate without a latency, and why. ``message`` is for people, ``kind`` for programs."""

    spec: KernelSpec
    config: str
    conditions: Conditions
    fingerprint: str
    kind: FailureKind
    message: str
    run_id: str
    measured_at: float
    tool_version: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FailureKind(self.kind))
        _check_origin(self)


def _check_origin(record: Measurement | Failure) -> None:
    for name in ("config", "fingerprint", "run_id", "tool_version"):
        if not isinstance(getattr(record, name), str):
            raise ValueError(f"{name} is not a text")
    if isinstance(record.measured_at, bool) or not isinstance(record.measured_at, (int, float)):
        raise ValueError("measured_at is not a number")


Record = Union[Measurement, Failure, Fingerprint]
"""What a line of a journal holds. A journal starts with the `Fingerprint` that its records refer to by digest."""

_TYPES: Mapping[str, type] = {"measurement": Measurement, "failure": Failure, "fingerprint": Fingerprint}


def encode(record: Record) -> str:
    """One line of JSON, without the newline."""
    kind = next(name for name, cls in _TYPES.items() if isinstance(record, cls))
    body = {f.name: getattr(record, f.name) for f in fields(record)}
    for name, value in body.items():
        if isinstance(value, KernelSpec):
            body[name] = value.to_dict()
        elif isinstance(value, (Conditions, Circumstances)):
            body[name] = asdict(value)
    return json.dumps({"version": RECORD_VERSION, "type": kind, **body}, separators=(",", ":"))


def decode(line: str, origin: str = "record") -> Record:
    """Inverse of `encode`; raises `InvalidFile` naming ``origin``."""
    try:
        body = json.loads(line)
        version = body.pop("version")
        if isinstance(version, bool) or version not in range(1, RECORD_VERSION + 1):
            raise ValueError(f"unknown version (this is version {RECORD_VERSION})")
        cls = _TYPES[body.pop("type")]
        if "spec" in body:
            body["spec"] = KernelSpec.from_dict(body["spec"])
        if "conditions" in body:
            body["conditions"] = Conditions(**body["conditions"])
        if "circumstances" in body:
            notes = tuple(body["circumstances"].pop("notes", ()))
            body["circumstances"] = Circumstances(**body["circumstances"], notes=notes)
        if "samples_s" in body:
            body["samples_s"] = tuple(body["samples_s"])
            summarize(body["samples_s"])
        record: Record = cls(**body)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidWorkload) as error:
        raise InvalidFile(f"{origin}: not a record of the profiler: {error}") from None
    return record


class Journal:
    """An append-only JSONL file of records, safe to share between processes and to be killed at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, records: Iterable[Record]) -> None:
        """Write the records and wait until they are on disk. A torn last line left by a killed run is cut off first."""
        text = "".join(encode(record) + "\n" for record in records).encode()
        if not text:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _cut_torn_line(file.fileno())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Iterator[Record]:
        """All whole records; nothing if the file does not exist. Raises `InvalidFile` naming file and line."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise InvalidFile(f"{self.path}: cannot be read: {error.strerror}; move it away or repair it") from None
        lines = data.split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn, or empty
            yield decode(line.decode(errors="replace"), origin=f"{self.path}, line {number}")


def _cut_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    block = 1 << 16
    end = size
    while end > 0:
        start = max(0, end - block)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)
