"""What a field must be: each raises `ValueError` naming it. And how a text from a file is shown."""

from __future__ import annotations

import re

LARGEST = 10**15
"""No number is as large, in whatever unit."""


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
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < LARGEST:
        raise ValueError(f"{name} is not a possible integer of at least {least}")


def require_number(name: str, value: object, least: float = 0) -> None:
    """Raises `ValueError` for what is no number of a possible size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < LARGEST:
        raise ValueError(f"{name} is not a possible number")


def escaped(text: str) -> str:
    """For people: on one line, whatever characters a file has brought in."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
