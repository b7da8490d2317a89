"""The command `run`: a network end to end, in integers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from profiler.cli.arguments import (
    AllowDefault,
    BatchOfBits,
    BitsFile,
    CalibrationImages,
    ClippingMethod,
    Device,
    DriverCuda,
    Json,
    KernelTable,
    OnePrecision,
    OwnRuns,
    RangesMethod,
    RowsCache,
    parse_precisions,
    ranges_and_scales,
)
from profiler.cli.bit_exact import bit_exact_or_exit, compared_text
from profiler.cli.tables import print_notes, table_console
from profiler.errors import ProfilerError
from profiler.record import CacheMode
from profiler.units import format_duration
from profiler.workload import Precision


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(
    model: Annotated[
        str, typer.Argument(help="resnet18, ... (drawn weights), or a file: .onnx, .pt2, .npz (of quantize).")
    ],
    bits: BitsFile = None,
    uniform: OnePrecision = None,
    device: Device = "auto",
    lut: KernelTable = None,
    folder: OwnRuns = Path(),
    batch: BatchOfBits = None,
    calibrate: CalibrationImages = None,
    ranges: RangesMethod = "min-max",
    clipping: ClippingMethod = "max-abs",
    cache: RowsCache = CacheMode.NETWORK,
    allow_default: AllowDefault = False,
    energy: Annotated[
        bool, typer.Option("--energy", help="Measure joules of a run, too: half a minute. Needs a counter.")
    ] = False,
    cuda: DriverCuda = None,
    sweep: Annotated[
        int | None,
        typer.Option(min=0, max=1000, help="Instead of one: all uniform networks and so many mixed ones."),
    ] = None,
    precisions: Annotated[
        str | None,
        typer.Option(help="Of a sweep, comma-separated; int8,int4 by default.", show_default=False),
    ] = None,
    sensitivity: Annotated[
        str | None, typer.Option("--sensitivity", "-s", help="Of a sweep: what its allocations minimise.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Of a sweep: the CSV that allocate --end-to-end reads.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Run a network in integers only: verified bit for bit, timed, and set beside the sum of its kernels in the table.

    With --sweep several bit configurations, and the calibration that leads from the sum of the kernels to the network.
    Exit code 1 if anything differs from the integer oracle.
    """
    from profiler.network_stages.run import RunRequest
    from profiler.network_stages.run import run as run_network

    method, scales = ranges_and_scales(ranges, clipping)
    request = RunRequest(
        model=model,
        bits=bits,
        uniform=None if uniform is None else Precision.parse(uniform),
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
        energy=energy,
    )
    if sweep is not None:
        if bits is not None or uniform is not None:
            raise ProfilerError("--sweep chooses the bits: leave out --bits and --uniform")
        if energy:
            raise ProfilerError("--energy is of one configuration: leave out --sweep")
        _sweep(request, sweep, parse_precisions(precisions or "int8,int4"), sensitivity, out, json_output)
        return
    if precisions is not None or sensitivity is not None or out is not None:
        raise ProfilerError("--precisions, --sensitivity and --out are of a sweep: say --sweep 8")
    done = run_network(request)
    if json_output:
        typer.echo(json.dumps(_json(done), indent=2, allow_nan=False))
    else:
        _print(done)
    if not done.bit_exact:
        raise typer.Exit(1)


def _sweep(
    request: Any,
    configurations: int,
    precisions: tuple[Precision, ...],
    sensitivity: str | None,
    out: Path | None,
    json_output: bool,
) -> None:
    from profiler.network_stages.sweep import SweepRequest
    from profiler.network_stages.sweep import sweep as run_sweep

    asked = SweepRequest(request, configurations, precisions, sensitivity, out)
    with bit_exact_or_exit():
        found = run_sweep(asked, lambda text: typer.echo(text, err=True))
    if json_output:
        typer.echo(json.dumps(_sweep_json(found), indent=2, allow_nan=False))
    else:
        _print_sweep(found, out)


def _sweep_json(found: Any) -> dict[str, Any]:
    line = found.calibration
    return {
        "network": found.network,
        "batch": found.batch,
        "fingerprint": found.fingerprint,
        "points": [
            {
                "configuration": point.name,
                "narrow_layers": point.narrow,
                "lut_sum_s": point.lut_sum_s,
                "latency_s": point.latency_s,
                "calibrated_s": line.latency_s(point.lut_sum_s),
            }
            for point in found.points
        ],
        "calibration": {"offset_s": line.offset_s, "slope": line.slope, "worst": line.worst},
        "held_out_errors": list(found.errors),
        "kendall_tau": found.tau,
        "pairs": found.pairs,
        "decided_pairs": found.decided,
        "decided_pairs_in_order": found.kept,
        "notes": list(found.notes),
    }


