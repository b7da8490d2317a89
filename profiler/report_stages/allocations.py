"""The section on the allocation: the trade of sensitivity for latency, and a mixed network on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import fsum

from profiler.allocation import bits_file
from profiler.allocation.bits_file import Bits
from profiler.allocation.launches import launches
from profiler.allocation.limit_text import LimitText
from profiler.allocation.problem import Quantity
from profiler.allocation_stages.allocate import AllocateRequest, allocate
from profiler.allocation_stages.result import Allocation, Ends, FrontResult
from profiler.allocation_stages.sensitivity_source import sensitivity_of
from profiler.errors import ProfilerError
from profiler.record import escaped
from profiler.report.content.front import FrontFigure
from profiler.report.content.report import NamedTable, Section
from profiler.report.content.table import Cell, Column, Kind, Table
from profiler.report_stages.front_content import front_figure
from profiler.report_stages.subject import ReportRequest, Subject
from profiler.report_stages.unit_time import label
from profiler.report_stages.words import sentence
from profiler.units import format_duration

_TITLE = "Bits for latency"
_ALL_POINTS_CHOICES, _POINTS = 24, 24
"""A front of so many choices (layers, times the precisions that are narrower than the widest) is exact; of more so many
limits are tried, since all points take minutes."""
_MIDDLE = 0.5


@dataclass(frozen=True)
class Mixed:
    """``bits`` of a mixed network under its ``name``, and the ``allocation`` with the front that it is shown on.
    ``reason`` says why one of them is None, ``limit`` what was asked of an allocation of ours. ``missing`` are layers
    without a row in the precision that the user's bits have for them, though there is one in another."""

    name: str
    bits: Bits | None
    allocation: Allocation | None
    reason: str = ""
    limit: str = ""
    missing: tuple[str, ...] = ()

    @property
    def course(self) -> tuple[str, Bits] | None:
        return None if self.bits is None else (self.name, self.bits)


def mixed_of(subject: Subject, request: ReportRequest) -> Mixed:
    """The network that the user names (``request.bits``), or half-way between the uniform ones.

    Raises `ProfilerError` for a bits.json that is damaged or of another network, and for sensitivities that the user
    names and that are not there; why else nothing can be allocated is in the answer.
    """
    given = None
    if request.bits is not None:
        given = bits_file.load(request.bits)
        given.require_network(subject.network)
    if request.sensitivity is not None:
        sensitivity_of(request.sensitivity, subject.model, subject.network, subject.precisions)
    try:
        found = _allocated(subject, request)
    except ProfilerError as error:
        name = "" if request.bits is None else f"mixed ({request.bits.name})"
        return Mixed(name, given, None, subject.told(str(error)))
    if given is not None and request.bits is not None:
        name, missing = f"mixed ({request.bits.name})", _missing(given, subject)
        return Mixed(name, given, _with_bits(found, given, subject), missing=missing)
    most = next(limit.most for limit in found.bits.limits if limit.quantity == Quantity.LATENCY.value)
    return Mixed("mixed", found.bits, found, limit=f"within {format_duration(most)}")


def allocation_section(mixed: Mixed) -> Section:
    """The front, with the chosen network on it."""
    allocation = mixed.allocation
    if allocation is None or allocation.front is None or not allocation.front.points:
        reason = mixed.reason or "nothing is feasible"
        return Section("front", _TITLE, "", None, notes=(f"No allocation: {reason}.",))
    front = allocation.front
    figure = _figure(allocation, front, mixed)
    lead = _lead(allocation, front, mixed, shown=figure.chosen is not None)
    return Section(
        name="front",
        title=_TITLE,
        lead=lead,
        figure=figure,
        alt=f"Total sensitivity over latency of the best allocations, and the precision of each layer in each. {lead}",
        tables=(NamedTable("front", "Points of the front", _table(allocation, front), shown=False),),
        notes=(*_notes(allocation, front), *_of_given(mixed, allocation)),
    )


def _figure(allocation: Allocation, front: FrontResult, mixed: Mixed) -> FrontFigure:
    """Bits of the user's whose sensitivities are others, or whose latency is not whole, have no place beside the
    front."""
    figure = front_figure(allocation, front)
    if figure.chosen in figure.points:
        return figure
    given = mixed.bits
    alike = given is None or given.sensitivity_source == allocation.bits.sensitivity_source
    return figure if alike and not mixed.missing else replace(figure, chosen=None)


