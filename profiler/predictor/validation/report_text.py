"""A validation report for people: the cells of its tables, and all of it as Markdown (for `reports/recorded`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from profiler.predictor.validation.metrics import NoiseFloor, NoiseOrigin
from profiler.predictor.validation.report import Score, SplitReport, ValidationReport, WorstRow
from profiler.units import format_duration

_TITLE = "# Latency predictor on"
_MOST_KINDS = 6

SCORE_COLUMNS = (
    "split",
    "model",
    "rows",
    "MAPE",
    "median",
    "within 5%",
    "10%",
    "20%",
    "coverage",
    "half width",
    "ratio, median",
    "right winner",
)


def score_cells(report: ValidationReport) -> Iterator[tuple[str, ...]]:
    """The cells of `SCORE_COLUMNS` for each split and learner."""
    for split in report.splits:
        for score in split.scores:
            accuracy, ratios = score.accuracy, score.ratios
            yield (
                split.name,
                score.learner,
                str(accuracy.rows),
                f"{accuracy.mape_percent:.1f}%",
                f"{accuracy.median_percent:.1f}%",
                f"{accuracy.within_5_percent:.0f}%",
                f"{accuracy.within_10_percent:.0f}%",
                f"{accuracy.within_20_percent:.0f}%",
                score.coverage.describe() if score.coverage else "-",
                f"{score.halfwidth_percent:.0f}%" if score.halfwidth_percent is not None else "-",
                f"{ratios.median_percent:.1f}%" if ratios else "-",
                f"{ratios.right} of {ratios.decided}" if ratios else "-",
            )


SUM_COLUMNS = ("held out", "weights", "kernels", "measured", "predicted", "off", "interval", "holds")


def sum_cells(score: Score) -> Iterator[tuple[str, ...]]:
    """The cells of `SUM_COLUMNS` for each network that was held out."""
    for total in score.sums:
        known = total.low_s is not None and total.high_s is not None
        interval = f"{format_duration(total.low_s or 0)} to {format_duration(total.high_s or 0)}" if known else "-"
        yield (
            f"{total.network}, batch {total.batch}",
            total.weights,
            f"{total.kernels} of {total.wanted}",
            format_duration(total.measured_s),
            format_duration(total.predicted_s),
            f"{total.error_percent:+.1f}%",
            interval,
            "-" if total.inside is None else "yes" if total.inside else "no",
        )


def noise_text(noise: NoiseFloor) -> str:
    """In a sentence."""
    if noise.origin is NoiseOrigin.UNKNOWN:
        return "noise floor: unknown, nothing was measured twice and no row tells its interval"
    source = {
        NoiseOrigin.REPLICATES: f"{noise.samples} pairs of runs",
        NoiseOrigin.INTERVALS: f"the intervals of {noise.samples} rows, which runs on another day may exceed",
    }[noise.origin]
    return f"noise floor: two measurements of a kernel lie {noise.percent:.1f}% apart on average (by {source})"


def to_markdown(report: ValidationReport) -> str:
    """The whole report, without dates and paths: the same data give the same text."""
    return "\n".join(_lines(report)) + "\n"


def is_markdown(path: Path) -> bool:
    """Whether the file begins like one that `to_markdown` made."""
    with path.open("rb") as file:
        return file.read(len(_TITLE)) == _TITLE.encode()


def _lines(report: ValidationReport) -> Iterator[str]:
    origin = report.origin
    yield f"{_TITLE} {origin.device_name} ({origin.device}, {origin.arch})"
    yield ""
    yield (
        f"{report.rows} rows of {report.workloads} workloads, instrument {origin.fingerprint}, "
        f"{origin.conditions.describe()}; data {report.data_sha256[:16]}, seed {report.seed}."
    )
    yield ""
    yield f"- {noise_text(report.noise)}"
    yield f"- {report.trust}"
    yield ""
    yield "Whole workloads are held out, with all batches, types and epilogues. Errors are of the measured latency;"
    yield f"coverage is that of {report.confidence_percent:g}% intervals, with its exact 95% interval (binomial);"
    yield "half width is the median distance of an interval's upper end from the point; the ratio is that of the"
    yield "latencies with 8 and 4 bits, and its winner counts where the two differ by more than noise explains."
    yield ""
    yield from _table(SCORE_COLUMNS, list(score_cells(report)))
    for split in report.splits:
        yield ""
        yield from _split_lines(split)


def _split_lines(split: SplitReport) -> Iterator[str]:
    yield f"## {split.name}"
    yield ""
    for reason in split.impossible:
        yield f"- not held out: {reason}"
    if not split.scores:
        return
    own = split.scores[0]
    yield f"- fitted to {_span(split.training_rows)} rows, tested on {own.accuracy.rows}"
    for rows, coverage in (("all rows", own.coverage), ("in the range of what was seen", own.coverage_inside)):
        if coverage is not None:
            share = f"{coverage.covered} of {coverage.rows}, {coverage.describe()}"
            yield f"- coverage, {rows}: {share}: {coverage.verdict}"
    if own.ratios is not None:
        ratios = own.ratios
        yield (
            f"- ratio of the latencies with 8 and 4 bits, {ratios.pairs} pairs: off by {ratios.median_percent:.1f}% "
            f"(median), {ratios.mean_percent:.1f}% (mean); right winner in {ratios.right} of the {ratios.decided} that "
            "noise does not explain"
        )
    for part in split.networks:
        yield (
            f"- {part.network}: fitted to {part.training_rows} rows, tested on {part.accuracy.rows}: MAPE "
            f"{part.accuracy.mape_percent:.1f}%, {part.accuracy.within_10_percent:.0f}% within 10%"
        )
    if own.sums:
        yield ""
        yield from _table(SUM_COLUMNS, list(sum_cells(own)))
    yield ""
    yield "Where the errors come from:"
    yield ""
    yield from _table(("by", "kernels", "rows", "MAPE", "share of all errors"), list(contributor_cells(split)))
    yield ""
    yield "The worst rows:"
    yield ""
    yield from _table(WORST_COLUMNS, list(worst_cells(split.worst)))


def contributor_cells(split: SplitReport) -> Iterator[tuple[str, ...]]:
    """Of each facet the kinds that contribute most."""
    listed: dict[str, int] = {}
    for c in split.contributors:
        listed[c.facet] = listed.get(c.facet, 0) + 1
        if listed[c.facet] <= _MOST_KINDS:
            yield c.facet, c.kind, str(c.rows), f"{c.mape_percent:.1f}%", f"{c.share_percent:.0f}%"


WORST_COLUMNS = ("kernel", "measured", "predicted", "off", "interval holds")


def worst_cells(worst: Sequence[WorstRow]) -> Iterator[tuple[str, ...]]:
    """The cells of `WORST_COLUMNS`."""
    for row in worst:
        holds = ("yes" if row.covered else "no") + (", out of range" if row.extrapolated else "")
        times = format_duration(row.measured_s), format_duration(row.predicted_s)
        yield row.kernel, *times, f"{row.error_percent:+.0f}%", holds


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
