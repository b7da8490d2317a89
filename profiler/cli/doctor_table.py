"""What an examination of this machine found, for people and for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from profiler.cli.tables import table_console
from profiler.environment.findings import Report, Verdict

_MARKS = {
    Verdict.OK: "[green]+ ok[/green]     ",
    Verdict.NOTE: "[yellow]! note[/yellow]   ",
    Verdict.MISSING: "[red]x missing[/red]",
}
_INDENT = " " * len("x missing  ")


def print_report(report: Report, console: Console | None = None) -> None:
    """One line per finding, its remedies below it, and the sum in the last line."""
    console = console or table_console()
    width = max(len(finding.topic) for finding in report.findings)
    for finding in report.findings:
        line = f"{_MARKS[finding.verdict]}  {escape(finding.topic.ljust(width))}  {escape(finding.text)}"
        console.print(line, soft_wrap=True)
        for remedy in finding.remedies:
            console.print(f"{_INDENT}{' ' * width}  -> {escape(remedy)}", soft_wrap=True)
    console.print(f"[bold]{escape(summary(report))}[/bold]", soft_wrap=True)


def summary(report: Report) -> str:
    """Whether the run would work, in one line."""
    if report.ready:
        return f"ready: make profile GPU={report.device} (measures {report.measured})"
    count = len(report.missing)
    return f"not ready for GPU={report.device}: {count} thing{'' if count == 1 else 's'} missing"


def report_json(report: Report) -> dict[str, Any]:
    """All of it, in the order of the table."""
    return {
        "device": report.device,
        "ready": report.ready,
        "measured": report.measured or None,
        "missing": len(report.missing),
        "findings": [
            {
                "topic": finding.topic,
                "verdict": finding.verdict.value,
                "text": finding.text,
                "remedies": list(finding.remedies),
            }
            for finding in report.findings
        ],
    }
