"""Lines that are linked by digests, so that a damaged or edited one is found, and named.

A line is the canonical JSON of ``{"chain": ..., KIND: {...}}``: keys sorted, no blanks, ASCII. ``chain`` is the sha256
of the chain of the line before and the canonical JSON of the rest. Nothing is signed: who writes all lines anew from
the edited one on is not found out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Dict, Tuple

START = "0" * 64
"""The chain ahead of the first line."""
PREFIX = b'{"chain":"'
"""What every line begins with."""

Link = Tuple[str, str, Dict[str, Any]]
"""The chain of a line, its kind, and what it says."""


def link(previous: str, kind: str, content: Mapping[str, Any]) -> tuple[str, bytes]:
    """The chain of the next line, and the line with its newline."""
    chain = hashlib.sha256((previous + _canonical({kind: content})).encode()).hexdigest()
    return chain, _canonical({"chain": chain, kind: content}).encode() + b"\n"


def follow(previous: str, line: bytes) -> Link:
    """What a line (without its newline) says, if it is the one that was written behind ``previous``.

    Raises `ValueError` if it is another one, or damaged.
    """
    try:
        body = json.loads(line.decode("ascii"))
        ((kind, content),) = ((key, value) for key, value in body.items() if key != "chain")
        chain, expected = link(previous, kind, content)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is damaged") from None
    if line + b"\n" != expected:
        raise ValueError("it does not follow from the line before: it was edited or moved, or lines are missing")
    return chain, kind, content


def _canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
