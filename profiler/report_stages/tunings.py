"""The section on tuning: how the search of each kernel went, from the journals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from profiler.lut.demand import demand
from profiler.record import EnergyMeasurement, Failure, KernelRecord, of_the_device
from profiler.report.content.report import NamedTable, Section
from profiler.report.content.tuning import Search, TuningHistory, failures_of, table_of
from profiler.report_stages.subject import Subject
from profiler.workload import INT4, PRECISIONS, KernelSpec

_TITLE = "How the search went"
_NEAR = 1.05


def history_of(subject: Subject) -> TuningHistory:
    """Of the kernels that the network can need. A kind of failure counts the configs that ever failed so."""
    by_spec: dict[KernelSpec, list[KernelRecord]] = {}
    for record in subject.records:
        by_spec.setdefault(record.spec, []).append(record)
    wanted = demand(subject.network, subject.precisions, mixed=True)
    searches = (_search(d.spec, d.layers, by_spec[d.spec]) for d in wanted if d.spec in by_spec)
    mine = [record for d in wanted for record in by_spec.get(d.spec, ())]
    ways = dict.fromkeys((r.spec, r.config, r.kind.value) for r in mine if isinstance(r, Failure))
    kinds = Counter(kind for _, _, kind in ways)
    return TuningHistory(tuple(search for search in searches if search.best_s), tuple(kinds.most_common()))


def tuning_section(subject: Subject, history: TuningHistory) -> Section:
    """Says that there are no journals, where there are none."""
    if not history.searches:
        where = f"in the tuning logs ({subject.logs.name})" if subject.logs is not None else "beside this table"
        what = "trials of this network's kernels" if subject.records else "journals of this instrument"
        note = f"There are no {what} {where}: how its kernels were found is not known here."
        return Section("tuning", _TITLE, "", None, notes=(note,))
    trials = sorted(_trials_until_near(search.relative) for search in history.searches if any(search.best_s))
    lead = f"{len(history.searches)} kernels, {history.trials} trials"
    if trials:
        lead += f"; in the median a config within 5% of the best came with trial {median(trials):g}"
    failed = sum(search.failed for search in history.searches)
    return Section(
        name="tuning",
        title=_TITLE,
        lead=f"{lead}. {f'{failed} trials failed' if failed else 'No candidate failed'}.",
        figure=history,
        alt=f"Best latency found over the number of trials, for each kernel. {lead}.",
        tables=(
            *([NamedTable("tuning-failures", "Failures by kind", failures_of(history))] if history.failures else []),
            NamedTable("tuning", "Best latency after each trial", table_of(history), shown=False),
        ),
        notes=(
            "A trial is a schedule config that was compiled, compared bit for bit and timed, or failed; its time is "
            "that of the search, shorter and noisier than a row's.",
        ),
    )


def _search(spec: KernelSpec, layers: Sequence[str], records: Sequence[KernelRecord]) -> Search:
    """Each config counts once, where it first appears; whatever ever failed is a failure, unless the device did."""
    tries = [r for r in records if not isinstance(r, EnergyMeasurement) and not of_the_device(r)]
    failed = {record.config for record in tries if isinstance(record, Failure)}
    best: list[float | None] = []
    seen: set[str] = set()
    for record in tries:
        if record.config in seen:
            continue
        seen.add(record.config)
        before = best[-1] if best else None
        if isinstance(record, Failure) or record.config in failed:
            best.append(before)
        else:
            now = record.summary.median_s
            best.append(now if before is None else min(before, now))
    return Search(spec.key, tuple(layers), _precision(spec), tuple(best), len(failed & seen))


def _precision(spec: KernelSpec) -> str:
    """As the rest of the report calls it. Without weights it is that of what is read, a residual ahead of a sum."""
    if spec.weight_dtype is None:
        bits = (spec.input2_dtype or spec.input_dtype).bits
        return f"A{bits}" if bits < INT4.activation_bits else f"INT{bits}"
    width = spec.weight_dtype.bits, spec.input_dtype.bits
    name = next((p.name for p in PRECISIONS.values() if (p.weight_bits, p.activation_bits) == width), None)
    return name.upper() if name is not None else f"A{width[1]}W{width[0]}"


def _trials_until_near(relative: Sequence[float | None]) -> int:
    return next(_first(relative), len(relative))


def _first(relative: Sequence[float | None]) -> Iterator[int]:
    return (trial for trial, value in enumerate(relative, start=1) if value is not None and value <= _NEAR)
