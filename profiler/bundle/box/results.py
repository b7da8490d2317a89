"""The file that comes back from the box: ``results.jsonl``.

Its lines are linked (`chain`). First a header: what was measured, and on which instrument; then records, those of
kernels in the codec of `record`, those of networks in that of `network_record`; last, of every session that was not
killed, an end. A later session goes on behind it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from profiler.bundle.box import chain, network_record
from profiler.bundle.box.network_record import NetworkRecord
from profiler.errors import InvalidFile, OutputError
from profiler.record import (
    Conditions,
    Fingerprint,
    KernelRecord,
    Record,
    decode,
    encode,
    escaped,
    require_count,
    require_digest,
    require_number,
    require_text,
)

RESULTS_VERSION = 2
"""1: first version. 2: networks; what knows version 1 alone refuses the header. Records have versions of their own:
what does not know energies refuses the line."""


NO_ENERGY = "energy"
"""In `Header.host`: why the box tells no joules, where they were asked for."""


class Reason(str, Enum):
    """Why a session ended."""

    COMPLETE = "complete"
    BUDGET = "budget"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class Header:
    """What the records have in common. ``manifest`` is the digest of the bundle's; it has ``kernels``, and
    ``configurations`` of the network to be run end to end. ``host`` says what the box is, for people; ``started_at`` is
    Unix time in seconds."""

    manifest: str
    tool_version: str
    fingerprint: Fingerprint
    conditions: Conditions
    network: str
    batch: int
    kernels: int
    host: Mapping[str, str]
    started_at: float
    configurations: int = 0

    def __post_init__(self) -> None:
        require_digest("manifest", self.manifest)
        for name in ("tool_version", "network"):
            require_text(name, getattr(self, name))
        for name in ("batch", "kernels"):
            require_count(name, getattr(self, name), least=1)
        require_count("configurations", self.configurations)
        for name, text in self.host.items():
            require_text("what the host is", name)
            require_text(name, text)
        require_number("started_at", self.started_at)


@dataclass(frozen=True)
class End:
    """The last line of a session. The counts are of the whole file, rounds and failures of networks among them;
    ``ended_at`` is Unix time in seconds."""

    reason: Reason
    measurements: int
    failures: int
    ended_at: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", Reason(self.reason))
        for name in ("measurements", "failures"):
            require_count(name, getattr(self, name))
        require_number("ended_at", self.ended_at)


@dataclass(frozen=True)
class Results:
    """What the sound lines of a file say.

    end : None if the last of them is no end. chain, size_bytes, lines : of those lines. torn : a line without its
    newline, a write that was cut short, comes behind them. networks : what was recorded of networks.
    """

    header: Header | None = None
    records: tuple[KernelRecord, ...] = ()
    end: End | None = None
    chain: str = chain.START
    size_bytes: int = 0
    lines: int = 0
    torn: bool = False
    networks: tuple[NetworkRecord, ...] = ()


def parse(data: bytes, origin: str | Path) -> Results:
    """Verify and read a file; raises `InvalidFile` naming ``origin`` and the first line that is wrong."""
    lines = data.split(b"\n")
    rest = lines.pop()
    if not lines and rest[: len(chain.PREFIX)] != chain.PREFIX[: len(rest)]:
        raise InvalidFile(f"{origin}: not a result file of a bundle")
    header: Header | None = None
    end: End | None = None
    records: list[KernelRecord] = []
    networks: list[NetworkRecord] = []
    link = chain.START
    for number, line in enumerate(lines, start=1):
        try:
            link, kind, content = chain.follow(link, line)
            if (number == 1) != (kind == "header"):
                raise ValueError("the header belongs into the first line" if number > 1 else "it is not a header")
            if kind == "header":
                header = _header(content)
            elif kind == "end":
                end = End(**content)
            elif kind in (network_record.ROUND, network_record.FAULT):
                end = None
                networks.append(_network(kind, content, header))
            else:
                end = None
                records.append(_record(content, header))
        except (ValueError, KeyError, TypeError, AttributeError, InvalidFile) as error:
            raise InvalidFile(f"{origin}, line {number}: {escaped(str(error))}") from None
    size = len(data) - len(rest)
    return Results(header, tuple(records), end, link, size, len(lines), bool(rest), tuple(networks))


class ResultsFile:
    """A result file that is written to, by one process at a time. ``results`` is what it held when it was opened.

    Raises `InvalidFile` for a file that is damaged or no result file, and `OutputError` if it cannot be written or
    another run writes it; those leave it as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():  # reading a device may never end
                raise OutputError(f"{path}: is no file; choose another one with -o")
            self._file = open(path, "a+b")  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            self.results = parse(self._file.read(), path)
        except BlockingIOError:
            self._file.close()
            raise OutputError(f"{path}: another run writes it; wait for its end, or choose another file") from None
        except OSError as error:
            self._file.close()
            raise self._unwritable(error) from None
        except InvalidFile as error:
            self._file.close()
            raise InvalidFile(f"{error}; choose another file with -o") from None
        self._chain, self._size_bytes = self.results.chain, self.results.size_bytes

    def begin(self, header: Header) -> None:
        body = {**asdict(header), "version": RESULTS_VERSION, "fingerprint": _plain(header.fingerprint)}
        self._write([("header", body)])

    def append(self, records: Iterable[KernelRecord]) -> None:
        """They are on disk when this returns."""
        self._write([("record", _plain(record)) for record in records])

    def append_network(self, record: NetworkRecord) -> None:
        """It is on disk when this returns."""
        self._write([(network_record.kind_of(record), network_record.to_dict(record))])

    def end(self, end: End) -> None:
        self._write([("end", asdict(end))])

    def _write(self, bodies: list[tuple[str, Mapping[str, Any]]]) -> None:
        """All lines or, as the next write sees it, none: whatever an interrupted one has left is cut off first."""
        link, text = self._chain, b""
        for kind, body in bodies:
            link, line = chain.link(link, kind, body)
            text += line
        try:
            self._file.truncate(self._size_bytes)
            self._file.write(text)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None
        self._chain, self._size_bytes = link, self._size_bytes + len(text)

    def _unwritable(self, error: OSError) -> OutputError:
        reason = error.strerror or type(error).__name__
        return OutputError(f"{self.path}: cannot be written: {reason}; make room or choose another file with -o")

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # what could not be written is tried once more
            raise self._unwritable(error) from None

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _plain(record: Record) -> Mapping[str, Any]:
    body: Mapping[str, Any] = json.loads(encode(record))
    return body


def _header(content: Mapping[str, Any]) -> Header:
    body = dict(content)
    version = body.pop("version")
    if isinstance(version, bool) or version not in range(1, RESULTS_VERSION + 1):
        raise ValueError(f"version {version!r} is not supported (this is version {RESULTS_VERSION})")
    fingerprint = decode(json.dumps(body["fingerprint"]))
    if not isinstance(fingerprint, Fingerprint):
        raise ValueError("the header has no fingerprint")
    return Header(**{**body, "fingerprint": fingerprint, "conditions": Conditions(**body["conditions"])})


def _record(content: Mapping[str, Any], header: Header | None) -> KernelRecord:
    record = decode(json.dumps(content))
    if isinstance(record, Fingerprint) or header is None:
        raise ValueError("neither a measurement nor a failure")
    if (record.fingerprint, record.conditions) != (header.fingerprint.digest, header.conditions):
        raise ValueError("a record of another instrument, or of other conditions, than the header says")
    return record


def _network(kind: str, content: Mapping[str, Any], header: Header | None) -> NetworkRecord:
    record = network_record.from_dict(kind, content)
    if header is None or record.fingerprint != header.fingerprint.digest:
        raise ValueError("a network on another instrument than the header says")
    return record
