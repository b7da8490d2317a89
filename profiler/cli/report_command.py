"""The command `report`: figures, tables and a page on a table of latencies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from profiler.cli.arguments import Batch, CacheOfRows, Json, SkipUnsupported, ThreadsOfRows, parse_precisions
from profiler.cli.tables import print_notes, table_console
from profiler.errors import ProfilerError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The network that the table is read for: resnet18, ..., or a file. By default the one that was "
            "profiled last, else the built-in one that the table knows most of.",
            show_default=False,
        ),
    ] = None,
    lut: Annotated[Path | None, typer.Option(help="The table to show; instead of --device.")] = None,
    device: Annotated[
        str, typer.Option("--device", "-d", help="Whose table to show: that of your own run, else one that ships.")
    ] = "auto",
    folder: Annotated[
        Path, typer.Option("--in", help="Folder that holds lut/ and tuning_logs/ of your own runs.")
    ] = Path(),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write; by default reports/<device>/ in that of --in.")
    ] = None,
    bits: Annotated[
        Path | None, typer.Option(help="A bits.json to show as the mixed network; by default one is allocated.")
    ] = None,
    sensitivity: Annotated[
        str | None, typer.Option("--sensitivity", "-s", help="What the allocation minimises; as that of allocate.")
    ] = None,
    precisions: Annotated[
        str, typer.Option(help="Comma-separated; the first one is what the others are compared with.")
    ] = "int8,int4",
    throughput: Annotated[
        Path | None,
        typer.Option(help="A file that throughput wrote; by default those beside the table, of its instrument."),
    ] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Journals of the table's instrument; by default those beside the table.")
    ] = None,
    batch: Batch = None,
    threads: ThreadsOfRows = None,
    cache: CacheOfRows = None,
    skip_unsupported: SkipUnsupported = False,
    json_output: Json = False,
) -> None:
    """Write figures (PNG, SVG), tables (CSV, Markdown) and one HTML page that needs nothing else to be read."""
    from profiler.report_stages.report import ReportRequest, make_report

    if lut is not None and device != "auto":
        raise ProfilerError("--lut names the table, --device looks for one; leave one of them out")
    made = make_report(
        ReportRequest(
            lut=lut,
            device=device,
            folder=folder,
            model=model,
            batch=batch,
            precisions=parse_precisions(precisions),
            logs=logs,
            bits=bits,
            sensitivity=sensitivity,
            throughput=throughput,
            threads=threads,
            cache_mode=cache,
            skip_unsupported=skip_unsupported,
            out=out,
        )
    )
    if json_output:
        body = {
            "folder": str(made.folder),
            "files": made.files,
            "title": made.report.title,
            "headline": made.report.headline,
            "doubts": made.report.doubts,
            "without_figure": [section.name for section in made.report.sections if section.figure is None],
        }
        typer.echo(json.dumps(body, indent=2))
        return
    console = table_console()
    console.print(f"[bold]{escape(made.report.title)}[/bold]", soft_wrap=True)
    console.print(escape(made.report.headline), soft_wrap=True)
    print_notes(console, made.report.doubts)
    for section in made.report.sections:
        if section.figure is None:
            console.print(f"[dim]no figure '{escape(section.name)}': {escape(section.notes[0])}[/dim]", soft_wrap=True)
    console.print(f"{len(made.files)} files; open {escape(str(made.folder / made.files[0]))}", soft_wrap=True)