def _allocated(subject: Subject, request: ReportRequest) -> Allocation:
    """The front, and the network in its middle."""
    units = [unit for unit in subject.units if unit.layer.workload.op.has_weights]
    for precision in subject.precisions:
        if not any(subject.time(unit, precision).span for unit in units):
            raise ProfilerError(f"the table has no {precision.name.upper()} row of a layer that could be chosen")
    gaps = any(subject.time(unit, precision).span is None for unit in units for precision in subject.precisions)
    asked = AllocateRequest(
        model=subject.model,
        lut=subject.table.path,
        sensitivity=request.sensitivity,
        precisions=subject.precisions,
        only_priced=True if gaps else None,
        batch=subject.network.batch,
        threads=subject.conditions.threads,
        cache_mode=subject.conditions.cache_mode,
        front=Quantity.LATENCY,
        points=None if len(units) * (len(subject.precisions) - 1) <= _ALL_POINTS_CHOICES else _POINTS,
        skip_unsupported=request.skip_unsupported,
    )
    whole = allocate(asked)
    end = next((end for end in whole.ends if end.quantity is Quantity.LATENCY), None)
    if end is None:
        why = next((note for note in whole.notes if note.startswith("the network cannot")), "there is no price")
        raise ProfilerError(
            f"the first and the last layer stay in {whole.widest.upper()}, and so {why}; measure them (profile without "
            "--no-mixed)"
        )
    limit = LimitText(Quantity.LATENCY, amount=_middle_s(end))
    chosen = allocate(replace(asked, front=None, points=None, limits=(limit,)))
    return replace(chosen, front=whole.front)


def _with_bits(found: Allocation, given: Bits, subject: Subject) -> Allocation:
    """Another network on the same front: its kernels at the prices of this table, whatever its bits were made with."""
    prices = subject.priced.prices
    specs = [launch.spec for launch in launches(subject.network, given)]
    total_s = fsum(prices[spec].latency_s for spec in specs if spec in prices)
    bits = replace(
        found.bits,
        layers=given.layers,
        tensors=given.tensors,
        conversions=given.conversions,
        separate=given.separate,
        latency=replace(found.bits.latency, total_s=total_s),
        sensitivity=given.sensitivity,
        size_bytes=given.size_bytes,
        bops=given.bops,
        activation_bytes=given.activation_bytes,
    )
    return replace(found, bits=bits)


def _missing(given: Bits, subject: Subject) -> tuple[str, ...]:
    """Layers that the bits have in a precision without a row, though another one has one."""
    without = dict.fromkeys(x.unit for x in launches(subject.network, given) if x.spec not in subject.priced.prices)
    known = (unit for unit in without if any(subject.time(unit, p).span is not None for p in subject.precisions))
    return tuple(map(label, known))


def _middle_s(end: Ends) -> float:
    """Half-way from the narrowest network to the widest; from the fastest one where fewer bits alone are no faster."""
    fast = end.narrow if end.narrow < end.wide else end.least
    return fast + _MIDDLE * (end.wide - fast)


def _lead(allocation: Allocation, front: FrontResult, mixed: Mixed, shown: bool) -> str:
    bits = allocation.bits
    wide = sum(layer.precision == allocation.widest for layer in bits.layers)
    ends = front.points[0].latency_s, front.points[-1].latency_s
    tried = "" if front.exact else " among the limits that were tried"
    chosen = f"the best {mixed.limit}" if mixed.limit else mixed.name
    beside = "Shown beside them" if shown else "Not shown beside them"
    takes, widest = format_duration(bits.latency.total_s), allocation.widest.upper()
    return (
        f"Between {format_duration(min(ends))} and {format_duration(max(ends))} there are {len(front.points)} best "
        f"allocations{tried}. {beside}, {chosen}: {takes} with {wide} of {len(bits.layers)} layers in {widest}."
    )


def _notes(allocation: Allocation, front: FrontResult) -> Iterator[str]:
    bits = allocation.bits
    yield f"Sensitivity: {bits.sensitivity_source}."
    yield from map(sentence, allocation.notes)
    end = next((end for end in allocation.ends if end.quantity is Quantity.LATENCY), None)
    if end is not None and end.narrow < end.wide:
        yield "Marked are HAWQ-V3's levels: 0.25, 0.5 and 0.75 of the way from the narrowest network to the widest."
    if not front.complete:
        yield "The search was ended by its time limit: there may be better points."


def _of_given(mixed: Mixed, allocation: Allocation) -> Iterator[str]:
    """Whose bits they are, where not of this table."""
    given, here = mixed.bits, allocation.bits
    assert given is not None  # there is an allocation
    if given.sensitivity_source != here.sensitivity_source:
        yield f"The bits of {mixed.name} have sensitivities of another source: {escaped(given.sensitivity_source)}."
    if mixed.missing:
        yield f"Without a row in this table, and not in the latency of {mixed.name}: {', '.join(mixed.missing)}."
    if (given.fingerprint, given.batch) != (here.fingerprint, here.batch):
        yield (
            f"The bits of {mixed.name} were chosen by {escaped(given.lut)} ({escaped(given.device_name)}, batch "
            f"{given.batch}); the latencies are those of this table."
        )


def _table(allocation: Allocation, front: FrontResult) -> Table:
    layers = [layer.name for layer in allocation.bits.layers]
    columns = (
        Column("sensitivity", "sensitivity", Kind.NUMBER),
        Column("latency_s", "latency", Kind.SECONDS),
        Column("size_bytes", "weights (bytes)", Kind.NUMBER),
        Column("bops", "bit operations", Kind.NUMBER),
        *(Column(name, name) for name in layers),
    )
    rows: list[tuple[Cell, ...]] = [
        (point.sensitivity, point.latency_s, point.size_bytes, point.bops, *point.precisions) for point in front.points
    ]
    return Table(columns, tuple(rows))
