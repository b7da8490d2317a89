"""The sensitivities that an allocation minimises: of a file, of the model's own weights, or published ones."""

from __future__ import annotations

from pathlib import Path

from profiler.errors import ProfilerError
from profiler.frontend import is_builtin
from profiler.frontend.weights import load_weights
from profiler.sensitivity.files import read_sensitivity
from profiler.sensitivity.perturbation import Clipping, perturbation_sensitivity
from profiler.sensitivity.published import published_sensitivity
from profiler.sensitivity.table import Sensitivity
from profiler.workload import Network, Precision


def sensitivity_of(text: str | None, model: str, network: Network, precisions: tuple[Precision, ...]) -> Sensitivity:
    """``text`` : a file, ``max-abs`` or ``mse`` (from the weights of the model itself). None takes published figures of
    a built-in network, and ``max-abs`` of a model file.

    Raises `ProfilerError` where there is nothing to take.
    """
    methods = {clipping.value: clipping for clipping in Clipping}
    if text is not None and text not in methods:
        return read_sensitivity(Path(text))
    if text is None and is_builtin(model):
        published = published_sensitivity(network.name)
        if published is None:
            raise ProfilerError(
                f"no sensitivities of '{network.name}' are published here; give a file (--sensitivity FILE, made by "
                "the command sensitivity), or a model with weights (.onnx, .pt2)"
            )
        return published
    weights = {name: layer.weight for name, layer in load_weights(model, network).items()}
    clipping = methods[text] if text is not None else Clipping.MAX_ABS
    return perturbation_sensitivity(weights, precisions, clipping)
