"""A report of a table: read, worked out, drawn, written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import OutputError
from profiler.hardware import is_cpu
from profiler.output_folder import removed_if_empty, require_writable, write_whole, writing
from profiler.report.content.report import Report
from profiler.report.files import INDEX, MARKDOWN, files_of, is_own, names_of
from profiler.report_stages.allocations import allocation_section, mixed_of
from profiler.report_stages.card_spread import card_spread
from profiler.report_stages.courses import course_section, courses_of
from profiler.report_stages.healths import doubts_of, health_of, health_section
from profiler.report_stages.layer_table import layer_table
from profiler.report_stages.predictions import prediction_section
from profiler.report_stages.publisheds import published_section
from profiler.report_stages.rates import rates_of
from profiler.report_stages.rooflines import roofline_of, roofline_section
from profiler.report_stages.speedup_overview import overview_section
from profiler.report_stages.speedups import headline, speedup_section, speedups_of
from profiler.report_stages.subject import ReportRequest, Subject, folder_name, subject_of
from profiler.report_stages.throughputs import throughput_section
from profiler.report_stages.tunings import history_of, tuning_section
from profiler.report_stages.words import days_of

__all__ = ["ReportRequest", "ReportResult", "make_report", "report_of"]


@dataclass(frozen=True)
class ReportResult:
    """``files`` are names in the ``folder``, the page first."""

    folder: Path
    files: tuple[str, ...]
    report: Report


def make_report(request: ReportRequest) -> ReportResult:
    """Work the report out and write all of its files; nothing is written before everything is there. The Markdown is
    first: it tells later runs whose folder this is. The page is last: it is the old one or the new one.

    Raises `ProfilerError` for whatever the user can mend.
    """
    subject = subject_of(request)
    folder = request.out or request.folder / "reports" / folder_name(subject.origin.device)
    with removed_if_empty(folder):
        _require_own(folder)
        report = report_of(subject, request)
        files = files_of(report)
        _require_files(folder, files)
    for name, data in files.items():
        if name != INDEX:
            write_whole(folder / name, data)
    for stale in sorted(names_of(folder) - set(files)):
        if (folder / stale).is_file():
            with writing(folder / stale):
                (folder / stale).unlink()  # of an earlier report that had more to show
    write_whole(folder / INDEX, files[INDEX])
    return ReportResult(folder, (INDEX, *sorted(name for name in files if name != INDEX)), report)


def report_of(subject: Subject, request: ReportRequest) -> Report:
    """Everything that the report shows. Errors as those of `mixed_of`."""
    rates = rates_of(subject.rows, subject.facts, subject.conditions, subject.precisions)
    speedups = tuple(speedups_of(subject, rates, narrow) for narrow in subject.precisions[1:])
    mixed = mixed_of(subject, request)
    courses = courses_of(subject, mixed.course)
    roofline = roofline_of(subject, rates)
    health = health_of(subject)
    first = speedup_section(subject, speedups[0], first=True)
    network, conditions = subject.network, subject.conditions.describe(is_cpu(subject.origin.device))
    return Report(
        title=f"{network.name}, batch {network.batch}, on {subject.origin.device_name}",
        headline=" ".join(map(headline, speedups)),
        doubts=tuple(doubts_of(subject, health)),
        facts=(("conditions", conditions), *_facts(subject)),
        sections=(
            first,
            *(speedup_section(subject, found, first=False) for found in speedups[1:]),
            *([overview_section(speedups)] if len(speedups) > 1 else []),
            course_section(subject, courses, mixed.reason if mixed.bits is None else ""),
            throughput_section(subject, request.throughput),
            roofline_section(roofline),
            allocation_section(mixed),
            prediction_section(subject),
            tuning_section(subject, history_of(subject)),
            health_section(subject, health),
            published_section(subject),
        ),
        layers=layer_table(subject, speedups, roofline, mixed.bits),
    )


def _facts(subject: Subject) -> Iterator[tuple[str, str]]:
    rows, origin = subject.rows, subject.origin
    sources = Counter(row.source.value for row in rows)
    yield "device", f"{origin.device_name} ({origin.device}, {origin.arch})"
    yield "instrument", origin.fingerprint
    others = card_spread(subject.logs, origin, subject.conditions)
    if others:
        yield "other cards", others
    yield (
        "table",
        f"{subject.table.path.name}: {', '.join(f'{n} {source}' for source, n in sorted(sources.items()))} rows",
    )
    yield "network", f"{subject.network.name}, batch {subject.network.batch}, {len(subject.network.layers)} layers"
    yield "dated", days_of((row.measured_at for row in rows), "not told")
    clocks = [mhz for row in rows for mhz in (row.sm_clock_mhz_low, row.sm_clock_mhz_high) if mhz]
    if clocks:
        yield "clock", f"{min(clocks):.0f} to {max(clocks):.0f} MHz"
    metered = sum(row.energy_j is not None for row in rows)
    if metered:
        yield "energies", f"of {metered} of {len(rows)} rows"
    yield "runs", str(len({row.run_id for row in rows if row.run_id}) or "not told")
    yield "journals", f"{len(subject.records)} records" if subject.records else "none"
    citations = dict.fromkeys(row.citation for row in rows if row.citation)
    if citations:
        yield "source", "; ".join(citations)


def _require_own(folder: Path) -> None:
    """Ahead of the work. Raises `OutputError` for a folder that cannot be written, or whose page is not ours."""
    page, markdown = folder / INDEX, folder / MARKDOWN
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is not a folder; name another one with --out (make: TO=)")
    strangers = [page] if page.exists() and not is_own(page) else []
    if not is_own(page) and not is_own(markdown):
        strangers += [folder / name for name in sorted(names_of(folder))]
    if strangers:
        raise OutputError(
            f"{strangers[0]}: is there and is not of a report, which would replace it; name another folder with --out "
            "(make: TO=)"
        )
    require_writable(folder, "TO")


def _require_files(folder: Path, names: Iterable[str]) -> None:
    """Raises `OutputError` for a folder that stands where a file shall be written."""
    for name in names:
        if (folder / name).is_dir():
            raise OutputError(f"{folder / name}: is a folder; remove it, or name another one with --out (make: TO=)")
