"""LUT rows from records: the final measurements of the journals, summarized, with the energy of the same config."""

from __future__ import annotations

import time
from collections.abc import Iterable

from profiler.errors import InvalidFile
from profiler.lut.age import age_rank
from profiler.lut.schema import LutRow, Source
from profiler.lut.store import Config
from profiler.record import (
    FINAL_STAGE,
    Conditions,
    EnergyMeasurement,
    Failure,
    Fingerprint,
    Measurement,
    Record,
    encode,
    of_the_device,
)
from profiler.workload import KernelSpec


def build(records: Iterable[Record], fingerprint: Fingerprint, now: float | None = None) -> tuple[LutRow, ...]:
    """One measured row per kernel and conditions, from the final measurements on that instrument.

    Each config stands for itself by its latest run (an older run of it is not asked: taking the luckiest of many runs
    would flatter it; ``now`` as in `store.merge`), and the config with the lowest median is taken. Configs that ever
    failed are passed over, unless it was the device that was unstable; so are candidates' screenings and records of
    other instruments. The row's energy is the latest of its config; that of another config says nothing of it. Raises
    `InvalidFile` for a measurement whose instrument no record describes.
    """
    today = time.time() if now is None else now
    instruments = {fingerprint.digest}
    finals: list[Measurement] = []
    energies: dict[tuple[KernelSpec, Conditions, str], EnergyMeasurement] = {}
    failed: set[tuple[KernelSpec, Conditions, str, str]] = set()
    for record in records:
        if isinstance(record, Fingerprint):
            instruments.add(record.digest)
        elif isinstance(record, Measurement) and record.stage == FINAL_STAGE:
            finals.append(record)
        elif isinstance(record, EnergyMeasurement) and record.fingerprint == fingerprint.digest:
            of_config = (record.spec, record.conditions, record.config)
            if of_config not in energies or _age(energies[of_config], today) < _age(record, today):
                energies[of_config] = record
        elif isinstance(record, Failure) and not of_the_device(record):
            failed.add((record.spec, record.conditions, record.fingerprint, record.config))
    latest: dict[tuple[KernelSpec, Conditions, str], Measurement] = {}
    for measurement in finals:
        if measurement.fingerprint not in instruments:
            raise InvalidFile(
                f"a measurement of {measurement.spec.key} (run {measurement.run_id}) refers to the unknown fingerprint"
                f" '{measurement.fingerprint}'; the journal has lost its first line, restore it or measure again"
            )
        if measurement.fingerprint != fingerprint.digest:
            continue
        if (measurement.spec, measurement.conditions, measurement.fingerprint, measurement.config) in failed:
            continue
        key = (measurement.spec, measurement.conditions, measurement.config)
        if key not in latest or _age(latest[key], today) < _age(measurement, today):
            latest[key] = measurement
    best: dict[tuple[KernelSpec, Conditions], Measurement] = {}
    for (spec, conditions, _), measurement in latest.items():
        other = best.get((spec, conditions))
        if other is None or _rank(measurement) < _rank(other):
            best[spec, conditions] = measurement
    rows = (row_of(m, fingerprint, energies.get((m.spec, m.conditions, m.config))) for m in best.values())
    return tuple(sorted(rows, key=lambda row: row.key))


def failed_configs(records: Iterable[Record], fingerprint: Fingerprint) -> frozenset[Config]:
    """Those that `build` passes over."""
    failures = (record for record in records if isinstance(record, Failure) and not of_the_device(record))
    own = (failure for failure in failures if failure.fingerprint == fingerprint.digest)
    return frozenset((failure.spec, failure.conditions, fingerprint.short, failure.config) for failure in own)


def row_of(measurement: Measurement, fingerprint: Fingerprint, energy: EnergyMeasurement | None = None) -> LutRow:
    """The row of one measurement, and of the energy of that config where it was measured, too."""
    summary = measurement.summary
    circumstances = measurement.circumstances
    return LutRow(
        spec=measurement.spec,
        conditions=measurement.conditions,
        source=Source.MEASURED,
        fingerprint=fingerprint.short,
        device=fingerprint.device,
        device_name=fingerprint.device_name,
        arch=fingerprint.arch,
        latency_median_s=summary.median_s,
        latency_q1_s=summary.q1_s,
        latency_q3_s=summary.q3_s,
        latency_ci95_low_s=summary.ci95_low_s,
        latency_ci95_high_s=summary.ci95_high_s,
        samples=summary.samples,
        discarded=measurement.discarded,
        sm_clock_mhz_low=circumstances.sm_clock_mhz_low,
        sm_clock_mhz_high=circumstances.sm_clock_mhz_high,
        power_capped_fraction=circumstances.power_capped_fraction,
        energy_j=None if energy is None else energy.energy.j_per_run,
        native=measurement.native,
        config=measurement.config,
        artifact_sha256=measurement.artifact_sha256,
        run_id=measurement.run_id,
        tool_version=measurement.tool_version,
        measured_at=measurement.measured_at,
    )


def _age(measurement: Measurement | EnergyMeasurement, now: float) -> tuple[tuple[bool, float], str]:
    return age_rank(measurement.measured_at, now), encode(measurement)


def _rank(measurement: Measurement) -> tuple[float, str]:
    return measurement.summary.median_s, measurement.config
