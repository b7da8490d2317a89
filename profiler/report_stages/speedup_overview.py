"""The section that sets several narrower precisions side by side, over the same wider one."""

from __future__ import annotations

from profiler.report.content.overview import Overview, table_of
from profiler.report.content.report import NamedTable, Section
from profiler.report.content.speedup import Speedups


def overview_section(speedups: tuple[Speedups, ...]) -> Section:
    """Of two or more."""
    overview = Overview(speedups)
    title = f"Speedup of each precision over {overview.wide}"
    totals = [
        f"{name} {ratio.value:.2f}x"
        for name, ratio in zip(overview.narrow, overview.totals, strict=True)
        if ratio is not None
    ]
    table = NamedTable("speedups", title, table_of(overview))
    if not totals:
        return Section("speedups", title, "There is nothing to compare.", None, notes=("No layer has both latencies.",))
    lead = f"Over the layers that have both latencies: {', '.join(totals)}."
    parts = {found.compared for found in speedups}
    notes = ("Not all precisions have the same layers, so that their totals are of different parts of the network.",)
    return Section(
        name="speedups",
        title=title,
        lead=lead,
        figure=overview,
        alt=f"For each layer its {overview.wide} time over its time in each narrower precision. {lead}",
        tables=(table,),
        notes=notes if len(parts) > 1 else (),
    )
