"""The command `sensitivity`: what quantizing each layer costs."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiler.cli.arguments import Json, Model, SkipUnsupported, given, parse_precisions, ranges_and_scales
from profiler.cli.bars import description, terminal_bars
from profiler.errors import ProfilerError

if TYPE_CHECKING:
    from profiler.network_stages.noise_sensitivity import Heard, NoiseRequest
    from profiler.sensitivity.hessian import Progress, TraceEstimate
    from profiler.sensitivity.stage import SensitivityResult


class CostMethod(str, Enum):
    """What a cost is: those of `sensitivity.stage.Method`, and the noise of a network of integers."""

    MAX_ABS = "max-abs"
    MSE = "mse"
    HESSIAN = "hessian"
    NOISE = "noise"


class NegativeTrace(str, Enum):
    """What a layer with a negative trace is: an error, or one without cost."""

    REFUSE = "refuse"
    ZERO = "zero"


_READ_BY: Mapping[str, Collection[CostMethod]] = {
    **dict.fromkeys(("hook", "skip_unsupported"), (CostMethod.MAX_ABS, CostMethod.MSE, CostMethod.HESSIAN)),
    **dict.fromkeys(("tolerance", "max_probes", "seed", "negative_trace"), (CostMethod.HESSIAN,)),
    **dict.fromkeys(("images", "limit", "ranges", "clipping"), (CostMethod.NOISE,)),
}
"""The methods that read an option, where not all do."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sensitivity)


def sensitivity(
    context: typer.Context,
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: CSV, or JSON if it ends in .json.")],
    method: Annotated[
        CostMethod,
        typer.Option(
            help="Squared perturbation of the weights with max-abs or MSE-optimal scales, that times the Hessian, or "
            "what a layer in few bits does to the outputs of the network in integers."
        ),
    ] = CostMethod.MAX_ABS,
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
    images: Annotated[
        Path | None,
        typer.Option(help="Noise: an .npz of images by input name, NCHW: outputs are compared on them, ranges theirs."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Noise: compare outputs on the first so many images only.")
    ] = None,
    ranges: Annotated[
        str, typer.Option(help="Noise: how ranges of activations are found: min-max, percentile or mse.")
    ] = "min-max",
    clipping: Annotated[str, typer.Option(help="Noise: how scales of weights are found: max-abs or mse.")] = "max-abs",
    skip_unsupported: SkipUnsupported = False,
    json_output: Json = False,
) -> None:
    """What quantizing each layer costs: from the weights alone, with the curvature of the loss (Hessian), or as the
    noise of the outputs on images without labels.
    """
    from profiler.sensitivity.stage import Method, SensitivityRequest
    from profiler.sensitivity.stage import sensitivity as run_sensitivity

    _refuse_what_is_not_read(given(context), method)
    if method is CostMethod.NOISE:
        request_of_noise = _noise_request(model, out, precisions, images, limit, ranges, clipping)
        _show(_noise(request_of_noise), json_output)
        return
    request = SensitivityRequest(
        model=model,
        out=out,
        method=Method(method.value),
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
    _show(result, json_output)


def _refuse_what_is_not_read(names: Iterable[str], method: CostMethod) -> None:
    """``names``: the options that were given. Raises `ProfilerError` for one that the method would not read."""
    for name in names:
        readers = _READ_BY.get(name, (method,))
        if method not in readers:
            goes_with = "the other methods" if len(readers) > 1 else f"--method {next(iter(readers)).value}"
            raise ProfilerError(f"--{name.replace('_', '-')} goes with {goes_with}")


def _noise_request(
    model: str,
    out: Path,
    precisions: str,
    images: Path | None,
    limit: int | None,
    ranges: str,
    clipping: str,
) -> NoiseRequest:
    from profiler.network_stages.noise_sensitivity import NoiseRequest

    method, scales = ranges_and_scales(ranges, clipping)
    return NoiseRequest(
        model=model,
        out=out,
        precisions=parse_precisions(precisions),
        calibrate=images,
        most=limit,
        method=method,
        clipping=scales,
    )


def _noise(request: NoiseRequest) -> SensitivityResult:
    from profiler.network_stages.noise_sensitivity import noise_sensitivity

    with _noise_progress() as heard:
        return noise_sensitivity(request, heard)


@contextmanager
def _noise_progress() -> Iterator[Heard]:
    """A bar on standard error, where that is a terminal."""
    with terminal_bars() as bars:
        if bars is None:
            yield lambda text, done, total: None
            return
        shown, task = bars, bars.add_task("reading the model", total=None)

        def show(text: str, done: int, total: int) -> None:
            shown.update(task, description=description(text, shown), completed=done, total=total or None)

        yield show


def _show(result: SensitivityResult, json_output: bool) -> None:
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
    from profiler.cli.tables import print_notes, table_console

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
    print_notes(console, result.notes)
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
