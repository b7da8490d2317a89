"""The command `throughput`: images a second in steady state over batches, and the knee."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from profiler.cli.arguments import (
    AllowDefault,
    BitsFile,
    CalibrationImages,
    ClippingMethod,
    Device,
    DriverCuda,
    Json,
    KernelTable,
    OwnRuns,
    RangesMethod,
    RowsCache,
    Trials,
    parse_precisions,
    ranges_and_scales,
)
from profiler.cli.bars import status
from profiler.cli.bit_exact import bit_exact_or_exit, compared_text
from profiler.cli.figure_file import draw, require_file, require_format
from profiler.cli.tables import print_notes, table_console
from profiler.errors import ProfilerError
from profiler.record import CacheMode
from profiler.report.content.throughput import AtBatch, ThroughputCurve, ThroughputCurves, curves_of
from profiler.units import format_duration, format_energy, format_rate

if TYPE_CHECKING:
    from profiler.network_stages.throughput import ThroughputResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(throughput)


def throughput(
    model: Annotated[str, typer.Argument(help="resnet18, ... (drawn weights), or a file: .onnx, .pt2.")],
    batches: Annotated[str, typer.Option(help="Images at once, comma-separated.")] = "1,2,4,8,16,32,64",
    uniform: Annotated[
        str | None,
        typer.Option(
            help="Precisions for everything, comma-separated: int8, int4, a2w2, ...; int8 unless --bits is given.",
            show_default=False,
        ),
    ] = None,
    bits: BitsFile = None,
    device: Device = "auto",
    lut: KernelTable = None,
    folder: OwnRuns = Path(),
    profile: Annotated[
        bool, typer.Option(help="Measure kernels that the own table lacks at a batch, as the command profile does.")
    ] = True,
    trials: Trials = None,
    windows: Annotated[int, typer.Option(min=1, max=1000, help="Of each; six are a 95% interval.")] = 6,
    window: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=600, help="Seconds of a window; by default 3, or 5 with --energy.", show_default=False
        ),
    ] = None,
    energy: Annotated[bool, typer.Option("--energy", help="Measure joules, too. Needs a counter.")] = False,
    calibrate: CalibrationImages = None,
    ranges: RangesMethod = "min-max",
    clipping: ClippingMethod = "max-abs",
    cache: RowsCache = CacheMode.NETWORK,
    allow_default: AllowDefault = False,
    cuda: DriverCuda = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The file to add to; by default lut/<device>.throughput.json in that of --in."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw images/s and latency over batch: .svg, .png or .pdf.")] = None,
    json_output: Json = False,
) -> None:
    """Run a network back to back at several batches: images per second with an interval, and the batch where it stops
    to pay (the knee).

    Verified bit for bit first; exit code 1 if anything differs from the integer oracle. Rows that the table lacks are
    measured on the way.
    """
    from profiler.cli.progress import progress_display  # late: it imports TVM
    from profiler.network.steady import ENERGY_RULE, STEADY_RULE, SteadyRule
    from profiler.network_stages import throughput as stage
    from profiler.network_stages.run import RunRequest

    usual = ENERGY_RULE if energy else STEADY_RULE
    method, scales = ranges_and_scales(ranges, clipping)
    request = stage.ThroughputRequest(
        run=RunRequest(
            model=model,
            device=device,
            lut=lut,
            folder=folder,
            calibrate=calibrate,
            method=method,
            clipping=scales,
            cache_mode=cache,
            allow_default=allow_default,
            cuda=cuda,
        ),
        batches=_numbers(batches),
        uniform=_precisions(uniform, bits),
        bits=bits,
        profile=profile,
        trials=trials,
        windows=windows,
        rule=usual if window is None else SteadyRule(window, usual.settle_s),
        energy=energy,
        out=out,
    )
    if plot is not None:
        require_format(plot)
        require_file(plot, "PLOT")
    with progress_display() as progress:
        request = stage.with_rows(request, progress)
    with bit_exact_or_exit(), status("reading the model and calibrating") as told:
        result = stage.throughput(request, told)
    curves = ThroughputCurves(result.points[0].network, result.content.device_name, curves_of(result.curves))
    if plot is not None:
        draw(plot, curves, f"{curves.network} on {curves.device_name}, end to end in steady state")
    if json_output:
        typer.echo(json.dumps(_json(result, curves), indent=2, allow_nan=False))
        return
    _print(result, curves)
    if plot is not None:
        typer.echo(str(plot))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ProfilerError(f"--batches {text}: takes whole numbers with commas between, for instance 1,8,64") from None


def _precisions(text: str | None, bits: Path | None) -> Any:
    """Of ``--uniform``: INT8 where nobody says anything."""
    if text is None:
        return () if bits is not None else parse_precisions("int8")
    return parse_precisions(text)


def _print(result: ThroughputResult, curves: ThroughputCurves) -> None:
    console = table_console()
    print_notes(console, result.notes)
    console.print(escape(_title(result, curves)), soft_wrap=True)
    view = Table(box=None, pad_edge=False)
    view.add_column("bits", overflow="fold")
    joules = ("J/image", "images/s/W", "W") if curves.has_energy else ()
    for column in ("batch", "images/s", "95% interval", "of the best", "latency of a batch", *joules):
        view.add_column(column, justify="right", no_wrap=True)
    view.add_column("")
    for curve in curves.curves:
        for point in curve.points:
            view.add_row(*_cells(curve, point, curves.has_energy))
    console.print(view)
    for curve in curves.curves:
        console.print(f"[bold]{escape(curve.name)}: {escape(curve.knee.text)}[/bold]", soft_wrap=True)
    for line in _no_energy(result):
        console.print(escape(line), soft_wrap=True)
    console.print(f"bit exact: {compared_text(result.verified_steps, result.verified_nbytes)}", soft_wrap=True)
    console.print(f"{escape(str(result.path))}: {len(result.content.points)} points", soft_wrap=True)


def _title(result: ThroughputResult, curves: ThroughputCurves) -> str:
    first = result.points[0].windows
    seconds = format_duration(sum(window.duration_s for window in first) / len(first))
    windows = f"{len(first)} windows of {seconds} each" if len(first) > 1 else f"one window of {seconds}"
    return f"{curves.network} on {curves.device_name}, end to end, {windows}"


def _cells(curve: ThroughputCurve, point: AtBatch, energy: bool) -> Iterator[str]:
    best = max(other.images_per_s for other in curve.points)
    yield escape(curve.name)
    yield str(point.batch)
    yield format_rate(point.images_per_s)
    yield f"{format_rate(point.low)} to {format_rate(point.high)}" if point.latency.known else "-"
    yield f"{point.images_per_s / best:.1%}"
    yield format_duration(point.latency.latency_s)
    if energy:
        told = ((point.j_per_image, format_energy), (point.images_per_j, format_rate), (point.power_w, format_rate))
        yield from ("-" if value is None else text(value) for value, text in told)
    yield "knee" if point.batch == curve.knee.batch else ""


def _no_energy(result: ThroughputResult) -> list[str]:
    """Why there are no joules, each reason once."""
    return [f"no energy: {reason}" for reason in dict.fromkeys(p.no_energy for p in result.points if p.no_energy)]


def _json(result: ThroughputResult, curves: ThroughputCurves) -> dict[str, Any]:
    """All in SI units; null where it is not known."""
    return {
        "network": curves.network,
        "device_name": result.content.device_name,
        "fingerprint": result.content.fingerprint,
        "file": str(result.path),
        "verified_steps": result.verified_steps,
        "verified_bytes": result.verified_nbytes,
        "curves": [
            {
                "configuration": curve.name,
                "knee": {**asdict(curve.knee), "batch": curve.knee.batch, "text": curve.knee.text},
                "points": [
                    {
                        "batch": point.batch,
                        "images_per_s": point.images_per_s,
                        "images_per_s_ci95_low": point.low,
                        "images_per_s_ci95_high": point.high,
                        "latency_s": point.latency.latency_s,
                        "j_per_image": point.j_per_image,
                        "images_per_j": point.images_per_j,
                        "power_w": point.power_w,
                    }
                    for point in curve.points
                ],
            }
            for curve in curves.curves
        ],
        "no_energy": _no_energy(result),
        "notes": list(result.notes),
    }
