"""Sensitivities that are measured: the noise of a network's outputs with one layer in few bits, all others in INT8.

It needs no labels, and sees activations as well as weights. A layer that cannot have a precision stays in 8 bits, here
as in an allocation, and costs what INT8 does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.allocation.deployment import Deployment
from profiler.allocation.one_narrow import one_narrow, why_wide
from profiler.errors import ProfilerError
from profiler.frontend import is_builtin
from profiler.frontend.refusal import quoted
from profiler.network.images import Images
from profiler.network.integer_network import IntegerNetwork
from profiler.network.layer_noise import relative_squared_errors
from profiler.network_stages.quantizer import Quantizer, QuantizerRequest, network_of, quantizer
from profiler.network_stages.trained import calibration_images
from profiler.output_folder import removed_if_empty, require_writable
from profiler.sensitivity.files import write_sensitivity
from profiler.sensitivity.stage import SensitivityResult, refuse_to_replace
from profiler.sensitivity.table import LayerSensitivity, Sensitivity
from profiler.workload import INT8, Network, Precision

Heard = Callable[[str, int, int], None]
"""What goes on, how much of it is done, and how much there is."""
Choice = tuple[str, Precision]
"""A layer, and its precision."""


@dataclass(frozen=True, kw_only=True)
class NoiseRequest(QuantizerRequest):
    """What a user asks for. Ranges are those of all images of ``calibrate``, as `quantize` has them; the first ``most``
    of them are compared (None: all). ``out`` is the file to write."""

    out: Path
    precisions: tuple[Precision, ...]
    most: int | None = None


def noise_sensitivity(request: NoiseRequest, heard: Heard = lambda text, done, total: None) -> SensitivityResult:
    """Measure the table and write the file. The same request gives the same bytes.

    Raises `ProfilerError` for whatever the user can mend, before the work where that can be known; the file is then as
    it was.
    """
    refuse_to_replace(request.out)
    with removed_if_empty(request.out.parent):
        require_writable(request.out.parent)
        network = network_of(request, 1)
        if not network.weighted_layers:
            raise ProfilerError(f"network '{network.name}' has no layer with weights: there is nothing to quantize")
        images = calibration_images(request.calibrate, network)
        heard("calibrating", 0, 0)
        source = quantizer(request, network, request.precisions, images)
        images = images.first(request.most)
        wide = _staying(network, request.precisions)
        chosen = _narrow(network, request.precisions, wide)
        costs = _costs(source, chosen, images, heard)
        table = _table(request, network, images.count, costs)
        table.check(network)
        write_sensitivity(table, request.out)
    notes = (*_drawn(request, network), *_told(wide))
    return SensitivityResult(network.name, table, (), request.out, notes)


def _staying(network: Network, precisions: Sequence[Precision]) -> Mapping[Choice, str]:
    """What a layer cannot have, with the reason."""
    choices = ((layer.name, precision) for layer in network.weighted_layers for precision in precisions)
    reasons = {choice: why_wide(network, *choice) for choice in choices}
    return {choice: reason for choice, reason in reasons.items() if reason}


def _narrow(network: Network, precisions: Sequence[Precision], wide: Mapping[Choice, str]) -> list[Choice]:
    """What differs from INT8."""
    names = [layer.name for layer in network.weighted_layers]
    return [(n, p) for n in names for p in precisions if p != INT8 and (n, p) not in wide]


def _costs(source: Quantizer, chosen: Sequence[Choice], images: Images, heard: Heard) -> Callable[[Choice], float]:
    """Of any choice: one that is not among the chosen costs what INT8 does."""
    heard(f"quantizing all layers to {INT8.name}", 0, 0)
    integers: list[IntegerNetwork] = [source.integers(Deployment.uniform(source.network, INT8))]
    for index, (layer, precision) in enumerate(chosen):
        heard(f"quantizing {layer} to {precision.name}", index, len(chosen))
        integers.append(source.integers(one_narrow(source.network, layer, precision)))

    def ran(done: int, total: int) -> None:
        heard("running networks of integers", done, total)

    base, *found = relative_squared_errors(source.trained, integers, images, ran)
    costs = dict(zip(chosen, found, strict=True))
    return lambda choice: costs.get(choice, base)


def _table(request: NoiseRequest, network: Network, count: int, costs: Callable[[Choice], float]) -> Sensitivity:
    drawn = "drawn " if request.calibrate is None else ""
    weights = "drawn weights, " if is_builtin(request.model) else ""
    method = (
        f"squared relative error of the outputs, one layer narrow and the rest int8; {weights}{request.clipping.text}, "
        f"ranges {request.method.value}, {count} {drawn}image{'s' if count > 1 else ''}"
    )
    return Sensitivity(
        method,
        tuple(
            LayerSensitivity(
                layer.name,
                {precision.name: costs((layer.name, precision)) for precision in request.precisions},
                parameters=layer.workload.weights,
            )
            for layer in network.weighted_layers
        ),
    )


def _drawn(request: NoiseRequest, network: Network) -> Iterator[str]:
    if is_builtin(request.model):
        yield (
            f"{network.name} is built in and has no weights: they are drawn, so that these costs say nothing of a "
            "trained network; give the model's file (.onnx, .pt2)"
        )
    if request.calibrate is None:
        yield "no images are given (--images): these costs are those of noise, and say nothing of the network at work"


def _told(wide: Mapping[Choice, str]) -> Iterator[str]:
    """A line for each reason."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for (layer, precision), reason in wide.items():
        by_reason.setdefault((layer, reason), []).append(precision.name)
    for (layer, reason), names in by_reason.items():
        yield f"{quoted(layer)} stays in int8 where {', '.join(names)} is asked for, and costs what that does: {reason}"
