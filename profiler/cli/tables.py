"""Tables for people, on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiler.hardware import is_cpu
from profiler.lut.check import Finding
from profiler.lut.demand import Variant
from profiler.lut.schema import LutRow
from profiler.lut.table import NetworkTable, TableRow
from profiler.pipeline_result import ProfileResult
from profiler.units import format_count, format_duration, format_energy, format_rate
from profiler.workload import Network

if TYPE_CHECKING:
    from profiler.devices.discover import Inventory

PLAIN_WIDTH = 120
"""Columns where the output is not a terminal: a table that is redirected to a file must not be cut."""


def table_console(least_width: int = 0) -> Console:
    """``least_width`` is for tables that a narrower terminal had better wrap than squeeze."""
    console = Console(highlight=False)
    if console.is_terminal and console.width >= least_width:
        return console
    return Console(highlight=False, width=max(PLAIN_WIDTH, least_width))


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """What a reader should know of a result, a line each."""
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)


def _least_width(precisions: int) -> int:
    """Two precisions can be squeezed into a terminal; with more of them, names would be folded letter by letter."""
    return 0 if precisions <= 2 else 78 + 21 * precisions


def print_profile(result: ProfileResult) -> None:
    """The network's table, where it was written, and what should make a reader doubt it."""
    table = result.table
    console = table_console(_least_width(len(table.precisions)))
    console.print(_network_table(result))
    if any(cell.variant is Variant.SEPARATE for row in table.rows for cell in row.cells):
        console.print("[dim]+ the addition runs faster as a kernel of its own than fused into the convolution[/dim]")
    for line in (*_totals(table), *_energies(result)):
        console.print(line)
    if table.skipped:
        console.print(f"[yellow]left out, not in the totals: {escape(', '.join(table.skipped))}[/yellow]")
    for warning in result.warnings:
        console.print(f"[yellow]{escape(warning)}[/yellow]")
    console.print(
        f"{result.kernels} kernels, {result.measured} measured now in {format_duration(result.elapsed_s)}, "
        f"{result.failures} failed candidates; "
        f"LUT: {escape(str(result.lut_path))}, records: {escape(str(result.logs))}",
        soft_wrap=True,
    )


def _network_table(result: ProfileResult) -> Table:
    table, conditions = result.table, result.conditions.describe(threads=is_cpu(result.device))
    title = f"{table.network}, batch {table.batch}, on {result.device_name}, {conditions}"
    view = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    view.add_column("layer", overflow="fold")
    view.add_column("workload", style="dim", overflow="fold")
    for precision in table.precisions:
        view.add_column(precision.name.upper(), justify="right")
    for precision in table.precisions[1:]:
        name = "speedup" if len(table.precisions) == 2 else f"{table.precisions[0].name}/{precision.name}"
        view.add_column(name, justify="right")
    metered = any(total.joules for total in table.totals)
    for precision in table.precisions if metered else ():
        view.add_column(f"{precision.name.upper()} energy", justify="right")
    for row in table.rows:
        joules = _joules(row) if metered else ()
        view.add_row(escape(" + ".join(row.layers)), row.workload.text, *_cells(row), *_speedups(row), *joules)
    return view


def _joules(row: TableRow) -> list[str]:
    return ["-" if cell.joules is None else format_energy(cell.joules.energy_j) for cell in row.cells]


def _energies(result: ProfileResult) -> list[str]:
    """What a batch takes, and of how many lines that is; nothing where no energy is known."""
    table, lines = result.table, []
    for precision, total in zip(table.precisions, table.totals, strict=True):
        if total.joules is None:
            continue
        text = f"energy {precision.name.upper()}: {format_energy(total.joules.energy_j)}"
        if total.joules.above_idle_j is not None:
            text += f", {format_energy(total.joules.above_idle_j)} of it above idle"
        if total.metered < total.lines:
            text += f", over {total.metered} of {total.lines} lines"
        else:
            per_watt = format_rate(table.batch / total.joules.energy_j)
            text += f"; {per_watt} images per second and watt, by the sum of the kernels"
        lines.append(text)
    if lines:
        found = result.energies
        counters = escape(", ".join(found.counters))
        idle = "; idle {:.1f} to {:.1f} W".format(*found.idle_w) if found.idle_w else ""
        lines.append(f"energies of {found.known} kernels by {counters}, {found.measured} measured now{idle}")
    return lines


def _cells(row: TableRow) -> list[str]:
    return [
        "-" if cell.latency_s is None
        else format_duration(cell.latency_s) + (" +" if cell.variant is Variant.SEPARATE else "")
        for cell in row.cells
    ]  # fmt: skip


