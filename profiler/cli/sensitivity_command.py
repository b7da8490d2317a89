"""The command `sensitivity`: what quantizing each layer costs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiler.cli.arguments import Json, Model, SkipUnsupported, parse_precisions
from profiler.sensitivity.stage import Method

if TYPE_CHECKING:
    from profiler.sensitivity.hessian import Progress, TraceEstimate
    from profiler.sensitivity.stage import SensitivityResult


class NegativeTrace(str, Enum):
    """What a layer with a negative trace is: an error, or one without cost."""

    REFUSE = "refuse"
    ZERO = "zero"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sensitivity)


def sensitivity(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: CSV, or JSON if it ends in .json.")],
    method: Annotated[
        Method,
        typer.Option(
            help="Squared perturbation of the weights with max-abs or MSE-optimal scales, or times the Hessian."
        ),
    ] = Method.MAX_ABS,
    hook: Annotated[
        Path | None, typer.Option(help="Python file with model(), batches() and loss(model, batch); it is run.")
    ] = None,
    precisions: Annotated[str, typer.Option(help="Comma-separated.")] = "int8,int4",
    tolerance: Annotated[
        float, typer.Option(min=1e-6, max=1.0, help="Hessian: relative standard error of each layer at which to stop.")
    ] = 0.05,
    max_probes: Annotated[int, typer.Option(min=2, max=1_000_000, help="Hessian: random vectors at most.")] = 200,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Hessian: of the random vectors.")] = 0,
    negative_trace: Annotated[
        NegativeTrace, typer.Option(help="Hessian: refuse layers with a negative trace, or count them as zero.")
    ] = NegativeTrace.REFUSE,
    skip_unsupported: SkipUnsupported = False,
    json_output: Json = False,
) -> None:
    """What quantizing each layer costs: from the weights alone, or with the curvature of the loss (Hessian)."""
    from profiler.sensitivity.stage import SensitivityRequest
    from profiler.sensitivity.stage import sensitivity as run_sensitivity

    request = SensitivityRequest(
        model=model,
        out=out,
        method=method,
        precisions=parse_precisions(precisions),
        hook=hook,
        tolerance=tolerance,
        max_probes=max_probes,
        seed=seed,
        negative_as_zero=negative_trace is NegativeTrace.ZERO,
        skip_unsupported=skip_unsupported,
    )
    with _progress() as progress, redirect_stdout(sys.stderr):  # a hook may print what it likes
        result = run_sensitivity(request, progress)
    if json_output:
        typer.echo(json.dumps(_json(result), indent=2))
    else:
        _print(result)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """On standard error, where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status("reading the weights") as status:

        def show(traces: Sequence[TraceEstimate]) -> None:
            worst = max(traces, key=lambda estimate: estimate.relative_stderr)
            status.update(
                f"{worst.probes} probes; widest relative error {worst.relative_stderr:.1%}, {escape(worst.layer)}"
            )

        yield show


def _print(result: SensitivityResult) -> None:
    from profiler.cli.tables import table_console

    table, console = result.sensitivity, table_console()
    console.print(f"{escape(result.network)}: {escape(table.method)}", soft_wrap=True)
    view = Table(box=None, pad_edge=False)
    view.add_column("layer", overflow="fold")
    columns = ["weights", *(p.upper() for p in table.precisions)]
    if result.traces:
        columns += ["trace/weights", "std. error", "probes"]
    for column in columns:
        view.add_column(column, justify="right")
    for layer in table.layers:
        cells = [str(layer.parameters or ""), *(f"{layer.cost[p]:.4g}" for p in table.precisions)]
        if result.traces:
            cells += [_figure(layer.trace), _figure(layer.trace_stderr), str(layer.probes)]
        view.add_row(escape(layer.name), *cells)
    console.print(view)
    totals = (f"{p.upper()} {sum(layer.cost[p] for layer in table.layers):.4g}" for p in table.precisions)
    console.print(f"[bold]all layers: {', '.join(totals)}[/bold]")
    for note in result.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)
    console.print(f"{escape(str(result.out))}: {len(table.layers)} layers", soft_wrap=True)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _json(result: SensitivityResult) -> dict[str, Any]:
    converged = {estimate.layer: estimate.converged for estimate in result.traces}
    return {
        "network": result.network,
        "method": result.sensitivity.method,
        "precisions": list(result.sensitivity.precisions),
        "layers": [
            {
                "layer": layer.name,
                "parameters": layer.parameters,
                "cost": dict(layer.cost),
                "perturbation": dict(layer.perturbation),
                "trace": layer.trace,
                "trace_stderr": layer.trace_stderr,
                "probes": layer.probes,
                "converged": converged.get(layer.name),
            }
            for layer in result.sensitivity.layers
        ],
        "notes": list(result.notes),
        "out": str(result.out),
    }
