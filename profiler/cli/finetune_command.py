"""The command `finetune`: weights that suit chosen bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.cli.arguments import BitsFile, Json, OnePrecision
from profiler.cli.bars import print_line
from profiler.workload import Precision

if TYPE_CHECKING:
    from profiler.network_stages.finetune import FinetuneResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(finetune)


def finetune(
    model: Annotated[Path, typer.Argument(help="A trained model, exported: .pt2.", show_default=False)],
    images: Annotated[
        Path, typer.Option(help="An .npz of training images by input name, NCHW, and their classes as labels.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .pt2 to write.")],
    bits: BitsFile = None,
    uniform: OnePrecision = None,
    epochs: Annotated[int, typer.Option(min=1, max=10_000, help="Times that each image is seen.")] = 10,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="Images of a step.")] = 32,
    rate: Annotated[
        float, typer.Option(help="Learning rate at the beginning, above 0 and below 100; it falls to zero.")
    ] = 0.003,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the order of images.")] = 0,
    json_output: Json = False,
) -> None:
    """Train a model on with the roundings of chosen bits (straight-through estimator), by cross entropy.

    Needs PyTorch. Layers keep their names, so that the bits stay valid; evaluate-accuracy says what was gained.
    """
    from profiler.network_stages.finetune import FinetuneRequest
    from profiler.network_stages.finetune import finetune as run_finetune

    request = FinetuneRequest(
        model=model,
        images=images,
        out=out,
        bits=bits,
        uniform=None if uniform is None else Precision.parse(uniform),
        epochs=epochs,
        batch=batch,
        rate=rate,
        seed=seed,
    )
    done = run_finetune(request, print_line)
    if json_output:
        typer.echo(json.dumps(_json(done), indent=2, allow_nan=False))
    else:
        typer.echo(f"{done.out}: {done.network}, fine-tuned with {done.images:,} images")


def _json(done: FinetuneResult) -> dict[str, Any]:
    """``losses`` are mean cross entropies in nats, one for each epoch."""
    return {
        "file": str(done.out),
        "network": done.network,
        "layers": {precision.name: count for precision, count in done.layers},
        "images": done.images,
        "epochs": len(done.losses),
        "losses": list(done.losses),
    }
