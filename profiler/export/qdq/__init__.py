"""The user's float ONNX model with the chosen precisions in it, as QuantizeLinear and DequantizeLinear (QDQ).

- ``quantizer``: numbers to integers and scales
- ``plan``: which values of the model are quantized, and for whom
- ``model_file``: opening, upgrading, checking and writing a model
- ``calibration``: ranges of activations, from batches of the user's
- ``rewrite``: the model with the quantization in it

What is exported is the network as it is deployed, for other tools to read and for its accuracy to be measured:

- Weights are integers per output channel, symmetric by the largest magnitude, with batch normalization folded in;
  biases stay floats.
- Each layer with weights reads its activation in its own precision; additions, average pools and concatenations read it
  as it is stored, where that was a choice. A max pool commutes with quantization and is left alone. Readers of one
  tensor that differ get a quantization each. Zero points are zero, scales are per tensor, types are unsigned where the
  network says so.
- Ranges are those that the user's batches reach. Without batches activations stay floats: no range is made up.

Only this package of the room imports onnx, and ONNX Runtime where it is installed, when needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.allocation.bits_file import Bits
from profiler.errors import UnsupportedModel
from profiler.export.qdq import calibration, model_file
from profiler.export.qdq.plan import Read, planned
from profiler.export.qdq.quantizer import QuantizedWeight, activation_scale, quantize_weight
from profiler.export.qdq.rewrite import rewritten
from profiler.frontend.layer_values import Doubles
from profiler.frontend.onnx.weights import opened
from profiler.frontend.refusal import quoted
from profiler.frontend.weights import load_weights
from profiler.workload import DType

__all__ = ["QdqModel", "quantized_model"]


@dataclass(frozen=True)
class QdqModel:
    """``proto`` is the ``onnx.ModelProto``; ``weight_bits`` are by layer.

    ``activations`` counts the quantized values, 0 without calibration; ``images`` and ``runtime`` say what their ranges
    come from. ``upgraded_from`` is the opset of the user's file, None where it was kept.
    """

    proto: Any
    weight_bits: Mapping[str, int]
    activations: int
    images: int
    runtime: str
    upgraded_from: int | None


def quantized_model(model: Path, bits: Bits, inputs: Mapping[str, npt.NDArray[Any]] | None) -> QdqModel:
    """The model of an ONNX file in the precisions of ``bits``; ``inputs`` are calibration batches by input name, images
    along the first axis.

    Raises `UnsupportedModel` for what cannot be read or expressed exactly, `InvalidFile` where the bits are of another
    network, or the inputs do not fit.
    """
    source = model_file.opened(model)
    lowered, _ = opened(model, bits.batch, skip_unsupported=True)
    bits.require_network(lowered.network)
    plan = planned(lowered.network, lowered.origins, bits)
    folded = load_weights(str(model), lowered.network)
    weights = {name: quantize_weight(x.weight, bits.precision_of(name).weight_bits) for name, x in folded.items()}
    biases = {name: x.bias for name, x in folded.items()}
    scales: dict[tuple[str, DType], np.float32] = {}
    _require_float32(model, weights, biases)
    runtime, opset = "", model_file.opset_of(source)
    if inputs is not None:
        ranges, runtime = calibration.ranges_of(source, model, [read.value for read in plan.reads], inputs)
        scales = {(read.value, read.dtype): _scale(model, read, *ranges[read.value]) for read in plan.reads}
    proto = rewritten(model_file.upgraded(source, model), model, plan, weights, biases, scales)
    model_file.load_external_data(proto, model)
    return QdqModel(
        proto=proto,
        weight_bits={name: weight.bits for name, weight in weights.items()},
        activations=len(scales),
        images=0 if inputs is None else len(next(iter(inputs.values()))),
        runtime=runtime,
        upgraded_from=opset if opset < model_file.OPSET else None,
    )


def _require_float32(model: Path, weights: Mapping[str, QuantizedWeight], biases: Mapping[str, Doubles]) -> None:
    """What is finite in float64 need not be so in the model's type."""
    largest = float(np.finfo(np.float32).max)
    for name, weight in weights.items():
        if not np.isfinite(weight.scales).all() or np.abs(biases[name]).max() > largest:
            raise UnsupportedModel(f"{model}: layer {quoted(name)}: its folded weights or biases are beyond float32")


def _scale(model: Path, read: Read, low: float, high: float) -> np.float32:
    scale = activation_scale(low, high, read.dtype)
    if low < 0 and not read.dtype.signed:
        raise UnsupportedModel(f"{model}: the activation {quoted(read.value)} reaches {low:g}, but is read unsigned")
    if not scale > 0:
        raise UnsupportedModel(
            f"{model}: the activation {quoted(read.value)} is zero in all calibration images, so it has no range; "
            "give images of the kind that the model is for"
        )
    return scale
