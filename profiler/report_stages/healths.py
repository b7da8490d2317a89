"""The section on how well the table was measured, and what in it should make a reader doubt the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from profiler.doubts import names_others
from profiler.hardware import is_cpu
from profiler.lut.schema import LutRow, Source
from profiler.prediction_stages.logs import replicates
from profiler.record import FINAL_STAGE, KernelRecord, Measurement
from profiler.report.content.health import Health, KernelHealth, table_of
from profiler.report.content.report import NamedTable, Section
from profiler.report_stages.subject import Subject
from profiler.report_stages.unit_time import label
from profiler.report_stages.words import listed, sentence

_TITLE = "How well it was measured"
_WIDE_PERCENT = 5.0
"""Half of an interval beyond which a median says little."""
_CLOCK_SPREAD = 1.1
_FEW = 3


def health_of(subject: Subject) -> Health:
    """Of all rows of the table under its conditions, in the order in which they were measured."""
    finals = _finals(subject.records)
    rows = sorted(subject.rows, key=lambda row: (row.measured_at, row.key))
    apart = (abs(a - b) / ((a + b) / 2) for a, b in replicates(subject.records))
    return Health(
        kernels=tuple(_kernel(row, finals.get((row.artifact_sha256, row.run_id))) for row in rows),
        repeats_percent=tuple(100 * difference for difference in apart),
    )


def health_section(subject: Subject, health: Health) -> Section:
    """Nothing is drawn of a table that tells neither intervals nor clocks."""
    told = any(k.halfwidth_percent is not None or k.clock_mhz_low is not None for k in health.kernels)
    table = NamedTable("health", "Rows as they were measured", table_of(health), shown=False)
    if not told:
        note = "The table tells neither clocks nor intervals, and no samples: its figures were published as they are."
        if not any(row.source is Source.PUBLISHED for row in subject.rows):
            note = "Nothing was measured: the rows are predicted."
        return Section("health", _TITLE, "", None, tables=(table,), notes=(note,))
    widths = [k.halfwidth_percent for k in health.kernels if k.halfwidth_percent is not None]
    lead = f"{len(health.kernels)} rows"
    if widths:
        lead += f"; half of a median's 95% interval is {median(widths):.2g}% in the median, {max(widths):.2g}% at most"
    if health.repeats_percent:
        lead += f"; two runs of a kernel lie {median(health.repeats_percent):.2g}% apart in the median"
    return Section(
        name="health",
        title=_TITLE,
        lead=f"{lead}.",
        figure=health,
        alt=f"Clock and width of the interval of each row, in the order in which they were measured. {lead}.",
        tables=(table,),
        notes=tuple(_notes(subject, health)),
    )


def doubts_of(subject: Subject, health: Health) -> Iterator[str]:
    """A line for each reason to doubt the table; none for a whole table of a quiet run of one's own."""
    if subject.table.note:
        yield sentence(subject.told(subject.table.note))
    yield from _of_sources(subject)
    if subject.priced.kernel_only:
        yield "Latencies are those of bare kernels: bias, requantization, ReLU and additions are not in them."
    yield from _of_gaps(subject)
    yield from _of_records(subject, len(health.kernels))
    yield from _of_rows(health)
    if subject.other_rows:
        conditions = subject.conditions.describe(is_cpu(subject.origin.device))
        yield f"{subject.other_rows} rows of other conditions than {conditions} are not read."


def _of_sources(subject: Subject) -> Iterator[str]:
    counted = {source: sum(row.source is source for row in subject.rows) for source in Source}
    published, predicted = counted[Source.PUBLISHED], counted[Source.PREDICTED]
    if published:
        yield f"{_of(published, len(subject.rows))} rows were published by others, without intervals."
    if predicted:
        yield f"{_of(predicted, len(subject.rows))} rows are predicted, not measured."


def _of_gaps(subject: Subject) -> Iterator[str]:
    for precision in subject.precisions:
        without = [label(unit) for unit in subject.units if subject.time(unit, precision).span is None]
        if without:
            yield (
                f"{_of(len(without), len(subject.units))} layers have no {precision.name.upper()} latency and are in "
                f"none of its totals: {listed(without, _FEW)}."
            )
    if subject.network.skipped:
        yield f"Left out of the network, and of every total: {', '.join(subject.network.skipped)}."


def _of_records(subject: Subject, rows: int) -> Iterator[str]:
    used = {(row.artifact_sha256, row.run_id) for row in subject.rows}
    finals = [final for key, final in _finals(subject.records).items() if key in used]
    disturbed = sum(any(map(names_others, m.circumstances.notes)) for m in finals)
    if disturbed:
        yield f"Other processes were busy while {_of(disturbed, rows)} rows were measured."
    doubtful = sum(m.summary.contaminated for m in finals)
    if doubtful:
        yield f"The medians of {_of(doubtful, rows)} rows lie far above their minima: something else ran meanwhile."


def _of_rows(health: Health) -> Iterator[str]:
    rows = len(health.kernels)
    wide = sum((k.halfwidth_percent or 0.0) > _WIDE_PERCENT for k in health.kernels)
    if wide:
        yield f"The medians of {_of(wide, rows)} rows are known to no better than {_WIDE_PERCENT:g}%."
    discarded = sum(k.discarded > 0 for k in health.kernels)
    if discarded:
        yield f"Samples of {_of(discarded, rows)} rows were discarded and taken again."
    capped = sum((k.power_capped_fraction or 0.0) > 0 for k in health.kernels)
    if capped:
        yield f"The card was at its power limit during {_of(capped, rows)} rows: their clock was lowered."
    clocks = [(k.clock_mhz_low + k.clock_mhz_high) / 2 for k in health.kernels if k.clock_mhz_low and k.clock_mhz_high]
    if clocks and max(clocks) > _CLOCK_SPREAD * min(clocks):
        yield (
            f"The clock moved between rows, from {min(clocks):.0f} to {max(clocks):.0f} MHz: rows of different moments "
            "compare less well than their intervals say."
        )


def _notes(subject: Subject, health: Health) -> Iterator[str]:
    temperatures = [k.temperature_c for k in health.kernels if k.temperature_c is not None]
    if temperatures:
        yield f"Temperature: {min(temperatures):.0f} to {max(temperatures):.0f} C."
    if not subject.records:
        yield "No journals: load, temperature and repeated measurements are not known."
    elif not health.repeats_percent:
        yield "No kernel was measured by two runs: how well it repeats is not known here."


def _finals(records: Sequence[KernelRecord]) -> dict[tuple[str, str], Measurement]:
    """The final measurements, by artifact and run; of several the last."""
    return {
        (record.artifact_sha256, record.run_id): record
        for record in records
        if isinstance(record, Measurement) and record.stage == FINAL_STAGE
    }


def _kernel(row: LutRow, final: Measurement | None) -> KernelHealth:
    low, high = row.latency_ci95_low_s, row.latency_ci95_high_s
    half = None if low is None or high is None or row.source is not Source.MEASURED else (high - low) / 2
    return KernelHealth(
        kernel=row.spec.key,
        measured_at=row.measured_at,
        latency_s=row.latency_median_s,
        samples=row.samples,
        discarded=row.discarded,
        halfwidth_percent=None if half is None else 100 * half / row.latency_median_s,
        clock_mhz_low=row.sm_clock_mhz_low,
        clock_mhz_high=row.sm_clock_mhz_high,
        power_capped_fraction=row.power_capped_fraction,
        temperature_c=final.circumstances.temperature_c if final else None,
        load=final.circumstances.load_average if final else None,
    )


def _of(count: int, total: int) -> str:
    return f"{count} of {total}"
