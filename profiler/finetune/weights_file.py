"""Weights with batch normalization folded in, written back into an exported program (.pt2).

The program's graph stays as it is, so that layers and tensors keep their names and a bits.json stays valid. What was
folded into the weights is made to change nothing: a batch normalization gets a mean of zero, factors of one, and the
bias as its shift.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.errors import UnsupportedModel
from profiler.frontend.lowering import lower
from profiler.frontend.refusal import quoted
from profiler.frontend.torch.file import read
from profiler.frontend.torch.fx import arguments, operator_name
from profiler.frontend.torch.reader import graph_of
from profiler.frontend.weights import LayerWeights
from profiler.output_folder import write_whole


def with_weights(model: Path, weights: Mapping[str, LayerWeights], out: Path) -> None:
    """The program of ``model`` with other weights, by layer, as ``out``.

    Raises `UnsupportedModel`, naming the layer, where they cannot be stored in the program's own parameters.
    """
    import torch

    program = read(model)
    lowered = lower(graph_of(program, model.stem, str(model)), 1)
    signature = program.graph_signature
    names = {**signature.inputs_to_buffers, **signature.inputs_to_parameters}
    nodes = {fx.name: fx for fx in program.graph.nodes}
    taken: set[str] = set()

    def put(layer: str, fx: Any, values: Any) -> None:
        key = names.get(getattr(fx, "name", ""), "")
        held = program.state_dict.get(key)
        if held is None or held.numel() != values.size or key in taken:
            raise UnsupportedModel(
                f"{model}: layer {quoted(layer)}: its parameters are shared, missing or computed, so that others "
                "cannot be stored there; export the model with a parameter of its own for each layer"
            )
        taken.add(key)
        with torch.no_grad():
            held.copy_(torch.from_numpy(values.copy()).reshape(held.shape).to(held.dtype))

    origins = {origin.layer: origin for origin in lowered.origins}
    for name, new in weights.items():
        origin = origins[name]
        fx = nodes[origin.node.outputs[0]]
        given = arguments(fx)
        if operator_name(fx) not in ("aten.conv2d", "aten.convolution", "aten.linear"):
            raise UnsupportedModel(f"{model}: layer {quoted(name)} is {fx.target}, whose weights cannot be replaced")
        put(name, given["weight"], new.weight.transpose(0, 3, 1, 2))
        folds = [arguments(nodes[fold.outputs[0]]) for fold in origin.folds]
        if any("running_mean" not in fold for fold in folds):
            raise UnsupportedModel(
                f"{model}: layer {quoted(name)} is followed by a constant factor or term that is no batch normalization"
            )
        bias = new.bias
        if folds:
            _neutralised(put, name, folds, bias)
            bias = bias * 0
        if given["bias"] is not None:
            put(name, given["bias"], bias)
        elif bias.any():
            raise UnsupportedModel(f"{model}: layer {quoted(name)} has no bias to store one in; add one to the model")
    data = io.BytesIO()
    torch.export.save(program, data)
    write_whole(out, data.getvalue())


def _neutralised(put: Any, name: str, folds: Sequence[Mapping[str, Any]], bias: Any) -> None:
    """All of them change nothing, but for the last one, which adds the bias."""
    for fold in folds:
        one = bias * 0 + 1
        shift = bias if fold is folds[-1] else bias * 0
        put(name, fold["running_mean"], bias * 0 if fold["bias"] is not None else -shift)
        put(name, fold["running_var"], one - float(fold["eps"]))
        if fold["weight"] is not None:
            put(name, fold["weight"], one)
        if fold["bias"] is not None:
            put(name, fold["bias"], shift)