def _print_sweep(found: Any, out: Path | None) -> None:
    console = table_console()
    print_notes(console, found.notes)
    view = Table(box=None, pad_edge=False)
    for column in ("configuration", "narrow layers", "sum of its kernels", "end to end", "difference", "calibrated"):
        view.add_column(column, justify="left" if column == "configuration" else "right")
    line = found.calibration
    for point, error in zip(found.points, found.errors or [None] * len(found.points), strict=True):
        view.add_row(
            escape(point.name),
            str(point.narrow),
            format_duration(point.lut_sum_s),
            format_duration(point.latency_s),
            f"{point.latency_s / point.lut_sum_s - 1:+.1%}",
            "-" if error is None else f"{error:+.1%}",
        )
    console.print(view)
    told = "how far off that is, one configuration does not tell"
    if found.errors:
        told = f"a configuration that it was not fitted to is off by at most {max(map(abs, found.errors)):.1%}"
    console.print(
        f"latency = {format_duration(line.offset_s)} + {line.slope:.3f} x the sum of the kernels; {told}",
        soft_wrap=True,
    )
    if found.tau is not None:
        console.print(
            f"order of the configurations: Kendall's tau {found.tau:.2f}; of {found.pairs} pairs {found.decided} "
            f"differ by more than the rounds do, and {found.kept} of these are in the order of their sums",
            soft_wrap=True,
        )
    if out is not None:
        console.print(f"{escape(str(out))}: for allocate --end-to-end", soft_wrap=True)


def _json(done: Any) -> dict[str, Any]:
    """``latency_s`` and everything of it are None where the network was wrong and not timed."""
    from profiler.cli.energy_text import energy_json

    times = None if done.latency is None else done.latency.times
    summary = None if times is None else times.summary
    return {
        "network": done.network,
        "batch": done.batch,
        "configuration": done.configuration,
        "device_name": done.device_name,
        "fingerprint": done.fingerprint,
        "bit_exact": done.bit_exact,
        "difference": done.difference,
        "verified_steps": None if done.verified is None else done.verified.steps,
        "verified_bytes": None if done.verified is None else done.verified.nbytes,
        "latency_s": done.latency_s,
        "latency_ci95_low_s": None if summary is None else summary.ci95_low_s,
        "latency_ci95_high_s": None if summary is None else summary.ci95_high_s,
        "samples": None if summary is None else summary.samples,
        "lut_sum_s": done.lut_sum_s,
        "beyond_sum": done.beyond_sum,
        "energy": energy_json(done.energy, done.batch),
        "arena_bytes": done.arena_bytes,
        "steps": [
            {"name": step.name, "kernel": step.kernel, "latency_s": step.latency_s, "lut_s": step.lut_s}
            for step in done.steps
        ],
        "notes": list(done.notes),
    }


def _print(done: Any) -> None:
    from profiler.cli.energy_text import energy_lines

    console = table_console()
    print_notes(console, done.notes)
    title = f"{done.network}, batch {done.batch}, {done.configuration}, on {done.device_name}"
    if not done.bit_exact:
        console.print(escape(title), soft_wrap=True)
        console.print(f"[red]not bit exact: {escape(done.difference)}[/red]", soft_wrap=True)
        return
    view = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    view.add_column("step", overflow="fold")
    for column in ("in the network", "by itself (table)", "difference"):
        view.add_column(column, justify="right")
    for step in done.steps:
        known = step.lut_s is not None
        view.add_row(
            escape(step.name),
            format_duration(step.latency_s),
            format_duration(step.lut_s) if known else "-",
            f"{step.latency_s / step.lut_s - 1:+.1%}" if known else "-",
        )
    console.print(view)
    summary = done.latency.times.summary
    console.print(f"bit exact: {compared_text(done.verified.steps, done.verified.nbytes)}", soft_wrap=True)
    console.print(
        f"[bold]end to end: {format_duration(summary.median_s)}[/bold] (95% interval "
        f"{format_duration(summary.ci95_low_s)} to {format_duration(summary.ci95_high_s)}, {summary.samples} samples)",
        soft_wrap=True,
    )
    if done.lut_sum_s is not None:
        console.print(
            f"sum of its kernels in the table: {format_duration(done.lut_sum_s)}; the network takes "
            f"{abs(done.beyond_sum):.1%} {'more' if done.beyond_sum >= 0 else 'less'} than that",
            soft_wrap=True,
        )
    for line in energy_lines(done.energy, done.batch):
        console.print(escape(line), soft_wrap=True)
    console.print(f"{done.arena_bytes / 1e6:,.4g} MB of activations and scratch memory", soft_wrap=True)
