"""The section on the roofline: what the device could do, and what each layer gets of it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from profiler.hardware import GpuSpec
from profiler.report.content.report import NamedTable, Section
from profiler.report.content.roofline import Roof, Roofline, RooflinePoint, table_of
from profiler.report_stages.rates import Rates
from profiler.report_stages.subject import Subject
from profiler.report_stages.unit_time import label
from profiler.report_stages.words import listed, sentence
from profiler.space.traffic import moved_bytes

_TITLE = "What the device could do"
_ROUNDING = 1e-9
_FEW = 3
_CACHED = "not all of their bytes coming from the memory (caches, strides)"
_FAST = "the peak being higher than assumed"


def roofline_of(subject: Subject, rates: Rates) -> Roofline:
    """Kernels with weights, in the network's order."""
    points = []
    for unit in subject.units:
        if not unit.layer.workload.op.has_weights:
            continue
        for precision in subject.precisions:
            time = subject.time(unit, precision)
            if time.way is None or time.span is None:
                continue
            rows = subject.priced.rows
            # a bare kernel stands for a fused one in some tables
            specs = [row.spec if (row := rows.get(k.spec)) is not None else k.spec for k in time.way.kernels]
            ops, nbytes = 2 * unit.layer.workload.macs, sum(map(moved_bytes, specs))
            points.append(
                RooflinePoint(
                    layer=label(unit),
                    precision=precision.name.upper(),
                    ops=ops,
                    moved_bytes=nbytes,
                    latency_s=time.span.latency_s,
                    limit_s=rates.limit_s(ops, nbytes, precision),
                )
            )
    roofs = tuple(
        Roof(precision.name.upper(), ops, origin)
        for precision, ops, origin in zip(rates.precisions, rates.ops_per_s, rates.origins, strict=True)
    )
    name = "memory" if isinstance(rates.facts, GpuSpec) else "most bytes moved"
    return Roofline(roofs, rates.bytes_per_s, rates.memory_origin, tuple(points), name)


def roofline_section(roofline: Roofline) -> Section:
    """Says where the roofs come from."""
    if not roofline.points:
        return Section("roofline", _TITLE, "", None, notes=("The table has no latency of any layer with weights.",))
    shares = []
    for roof in roofline.roofs:
        mine = [p.ops_per_s / roof.ops_per_s for p in roofline.points if p.precision == roof.precision]
        if mine:
            shares.append(f"{roof.precision} {median(mine):.0%} (at best {max(mine):.0%})")
    lead = f"Share of the peak that a layer reaches, in the median: {', '.join(shares)}."
    origins = dict.fromkeys(f"{roof.precision} peak: {roof.origin}." for roof in roofline.roofs)
    return Section(
        name="roofline",
        title=_TITLE,
        lead=lead,
        figure=roofline,
        alt=f"Operations a second over operations a byte for each layer, under the roofs of the device. {lead}",
        tables=(NamedTable("roofline", "Layers under the roofline", table_of(roofline), shown=False),),
        notes=(
            *origins,
            sentence(f"{roofline.memory_name}: {roofline.memory_origin}"),
            "Bytes of a kernel are counted once: everything that it reads and writes.",
            *_above(roofline),
        ),
    )


def _above(roofline: Roofline) -> Iterator[str]:
    """Says why a point may lie above the roof. The row that a roof was read off lies on it, whatever rounding says."""
    above = [point for point in roofline.points if point.latency_s < (1 - _ROUNDING) * point.limit_s]
    peaks = {roof.precision: (1 + _ROUNDING) * roof.ops_per_s for roof in roofline.roofs}
    fast = [point for point in above if point.ops_per_s > peaks[point.precision]]
    cached = [point for point in above if point not in fast]
    for points, why in ((cached, _CACHED), (fast, _FAST)):
        if points:
            names = [f"{point.layer} ({point.precision})" for point in points]
            yield f"Above the roof, {why}: {listed(names, _FEW)}."
