"""Messages over a pair of pipes: lengths, a JSON header, raw bytes.

| header bytes (4, little endian) | payload bytes (8, little endian) | header | payload |
"""

from __future__ import annotations

import json
import os
import selectors
import struct
import time
from typing import Any, Dict

_LENGTHS = struct.Struct("<IQ")

Header = Dict[str, Any]


class Closed(Exception):
    """The other end is gone."""


class Overdue(Exception):
    """The other end did not answer in time."""


class Pipe:
    """One end of a conversation: reads ``source``, writes ``sink`` (file descriptors, owned by the caller)."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink

    def send(self, header: Header, payload: bytes = b"") -> None:
        """Raises `Closed` if nobody reads."""
        text = json.dumps(header).encode()
        rest = memoryview(_LENGTHS.pack(len(text), len(payload)) + text + payload)
        try:
            while rest:
                rest = rest[os.write(self._sink, rest) :]
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self, limit_s: float | None = None) -> tuple[Header, bytes]:
        """The next message. Raises `Closed` at the end of the stream and `Overdue` after ``limit_s`` seconds."""
        deadline = None if limit_s is None else time.monotonic() + limit_s
        header_bytes, payload_bytes = _LENGTHS.unpack(self._read(_LENGTHS.size, deadline))
        header: Header = json.loads(self._read(header_bytes, deadline))
        return header, self._read(payload_bytes, deadline)

    def _read(self, count: int, deadline: float | None) -> bytes:
        parts: list[bytes] = []
        while count:
            if deadline is not None:
                self._await(deadline)
            part = os.read(self._source, min(count, 1 << 20))
            if not part:
                raise Closed
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _await(self, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._source, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise Overdue
