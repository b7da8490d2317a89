"""The section on throughput and energy: networks that ran end to end, else sums of the table's kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.allocation_stages.prices import price_list
from profiler.errors import FingerprintMismatch, InvalidFile
from profiler.frontend import load_network
from profiler.lut.demand import units
from profiler.lut.schema import Source
from profiler.report.content.report import NamedTable, Section
from profiler.report.content.throughput import AtBatch, ThroughputCurve, ThroughputCurves, curves_of, table_of
from profiler.report_stages.subject import Subject
from profiler.report_stages.unit_time import label, unit_time
from profiler.report_stages.words import listed
from profiler.throughput import file
from profiler.throughput.digests import network_digest
from profiler.throughput.knee import KneeKind
from profiler.throughput.point import Point
from profiler.units import format_rate
from profiler.verdict import Span
from profiler.workload import Network, Precision

_TITLE = "Throughput and energy"
_MOST_NAMED = 4


def throughput_section(subject: Subject, named: Path | None = None) -> Section:
    """``named`` is a file of throughputs; by default those beside the table count. Of a precision that ran end to end
    nothing else is shown. Raises `InvalidFile` and `FingerprintMismatch` for the file that is named."""
    points, damaged = _points(subject, named)
    ran = curves_of(points)
    sums = [_sums(subject, p) for p in subject.precisions if p.name.upper() not in {curve.name for curve in ran}]
    curves = ThroughputCurves(
        subject.network.name, subject.origin.device_name, (*ran, *(s.curve for s in sums if s.curve is not None))
    )
    notes = (*damaged, *_notes(subject, points, ran, sums, curves))
    if not curves.curves:
        return Section("throughput", _TITLE, "", None, notes=notes)
    lead = f"{'; '.join(map(_said, curves.curves))}."
    return Section(
        name="throughput",
        title=_TITLE,
        lead=lead,
        figure=curves,
        alt=f"Images per second and the latency of a batch, over the batch. {lead}",
        tables=(NamedTable("throughput", "Throughput by batch", table_of(curves)),),
        notes=notes,
    )


@dataclass(frozen=True)
class _Sums:
    """Of a precision in the table: batches at which ``missing`` layers have no latency are not in the curve, which is
    None where there is no other. ``predicted``: some latency is."""

    precision: Precision
    curve: ThroughputCurve | None
    missing: tuple[tuple[int, tuple[str, ...]], ...]
    kernel_only: bool
    predicted: bool


def _points(subject: Subject, named: Path | None) -> tuple[tuple[Point, ...], tuple[str, ...]]:
    """Of this network on this instrument, uniform ones first; and what is wrong with files that nobody named."""
    found: list[Point] = []
    damaged: list[str] = []
    for path in file.beside(subject.table.path) if named is None else (named,):
        try:
            content = file.read(path)
        except InvalidFile as error:
            if named is not None:
                raise
            damaged.append(f"{subject.told(str(error).replace(str(path), path.name))}.")
            continue
        if content.fingerprint == subject.origin.fingerprint:
            found += content.points
        elif named is not None:
            raise FingerprintMismatch(
                f"{path}: is of {content.device_name} ({content.fingerprint}), and the table of "
                f"{subject.origin.device_name} ({subject.origin.fingerprint})"
            )
    digest = network_digest(subject.network)
    order = [precision.name for precision in subject.precisions]

    def place(point: Point) -> tuple[bool, int, str, str, int]:
        known = not point.bits_digest and point.configuration in order
        return (
            bool(point.bits_digest), order.index(point.configuration) if known else len(order), point.configuration,
            point.bits_digest, point.batch,
        )  # fmt: skip

    return tuple(sorted((point for point in found if point.network_digest == digest), key=place)), tuple(damaged)


def _sums(subject: Subject, precision: Precision) -> _Sums:
    """At each batch of which there are rows."""
    at, missing = [], []
    kernel_only = predicted = False
    for batch in _batches(subject):
        network = _network(subject, batch)
        priced = price_list(network, (precision,), subject.rows, None, None)
        times = [(unit, unit_time(network, unit, precision, priced)) for unit in units(network)]
        without = tuple(label(unit) for unit, time in times if time.span is None)
        if without:
            missing.append((batch, without))
            continue
        latency = Span.total(tuple(time.span for _, time in times if time.span is not None))
        prices = [priced.prices[k.spec] for _, time in times if time.way is not None for k in time.way.kernels]
        energies = [price.energy_j for price in prices if price.energy_j is not None]
        j_per_image = sum(energies) / batch if len(energies) == len(prices) else None
        at.append(AtBatch(batch, latency, j_per_image or None))
        kernel_only |= priced.kernel_only
        predicted |= any(price.source is Source.PREDICTED for price in prices)
    name = precision.name.upper()
    curve = ThroughputCurve(name, name, False, tuple(at)) if at else None
    return _Sums(precision, curve, tuple(missing), kernel_only, predicted)


def _batches(subject: Subject) -> list[int]:
    batches = {row.spec.workload.batch for row in subject.rows if row.spec.workload.op.has_weights}
    return sorted({subject.network.batch, *batches})


def _network(subject: Subject, batch: int) -> Network:
    if batch == subject.network.batch:
        return subject.network
    return load_network(subject.model, batch, skip_unsupported=bool(subject.network.skipped))


def _said(curve: ThroughputCurve) -> str:
    knee = curve.knee
    best = next(point for point in curve.points if point.batch == knee.best)
    text = f"{curve.name}, {curve.source}: {format_rate(best.images_per_s)} images/s at batch {best.batch}"
    if best.images_per_j is not None:
        text += f" and {format_rate(best.images_per_j)} for each watt"
    return text if knee.kind is KneeKind.SINGLE else f"{text}, {knee.text}"


def _notes(
    subject: Subject,
    points: Sequence[Point],
    ran: Sequence[ThroughputCurve],
    sums: Sequence[_Sums],
    curves: ThroughputCurves,
) -> Iterator[str]:
    if curves.curves:
        yield from _energy(subject, points, curves)
    shown = [one for one in sums if one.curve is not None]
    names = " and ".join(one.precision.name.upper() for one in shown)
    if shown:
        yield (
            f"{names}: sums of the table's kernels, which did not run as a network (make throughput MODEL=... UNIFORM="
            f"{','.join(one.precision.name for one in shown)} runs it)."
        )
    if any(one.kernel_only for one in shown):
        yield "Bare kernels: bias, requantization, ReLU and additions are not in these sums."
    if any(one.predicted for one in shown):
        yield "Some of these latencies are predicted, not measured."
    if subject.network.skipped:
        yield f"Not in any of these: {', '.join(subject.network.skipped)}, which no kernel stands for."
    for one in sums:
        for batch, layers in one.missing if one.curve is None else ():
            yield (
                f"No sum of {one.precision.name.upper()} at batch {batch}: {len(layers)} of {len(subject.units)} "
                f"layers have no latency ({listed(layers, _MOST_NAMED)})."
            )
    if not curves.curves:
        yield from _energy(subject, points, curves)
    left = sorted(set(_batches(subject)) - {point.batch for curve in ran for point in curve.points}) if ran else []
    if left:
        yield f"Rows at batch {', '.join(map(str, left))} did not run as a network."
    if any(point.by_default for point in points):
        yield "Some kernels had no row and ran with the config of the analytic model, which a search may better."
    if any(len({p.run_id for p in points if p.curve == one.curve}) > 1 for one in points):
        yield "Points of several runs make one curve: how the clock moved between them is in it."


def _energy(subject: Subject, points: Sequence[Point], curves: ThroughputCurves) -> Iterator[str]:
    """One line where nothing is known."""
    if curves.has_energy:
        yield "Joules are of all that the device draws while it works back to back, idle power included."
        return
    reasons = list(dict.fromkeys(point.no_energy for point in points if point.no_energy))
    if reasons:
        yield f"Nothing is told per watt, since no counter was readable: {subject.told('; '.join(reasons))}."
        return
    yield (
        "Nothing is told per watt, since no energy was measured: make throughput MODEL=... ENERGY=1 measures that of "
        "networks, make profile ENERGY=1 that of each kernel, where the device has a counter."
    )
