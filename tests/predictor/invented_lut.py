"""LUT rows and tuning logs of the device that does not exist (`invented`). For tests alone, never measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from profiler.lut.schema import LutRow, Source
from profiler.predictor.observation import Observation
from profiler.record import Conditions, Fingerprint, Measurement
from profiler.workload import KernelSpec
from tests.predictor.invented import ORIGIN

INSTRUMENT = Fingerprint(ORIGIN.device, ORIGIN.device_name, ORIGIN.arch, "", "", "invented")


def lut_row(o: Observation, conditions: Conditions = ORIGIN.conditions) -> LutRow:
    """A measured row whose interval is as wide as the observation's noise says."""
    low_s, high_s = o.latency_s * (1 - 2 * o.noise), o.latency_s * (1 + 2 * o.noise)
    return LutRow(
        spec=o.spec,
        conditions=conditions,
        source=Source.MEASURED,
        fingerprint=INSTRUMENT.short,
        device=ORIGIN.device,
        device_name=ORIGIN.device_name,
        arch=ORIGIN.arch,
        latency_median_s=o.latency_s,
        measured_at=1.0,
        tool_version="0",
        latency_q1_s=low_s,
        latency_q3_s=high_s,
        latency_ci95_low_s=low_s,
        latency_ci95_high_s=high_s,
        samples=10,
        config="invented",
        artifact_sha256="ab" * 32,
        run_id="run",
    )


def published(row: LutRow) -> LutRow:
    """As others would have published it: a point, and who measured it."""
    return replace(
        row,
        source=Source.PUBLISHED,
        citation="nobody",
        latency_q1_s=None,
        latency_q3_s=None,
        latency_ci95_low_s=None,
        latency_ci95_high_s=None,
        samples=1,
        artifact_sha256="",
        run_id="",
    )


def lut_rows(observed: Iterable[Observation]) -> tuple[LutRow, ...]:
    return tuple(map(lut_row, observed))


def measurement(
    spec: KernelSpec, config: str, latency_s: float, stage: str = "final", run_id: str = "run", at: float = 1.0
) -> Measurement:
    return Measurement(
        spec=spec,
        config=config,
        conditions=ORIGIN.conditions,
        fingerprint=INSTRUMENT.digest,
        artifact_sha256="ab" * 32,
        samples_s=(latency_s,) * 8,
        launches_per_sample=1,
        discarded=0,
        stage=stage,
        run_id=run_id,
        measured_at=at,
        tool_version="0",
    )
