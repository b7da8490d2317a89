"""The command `evaluate-accuracy`: what a network still answers right in integers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from profiler.cli import accuracy_files
from profiler.cli.arguments import (
    AllowDefault,
    BatchOfBits,
    ClippingMethod,
    Device,
    DriverCuda,
    Json,
    KernelTable,
    OwnRuns,
    RangesMethod,
    RowsCache,
    parse_precisions,
    ranges_and_scales,
)
from profiler.cli.bars import status
from profiler.cli.bit_exact import bit_exact_or_exit, compared_text
from profiler.cli.tables import print_notes, table_console
from profiler.errors import ProfilerError
from profiler.record import CacheMode
from profiler.report.content.accuracy import Accuracies, IntegerAccuracy, Share
from profiler.units import format_duration

if TYPE_CHECKING:
    from profiler.network_stages.accuracy import AccuracyResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate-accuracy")(evaluate_accuracy)


def evaluate_accuracy(
    model: Annotated[str, typer.Argument(help="The file of a trained model: .onnx, .pt2.", show_default=False)],
    images: Annotated[
        Path,
        typer.Option(
            help="An .npz of images by input name, NCHW, and their classes as labels; or a folder of such files, read "
            "one by one."
        ),
    ],
    calibrate: Annotated[
        Path, typer.Option(help="An .npz of images of the training set: ranges of activations are theirs.")
    ],
    bits: Annotated[
        list[Path] | None, typer.Option(help="A bits.json: the precision of each layer. May be repeated.")
    ] = None,
    uniform: Annotated[
        str | None,
        typer.Option(
            help="Precisions for everything, comma-separated, or none; int8,int4 unless --bits is given.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Count the first so many images only.")] = None,
    device: Device = "auto",
    lut: KernelTable = None,
    folder: OwnRuns = Path(),
    batch: BatchOfBits = None,
    ranges: RangesMethod = "min-max",
    clipping: ClippingMethod = "max-abs",
    cache: RowsCache = CacheMode.NETWORK,
    allow_default: AllowDefault = False,
    cuda: DriverCuda = None,
    latency: Annotated[bool, typer.Option(help="Also time each configuration end to end.")] = True,
    csv: Annotated[Path | None, typer.Option(help="Write the table as CSV.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw accuracy against latency: .svg, .png or .pdf, and a .csv beside it.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Count right answers: of the network in float, and of each choice of bits, in the integer-only executor.

    The first batch is compared with the integer oracle, step by step and bit for bit.
    """
    from profiler.network_stages.accuracy import AccuracyRequest
    from profiler.network_stages.accuracy import evaluate_accuracy as evaluate
    from profiler.network_stages.run import RunRequest

    if plot is not None and not latency:
        raise ProfilerError("--plot draws accuracy against latency, which --no-latency leaves out")
    if uniform is None:
        uniform = "" if bits else "int8,int4"
    method, scales = ranges_and_scales(ranges, clipping)
    request = AccuracyRequest(
        run=RunRequest(
            model=model,
            device=device,
            lut=lut,
            folder=folder,
            batch=batch,
            calibrate=calibrate,
            method=method,
            clipping=scales,
            cache_mode=cache,
            allow_default=allow_default,
            cuda=cuda,
        ),
        images=images,
        bits=tuple(bits or ()),
        uniform=() if uniform.strip().lower() in ("", "none") else parse_precisions(uniform),
        most=limit,
        timed=latency,
    )
    with accuracy_files.required(csv, plot) as table_files:
        with bit_exact_or_exit(), status("reading the model and calibrating") as told:
            result = evaluate(request, told)
        accuracy_files.write(result.accuracies, table_files, plot)
    if json_output:
        typer.echo(json.dumps(_json(result), indent=2, allow_nan=False))
    else:
        _print(result)
        for path in (*table_files, *([plot] if plot is not None else [])):
            typer.echo(str(path))


def _print(result: AccuracyResult) -> None:
    found, console = result.accuracies, table_console()
    print_notes(console, result.notes)
    images = found.reference.top1.images
    title = f"{found.network}, {images:,} images, batch {found.batch}, on {found.device_name}"
    view = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    view.add_column("bits", overflow="fold")
    view.add_column("layers", style="dim", overflow="fold")
    columns = ["weights", "top-1", "95% interval", *(["top-5"] if found.reference.top5 else [])]
    for column in (*columns, "changed", "lost", "won", "p", "latency"):
        view.add_column(column, justify="right", no_wrap=True)
    top5 = [] if found.reference.top5 is None else [f"{found.reference.top5.value:.2%}"]
    reference = found.reference.top1
    view.add_row("float", "", "", f"{reference.value:.2%}", _interval(reference), *top5, *("",) * 5)
    for configuration in found.configurations:
        view.add_row(*_cells(configuration))
    console.print(view)
    compared = compared_text(result.verified_steps, result.verified_nbytes)
    console.print(f"bit exact on the first batch: {compared}", soft_wrap=True)
    console.print(
        "[dim]changed: answers that are not float's; lost, won: right in float alone, right in integers alone; p: the "
        "probability of so uneven a split by chance[/dim]",
        soft_wrap=True,
    )


def _cells(found: IntegerAccuracy) -> list[str]:
    beside, latency = found.beside, found.latency
    return [
        escape(found.name), escape(found.bits), f"{found.weight_bytes / 1e3:,.1f} kB", f"{found.top1.value:.2%}",
        _interval(found.top1), *([] if found.top5 is None else [f"{found.top5.value:.2%}"]), f"{beside.changed:,}",
        f"{beside.lost:,}", f"{beside.won:,}", f"{beside.p_value:.2g}",
        "-" if latency is None else format_duration(latency.latency_s),
    ]  # fmt: skip


def _interval(share: Share) -> str:
    return f"{100 * share.low:.2f} to {100 * share.high:.2f}"


def _json(result: AccuracyResult) -> dict[str, Any]:
    """Shares from 0 to 1 with their 95% intervals, latencies in seconds, null where there is none."""
    found: Accuracies = result.accuracies
    return {
        "network": found.network,
        "batch": found.batch,
        "device_name": found.device_name,
        "fingerprint": result.fingerprint,
        "images": found.reference.top1.images,
        "verified_steps": result.verified_steps,
        "verified_bytes": result.verified_nbytes,
        "float": {"top1": _share(found.reference.top1), "top5": _share(found.reference.top5)},
        "configurations": [
            {
                "name": configuration.name,
                "kind": configuration.kind,
                "layers": configuration.bits,
                "weight_bytes": configuration.weight_bytes,
                "top1": _share(configuration.top1),
                "top5": _share(configuration.top5),
                **asdict(configuration.beside),
                "latency_s": None if configuration.latency is None else configuration.latency.latency_s,
                "latency_ci95_low_s": None if configuration.latency is None else configuration.latency.low_s,
                "latency_ci95_high_s": None if configuration.latency is None else configuration.latency.high_s,
            }
            for configuration in found.configurations
        ],
        "notes": list(result.notes),
    }


def _share(share: Share | None) -> dict[str, Any] | None:
    if share is None:
        return None
    return {"right": share.right, "share": share.value, "ci95_low": share.low, "ci95_high": share.high}
