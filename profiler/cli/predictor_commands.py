"""The commands `fit`, `predict` and `evaluate`: latencies of what was never measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from profiler.cli.arguments import Batch, CacheOfRows, Json, SkipUnsupported, ThreadsOfRows, parse_precisions
from profiler.errors import ProfilerError
from profiler.prediction_stages import NETWORKS

SavedModel = Annotated[Path, typer.Argument(help="A model that fit saved.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(fit)
    app.command()(predict)
    app.command()(evaluate)


def fit(
    lut: Annotated[Path, typer.Option(help="Measured or published rows of one device, of any precision.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model file to write.")],
    logs: Annotated[
        Path | None, typer.Option(help="Folder of tuning logs: latencies of schedule configs, and the noise floor.")
    ] = None,
    networks: Annotated[
        str, typer.Option(help="Comma-separated: networks to hold out in turn, by name or file.")
    ] = ",".join(NETWORKS),
    threads: ThreadsOfRows = None,
    cache: CacheOfRows = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the random split and the regressions.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Also write the validation as Markdown.")] = None,
    json_output: Json = False,
) -> None:
    """Fit a latency model to a LUT, and say how good it is on workloads that it has not seen.

    Validated on three splits (random, leave-one-network-out, extrapolation), next to plain baselines.
    """
    from profiler.cli import predictor_json, predictor_tables
    from profiler.prediction_stages.fit import FitRequest
    from profiler.prediction_stages.fit import fit as run_fit

    names = tuple(dict.fromkeys(name.strip() for name in networks.split(",") if name.strip()))
    request = FitRequest(lut, out, logs, names, threads, cache, seed, report)
    with predictor_tables.waiting("fitting, and validating on workloads that are held out"):
        result = run_fit(request)
    if json_output:
        typer.echo(json.dumps(predictor_json.fit_json(result), indent=2))
    else:
        predictor_tables.print_fit(result)


def predict(
    model: SavedModel,
    network: Annotated[
        str | None, typer.Option(help="resnet18, resnet50, resnet50_v1.5, inceptionv3, or a file: .onnx, .pt2, .json.")
    ] = None,
    batch: Batch = None,
    precisions: Annotated[str, typer.Option(help="Comma-separated; of a network.")] = "int8,int4",
    kernels: Annotated[
        Path | None, typer.Option(help="A CSV file of kernels, with the columns of a LUT that describe one; or a LUT.")
    ] = None,
    configs: Annotated[
        int, typer.Option(min=0, max=1000, help="Also the best so many schedule configs of each kernel of --kernels.")
    ] = 0,
    confidence: Annotated[float, typer.Option(help="With which an interval holds the truth.")] = 0.9,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="LUT that gets what is predicted (of a network: mixed precisions too)."),
    ] = None,
    skip_unsupported: SkipUnsupported = False,
    json_output: Json = False,
) -> None:
    """Latencies of a network's layers, or of listed kernels, each with an interval and what it rests on."""
    from profiler.cli import predictor_json, predictor_tables
    from profiler.prediction_stages.predict import PredictRequest
    from profiler.prediction_stages.predict import predict as run_predict

    if kernels is not None and batch is not None:
        raise ProfilerError("--batch is of a network; the file of --kernels says the batch of each kernel")
    if kernels is None and configs:
        raise ProfilerError("--configs is for listed kernels: say --kernels FILE")
    request = PredictRequest(
        model=model,
        network=network,
        kernels=kernels,
        batch=batch,
        precisions=parse_precisions(precisions),
        confidence=confidence,
        skip_unsupported=skip_unsupported,
        configs=configs,
        out=out,
    )
    predictions = run_predict(request)
    if json_output:
        typer.echo(json.dumps(predictor_json.predictions_json(predictions), indent=2))
    else:
        predictor_tables.print_predictions(predictions)


def evaluate(
    model: SavedModel,
    lut: Annotated[Path, typer.Option(help="Rows of the same device and conditions.")],
    json_output: Json = False,
) -> None:
    """Test a saved model on other data. Kernels that it was fitted to are left out."""
    from profiler.cli import predictor_json, predictor_tables
    from profiler.prediction_stages.evaluate import evaluate as run_evaluate

    evaluation = run_evaluate(model, lut)
    if json_output:
        typer.echo(json.dumps(predictor_json.evaluation_json(evaluation), indent=2))
    else:
        predictor_tables.print_evaluation(evaluation)
