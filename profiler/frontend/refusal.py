"""How a frontend says no: the reason for one operator, and text from elsewhere made fit for one line."""

from __future__ import annotations


class RefusedError(Exception):
    """Why an operator cannot become part of a network; the node that it belongs to is added by who catches it."""


def quoted(text: str) -> str:
    """A name from a file, fit for one line of a message."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return repr(short)


def first_line(error: Exception) -> str:
    """What another library has to say, cut to one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
