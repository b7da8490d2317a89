"""From a model to its weights and the ranges of its activations: what a quantizer starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from profiler.errors import UnsupportedModel
from profiler.frontend import is_builtin
from profiler.frontend.weights import load_weights
from profiler.network.calibrate import Method, calibrate
from profiler.network.images import Images, load_images
from profiler.network.quantized import TrainedNetwork
from profiler.network.random_weights import random_images, random_weights
from profiler.workload import INT4, INT8, Network, Precision

_SEED = 0
_IMAGES = 2
"""Drawn for calibration where the user gives none."""


@dataclass(frozen=True)
class ModelRequest:
    """``model`` is a built-in name or a model file. ``images`` is an .npz for calibration; None draws some, and then
    accuracy means nothing. ``method`` is how ranges are found; ``precisions`` are those that shall be quantized to."""

    model: str
    images: Path | None = None
    method: Method = Method.MIN_MAX
    precisions: tuple[Precision, ...] = (INT8, INT4)

    @property
    def bits(self) -> tuple[int, ...]:
        """Of activations."""
        return tuple(sorted({precision.activation_bits for precision in self.precisions}))


def trained_network(
    request: ModelRequest, network: Network, images: Images | None = None
) -> tuple[TrainedNetwork, tuple[str, ...]]:
    """And what a reader should know of it, a line each. ``network`` is that of the model, at any batch; ``images`` are
    the request's, None: not read yet. Raises `ProfilerError` for whatever the user can mend."""
    if network.skipped:
        raise UnsupportedModel(f"{request.model}: without {', '.join(network.skipped)} it cannot be run")
    notes = []
    if is_builtin(request.model):
        weights = random_weights(network, _SEED)
        notes.append(f"{network.name} is built in and has no weights: they are drawn, so its answers mean nothing")
    else:
        weights = load_weights(request.model, network)
    if images is None:
        images = calibration_images(request.images, network)
    if request.images is None:
        notes.append(
            "no images are given (--calibrate): ranges are those of noise, enough for latency, not for accuracy"
        )
    ranges = calibrate(network, weights, images, request.method, bits=request.bits)
    return TrainedNetwork(network, weights, ranges), tuple(notes)


def calibration_images(path: Path | None, network: Network) -> Images:
    """Those that ranges are found with: the user's, or drawn ones. Raises `InvalidFile`."""
    if path is not None:
        return load_images(path, network)
    return random_images(network, _IMAGES, _SEED)
