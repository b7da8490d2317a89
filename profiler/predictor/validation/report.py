"""What a validation found, as values, as JSON and as Markdown (for `reports/recorded`)."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from profiler.predictor.model_state import Origin
from profiler.predictor.validation.metrics import (
    Accuracy,
    Coverage,
    NetworkSum,
    NoiseFloor,
    NoiseOrigin,
    RatioErrors,
)
from profiler.units import format_duration

_TITLE = "# Latency predictor on"
FEW_ROWS = 100
"""With fewer rows a model says how far it can be trusted ahead of anything else."""
_MOST_KINDS = 6


@dataclass(frozen=True)
class Score:
    """How a learner did in a split, over all its folds. ``coverage_inside`` is of the rows in the range of what the
    learner had seen. Without intervals there is neither coverage nor ``halfwidth_percent`` (the median)."""

    learner: str
    accuracy: Accuracy
    coverage: Coverage | None
    coverage_inside: Coverage | None
    halfwidth_percent: float | None
    ratios: RatioErrors | None
    sums: tuple[NetworkSum, ...]


@dataclass(frozen=True)
class NetworkPart:
    """One held-out network."""

    network: str
    training_rows: int
    accuracy: Accuracy


@dataclass(frozen=True)
class Contributor:
    """Rows that are alike in one respect (``facet``), their error, and their share in the sum of all errors."""

    facet: str
    kind: str
    rows: int
    mape_percent: float
    share_percent: float


@dataclass(frozen=True)
class WorstRow:
    """A kernel (`KernelSpec.key`) that the model is far off at."""

    kernel: str
    measured_s: float
    predicted_s: float
    covered: bool
    extrapolated: bool

    @property
    def error_percent(self) -> float:
        """Positive where the prediction is too long."""
        return 100 * (self.predicted_s / self.measured_s - 1)


@dataclass(frozen=True)
class SplitReport:
    """``training_rows`` of each fold; ``scores`` begin with the learner's own, which the rest is about."""

    name: str
    training_rows: tuple[int, ...]
    scores: tuple[Score, ...]
    networks: tuple[NetworkPart, ...]
    contributors: tuple[Contributor, ...]
    worst: tuple[WorstRow, ...]
    impossible: tuple[str, ...]


@dataclass(frozen=True)
class ValidationReport:
    """``workloads`` count batches, types and epilogues of a workload once. ``seed`` is of the random split and of
    whatever the learners draw."""

    origin: Origin
    rows: int
    workloads: int
    data_sha256: str
    seed: int
    confidence_percent: float
    noise: NoiseFloor
    splits: tuple[SplitReport, ...]

    @property
    def trust(self) -> str:
        """How far the model can be trusted, in a sentence."""
        split = next((split for split in self.splits if split.scores), None)
        if split is None:
            return f"{self.rows} rows are too few to hold any out: nothing is known of the errors of this model"
        own = split.scores[0]
        seen = f"workloads held out ({split.name}) were off by {own.accuracy.mape_percent:.1f}% on average"
        if own.coverage is None:
            return seen
        verdict = f"the {self.confidence_percent:g}% intervals held {_coverage(own.coverage)}: {own.coverage.verdict}"
        few = f"with only {self.rows} rows of {self.workloads} workloads, " if self.rows < FEW_ROWS else ""
        return f"{few}{seen}; {verdict}"


def to_json(report: ValidationReport) -> dict[str, Any]:
    """Plain values. What follows from others (`Coverage.percent`) is there too, for readers."""
    return dict(plain(report))


def from_json(data: object) -> ValidationReport:
    """Inverse of `to_json`, also of its text. Raises `ValueError` for anything else."""
    try:
        report: ValidationReport = _typed(ValidationReport, data)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a validation report: {error}") from None
    return report


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
                _coverage(score.coverage) if score.coverage else "-",
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
        f"{origin.conditions.threads} thread{'s' * (origin.conditions.threads > 1)}, cache mode "
        f"{origin.conditions.cache_mode.value}; data {report.data_sha256[:16]}, seed {report.seed}."
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
            share = f"{coverage.covered} of {coverage.rows}, {_coverage(coverage)}"
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


def _coverage(coverage: Coverage) -> str:
    return f"{coverage.percent:.1f}% ({coverage.low_percent:.1f} to {coverage.high_percent:.1f})"


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def plain(value: Any) -> Any:
    """A value of these types (or what it is made of) as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if is_dataclass(value):
        names = [f.name for f in fields(value)] + _derived(type(value))
        return {name: plain(getattr(value, name)) for name in names}
    return value


def _typed(kind: Any, value: Any) -> Any:
    """``value``, as `plain` left it, as a value of that type. Raises `ValueError` or `TypeError`."""
    if get_origin(kind) in (types.UnionType, Union):
        if value is None and type(None) in get_args(kind):
            return None
        (kind,) = (option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list")
        return tuple(_typed(get_args(kind)[0], item) for item in value)
    if is_dataclass(kind):
        return _instance(kind, value)
    if issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return value


def _instance(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    unknown = set(value) - {f.name for f in fields(kind)} - set(_derived(kind))
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    return kind(**{f.name: _typed(hints[f.name], value[f.name]) for f in fields(kind)})


def _derived(kind: type) -> list[str]:
    return [name for name, member in vars(kind).items() if isinstance(member, property)]
