"""From a model, or a hook, to a sensitivity file: of the weights alone, or with the loss's Hessian.

Those that are measured in a network of integers are made by `network_stages.noise_sensitivity`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from profiler.errors import InvalidFile, OutputError, ProfilerError
from profiler.frontend import load_network
from profiler.frontend.weights import load_weights
from profiler.output_folder import require_writable
from profiler.sensitivity import hessian
from profiler.sensitivity.clipping import Reals
from profiler.sensitivity.files import read_sensitivity, write_sensitivity
from profiler.sensitivity.hook import Hook, layer_weights, load_hook
from profiler.sensitivity.perturbation import Clipping, perturbation_sensitivity
from profiler.sensitivity.table import Sensitivity
from profiler.workload import Network, Precision


class Method(str, Enum):
    """What a cost is: the squared perturbation with scales of one kind or the other, or average trace times that."""

    MAX_ABS = "max-abs"
    MSE = "mse"
    HESSIAN = "hessian"


@dataclass(frozen=True)
class SensitivityRequest:
    """What a user asks for. ``model`` names the layers; the weights are the hook's where there is one, and the
    model's otherwise. ``tolerance``, ``max_probes``, ``seed`` and ``negative_as_zero`` are of the Hessian alone."""

    model: str
    out: Path
    method: Method
    precisions: tuple[Precision, ...]
    hook: Path | None = None
    tolerance: float = 0.05
    max_probes: int = 200
    seed: int = 0
    negative_as_zero: bool = False
    skip_unsupported: bool = False


@dataclass(frozen=True)
class SensitivityResult:
    """A file that was written, by whatever method; ``traces`` are empty unless the Hessian was asked for."""

    network: str
    sensitivity: Sensitivity
    traces: tuple[hessian.TraceEstimate, ...]
    out: Path
    notes: tuple[str, ...]


def sensitivity(request: SensitivityRequest, progress: hessian.Progress | None = None) -> SensitivityResult:
    """Compute the table and write the file. Raises `ProfilerError`, before the work where that can be known."""
    if request.method is Method.HESSIAN and request.hook is None:
        raise ProfilerError("--method hessian needs --hook FILE.py with model(), batches() and loss(model, batch)")
    refuse_to_replace(request.out)
    require_writable(request.out.parent)
    network = load_network(request.model, 1, skip_unsupported=request.skip_unsupported)
    traces: tuple[hessian.TraceEstimate, ...] = ()
    if request.method is Method.HESSIAN and request.hook is not None:
        table, traces = _of_hessian(request, load_hook(request.hook), network, progress)
    else:
        clipping = Clipping.MSE if request.method is Method.MSE else Clipping.MAX_ABS
        table = perturbation_sensitivity(_weights(request, network), request.precisions, clipping)
    table.check(network)
    write_sensitivity(table, request.out)
    return SensitivityResult(network.name, table, traces, request.out, tuple(_notes(request, network, traces)))


def _weights(request: SensitivityRequest, network: Network) -> Mapping[str, Reals]:
    if request.hook is None:
        return {name: of_layer.weight for name, of_layer in load_weights(request.model, network).items()}
    hook = load_hook(request.hook, needed=("model",))
    return {name: _array(weight) for name, weight in layer_weights(hook, hook.model(), network).items()}


def _of_hessian(
    request: SensitivityRequest, hook: Hook, network: Network, progress: hessian.Progress | None
) -> tuple[Sensitivity, tuple[hessian.TraceEstimate, ...]]:
    model = hook.model()
    weights = layer_weights(hook, model, network)
    traces = hessian.hessian_traces(
        model,
        hook.loss,
        hook.batches(),
        weights,
        tolerance=request.tolerance,
        max_probes=request.max_probes,
        seed=request.seed,
        progress=progress,
    )
    arrays = {name: _array(weight) for name, weight in weights.items()}
    table = hessian.hessian_sensitivity(traces, arrays, request.precisions, negative_as_zero=request.negative_as_zero)
    return table, traces


def _array(weight: object) -> Reals:
    """Of a torch parameter."""
    return np.asarray(weight.detach().cpu().double().numpy())  # type: ignore[attr-defined]


def refuse_to_replace(out: Path) -> None:
    """Raises `OutputError` where a file is there that is no sensitivity file."""
    if not out.exists():
        return
    try:
        read_sensitivity(out)
    except InvalidFile:
        raise OutputError(
            f"{out}: is there and is not a sensitivity file, which would replace it; name another file"
        ) from None


def _notes(request: SensitivityRequest, network: Network, traces: tuple[hessian.TraceEstimate, ...]) -> list[str]:
    notes = []
    if network.skipped:
        notes.append(f"left out of the network: {', '.join(network.skipped)}")
    open_ones = [estimate for estimate in traces if not estimate.converged]
    if open_ones:
        worst = max(open_ones, key=lambda estimate: estimate.relative_stderr)
        notes.append(
            f"{len(open_ones)} of {len(traces)} layers are not within {request.tolerance:g} after "
            f"{worst.probes} probes; the widest is {worst.layer}: {worst.trace:.3g}, standard error {worst.stderr:.2g}"
        )
    negative = [estimate.layer for estimate in traces if estimate.trace < 0]
    if negative:
        notes.append(f"a negative trace counts as no cost: {', '.join(negative)}")
    return notes
