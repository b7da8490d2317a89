"""From an exported program and chosen bits to one with weights that suit them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.allocation import bits_file
from profiler.allocation.deployment import Deployment
from profiler.errors import InvalidFile, OutputError, ProfilerError
from profiler.frontend import load_network
from profiler.network.calibrate import Method
from profiler.network.image_files import labelled_files
from profiler.network.images import load_images
from profiler.network_stages.deployments import allocated_deployment, layers_of_precisions
from profiler.network_stages.trained import ModelRequest, trained_network
from profiler.output_folder import removed_if_empty, require_writable
from profiler.workload import Network, Precision

if TYPE_CHECKING:
    from profiler.finetune.training import Schedule


@dataclass(frozen=True)
class FinetuneRequest:
    """``model`` is a .pt2, and so is ``out``. Either ``bits``, a bits.json, or ``uniform``, a precision for everything.
    ``images`` is an .npz with labels, of the training set: weights are trained with them, and ranges are theirs."""

    model: Path
    images: Path
    out: Path
    bits: Path | None = None
    uniform: Precision | None = None
    method: Method = Method.MIN_MAX
    epochs: int = 10
    batch: int = 32
    rate: float = 0.003
    seed: int = 0


@dataclass(frozen=True)
class FinetuneResult:
    """``layers`` says how many layers with weights have which precision, widest first; ``losses`` are the mean cross
    entropies of each epoch, in nats."""

    network: str
    images: int
    layers: tuple[tuple[Precision, int], ...]
    losses: tuple[float, ...]
    out: Path


def finetune(request: FinetuneRequest, told: Callable[[str], None] = lambda text: None) -> FinetuneResult:
    """Train and write the file. ``told`` hears of each epoch. Raises `ProfilerError` for whatever the user can mend,
    before the work where that can be known."""
    if (request.bits is None) == (request.uniform is None):
        raise ProfilerError("say which bits: either --bits bits.json, or --uniform int4")
    for path in (request.model, request.out):
        if path.suffix.lower() != ".pt2":
            raise ProfilerError(f"{path}: fine-tuning reads and writes exported programs, files that end in .pt2")
    if importlib.util.find_spec("torch") is None:
        raise ProfilerError("fine-tuning needs PyTorch: pip install 'lowbit-profiler[torch]'")
    if request.out.exists() and request.out.resolve() == request.model.resolve():
        raise OutputError(f"{request.out}: is the model itself; write another file")
    if request.images.is_dir():
        raise InvalidFile(f"{request.images}: is a folder; fine-tuning takes one .npz file that fits into memory")
    labelled_files(request.images)
    schedule = _schedule(request)
    with removed_if_empty(request.out.parent):
        require_writable(request.out.parent)
        return _finetuned(request, schedule, told)


def _finetuned(request: FinetuneRequest, schedule: Schedule, told: Callable[[str], None]) -> FinetuneResult:
    from profiler.finetune.training import finetuned
    from profiler.finetune.weights_file import with_weights

    network = load_network(str(request.model), 1)
    deployment = _deployment(request, network)
    images = load_images(request.images, network)
    asked = ModelRequest(str(request.model), request.images, request.method, tuple(deployment.precisions))
    trained, _ = trained_network(asked, network, images)
    losses: list[float] = []

    def heard(epoch: int, loss: float) -> None:
        losses.append(loss)
        told(f"epoch {epoch} of {schedule.epochs}: loss {loss:.4f}")

    found = finetuned(trained, deployment, images, schedule, request.method, heard)
    with_weights(request.model, found.weights, request.out)
    layers = tuple(layers_of_precisions(network, deployment))
    return FinetuneResult(network.name, images.count, layers, tuple(losses), request.out)


def _deployment(request: FinetuneRequest, network: Network) -> Deployment:
    if request.bits is None:
        assert request.uniform is not None
        return Deployment.uniform(network, request.uniform)
    bits = bits_file.load(request.bits)
    return allocated_deployment(network, request.bits, replace(bits, batch=network.batch))  # steps have their own batch


def _schedule(request: FinetuneRequest) -> Schedule:
    from profiler.finetune.training import Schedule

    return Schedule(request.epochs, request.batch, request.rate, seed=request.seed)
