"""The section on speedups: each layer in the wider precision over each narrower one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from profiler.lut.demand import Unit
from profiler.report.content.report import NamedTable, Section
from profiler.report.content.speedup import LayerSpeedup, Speedups, table_of
from profiler.report_stages.causes import Pair, cause
from profiler.report_stages.rates import Rates
from profiler.report_stages.subject import Subject
from profiler.report_stages.unit_time import UnitTime, label
from profiler.report_stages.words import listed
from profiler.verdict import Ratio, Span, Verdict, ratio
from profiler.workload import KernelSpec, Precision

_MOST_NAMES = 4
_LONGEST = 60


def speedups_of(subject: Subject, rates: Rates, narrow: Precision) -> Speedups:
    """Of one narrower precision."""
    layers = tuple(_layer(subject, rates, unit, narrow) for unit in subject.units)
    both = [(layer.wide, layer.narrow) for layer in layers if layer.wide is not None and layer.narrow is not None]
    total = None
    if both:
        wide, narrowed = zip(*both, strict=True)
        total = ratio(Span.total(wide), Span.total(narrowed), subject.noise.sigma)
    return Speedups(
        wide=subject.wide.name.upper(),
        narrow=narrow.name.upper(),
        layers=layers,
        noise_ratio=subject.noise.tie,
        total=total,
        compared=len(both),
    )


def speedup_section(subject: Subject, speedups: Speedups, first: bool) -> Section:
    """``first``: of the first of several narrower precisions, whose files have the plain name."""
    name = "speedup" if first else f"speedup-{speedups.narrow.lower()}"
    title = f"{speedups.narrow} against {speedups.wide}, layer by layer"
    tables = (NamedTable(name, title, table_of(speedups), shown=False),)
    if not speedups.compared:
        known = [p for p, spans in _spans(speedups).items() if any(spans)]
        only = f"only of {known[0]}" if len(known) == 1 else "of none in both" if known else "of neither"
        note = (
            f"no layer has a latency in both precisions: the table has rows {only}; measure both "
            f"(make profile PRECISIONS={speedups.wide.lower()},{speedups.narrow.lower()})"
        )
        return Section(name, title, "There is nothing to compare.", None, tables=tables, notes=(note,))
    return Section(
        name=name,
        title=title,
        lead=f"Of {len(speedups.layers)} layers {_counts(speedups)}.",
        figure=speedups,
        alt=(
            f"For each layer in the order of the network its {speedups.wide} time over its {speedups.narrow} time, "
            f"with a 95% interval; {_counts(speedups)}."
        ),
        tables=tables,
        notes=tuple(_notes(subject, speedups)),
    )


def _layer(subject: Subject, rates: Rates, unit: Unit, narrow: Precision) -> LayerSpeedup:
    wide_time, narrow_time = subject.time(unit, subject.wide), subject.time(unit, narrow)
    speedup, verdict, why = None, None, ""
    if wide_time.span is not None and narrow_time.span is not None:
        speedup = ratio(wide_time.span, narrow_time.span, subject.noise.sigma)
        if wide_time.guessed or narrow_time.guessed:
            why = "predicted, without an interval"
        else:
            verdict = _verdict(speedup)
        if verdict in (Verdict.SLOWER, Verdict.AMBIGUOUS):
            why = _cause(subject, rates, wide_time, narrow_time, narrow)
    else:
        without = [p for p, t in ((subject.wide, wide_time), (narrow, narrow_time)) if t.span is None]
        why = f"no {' and no '.join(p.name.upper() for p in without)} row"
    return LayerSpeedup(
        layer=label(unit),
        workload=unit.layer.workload.text,
        wide=wide_time.span,
        narrow=narrow_time.span,
        speedup=speedup,
        verdict=verdict,
        source=" and ".join(dict.fromkeys(filter(None, (wide_time.source, narrow_time.source)))),
        cause=why,
    )


def _verdict(speedup: Ratio) -> Verdict:
    """Inside the noise nothing can be said."""
    if not speedup.excludes_one:
        return Verdict.AMBIGUOUS
    return Verdict.FASTER if speedup.value > 1 else Verdict.SLOWER


def _cause(subject: Subject, rates: Rates, wide: UnitTime, narrow: UnitTime, precision: Precision) -> str:
    assert wide.way is not None
    assert narrow.way is not None
    assert wide.span is not None
    assert narrow.span is not None
    rows = subject.priced.rows
    pair = Pair(wide.way, narrow.way, wide.span.latency_s, narrow.span.latency_s, rows.get)
    seen: KernelSpec = pair.heart
    return cause(pair, subject.facts, rates.memory_bound(seen, precision))


def headline(speedups: Speedups) -> str:
    """The answer in a sentence."""
    if speedups.total is None:
        return f"The table does not say how {speedups.narrow} and {speedups.wide} compare."
    total, compared = speedups.total, speedups.compared
    over = "" if compared == len(speedups.layers) else f" over the {compared} layers that have both"
    wide, narrow = speedups.wide, speedups.narrow
    if total.low > 1:
        verdict = f"{narrow} is {total.value:.2f}x as fast as {wide}"
    elif total.high < 1:
        verdict = f"{narrow} does not pay: its kernels take {1 / total.value:.2f} times as long as those of {wide}"
    else:
        interval = f"{total.value:.2f}x, 95% interval {total.low:.2f} to {total.high:.2f}"
        verdict = f"{narrow} and {wide} cannot be told apart ({interval})"
    sources = [layer.source for layer in speedups.layers if layer.speedup is not None]
    guessed = ", by predicted latencies" if any("predicted" in source for source in sources) else ""
    return f"{verdict}{over}{guessed}."


def _counts(speedups: Speedups) -> str:
    missing = sum(layer.speedup is None for layer in speedups.layers)
    guessed = sum(layer.speedup is not None and layer.verdict is None for layer in speedups.layers)
    parts = [
        f"{speedups.count(Verdict.FASTER)} are faster",
        f"{speedups.count(Verdict.SLOWER)} slower",
        f"{speedups.count(Verdict.AMBIGUOUS)} inside the noise",
    ]
    parts += [f"{guessed} predicted without an interval"] if guessed else []
    return ", ".join(parts) + (f", {missing} without a row in one of both" if missing else "")


def _notes(subject: Subject, speedups: Speedups) -> Iterator[str]:
    for verdict, what in (
        (Verdict.SLOWER, f"Slower in {speedups.narrow}"),
        (Verdict.AMBIGUOUS, "Ambiguous, the difference being inside the noise"),
    ):
        found = [layer for layer in speedups.layers if layer.verdict is verdict]
        for why, _ in Counter(layer.cause for layer in found).most_common():
            named = [layer.layer for layer in found if layer.cause == why]
            yield f"{what}, {why or 'no cause in the numbers'}: {_listed(named)}."
    missing = [layer.layer for layer in speedups.layers if layer.speedup is None]
    if missing:
        yield f"Without a latency in one of both: {_listed(missing)}."
    guessed = [layer.layer for layer in speedups.layers if layer.speedup is not None and layer.verdict is None]
    if guessed:
        yield f"Predicted without an interval, so that nothing can be said: {_listed(guessed)}."
    yield (
        f"Noise: two measurements of a kernel may be {subject.noise.tie - 1:.1%} apart ({subject.noise.origin}); it is "
        "part of every interval, together with that of the medians. Precisions of one run are measured in turn, so "
        "that a drift which they share cancels: the intervals are rather too wide than too narrow."
    )


def _listed(names: list[str]) -> str:
    return listed([name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in names], _MOST_NAMES)


def _spans(speedups: Speedups) -> dict[str, list[Span | None]]:
    return {
        speedups.wide: [layer.wide for layer in speedups.layers],
        speedups.narrow: [layer.narrow for layer in speedups.layers],
    }
