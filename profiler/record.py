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
from typing import Any, Union

from profiler.errors import InvalidFile, InvalidWorkload
from profiler.statistics import Summary, summarize
from profiler.workload import KernelSpec

RECORD_VERSION = 2
"""1: first version. 2: circumstances may hold ``power_w`` and ``floor_s``, fingerprints ``sustained`` and
``locked_sm_clock_mhz``."""
SCREEN_STAGE, FINAL_STAGE = "screen", "final"
STAGES = (SCREEN_STAGE, FINAL_STAGE)
_LARGEST = 10**15
"""No number is as large, in whatever unit."""


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
        for name in ("device", "device_name", "arch", "uuid", "driver", "compiler"):
            require_text(name, getattr(self, name))
        for name in ("ecc", "clocks_locked", "sustained"):
            if getattr(self, name) is not None or name == "sustained":
                require_bool(name, getattr(self, name))
        if self.power_limit_w is not None:
            require_number("power_limit_w", self.power_limit_w)
            object.__setattr__(self, "power_limit_w", float(self.power_limit_w))  # 70 and 70.0 are one instrument
        if self.locked_sm_clock_mhz is not None:
            require_count("locked_sm_clock_mhz", self.locked_sm_clock_mhz, least=1)

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
        require_count("threads", self.threads, least=1)

    def describe(self, threads: bool = True) -> str:
        """For people; without the threads where the device has none to choose."""
        counted = f"{self.threads} thread{'s' if self.threads > 1 else ''}, " if threads else ""
        return f"{counted}cache mode {self.cache_mode.value}"


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

    def __post_init__(self) -> None:
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "notes"):
            if value is not None:
                require_number(name, value, least=-_LARGEST if name == "temperature_c" else 0)
        low, high, capped = self.sm_clock_mhz_low, self.sm_clock_mhz_high, self.power_capped_fraction
        if low is not None and high is not None and low > high:
            raise ValueError("sm_clock_mhz_low is above sm_clock_mhz_high")
        if capped is not None and capped > 1:
            raise ValueError("power_capped_fraction is above 1")
        if not isinstance(self.notes, tuple) or not all(isinstance(note, str) for note in self.notes):
            raise ValueError("the notes are no texts")


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
            raise ValueError(f"stage {self.stage!r} is none of {', '.join(STAGES)}")
        require_digest("artifact_sha256", self.artifact_sha256)
        require_count("launches_per_sample", self.launches_per_sample, least=1)
        require_count("discarded", self.discarded)
        require_bool("native", self.native)
        if not isinstance(self.circumstances, Circumstances):
            raise ValueError("the circumstances are none")
        for sample_s in self.samples_s:
            require_number("a sample", sample_s)
        summarize(self.samples_s)

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
        if not isinstance(self.message, str):
            raise ValueError("message is not a text")


def _check_origin(record: Measurement | Failure) -> None:
    if not isinstance(record.spec, KernelSpec) or not isinstance(record.conditions, Conditions):
        raise ValueError("spec or conditions are none")
    for extent in fields(record.spec.workload)[1:]:
        require_count(extent.name, getattr(record.spec.workload, extent.name))
    for layout in ("input_layout", "output_layout"):
        require_text(layout, getattr(record.spec, layout))
    for name in ("config", "fingerprint", "run_id", "tool_version"):
        require_text(name, getattr(record, name))
    require_number("measured_at", record.measured_at)


def require_text(name: str, value: object) -> None:
    """Raises `ValueError` for what is no text, or none that can be printed on a line."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{name} is not a text that can be printed")


def require_digest(name: str, value: object) -> None:
    """Raises `ValueError` for what is no sha256 in hex."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"{name} is not a digest")


def require_bool(name: str, value: object) -> None:
    """Raises `ValueError` for what is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")


def require_count(name: str, value: object, least: int = 0) -> None:
    """Raises `ValueError` for what is no integer of a possible size."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _LARGEST:
        raise ValueError(f"{name} is not a possible integer of at least {least}")


def require_number(name: str, value: object, least: float = 0) -> None:
    """Raises `ValueError` for what is no number of a possible size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < _LARGEST:
        raise ValueError(f"{name} is not a possible number")


def escaped(text: str) -> str:
    """For people: on one line, whatever characters a file has brought in."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


Record = Union[Measurement, Failure, Fingerprint]
"""What a line of a journal holds. A journal starts with the `Fingerprint` that its records refer to by digest."""


def of_the_device(record: Record) -> bool:
    """Whether a failure says something of the device that day and nothing of the kernel, which another run may well
    measure."""
    return isinstance(record, Failure) and record.kind is FailureKind.UNSTABLE


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
        if "samples_s" in body:
            body["samples_s"] = tuple(body["samples_s"])
        record: Record = cls(**body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidWorkload) as error:
        raise InvalidFile(f"{origin}: not a record of the profiler: {escaped(str(error))}") from None
    return record


def _circumstances(body: dict[str, Any]) -> Circumstances:
    notes = body.pop("notes", [])
    if not isinstance(notes, list):
        raise ValueError("the notes are no texts")
    return Circumstances(**body, notes=tuple(notes))


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
