"""The command `quantize`: a trained network as integers, in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from profiler.cli.arguments import (
    BatchOfBits,
    BitsFile,
    CalibrationImages,
    ClippingMethod,
    Json,
    OnePrecision,
    RangesMethod,
    TrainedModel,
    ranges_and_scales,
)
from profiler.cli.bars import status
from profiler.cli.tables import print_notes, table_console
from profiler.workload import Precision

if TYPE_CHECKING:
    from profiler.network.noise import OutputNoise
    from profiler.network_stages.quantize import QuantizeResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(quantize)


def quantize(
    model: TrainedModel,
    out: Annotated[Path, typer.Option("--out", "-o", help="The integer network to write: .npz.")],
    bits: BitsFile = None,
    uniform: OnePrecision = None,
    lut: Annotated[
        Path | None,
        typer.Option(
            help="Of --uniform: a table that says which additions are faster as kernels of their own. Without it all "
            "are fused into their convolutions."
        ),
    ] = None,
    batch: BatchOfBits = None,
    calibrate: CalibrationImages = None,
    ranges: RangesMethod = "min-max",
    clipping: ClippingMethod = "max-abs",
    json_output: Json = False,
) -> None:
    """Write a network in integers only: weights, biases, multipliers and shifts. Needs no device and no compiler.

    Says how far its outputs are from those of the float network on images of the calibration.
    """
    from profiler.network_stages.quantize import QuantizeRequest
    from profiler.network_stages.quantize import quantize as run_quantize

    method, scales = ranges_and_scales(ranges, clipping)
    request = QuantizeRequest(
        model=model,
        out=out,
        bits=bits,
        uniform=None if uniform is None else Precision.parse(uniform),
        lut=lut,
        batch=batch,
        calibrate=calibrate,
        method=method,
        clipping=scales,
    )
    with status("reading the model") as told:
        done = run_quantize(request, told)
    if json_output:
        typer.echo(json.dumps(_json(done), indent=2, allow_nan=False))
    else:
        _print(done)


def _json(done: QuantizeResult) -> dict[str, Any]:
    """``snr_db`` is null where an output is exact, or zero throughout; ``relative_error`` in the latter case."""
    return {
        "file": str(done.path),
        "network": done.network,
        "batch": done.batch,
        "layers": {precision.name: count for precision, count in done.layers},
        "weight_bytes": done.weight_bytes,
        "file_bytes": done.file_bytes,
        "images": done.images,
        "outputs": [
            {"name": output.name, "relative_error": output.relative_error, "snr_db": output.snr_db}
            for output in done.noise
        ],
        "notes": list(done.notes),
    }


def _print(done: QuantizeResult) -> None:
    console = table_console()
    print_notes(console, done.notes)
    layers = ", ".join(f"{count} {precision.name.upper()}" for precision, count in done.layers) or "none"
    images = f"{done.images} image{'s' if done.images > 1 else ''}"
    for line in (
        f"{done.network}, batch {done.batch}, layers: {layers}, {done.weight_bytes / 1e6:,.4g} MB of weights",
        *(f"output {output.name}: {_of(output)}, beside float on {images}" for output in done.noise),
        f"{done.path}: {done.file_bytes / 1e6:,.4g} MB",
    ):
        console.print(escape(line), soft_wrap=True)


def _of(output: OutputNoise) -> str:
    if output.relative_error is None:
        return "zero throughout in float"
    noise = "" if output.snr_db is None else f" (signal to quantization noise {output.snr_db:.1f} dB)"
    return f"error {output.relative_error:.2%}{noise}"
