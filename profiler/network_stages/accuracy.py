"""How many images a network answers right: in real numbers, and with each of several bits in the integer-only executor.

One pass over the images serves all configurations, so that answers are compared image by image and a large data set is
read once, a file at a time. The first batch of each configuration is compared with the integer oracle, step by step
and bit for bit, before any answer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.allocation import bits_file
from profiler.allocation.deployment import Deployment
from profiler.errors import ProfilerError, UnsupportedModel
from profiler.frontend import is_builtin
from profiler.measure.turns import MachineTurns
from profiler.network.answers import Answers, Integers
from profiler.network.features import channel_orders, in_model_order
from profiler.network.float_run import float_run, images_at_once
from profiler.network.image_files import labelled_files, labelled_images
from profiler.network.images import Images, filled
from profiler.network_stages.bench import find_site, opened_bench
from profiler.network_stages.deployments import (
    allocated_deployment,
    layers_of_precisions,
    uniform_deployment,
    weight_bytes,
)
from profiler.network_stages.in_turn import InTurn, timed_in_turn
from profiler.network_stages.prepared import Prepared
from profiler.network_stages.quantizer import Quantizer, network_of, quantizer, require_model
from profiler.network_stages.run import RunRequest
from profiler.predictor.conformal import binomial_interval
from profiler.report.content.accuracy import Accuracies, Beside, FloatAccuracy, IntegerAccuracy, Share
from profiler.statistics import summarize
from profiler.verdict import Span
from profiler.workload import Network, Precision

Inputs = Mapping[str, npt.NDArray[np.float32]]
Told = Callable[[str], None]


@dataclass(frozen=True)
class AccuracyRequest:
    """``run`` says what and where, its bits apart. ``bits`` are files of allocations, ``uniform`` precisions for
    everything. ``images`` is an .npz with labels or a folder of them, of which ``most`` images count. ``timed``:
    whether the configurations are timed, too."""

    run: RunRequest
    images: Path
    bits: tuple[Path, ...] = ()
    uniform: tuple[Precision, ...] = ()
    most: int | None = None
    timed: bool = True


@dataclass(frozen=True)
class AccuracyResult:
    """``verified`` is how many steps and bytes of all configurations were compared with the oracle."""

    accuracies: Accuracies
    fingerprint: str
    verified_steps: int
    verified_nbytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Configuration:
    name: str
    deployment: Deployment


def evaluate_accuracy(request: AccuracyRequest, told: Told = lambda text: None) -> AccuracyResult:
    """``told`` hears of each step. Raises `ProfilerError` for whatever the user can mend, before anything is compiled
    where that can be known, and `NetworkFailure` for a network that is not what the oracle says."""
    if not request.bits and not request.uniform:
        raise ProfilerError("say which bits: --bits bits.json, which may be repeated, or --uniform int8,int4")
    if is_builtin(request.run.model):
        raise ProfilerError(
            f"{request.run.model} is built in and has no weights, so that it answers nothing: give the file of a "
            "trained model (.onnx, .pt2)"
        )
    require_model(request.run)
    if request.run.calibrate is None:
        raise ProfilerError(
            "--calibrate takes an .npz of images, some of those that the model was trained with: they decide on the "
            "ranges of activations"
        )
    files = labelled_files(request.images)
    allocations = [(path, bits_file.load(path)) for path in request.bits]
    site = find_site(request.run)
    network = network_of(request.run, allocations[0][1].batch if allocations else site.batch)
    _logits_of(network)
    next(labelled_images(files[:1], network))  # what is wrong with all of them is said before anything compiles
    configurations = [
        _Configuration(precision.name.upper(), uniform_deployment(network, precision, site.latencies_s))
        for precision in request.uniform
    ]
    for name, (path, bits) in zip(_names(request.bits), allocations, strict=True):
        configurations.append(_Configuration(name, allocated_deployment(network, path, bits)))
    source = quantizer(request.run, network, {p for one in configurations for p in one.deployment.precisions})
    with ExitStack() as stack:
        bench = stack.enter_context(opened_bench(request.run, site))
        ready = []
        for configuration in configurations:
            told(f"compiling {configuration.name}")
            integers = source.integers(configuration.deployment)
            ready.append(stack.enter_context(Prepared(bench, configuration.name, integers)))
        counted = _counted(source, ready, files, request.most, told)
        timed = timed_in_turn(ready, told) if request.timed else None
    latencies = [None] * len(ready) if timed is None else _latencies(timed)
    reference = counted.reference
    classes = network.tensor(network.outputs[0]).channels
    accuracies = Accuracies(
        network=network.name,
        device_name=bench.target.name,
        batch=network.batch,
        reference=FloatAccuracy(_share(reference, 1), _share(reference, 5) if classes > 5 else None),
        configurations=tuple(
            IntegerAccuracy(
                name=configuration.name,
                kind=_kind(configuration.deployment),
                bits=_bits(network, configuration.deployment),
                weight_bytes=weight_bytes(network, configuration.deployment),
                top1=_share(answers, 1),
                top5=_share(answers, 5) if classes > 5 else None,
                beside=beside(answers, reference),
                latency=latency,
            )
            for configuration, answers, latency in zip(configurations, counted.integer, latencies, strict=True)
        ),
    )
    return AccuracyResult(
        accuracies=accuracies,
        fingerprint=bench.fingerprint,
        verified_steps=counted.verified_steps,
        verified_nbytes=counted.verified_nbytes,
        notes=(*source.notes, *site.notes, *_notes(request), *(timed.notes if timed is not None else ())),
    )


def beside(answers: Answers, reference: Answers) -> Beside:
    """Of the same images."""
    right, was_right = answers.ranks == 0, reference.ranks == 0
    lost, won = int((was_right & ~right).sum()), int((right & ~was_right).sum())
    return Beside(int((answers.classes != reference.classes).sum()), lost, won, even_split(lost, won))


def even_split(first: int, second: int) -> float:
    """The probability that of so many fair coins as few or fewer, or as many or more, show one side."""
    tosses, least = first + second, min(first, second)
    ways = total = 1
    for heads in range(least):
        ways = ways * (tosses - heads) // (heads + 1)
        total += ways
    return min(1.0, float(2 * total / 2**tosses))


@dataclass(frozen=True)
class _Counted:
    reference: Answers
    integer: tuple[Answers, ...]
    verified_steps: int
    verified_nbytes: int


def _counted(
    source: Quantizer, ready: Sequence[Prepared], files: tuple[Path, ...], most: int | None, told: Told
) -> _Counted:
    """One pass. Nobody measures meanwhile: this keeps the machine busy."""
    network, batch = source.network, source.network.batch
    output, order = _logits_of(network), channel_orders(network).get(_logits_of(network))
    reference: list[Answers] = []
    found: list[list[Answers]] = [[] for _ in ready]
    steps = nbytes = seen = 0
    for inputs, labels in _parts(labelled_images(files, network, most), _at_once(network)):
        with MachineTurns.of_cpu().compiling():
            if not seen:
                for one in ready:
                    told(f"comparing {one.name} with the oracle")
                    checked = one.verify(filled(inputs, batch))
                    steps, nbytes = steps + checked.steps, nbytes + checked.nbytes
            reference.append(Answers.of(_float_logits(source, inputs, output), labels))
            for one, answers in zip(ready, found, strict=True):
                logits = in_model_order(_integer_logits(one, inputs, output, batch), order)
                answers.append(Answers.of(logits, labels))
        seen += len(labels)
        told(f"{seen:,} images")
    return _Counted(Answers.joined(reference), tuple(map(Answers.joined, found)), steps, nbytes)


def _parts(shards: Iterator[Images], size: int) -> Iterator[tuple[Inputs, Integers]]:
    for images in shards:
        assert images.labels is not None
        for index, inputs in enumerate(images.batches(size)):
            yield inputs, images.labels[index * size : (index + 1) * size]


def _float_logits(source: Quantizer, inputs: Inputs, output: str) -> npt.NDArray[Any]:
    for name, values in float_run(source.network, source.trained.weights, inputs):
        if name == output:
            return values.reshape(len(values), -1)
    raise AssertionError(f"{output} is the network's output")


def _integer_logits(network: Prepared, inputs: Inputs, output: str, batch: int) -> npt.NDArray[Any]:
    """Logits share a scale, so that their integers are compared as they are."""
    count = len(next(iter(inputs.values())))
    rows = []
    for start in range(0, count, batch):
        part = {name: values[start : start + batch] for name, values in inputs.items()}
        logits = network.outputs(filled(part, batch))[output]
        rows.append(logits.reshape(batch, -1)[: count - start])
    return np.concatenate(rows)


def _latencies(timed: InTurn) -> list[Span | None]:
    summaries = [summarize([s for taken in rounds for s in taken]) for rounds in timed.samples_s]
    return [Span(s.median_s, s.ci95_low_s, s.ci95_high_s) for s in summaries]


def _logits_of(network: Network) -> str:
    """The one output. Raises `UnsupportedModel` for a network that does not classify."""
    outputs = network.outputs
    if len(outputs) != 1 or (network.tensor(outputs[0]).height, network.tensor(outputs[0]).width) != (1, 1):
        raise UnsupportedModel(
            f"network '{network.name}' has {len(outputs)} outputs ({', '.join(outputs)}): accuracy is that of a "
            "classifier, whose one output holds a number for each class"
        )
    return outputs[0]


def _at_once(network: Network) -> int:
    """Images of a part: whole batches, as many as memory admits."""
    return -(-images_at_once(network) // network.batch) * network.batch


def _share(answers: Answers, places: int) -> Share:
    right = answers.within(places)
    return Share(right, answers.count, *binomial_interval(right, answers.count))


def _kind(deployment: Deployment) -> str:
    """By layers and stored tensors: a uniform network has one precision throughout."""
    found = {p.name.upper() for p in (*deployment.layers.values(), *deployment.tensors.values())}
    return found.pop() if len(found) == 1 else "MIXED"


def _bits(network: Network, deployment: Deployment) -> str:
    return ", ".join(
        f"{count} {precision.name.upper()}" for precision, count in layers_of_precisions(network, deployment)
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Of files: what tells them apart."""
    stems = [path.stem for path in paths]
    return [path.stem if stems.count(path.stem) == 1 else str(path) for path in paths]


def _notes(request: AccuracyRequest) -> Iterator[str]:
    calibrate = request.run.calibrate
    if calibrate is not None and calibrate.resolve() == request.images.resolve():
        yield "ranges are calibrated on the images that are counted: accuracy on others may be lower"
