"""What models say and how good they are: tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiler.cli.tables import print_notes, table_console
from profiler.hardware import is_cpu
from profiler.lut.demand import Variant
from profiler.prediction_stages.evaluate import Evaluation
from profiler.prediction_stages.fit import FitResult
from profiler.prediction_stages.predict import LayerAnswer, NetworkAnswer, Predictions
from profiler.predictor.estimate import TotalEstimate
from profiler.predictor.model_state import Origin
from profiler.predictor.validation import report_text
from profiler.predictor.validation.metrics import Coverage, RatioErrors
from profiler.units import format_duration

_WIDE = 170
_MOST_WARNINGS = 8
_TEXT_COLUMNS = ("config", "split", "model", "held out", "weights", "layer", "workload", "kernel", "basis")


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says so on standard error, where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def print_fit(result: FitResult) -> None:
    """How good the model is, next to the baselines and the noise; how far it can be trusted; where it is."""
    report, console = result.report, table_console(_WIDE)
    console.print(escape(f"{_of(report.origin)}: {report.rows} rows of {report.workloads} workloads"), soft_wrap=True)
    if result.other_conditions:
        console.print(
            f"{result.other_conditions} rows of other conditions are left out (--threads, --cache choose)",
            soft_wrap=True,
        )
    rows = list(report_text.score_cells(report))
    if rows:
        console.print(_table(report_text.SCORE_COLUMNS, rows))
    sums = [row for split in report.splits for s in split.scores[:1] for row in report_text.sum_cells(s)]
    if sums:
        console.print(_table(report_text.SUM_COLUMNS, sums))
    for split in report.splits:
        for reason in split.impossible:
            console.print(f"[yellow]{split.name}, not held out: {escape(reason)}[/yellow]", soft_wrap=True)
    console.print(report_text.noise_text(report.noise), soft_wrap=True)
    console.print(escape(report.trust), soft_wrap=True)
    print_notes(console, result.notes)
    with_configs = f", {result.configs} latencies of schedule configs" if result.configs else ""
    console.print(f"{escape(str(result.model))}: {result.regressor}{with_configs}", soft_wrap=True)


def print_predictions(predictions: Predictions) -> None:
    """A line per layer with the answers of each precision and the totals, or a line per listed kernel."""
    console = table_console(_WIDE)
    percent = f"{100 * predictions.confidence:g}% intervals"
    if predictions.network is not None:
        network = predictions.network
        title = f"{network.network}, batch {network.batch}, on {_of(predictions.origin)}; {percent}"
        console.print(_network_table(network, title))
        for precision, total in zip(network.precisions, network.totals, strict=True):
            console.print(_total_text(precision.name, total, network.totals[0], network.precisions[0].name))
        if network.skipped:
            console.print(f"[yellow]left out, not in the totals: {escape(', '.join(network.skipped))}[/yellow]")
    else:
        rows = [
            (e.spec.key, format_duration(e.latency_s), _interval(e.low_s, e.high_s), e.basis.value)
            for e in predictions.estimates
        ]
        columns = ("kernel", "latency", "interval", "basis")
        console.print(_table(columns, rows, f"{_of(predictions.origin)}; {percent}"))
    for kernel in predictions.configs:
        best = [
            (e.config, format_duration(e.latency_s), _interval(e.low_s, e.high_s), e.basis.value) for e in kernel.best
        ]
        title = f"{kernel.spec.key}: the best of {kernel.space} configs"
        console.print(_table(("config", "latency", "interval", "basis"), best, title))
    print_notes(console, predictions.notes)
    warnings = predictions.warnings
    for warning, kernels in list(warnings.items())[:_MOST_WARNINGS]:
        several = "s" * (kernels > 1)
        console.print(f"[yellow]extrapolated, {kernels} kernel{several}: {escape(warning)}[/yellow]", soft_wrap=True)
    if len(warnings) > _MOST_WARNINGS:
        more = len(warnings) - _MOST_WARNINGS
        console.print(f"[yellow]{more} further reasons to extrapolate: see --json[/yellow]", soft_wrap=True)
    if predictions.out is not None:
        known = len(predictions.estimates) - predictions.written
        text = f"{escape(str(predictions.out))}: {predictions.written} rows with source=predicted"
        console.print(f"{text}; {known} kernels are measured or published" if known else text, soft_wrap=True)


def print_evaluation(evaluation: Evaluation) -> None:
    """The errors on the other rows, the coverage of the intervals, and the worst rows."""
    accuracy, console = evaluation.accuracy, table_console(_WIDE)
    console.print(escape(f"{evaluation.lut}: {accuracy.rows} rows, model of {_of(evaluation.origin)}"), soft_wrap=True)
    console.print(
        f"MAPE {accuracy.mape_percent:.1f}%, median {accuracy.median_percent:.1f}%; within 5% "
        f"{accuracy.within_5_percent:.0f}%, 10% {accuracy.within_10_percent:.0f}%, 20% "
        f"{accuracy.within_20_percent:.0f}% of the rows"
    )
    console.print(f"90% intervals: {_coverage_text(evaluation.coverage)}", soft_wrap=True)
    if evaluation.coverage_inside is not None and evaluation.coverage_inside.rows < accuracy.rows:
        console.print(f"in the range of what was seen: {_coverage_text(evaluation.coverage_inside)}", soft_wrap=True)
    if evaluation.ratios is not None:
        console.print(f"latency with 8 bits by that with 4: {_ratio_text(evaluation.ratios)}", soft_wrap=True)
    console.print(report_text.noise_text(evaluation.noise), soft_wrap=True)
    worst = list(report_text.worst_cells(evaluation.worst))
    console.print(_table(report_text.WORST_COLUMNS, worst, "the worst rows"))
    print_notes(console, evaluation.notes)


def _network_table(network: NetworkAnswer, title: str) -> Table:
    columns = ["layer", "workload"]
    for precision in network.precisions:
        columns += [precision.name.upper(), "interval", "basis"]
    rows = [
        (" + ".join(line.layers), line.workload.text, *(cell for a in line.answers for cell in _answer_cells(a)))
        for line in network.lines
    ]
    return _table(columns, rows, title)


def _answer_cells(answer: LayerAnswer) -> tuple[str, str, str]:
    separate = " +" if answer.variant is Variant.SEPARATE else ""
    interval = _interval(answer.low_s, answer.high_s)
    return format_duration(answer.latency_s) + separate, interval, answer.basis.value


def _total_text(name: str, total: TotalEstimate, first: TotalEstimate, first_name: str) -> str:
    """The sum, its interval, and what it rests on."""
    text = f"[bold]total {name.upper()}: {format_duration(total.latency_s)}[/bold]"
    text += f" ({_interval(total.low_s, total.high_s)})"
    if total is not first:
        text += f", {first.latency_s / total.latency_s:.2f}x against {first_name.upper()}"
    parts = (
        (total.known_s, "measured or published"),
        (total.stand_in_s, "of bare kernels"),
        (total.predicted_s - total.extrapolated_s - total.stand_in_s, "predicted"),
        (total.extrapolated_s, "extrapolated"),
    )
    shares = [f"{100 * part / total.latency_s:.0f}% {what}" for part, what in parts if part > 1e-9 * total.latency_s]
    return "; ".join((text, ", ".join(shares), *total.warnings))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """Texts to the left, numbers to the right."""
    view = Table(title=escape(title) if title else None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        view.add_column(column, justify="left" if column in _TEXT_COLUMNS else "right", overflow="fold")
    for row in rows:
        view.add_row(*map(escape, row))
    return view


def _of(origin: Origin) -> str:
    conditions = origin.conditions.describe(threads=is_cpu(origin.device))
    return f"{origin.device_name} ({origin.device}), {conditions}"


def _interval(low_s: float, high_s: float) -> str:
    return f"{format_duration(low_s)} .. {format_duration(high_s)}"


def _coverage_text(coverage: Coverage) -> str:
    return f"{coverage.covered} of {coverage.rows} rows, {coverage.describe()}: {coverage.verdict}"


def _ratio_text(ratios: RatioErrors) -> str:
    return (
        f"{ratios.pairs} pairs, off by {ratios.median_percent:.1f}% (median); the faster one is named in "
        f"{ratios.right} of {ratios.decided} that differ by more than noise"
    )
