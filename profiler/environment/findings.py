"""What an examination of this machine finds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Verdict(str, Enum):
    """``NOTE``: measuring works, but one should know. ``MISSING``: it does not work without."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One point. ``text`` is one line; ``remedies`` are commands or advice, each one enough alone."""

    topic: str
    verdict: Verdict
    text: str
    remedies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(not line or "\n" in line for line in (self.topic, self.text, *self.remedies)):
            raise ValueError(f"texts of one line are expected: {self}")
        if self.verdict is Verdict.MISSING and not self.remedies:
            raise ValueError(f"what is missing wants a remedy: {self}")

    def as_note(self) -> Finding:
        """The same where measuring works without."""
        return replace(self, verdict=Verdict.NOTE) if self.verdict is Verdict.MISSING else self


@dataclass(frozen=True)
class Report:
    """For ``make profile GPU=<device>``. ``measured`` is the device that would be measured, empty if none would."""

    device: str
    findings: tuple[Finding, ...]
    measured: str = ""

    @property
    def missing(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.MISSING)

    @property
    def ready(self) -> bool:
        """Whether that command would work."""
        return not self.missing


def ok(topic: str, text: str) -> Finding:
    return Finding(topic, Verdict.OK, text)


def note(topic: str, text: str, *remedies: str) -> Finding:
    return Finding(topic, Verdict.NOTE, text, remedies)


def missing(topic: str, text: str, *remedies: str) -> Finding:
    return Finding(topic, Verdict.MISSING, text, remedies)
