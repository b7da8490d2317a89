"""Which values of the model are quantized, and for whom: the bits, laid on the operators that the layers came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from profiler.allocation.bits_faults import stored_precision
from profiler.allocation.bits_file import Bits
from profiler.errors import UnsupportedModel
from profiler.frontend.lowering import Origin
from profiler.workload import DType, Layer, Network, Op, Precision

_LEAST_BITS = 4
"""That ONNX's QuantizeLinear has types of."""
_READERS = (Op.CONV2D, Op.DENSE, Op.ADD, Op.AVG_POOL, Op.CONCAT)
"""What reads quantized activations. Not a max pool, which commutes with their quantization."""


@dataclass(frozen=True)
class FoldedLayer:
    """A layer with weights: its operator's output in the model, and (input, output) of those folded into it."""

    name: str
    op: Op
    output: str
    folds: tuple[tuple[str, str], ...]
    precision: Precision


@dataclass(frozen=True)
class Read:
    """A value of the model that an operator reads quantized; ``output`` is the operator's."""

    value: str
    dtype: DType
    output: str


@dataclass(frozen=True)
class QdqPlan:
    layers: tuple[FoldedLayer, ...]
    reads: tuple[Read, ...]


def planned(network: Network, origins: Sequence[Origin], bits: Bits) -> QdqPlan:
    """``origins`` are those of the network's layers, in their order. Raises `UnsupportedModel` for bits that ONNX has
    no types for."""
    named = [*((x.name, x.precision) for x in bits.layers), *((x.name, x.precision) for x in bits.tensors)]
    narrow = {name: precision for name, precision in named if _below(precision)}
    if narrow:
        name, precision = next(iter(narrow.items()))
        more = f", and {len(narrow) - 1} more are as narrow" if len(narrow) > 1 else ""
        raise UnsupportedModel(
            f"'{name}' is {precision}{more}: ONNX's QuantizeLinear has types of 4 "
            "bits and more only; allocate with --precisions int8,int4, or export another format"
        )
    layers = tuple(
        FoldedLayer(
            name=layer.name,
            op=layer.workload.op,
            output=origin.node.outputs[0],
            folds=tuple((fold.inputs[0], fold.outputs[0]) for fold in origin.folds),
            precision=bits.precision_of(layer.name),
        )
        for layer, origin in zip(network.layers, origins, strict=True)
        if layer.workload.op.has_weights
    )
    reads = [
        read
        for layer, origin in zip(network.layers, origins, strict=True)
        if layer.workload.op in _READERS
        for read in _reads(network, layer, origin, bits)
    ]
    return QdqPlan(layers, tuple(dict.fromkeys(reads)))


def _below(precision: str) -> bool:
    """Whether weights or activations take fewer than four bits."""
    found = Precision.parse(precision)
    return min(found.weight_bits, found.activation_bits) < _LEAST_BITS


def _reads(network: Network, layer: Layer, origin: Origin, bits: Bits) -> Iterator[Read]:
    stored = bits.of_tensors
    for name, value in zip(layer.inputs, origin.reads, strict=True):
        tensor = network.tensor(name)
        has_weights = layer.workload.op.has_weights
        precision = bits.precision_of(layer.name) if has_weights else stored_precision(network, stored, name)
        if precision is not None:
            yield Read(value, precision.activation_dtype(tensor.signed), origin.node.operator_output)
