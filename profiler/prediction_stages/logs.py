"""What tuning logs add to a LUT: latencies of schedule configs, and kernels that several runs measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from profiler.errors import InvalidFile
from profiler.predictor.configs.thinning import evenly
from profiler.predictor.model_state import ConfigLatency, Origin
from profiler.record import FINAL_STAGE, Fingerprint, Journal, KernelRecord, Measurement, of_the_device
from profiler.tuning.database import Tried
from profiler.workload import KernelSpec

FASTEST_CONFIGS, CONFIGS = 12, 24
"""Of a kernel: its fastest ones, and all that are kept."""


def records_of(folder: Path, origin: Origin) -> tuple[KernelRecord, ...]:
    """Everything in the journals below the folder that is of that instrument, under those conditions.

    Raises `InvalidFile` for a folder that is not there, and naming the line of a damaged journal.
    """
    if not folder.is_dir():
        raise InvalidFile(f"{folder}: there is no such folder; give that of tuning logs, or leave --logs out")
    digests: set[str] = set()
    found: list[KernelRecord] = []
    for path in sorted(folder.rglob("*.jsonl")):
        for record in Journal(path).read():
            if isinstance(record, Fingerprint):
                if record.short == origin.fingerprint:
                    digests.add(record.digest)
            elif record.fingerprint in digests and record.conditions == origin.conditions:
                found.append(record)
    return tuple(found)


def config_latencies(records: Iterable[KernelRecord]) -> tuple[ConfigLatency, ...]:
    """At most 24 configs of each kernel: the fastest 12, and others evenly over what else was tried."""
    by_spec: dict[KernelSpec, Tried] = {}
    for record in records:
        if not of_the_device(record):
            by_spec.setdefault(record.spec, Tried()).add(record)
    return tuple(
        _config_latency(tried.screened.get(config) or tried.finals[config])
        for tried in by_spec.values()
        for config in spread_out(tried.ranked)
    )


def spread_out(ranked: Sequence[str]) -> tuple[str, ...]:
    """At most `CONFIGS` of them, which stand in the order of their latencies; the slowest is kept."""
    if len(ranked) <= CONFIGS:
        return tuple(ranked)
    return (*ranked[:FASTEST_CONFIGS], *evenly(ranked[FASTEST_CONFIGS:], CONFIGS - FASTEST_CONFIGS))


def replicates(records: Iterable[KernelRecord]) -> tuple[tuple[float, float], ...]:
    """Latencies of one kernel in two runs that followed each other: in each the fastest of its final measurements.

    What was measured again because something else ran on the machine tells of that, not of noise, and is left out.
    """
    best: dict[KernelSpec, dict[str, Measurement]] = {}
    for record in records:
        if not isinstance(record, Measurement) or record.stage != FINAL_STAGE or record.summary.contaminated:
            continue
        runs = best.setdefault(record.spec, {})
        other = runs.get(record.run_id)
        if other is None or record.summary.median_s < other.summary.median_s:
            runs[record.run_id] = record
    return tuple(
        (first.summary.median_s, second.summary.median_s)
        for runs in best.values()
        for first, second in pairwise(sorted(runs.values(), key=lambda m: m.measured_at))
    )


def _config_latency(measurement: Measurement) -> ConfigLatency:
    summary = measurement.summary
    # an interval of 95% is two deviations wide to either side
    return ConfigLatency(measurement.spec, measurement.config, summary.median_s, summary.relative_halfwidth / 2)
