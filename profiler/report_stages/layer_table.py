"""The table of all layers that a page ends with: everything that is known of a layer, in a row."""

from __future__ import annotations

from profiler.allocation.bits_file import Bits
from profiler.report.content.report import NamedTable
from profiler.report.content.roofline import Roofline
from profiler.report.content.speedup import LayerSpeedup, Speedups
from profiler.report.content.table import Cell, Column, Kind, Table
from profiler.report_stages.subject import Subject
from profiler.report_stages.unit_time import label
from profiler.workload import Precision


def layer_table(subject: Subject, speedups: tuple[Speedups, ...], roofline: Roofline, bits: Bits | None) -> NamedTable:
    """The widest precision, each narrower one against it, what is chosen in the mixed network, shares of the peak, and
    joules in the precisions in which any layer's are known."""
    wide = subject.wide.name.upper()
    chosen = {} if bits is None else {layer.name: layer.precision.upper() for layer in bits.layers}
    shares = _shares(roofline)
    joules = _joules(subject)
    columns = (
        Column("number", "#", Kind.NUMBER),
        Column("layer", "layer"),
        Column("workload", "workload"),
        Column(f"{wide.lower()}_s", wide, Kind.SECONDS),
        *(column for found in speedups for column in _narrow_columns(found.narrow)),
        *((Column("mixed", "mixed network"),) if bits is not None else ()),
        *(
            Column(f"{p.name}_share_of_peak_percent", f"{p.name.upper()} of peak", Kind.PERCENT)
            for p in subject.precisions
        ),
        *(Column(f"{p.name}_j", f"{p.name.upper()} energy", Kind.JOULES) for p in joules),
        Column("source", "source"),
    )
    rows: list[tuple[Cell, ...]] = []
    for index, unit in enumerate(subject.units):
        first = speedups[0].layers[index]
        rows.append(
            (
                index + 1,
                label(unit),
                first.workload,
                None if first.wide is None else first.wide.latency_s,
                *(cell for found in speedups for cell in _narrow_cells(found.layers[index])),
                *((chosen.get(unit.layer.name, ""),) if bits is not None else ()),
                *(shares.get((label(unit), precision.name.upper())) for precision in subject.precisions),
                *(of_units[index] for of_units in joules.values()),
                first.source,
            )
        )
    return NamedTable("layers", "All layers", Table(columns, tuple(rows)))


def _narrow_columns(narrow: str) -> tuple[Column, ...]:
    name = narrow.lower()
    return (
        Column(f"{name}_s", narrow, Kind.SECONDS),
        Column(f"{name}_speedup", f"{narrow} speedup", Kind.RATIO),
        Column(f"{name}_verdict", f"{narrow} is"),
        Column(f"{name}_cause", "likely cause"),
    )


def _narrow_cells(layer: LayerSpeedup) -> tuple[Cell, ...]:
    return (
        None if layer.narrow is None else layer.narrow.latency_s,
        None if layer.speedup is None else layer.speedup.value,
        "not known" if layer.verdict is None else layer.verdict.value,
        layer.cause,
    )


def _joules(subject: Subject) -> dict[Precision, list[float | None]]:
    """Of all units."""
    found = {p: [subject.time(unit, p).energy_j for unit in subject.units] for p in subject.precisions}
    return {precision: joules for precision, joules in found.items() if any(joules)}


def _shares(roofline: Roofline) -> dict[tuple[str, str], float]:
    """Percent of the peak, by layer and precision."""
    return {
        (point.layer, point.precision): 100 * point.ops_per_s / roofline.roof(point.precision).ops_per_s
        for point in roofline.points
    }
