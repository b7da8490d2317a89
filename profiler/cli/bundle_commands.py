"""The commands `bundle` and `ingest`: compile here, measure there, bring the records back."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.arguments import (
    Batch,
    Cache,
    CalibrationImages,
    ClippingMethod,
    Cuda,
    Energy,
    Model,
    RangesMethod,
    SkipUnsupported,
    parse_precisions,
    ranges_and_scales,
)
from profiler.errors import ProfilerError
from profiler.hardware import ARM_CPUS, GPUS
from profiler.record import CacheMode, escaped

if TYPE_CHECKING:
    from profiler.bundle.download import Wanted
    from profiler.bundle.ingest import Ingested
    from profiler.bundle.pack import BundleResult

_LINE_EVERY_S = 10.0
_LISTED = 3  # kernels without a candidate that are named


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(bundle)
    app.command()(ingest)


def bundle(
    model: Model = "resnet18",
    device: Annotated[
        str,
        typer.Option(
            "--device", "-d", help=f"{', '.join((*GPUS, *ARM_CPUS))} (not needed here), or cpu: this machine's kind."
        ),
    ] = "t4",
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("run.zip"),
    configs: Annotated[int, typer.Option(min=1, max=100_000, help="Candidates of each kernel.")] = 8,
    batch: Batch = None,
    precisions: Annotated[str, typer.Option(help="Comma-separated.")] = "int8,int4",
    mixed: Annotated[
        bool, typer.Option(help="Also kernels whose input and output differ in precision, and conversions.")
    ] = True,
    cuda: Cuda = "12",
    cache: Cache = CacheMode.NETWORK,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of a CPU's kernel.")] = 1,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Also run the whole network with these bits there, end to end: uniform:int8, uniform:int4, a "
            "bits.json, or the .npz of quantize. May be repeated.",
            show_default=False,
        ),
    ] = None,
    lut: Annotated[
        Path | None,
        typer.Option(help="Of --network: a table of that device, whose configs its kernels get.", show_default=False),
    ] = None,
    calibrate: CalibrationImages = None,
    ranges: RangesMethod = "min-max",
    clipping: ClippingMethod = "max-abs",
    kernels: Annotated[Path, typer.Option(help="Folder that gets kernels/<device>/, for the next time.")] = Path(),
    with_wheels: Annotated[
        bool, typer.Option("--with-wheels", help="Carry NumPy (for a GPU also pynvml and PyCUDA) for a box without.")
    ] = False,
    python: Annotated[
        str | None, typer.Option(help="Version of the box's Python, for --with-wheels.", show_default="this one's")
    ] = None,
    machine: Annotated[
        str | None, typer.Option("--platform", help="x86_64 or aarch64, for --with-wheels.", show_default="the box's")
    ] = None,
    energy: Energy = False,
    skip_unsupported: SkipUnsupported = False,
) -> None:
    """Pack a network's kernels into one file that measures them where only NumPy (and PyCUDA, pynvml) are installed;
    with --network also the whole network in integers, which is verified bit for bit and timed there.

    There: python3 run.zip -o results.jsonl. Here again: ingest. Exit code 1 if a kernel could not be built.
    """
    from profiler.bundle.pack import BundleRequest
    from profiler.bundle.pack import bundle as make_bundle
    from profiler.cli.build_progress import build_display

    if (python or machine) and not with_wheels:
        raise ProfilerError(
            "--python and --platform choose the wheels of --with-wheels; say that too, or leave them out"
        )
    method, scales = ranges_and_scales(ranges, clipping)
    request = BundleRequest(
        model=model,
        device=device,
        out=out,
        configs=configs,
        batch=batch,
        precisions=parse_precisions(precisions),
        mixed=mixed,
        cuda=cuda,
        cache_mode=cache,
        threads=threads,
        kernels=kernels,
        skip_unsupported=skip_unsupported,
        wheels=_wheels(python, machine, device) if with_wheels else None,
        networks=tuple(network or ()),
        lut=lut,
        calibrate=calibrate,
        method=method,
        clipping=scales,
        energy=energy,
    )
    with build_display() as progress:
        result = make_bundle(request, progress)
    _print_bundle(result)
    if result.missing:
        raise typer.Exit(1)


def ingest(
    files: Annotated[list[Path], typer.Argument(help="Result files from the box.", show_default=False)],
    lut: Annotated[Path | None, typer.Option(help="The LUT that gets the rows; by default lut/<device>.csv.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets lut/ and tuning_logs/.")] = Path(),
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Take the verified part of a file that was cut short.")
    ] = False,
) -> None:
    """Verify what a bundle has measured, and add it to tuning_logs and the LUT; latencies of whole networks go to
    tuning_logs/<device>/end_to_end.csv, for allocate --end-to-end. A second time changes nothing."""
    from profiler.bundle.ingest import ingest as take_in

    for taken in take_in(files, out, lut, incomplete):
        _print_ingested(taken)


def _wheels(python: str | None, machine: str | None, device: str) -> Wanted:
    from profiler.bundle.download import Wanted

    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    arm = ARM_CPUS.get(device.strip().lower())
    return Wanted(python or own, machine or (arm.machine if arm else platform.machine()))


def _print_bundle(result: BundleResult) -> None:
    manifest = result.manifest
    candidates = sum(len(kernel.candidates) for kernel in manifest.kernels)
    for line in result.missing[:_LISTED]:
        typer.echo(f"no candidate: {escaped(line)}")
    if len(result.missing) > _LISTED:
        typer.echo(f"no candidate: {len(result.missing) - _LISTED} more")
    if result.skipped:
        typer.echo(f"left out: {escaped(', '.join(result.skipped))}")
    for note in result.notes:
        typer.echo(note)
    for configuration in manifest.configurations:
        typer.echo(
            f"network {configuration.name}: {len(configuration.steps)} steps, {len(configuration.artifacts)} kernels"
        )
    if manifest.energy:
        from profiler.measure.energy import ENERGY_RULE

        minutes = len(manifest.kernels) * ENERGY_RULE.total_s / 60
        typer.echo(f"energies: of the fastest candidate of each kernel, some {minutes:.0f} min more on the box")
    if manifest.configurations:
        typer.echo(f"networks: {result.networks_bytes / 1e6:.1f} MB of parameters, inputs and plans, to be compressed")
    typer.echo(
        f"{result.path}: {len(manifest.kernels)} kernels, {candidates} candidates for {manifest.device_name}, "
        f"{result.size_bytes / 1e6:.1f} MB"
    )
    typer.echo(
        f"on the box: python3 {result.path.name} -o results.jsonl (first: --check; within a time: --budget 300s)"
    )


def _print_ingested(taken: Ingested) -> None:
    header = taken.header
    typer.echo(
        f"{taken.path}: {header.network}, batch {header.batch}, on {header.fingerprint.device_name}: "
        f"{taken.measured} of {header.kernels} kernels; {taken.added} of {taken.records} records are new, "
        f"in {taken.logs}; LUT: {taken.lut or 'no row'}"
    )
    if taken.energies:
        typer.echo(f"energies of {taken.energies} kernels")
    if taken.no_energy:
        typer.echo(f"no energies: {taken.no_energy}")
    if not header.configurations:
        return
    from profiler.bundle.box.end_to_end import line_of

    for network in taken.networks:
        typer.echo(line_of(network))
    timed = sum(network.summary is not None for network in taken.networks)
    where = f"{taken.end_to_end}, for allocate --end-to-end" if taken.end_to_end else "none has a sum of its kernels"
    typer.echo(f"{timed} of {header.configurations} networks ran end to end: {where}")
