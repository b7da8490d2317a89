"""Records of a network that ran end to end, in the file that comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Union

from profiler.record import (
    Circumstances,
    FailureKind,
    require_count,
    require_digest,
    require_number,
    require_text,
)
from profiler.statistics import summarize


@dataclass(frozen=True)
class StepMedian:
    """A step of the network: the key of its kernel, the digest of the artifact that ran it, and the median of its time
    within the network, in seconds."""

    name: str
    layer: str
    kernel: str
    artifact_sha256: str
    median_s: float

    def __post_init__(self) -> None:
        for name in ("name", "layer", "kernel"):
            require_text(name, getattr(self, name))
        require_digest("artifact_sha256", self.artifact_sha256)
        require_number("median_s", self.median_s)


@dataclass(frozen=True)
class NetworkRound:
    """One round of a configuration, every step of which wrote what the integer oracle says, and so did all of them in a
    row; ``verified_bytes`` were compared, by digest.

    ``samples_s`` are seconds of undisturbed runs, ``marked_s`` of runs with the clock read behind each step, of which
    ``steps`` are the medians. ``discarded`` samples were contaminated and taken again. ``narrow_layers`` of its layers
    have weights of less than 8 bits. ``fingerprint`` is the digest of the instrument's. ``measured_at`` is Unix time in
    seconds.
    """

    configuration: str
    narrow_layers: int
    fingerprint: str
    samples_s: tuple[float, ...]
    marked_s: tuple[float, ...]
    steps: tuple[StepMedian, ...]
    discarded: int
    verified_bytes: int
    run_id: str
    measured_at: float
    tool_version: str
    circumstances: Circumstances = field(default_factory=Circumstances)

    def __post_init__(self) -> None:
        _check_origin(self)
        for name in ("narrow_layers", "discarded", "verified_bytes"):
            require_count(name, getattr(self, name))
        for sample_s in (*self.samples_s, *self.marked_s):
            require_number("a sample", sample_s)
        summarize(self.samples_s)
        summarize(self.marked_s)
        if not self.steps:
            raise ValueError("the network has no step")
        if not isinstance(self.circumstances, Circumstances):
            raise ValueError("the circumstances are none")

    @property
    def of_the_device(self) -> bool:
        """As of `NetworkFault`."""
        return False


@dataclass(frozen=True)
class NetworkFault:
    """A configuration without a latency, and why. ``message`` is for people and names the step with its layer and
    kernel, ``kind`` is for programs; ``step`` counts from 0, None where it was no single one."""

    configuration: str
    fingerprint: str
    kind: FailureKind
    message: str
    step: int | None
    run_id: str
    measured_at: float
    tool_version: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FailureKind(self.kind))
        _check_origin(self)
        if not isinstance(self.message, str):
            raise ValueError("message is not a text")
        if self.step is not None:
            require_count("step", self.step)

    @property
    def of_the_device(self) -> bool:
        """Whether it says something of the device that day and nothing of the network."""
        return self.kind is FailureKind.UNSTABLE


NetworkRecord = Union[NetworkRound, NetworkFault]

ROUND, FAULT = "network", "network_fault"
"""Kinds of lines."""


def kind_of(record: NetworkRecord) -> str:
    return ROUND if isinstance(record, NetworkRound) else FAULT


def to_dict(record: NetworkRecord) -> Mapping[str, Any]:
    """As JSON takes it."""
    return asdict(record)


def from_dict(kind: str, body: Mapping[str, Any]) -> NetworkRecord:
    """Inverse of `to_dict`; `ValueError`, `TypeError`, `KeyError` or `AttributeError` for what is none."""
    if kind == FAULT:
        return NetworkFault(**body)
    seen = dict(body["circumstances"])
    notes = seen.pop("notes")
    return NetworkRound(
        **{
            **body,
            "samples_s": tuple(body["samples_s"]),
            "marked_s": tuple(body["marked_s"]),
            "steps": tuple(StepMedian(**step) for step in body["steps"]),
            "circumstances": Circumstances(**seen, notes=tuple(notes)),
        }
    )


def _check_origin(record: NetworkRecord) -> None:
    for name in ("configuration", "run_id", "tool_version"):
        require_text(name, getattr(record, name))
    require_digest("fingerprint", record.fingerprint)
    require_number("measured_at", record.measured_at)
