"""The command `sample`: measure the workloads that teach a latency model most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.cli.arguments import (
    Cache,
    ClockMhz,
    Device,
    DriverCuda,
    Energy,
    Json,
    LockClocks,
    Out,
    Sustained,
    Threads,
    Trials,
    parse_precisions,
)
from profiler.record import CacheMode, escaped
from profiler.units import format_duration

if TYPE_CHECKING:
    from profiler.sampling.stage import SampleResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sample)


def sample(
    device: Device = "auto",
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100_000, help="Workloads to measure.")] = 16,
    precisions: Annotated[str, typer.Option(help="Comma-separated; each workload is measured in all.")] = "int8,int4",
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other workloads.")] = 0,
    model: Annotated[
        Path | None,
        typer.Option(help="A fitted model of the device, to know where intervals are wide before the LUT tells."),
    ] = None,
    trials: Trials = None,
    cache: Cache = CacheMode.NETWORK,
    threads: Threads = 1,
    energy: Energy = False,
    out: Out = Path(),
    cuda: DriverCuda = None,
    sustained: Sustained = False,
    lock_clocks: LockClocks = False,
    clock_mhz: ClockMhz = None,
    json_output: Json = False,
) -> None:
    """Propose and measure the workloads that teach a latency model most: first what fills the space, then where its
    intervals are widest. What was interrupted goes on with the same command."""
    from profiler.cli.progress import progress_display  # late: it imports TVM
    from profiler.sampling.stage import SampleRequest
    from profiler.sampling.stage import sample as run_sample

    request = SampleRequest(
        device=device,
        count=count,
        precisions=parse_precisions(precisions),
        seed=seed,
        model=model,
        trials=trials,
        cache_mode=cache,
        threads=threads,
        energy=energy,
        out=out,
        cuda=cuda,
        sustained=sustained,
        lock_clocks=lock_clocks,
        clock_mhz=clock_mhz,
    )
    with progress_display() as progress:
        result = run_sample(request, progress)
    if json_output:
        typer.echo(json.dumps(_json(result), indent=2))
    else:
        _print(result)


def _print(result: SampleResult) -> None:
    for warning in result.warnings:
        typer.echo(escaped(warning))
    energies = f", energies of {result.energies} of them" if result.energies else ""
    resumed = ", with what an earlier run had in hand" if result.resumed else ""
    typer.echo(
        f"{result.workloads} workloads, {result.kernels} kernels{resumed}, {result.measured} measured now in "
        f"{format_duration(result.elapsed_s)}, {result.failures} failed candidates{energies}; "
        f"LUT: {result.lut_path}, records: {result.logs}"
    )
    typer.echo(f"learn from them: python -m profiler fit --lut {result.lut_path} -o {result.device}.model.json")


def _json(result: SampleResult) -> dict[str, Any]:
    return {
        "device": result.device,
        "device_name": result.device_name,
        "fingerprint": result.fingerprint,
        "threads": result.conditions.threads,
        "cache_mode": result.conditions.cache_mode.value,
        "workloads": result.workloads,
        "kernels": result.kernels,
        "measured": result.measured,
        "failures": result.failures,
        "energies": result.energies,
        "resumed": result.resumed,
        "elapsed_s": result.elapsed_s,
        "warnings": list(result.warnings),
        "lut": str(result.lut_path),
        "tuning_logs": str(result.logs),
    }
