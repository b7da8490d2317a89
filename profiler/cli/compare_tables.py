"""A comparison of two tables, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiler.cli.tables import print_notes, table_console
from profiler.report.content.comparison import ComparedKernel, Comparison, summary_of
from profiler.report.content.table import cell_text
from profiler.report_stages.compare import CompareResult
from profiler.units import format_duration
from profiler.verdict import Verdict

MOST_LISTED = 24
"""Kernels, unless all are asked for."""
_STYLES = {Verdict.FASTER: "green", Verdict.SLOWER: "red", Verdict.SAME: "dim", Verdict.AMBIGUOUS: "yellow"}


def print_comparison(result: CompareResult, every: bool = False) -> None:
    """What to know first, the answer, kinds of kernels, and kernels: those that are not the same, or all."""
    comparison, console = result.comparison, table_console()
    for name, table in (("A", comparison.a), ("B", comparison.b)):
        console.print(f"{name}: {escape(table.title)}", soft_wrap=True)
    print_notes(console, comparison.notes)
    console.print(f"[bold]{escape(comparison.headline)}[/bold]", soft_wrap=True)
    console.print(_summary(comparison))
    listed = comparison.kernels if every else _worth_a_line(comparison.kernels)
    if listed:
        console.print(_kernels(listed))
    hidden = len(comparison.kernels) - len(listed)
    if hidden:
        console.print(f"{hidden} further kernels: --all lists them, and so does {result.files[0].name}")
    _print_slowdowns(comparison, console)
    names = ", ".join(path.name for path in result.files)
    console.print(f"{escape(str(result.files[0].parent))}: {names}", soft_wrap=True)


def _print_slowdowns(comparison: Comparison, console: Console) -> None:
    """What ``--fail-if-slower`` fails for."""
    percent = f"{100 * comparison.margin:.3g}%"
    if comparison.slower_on_the_whole:
        console.print(f"[red]on the whole B takes longer by at least {percent}[/red]")
    if comparison.slowdowns:
        worst = comparison.slowdowns[0]
        console.print(
            f"[red]{len(comparison.slowdowns)} of {len(comparison.kernels)} kernels take longer by at least {percent}, "
            f"beyond what chance does to one of so many; the worst: {escape(worst.label)}, {worst.ratio.value:.2f}x"
            "[/red]",
            soft_wrap=True,
        )


def _worth_a_line(kernels: Sequence[ComparedKernel]) -> list[ComparedKernel]:
    """Those that are not the same, in their order; of many the slowest and the fastest."""
    found = [kernel for kernel in kernels if kernel.verdict is not Verdict.SAME]
    if len(found) <= MOST_LISTED:
        return found
    return [*found[: MOST_LISTED // 2], *found[-MOST_LISTED // 2 :]]


def _summary(comparison: Comparison) -> Table:
    summary = summary_of(comparison)
    view = Table(box=None, pad_edge=False)
    for column in summary.columns:
        view.add_column(column.title, justify="left" if column.kind.is_text else "right")
    for row in summary.rows:
        view.add_row(*(escape(cell_text(cell, c.kind)) for cell, c in zip(row, summary.columns, strict=True)))
    return view


def _kernels(kernels: Sequence[ComparedKernel]) -> Table:
    view = Table(box=None, pad_edge=False)
    view.add_column("kernel", overflow="fold")
    for column in ("A", "B", "B / A", "95% interval"):
        view.add_column(column, justify="right")
    view.add_column("B is")
    view.add_column("config")
    for k in kernels:
        view.add_row(
            escape(k.label), format_duration(k.a.latency_s), format_duration(k.b.latency_s), f"{k.ratio.value:.3f}",
            f"{k.ratio.low:.3f} .. {k.ratio.high:.3f}", f"[{_STYLES[k.verdict]}]{k.verdict.value}[/]",
            "same" if k.same_config else "other",
        )  # fmt: skip
    return view
