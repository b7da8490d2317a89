"""Of each configuration that ran: how long the network takes, beside the sum of its kernels in the same file.

The sum is over the artifacts that the network ran, each by its latest final measurement: not over the fastest kernels,
which a later phase may have found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from profiler.bundle.box.network_record import NetworkFault, NetworkRecord, NetworkRound
from profiler.record import FINAL_STAGE, KernelRecord, Measurement, escaped
from profiler.statistics import Summary, summarize
from profiler.units import format_duration


@dataclass(frozen=True)
class EndToEnd:
    """A configuration. ``summary`` is of all undisturbed runs of its rounds, in seconds, None where there is none;
    ``rounds_s`` are the medians of each. ``fault`` says why there is none, or what happened later. ``lut_sum_s`` is
    None where a kernel has no final measurement, and ``missing`` then names the first of those. ``kernels`` is a digest
    of the artifacts that it ran, in their order."""

    configuration: str
    narrow_layers: int
    rounds_s: tuple[float, ...]
    summary: Summary | None
    lut_sum_s: float | None
    missing: str
    kernels: str
    measured_at: float
    fault: NetworkFault | None

    @property
    def rounds(self) -> int:
        return len(self.rounds_s)

    @property
    def beyond_sum(self) -> float | None:
        """By how much of the sum the network takes longer than its kernels; negative where it is faster."""
        if self.summary is None or self.lut_sum_s is None:
            return None
        return self.summary.median_s / self.lut_sum_s - 1


def end_to_end(records: Iterable[KernelRecord], networks: Iterable[NetworkRecord]) -> tuple[EndToEnd, ...]:
    """Of the content of a file, in the order in which configurations first appear there."""
    finals_s = _final_medians_s(records)
    found: dict[str, list[NetworkRecord]] = {}
    for record in networks:
        found.setdefault(record.configuration, []).append(record)
    return tuple(_of(name, own, finals_s) for name, own in found.items())


def line_of(found: EndToEnd) -> str:
    """For people."""
    name = f"network {escaped(found.configuration)}"
    failed = f"failed ({found.fault.kind.value}): {escaped(found.fault.message)}" if found.fault else ""
    if found.summary is None:
        return f"{name}: {failed}"
    summary = found.summary
    rounds = "one round"
    if found.rounds > 1:
        spread = f"{format_duration(min(found.rounds_s))} to {format_duration(max(found.rounds_s))}"
        rounds = f"{found.rounds} rounds of {spread}"
    interval = f"{format_duration(summary.ci95_low_s)} to {format_duration(summary.ci95_high_s)}"
    text = f"{name}: {format_duration(summary.median_s)} end to end (95% interval {interval}, {rounds}); "
    beyond = found.beyond_sum
    if found.lut_sum_s is None or beyond is None:
        text += f"no sum of its kernels, as {found.missing} was not measured"
    else:
        more = f"{abs(beyond):.1%} {'more' if beyond > 0 else 'less'}"
        text += f"its kernels take {format_duration(found.lut_sum_s)} in sum, the network {more}"
    return f"{text}; later it {failed}" if failed else text


def _final_medians_s(records: Iterable[KernelRecord]) -> dict[str, float]:
    """Median seconds of the latest final measurement by the artifact's digest."""
    finals = [r for r in records if isinstance(r, Measurement) and r.stage == FINAL_STAGE]
    return {record.artifact_sha256: record.summary.median_s for record in finals}


def _of(name: str, own: list[NetworkRecord], finals_s: dict[str, float]) -> EndToEnd:
    rounds = [record for record in own if isinstance(record, NetworkRound)]
    faults = [record for record in own if isinstance(record, NetworkFault)]
    steps = rounds[-1].steps if rounds else ()
    missing = next((step.kernel for step in steps if step.artifact_sha256 not in finals_s), "")
    known = bool(steps) and not missing
    return EndToEnd(
        configuration=name,
        narrow_layers=rounds[-1].narrow_layers if rounds else 0,
        rounds_s=tuple(summarize(record.samples_s).median_s for record in rounds),
        summary=summarize([sample_s for record in rounds for sample_s in record.samples_s]) if rounds else None,
        lut_sum_s=sum(finals_s[step.artifact_sha256] for step in steps) if known else None,
        missing=missing,
        kernels=hashlib.sha256("".join(step.artifact_sha256 for step in steps).encode()).hexdigest(),
        measured_at=own[-1].measured_at,
        fault=faults[-1] if faults else None,
    )
