"""The command `export`: an allocation for the tools that deploy or train it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profiler.export.stage import ExportRequest, Format
from profiler.export.stage import export as run_export


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    bits: Annotated[Path, typer.Argument(help="A bits.json that allocate wrote.", show_default=False)],
    to: Annotated[
        Format,
        typer.Option(help="HAWQ's bit_config dictionary, a table, or the model with INT4 and INT8 (QDQ) in it."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    model: Annotated[
        str | None, typer.Option(help="The model that the bits are of; for onnx the float model, as an .onnx file.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="onnx: .npz file of images by input name; without it only weights are quantized."),
    ] = None,
) -> None:
    """Write the precisions of an allocation for another tool."""
    result = run_export(ExportRequest(bits, to, out, model, calibrate))
    for note in result.notes:
        typer.echo(note)
    typer.echo(f"written: {', '.join(map(str, result.files))}")