def _speedups(row: TableRow) -> list[str]:
    return [_speedup(row.speedup(i)) for i in range(1, len(row.cells))]


def _speedup(value: float | None) -> str:
    if value is None:
        return "-"
    text = f"{value:.2f}x"
    return f"[green]{text}[/green]" if value > 1.05 else f"[red]{text}[/red]" if value < 0.95 else text


def _totals(table: NetworkTable) -> list[str]:
    lines = []
    for precision, total in zip(table.precisions, table.totals, strict=True):
        text = f"[bold]total {precision.name.upper()}: {format_duration(total.latency_s)}[/bold]"
        if not total.complete:
            text += f" over {total.priced} of {total.lines} lines"
        if precision is not table.precisions[0] and total.speedup is not None:
            text += f", {total.speedup:.2f}x against {table.precisions[0].name.upper()}"
            if total.compared < total.lines:
                text += f" over the {total.compared} lines that have both"
        lines.append(text)
    return lines


def print_network(network: Network) -> None:
    """Layers in order, the totals, and which layers share the type of their input."""
    view = Table(box=None, pad_edge=False)
    for column in ("layer", "workload", "reads"):
        view.add_column(column, overflow="fold")
    for column in ("parameters", "MACs"):
        view.add_column(column, justify="right")
    for layer in network.layers:
        relu = " relu" if layer.relu else ""
        view.add_row(
            escape(layer.name), f"{layer.workload.text}{relu}", escape(", ".join(layer.inputs)),
            str(layer.parameters or ""), format_count(layer.workload.macs) if layer.workload.macs else "",
        )  # fmt: skip
    console = table_console()
    console.print(view)
    console.print(
        f"{escape(network.name)}, batch {network.batch}: {len(network.layers)} layers, "
        f"{len(network.multiplicities())} distinct workloads, {network.parameters:,} parameters, "
        f"{format_count(network.macs)} MACs",
        soft_wrap=True,
    )
    for tie in network.ties():
        console.print(f"tied (read one tensor): {escape(', '.join(tie))}", soft_wrap=True)
    if network.skipped:
        console.print(f"[yellow]left out: {escape(', '.join(network.skipped))}[/yellow]", soft_wrap=True)


def print_inventory(inventory: Inventory) -> None:
    view = Table(box=None, pad_edge=False)
    for column in ("GPU=", "device", "index", "UUID", "can be measured"):
        view.add_column(column)
    for device in inventory.devices:
        index = "" if device.index is None else str(device.index)
        view.add_row(device.slug, escape(device.name), index, device.uuid, device.obstacle or "yes")
    console = table_console()
    console.print(view)
    if not inventory.gpus:
        console.print(f"no NVIDIA GPU: {escape(inventory.no_gpus)}", soft_wrap=True)


def print_findings(file: Path, rows: int, findings: Sequence[Finding]) -> None:
    """What is wrong with a file; how many sound rows it has if nothing is."""
    console = table_console()
    for finding in findings:
        console.print(f"{escape(str(file))}:{escape(finding.text)}", soft_wrap=True)
    if not findings:
        console.print(f"{escape(str(file))}: {rows} rows, nothing wrong", soft_wrap=True)


def print_ahead(file: Path, rows: Sequence[LutRow]) -> None:
    """That rows are dated in the future: no defect of the file, but of a clock."""
    if rows:
        console = table_console()
        console.print(
            f"{escape(str(file))}: measured_at of {len(rows)} rows lies in the future, the first is "
            f"{escape(rows[0].spec.key)}: a clock was wrong, and any other measurement of these replaces them",
            soft_wrap=True,
        )


def print_rows(rows: Sequence[LutRow]) -> None:
    view = Table(box=None, pad_edge=False)
    for column in ("workload", "types", "epilogue", "source", "cache"):
        view.add_column(column, overflow="fold")
    for column in ("median", "95% interval", "samples", "GOP/s"):
        view.add_column(column, justify="right")
    for row in rows:
        spec = row.spec
        types = "x".join(d.value for d in (spec.input_dtype, spec.weight_dtype or spec.input2_dtype) if d is not None)
        low, high = row.latency_ci95_low_s, row.latency_ci95_high_s
        interval = "-" if low is None or high is None else f"{format_duration(low)} .. {format_duration(high)}"
        rate = f"{2 * row.macs / row.latency_median_s / 1e9:.0f}" if row.macs else "-"
        view.add_row(
            spec.workload.text, f"{types}->{spec.output_dtype.value}", spec.epilogue.value, row.source.value,
            row.conditions.cache_mode.value, format_duration(row.latency_median_s), interval, str(row.samples), rate,
        )  # fmt: skip
    console = table_console()
    console.print(view)
    console.print(f"{format_count(len(rows))} rows")
