"""The model that a command is about, and the integer networks that are made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from profiler.allocation.deployment import Deployment
from profiler.errors import ProfilerError
from profiler.frontend import load_network
from profiler.network.calibrate import Method
from profiler.network.images import Images
from profiler.network.integer_network import IntegerNetwork
from profiler.network.integer_weights import IntegerWeights
from profiler.network.quantized import TrainedNetwork, integer_network_with
from profiler.network_stages.trained import ModelRequest, trained_network
from profiler.sensitivity.perturbation import Clipping
from profiler.workload import INT4, INT8, Network, Precision


@dataclass(frozen=True, kw_only=True)
class QuantizerRequest:
    """``model`` is a built-in name or a model file; ``batch`` None is left to whoever asks. ``calibrate`` is an .npz of
    images, None draws some; ``method`` and ``clipping`` say how ranges of activations and scales of weights are
    found."""

    model: str
    batch: int | None = None
    calibrate: Path | None = None
    method: Method = Method.MIN_MAX
    clipping: Clipping = Clipping.MAX_ABS


@dataclass(frozen=True)
class Quantizer:
    """A trained network with ranges. ``notes`` are what a reader should know of it. The networks that it makes share
    their weights where they are alike."""

    trained: TrainedNetwork = field(compare=False)
    clipping: Clipping
    notes: tuple[str, ...] = ()

    @property
    def network(self) -> Network:
        return self.trained.network

    def integers(self, deployment: Deployment) -> IntegerNetwork:
        """Errors as those of `integer_network`."""
        return integer_network_with(self._weights, self.trained, deployment)

    @cached_property
    def _weights(self) -> IntegerWeights:
        return IntegerWeights(self.network, self.trained.weights, self.clipping)


def network_of(request: QuantizerRequest, batch: int) -> Network:
    """The model's. ``batch`` is that of a request which names none. Errors as those of `require_model` and
    `load_network`."""
    require_model(request)
    return load_network(request.model, request.batch or batch)


def require_model(request: QuantizerRequest) -> None:
    """Raises `ProfilerError` for the file of an integer network: it has its bits in it."""
    if request.model.lower().endswith(".npz"):
        raise ProfilerError(f"{request.model} is quantized already, which `run` takes as it is; here name its model")


def quantizer(
    request: QuantizerRequest,
    network: Network,
    precisions: Iterable[Precision] = (INT8, INT4),
    images: Images | None = None,
) -> Quantizer:
    """``network`` is that of the request's model, ``precisions`` are all that it shall be asked for (and INT8, which
    stands in for what does not fit); ``images`` as of `trained_network`, and errors as its."""
    wanted = tuple(dict.fromkeys((INT8, *precisions)))
    asked = ModelRequest(request.model, request.calibrate, request.method, wanted)
    trained, notes = trained_network(asked, network, images)
    return Quantizer(trained, request.clipping, notes)
