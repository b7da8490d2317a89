"""The command `allocate`: which layers may run in fewer bits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from profiler.allocation.limit_text import LimitText, parse_limit, parse_named_limit
from profiler.allocation.problem import Quantity
from profiler.cli.arguments import (
    PRECISIONS_TEXT,
    Batch,
    CacheOfRows,
    Json,
    SkipUnsupported,
    ThreadsOfRows,
    given,
    parse_precisions,
)
from profiler.errors import ProfilerError
from profiler.record import escaped

_OF_PROBLEMS = (
    "problem", "max_latency", "max_size", "max_bops", "max_energy", "max_memory", "limit", "pareto", "points", "gap",
    "time_limit", "json_output",
)  # fmt: skip
"""Options that a problem file takes too."""
_FRACTION = "0.5 (of the way from the narrowest network to the widest)"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(allocate)


def allocate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(help="resnet18, resnet50, ..., or a file: .onnx, .pt2, .json.", show_default=False),
    ] = None,
    lut: Annotated[Path | None, typer.Option(help="Latencies of one device; instead of --device.")] = None,
    device: Annotated[
        str, typer.Option("--device", "-d", help="Whose table to read: that of your own run, else one that ships.")
    ] = "auto",
    folder: Annotated[Path, typer.Option("--in", help="Folder that holds lut/ of your own runs.")] = Path(),
    sensitivity: Annotated[
        str | None,
        typer.Option(
            "--sensitivity",
            "-s",
            help="A file, or max-abs or mse: of the model's own weights. By default published ones of a built-in "
            "network, else max-abs.",
        ),
    ] = None,
    max_latency: Annotated[str | None, typer.Option(help=f"E.g. 3.2ms, or {_FRACTION}.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Of the weights: 8MB, 6MiB, or a fraction.")] = None,
    max_bops: Annotated[str | None, typer.Option(help="Bit operations of an image: 70G, or a fraction.")] = None,
    max_energy: Annotated[str | None, typer.Option(help="Of a batch: 30mJ, or a fraction.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Of live activations: 2MiB, or a fraction.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="The same as NAME=VALUE: latency=0.5, size=8MB. May be repeated.")
    ] = None,
    precisions: Annotated[str, typer.Option(help=f"Comma-separated: what to choose from, of {PRECISIONS_TEXT}.")] = (
        "int8,int4"
    ),
    keep: Annotated[
        str, typer.Option(help="Comma-separated layers that stay wide: first, last, names, patterns; or none.")
    ] = "first,last",
    forbid: Annotated[
        list[str] | None, typer.Option(help="LAYER=PRECISION, e.g. 'layer1.*=int4'. May be repeated.")
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(help="all: every layer must have a price; priced: the others stay wide, and are named."),
    ] = None,
    predictor: Annotated[Path | None, typer.Option(help="A model that fit saved: prices of what has no row.")] = None,
    confidence: Annotated[
        float | None, typer.Option(help="With which the sum of what is predicted stays below the limit, e.g. 0.95.")
    ] = None,
    end_to_end: Annotated[
        Path | None, typer.Option(help="CSV of end-to-end latencies that calibrate the sum of the kernels.")
    ] = None,
    batch: Batch = None,
    threads: ThreadsOfRows = None,
    cache: CacheOfRows = None,
    pareto: Annotated[
        str | None, typer.Option(help="Also the front of sensitivity against latency, size, bops, energy or memory.")
    ] = None,
    points: Annotated[
        int | None, typer.Option(min=2, max=10_000, help="Limits to try for the front; by default it is exact.")
    ] = None,
    front_csv: Annotated[Path | None, typer.Option("--front", help="Write the front as CSV.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the front: .svg, .png or .pdf.")] = None,
    gap: Annotated[float, typer.Option(min=0.0, max=1.0, help="Stop within this relative distance of the best.")] = 0.0,
    time_limit: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds; then the best that was found, and it says so.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The bits.json to write.")] = None,
    problem: Annotated[
        Path | None, typer.Option(help="A problem as JSON, instead of a network and a LUT; docs/allocation.md.")
    ] = None,
    skip_unsupported: SkipUnsupported = False,
    json_output: Json = False,
) -> None:
    """Choose the precision of each layer: the least sensitivity within limits, by integer programming.

    Limits are absolute, or a fraction f: cost(narrowest) + f * (cost(widest) - cost(narrowest)).
    """
    amounts = {
        Quantity.LATENCY: max_latency,
        Quantity.SIZE: max_size,
        Quantity.BOPS: max_bops,
        Quantity.ENERGY: max_energy,
        Quantity.MEMORY: max_memory,
    }
    limits = [parse_limit(quantity, text) for quantity, text in amounts.items() if text is not None]
    limits += [parse_named_limit(text) for text in limit or ()]
    limited = [text.quantity for text in limits]
    twice = [quantity.value for quantity in limited if limited.count(quantity) > 1]
    if twice:
        raise ProfilerError(f"{twice[0]} is limited twice; say one of them")
    if pareto is not None and pareto not in [quantity.value for quantity in Quantity]:
        raise ProfilerError(f"--pareto {pareto}: known are {', '.join(quantity.value for quantity in Quantity)}")
    if pareto is None and (points is not None or front_csv is not None or plot is not None):
        raise ProfilerError("--points, --front and --plot are of a front: say --pareto latency")
    front_quantity = None if pareto is None else Quantity(pareto)
    if problem is not None:
        given_too = [name.replace("_", "-") for name in given(context) if name not in _OF_PROBLEMS]
        if given_too:
            listed = ", ".join(given_too)
            raise ProfilerError(f"--problem is instead of a network and a LUT: leave out {listed}")
        _allocate_problem(problem, limits, front_quantity, points, gap, time_limit, json_output)
        return
    if model is None:
        raise ProfilerError("say what to allocate: a network (resnet18, model.onnx), or --problem FILE.json")
    if lut is not None and device != "auto":
        raise ProfilerError("--lut names the table, --device looks for one; leave one of them out")
    if scope not in (None, "all", "priced"):
        raise ProfilerError(f"--scope {scope}: known are all and priced")

    from profiler.allocation_stages.allocate import AllocateRequest
    from profiler.allocation_stages.allocate import allocate as run_allocate
    from profiler.cli import allocate_json, allocate_tables, front_files

    front_files.require(front_csv, plot, out)
    names = tuple(name.strip() for name in keep.split(",") if name.strip())
    request = AllocateRequest(
        model=model,
        lut=lut,
        device=device,
        folder=folder,
        sensitivity=sensitivity,
        limits=tuple(limits),
        precisions=parse_precisions(precisions),
        keep=() if names == ("none",) else names,
        forbid=tuple(forbid or ()),
        only_priced=None if scope is None else scope == "priced",
        predictor=predictor,
        confidence=confidence,
        end_to_end=end_to_end,
        batch=batch,
        threads=threads,
        cache_mode=cache,
        front=front_quantity,
        points=points,
        gap=gap,
        time_limit_s=time_limit,
        skip_unsupported=skip_unsupported,
        out=out,
    )
    allocation = run_allocate(request)
    front_files.write(allocation, front_csv, plot)
    if json_output:
        typer.echo(json.dumps(allocate_json.allocation_json(allocation), indent=2, allow_nan=False))
    else:
        allocate_tables.print_allocation(allocation)


def _allocate_problem(
    path: Path,
    limits: list[LimitText],
    quantity: Quantity | None,
    points: int | None,
    gap: float,
    time_limit: float | None,
    json_output: bool,
) -> None:
    from profiler.allocation_stages.from_problem import front_of_file, solve_file
    from profiler.cli import allocate_json, allocate_tables

    answer = solve_file(path, limits, gap, time_limit)
    front = None if quantity is None or answer.reason else front_of_file(path, limits, quantity, points, time_limit)
    if json_output:
        typer.echo(json.dumps(allocate_json.problem_json(answer, front), indent=2, allow_nan=False))
    elif not answer.reason:
        allocate_tables.print_problem(answer, front)
    if answer.reason:
        print(f"error: {escaped(f'{path}: {answer.reason}')}", file=sys.stderr)
        raise typer.Exit(2)
