"""The command `compare`: two tables of latencies beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from profiler.cli.arguments import Json
from profiler.verdict import MARGIN

SLOWER = 1
"""The exit code of ``--fail-if-slower``."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    a: Annotated[Path, typer.Argument(help="A LUT, e.g. that of yesterday.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="The LUT that is compared with it.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the files; by default reports/compare-<A>-<B>.", show_default=False
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="By what fraction two latencies may differ and still count as the same.")
    ] = MARGIN,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of a latency from run to run, as a fraction; by default that of runs in the "
            "journals beside the tables, else an assumed one.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List all kernels, also those that are the same.")] = False,
    fail_if_slower: Annotated[
        bool,
        typer.Option(
            "--fail-if-slower",
            help="Exit code 1 if B on the whole, or any of its kernels, takes longer by at least the margin, beyond "
            "what chance does.",
        ),
    ] = False,
    json_output: Json = False,
) -> None:
    """Say of each kernel whether B is faster, slower, the same or ambiguous, and draw it.

    Writes comparison.csv, .md, .svg and .png.
    """
    from profiler.cli import compare_json, compare_tables
    from profiler.report_stages.compare import CompareRequest
    from profiler.report_stages.compare import compare as run_compare

    result = run_compare(CompareRequest(a=a, b=b, out=out, margin=margin, noise=noise))
    if json_output:
        typer.echo(json.dumps(compare_json.comparison_json(result), indent=2))
    else:
        compare_tables.print_comparison(result, every)
    if fail_if_slower and (result.comparison.slower_on_the_whole or result.comparison.slowdowns):
        raise typer.Exit(SLOWER)
