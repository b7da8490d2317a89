"""Rules for the operators that cost nothing: folded or fused into the layer ahead, or moving no data at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from profiler.frontend.graph import Kind, Node
from profiler.frontend.lowering.draft import Draft, Rule, Value
from profiler.frontend.lowering.extents import shape_text, without_leading_ones
from profiler.frontend.refusal import RefusedError, quoted
from profiler.workload import Op


def _pass(draft: Draft, node: Node, values: Sequence[Value]) -> None:
    draft.values[node.outputs[0]] = values[0]


def _reshape(draft: Draft, node: Node, values: Sequence[Value]) -> None:
    """Flattening to (batch, features), and back to where it came from."""
    tensor = draft.tensors[values[0].tensor]
    image = (tensor.channels, tensor.height, tensor.width)
    features = tensor.channels * tensor.height * tensor.width
    if node.target in ((features,), (-1,)):
        flat = True
    elif len(node.target) == 3 and all(want in (-1, have) for want, have in zip(node.target, image, strict=True)):
        flat = False
    else:
        target = shape_text(("batch", *node.target)) if node.target else "an unknown shape"
        raise RefusedError(f"it reshapes {shape_text(('batch', *image))} to {target}; only flattening is supported")
    draft.values[node.outputs[0]] = replace(values[0], flat=flat)


def _fold(draft: Draft, node: Node, values: Sequence[Value]) -> None:
    """Fold constants per channel into the convolution or dense layer ahead."""
    value = values[0]
    tensor = draft.tensors[value.tensor]
    writers = draft.writers.get(value.tensor, [])
    producer = draft.layers[writers[0]] if len(writers) == 1 else None
    if producer is None or not producer.workload.op.has_weights or producer.relu:
        raise RefusedError("it can be folded only into a convolution or dense layer just ahead of it")
    if draft.readers_of(value.source) != [node]:
        raise RefusedError(f"it cannot be folded into {quoted(producer.name)}, whose output something else reads too")
    if node.in_channels not in (0, tensor.channels):
        raise RefusedError(f"its constants are for {node.in_channels} channels, but it reads {tensor.channels}")
    per_channel = (tensor.channels,) if value.flat else (tensor.channels, 1, 1)
    if without_leading_ones(node.constant_shape) not in ((), without_leading_ones(per_channel)):
        raise RefusedError(f"its constant of shape {node.constant_shape} is not one value per channel")
    draft.layers[writers[0]] = replace(producer, parameters=producer.parameters + node.parameters)
    origin = draft.origins[writers[0]]
    draft.origins[writers[0]] = replace(origin, folds=(*origin.folds, node))
    draft.values[node.outputs[0]] = replace(value, source=node.outputs[0])


def _relu(draft: Draft, node: Node, values: Sequence[Value]) -> None:
    """Fuse into the layer ahead; behind a max pool, into the layer ahead of that, since the two commute."""
    value = values[0]
    hint = node.kind is Kind.CLAMP
    fused = _is_clamped(draft, value, node.limit) or _clamp(draft, node, value, input_too=hint)
    if not fused and not hint:
        raise RefusedError("it can be fused only into a convolution, dense, add, concat or pool that it alone reads")
    draft.values[node.outputs[0]] = replace(value, source=node.outputs[0]) if fused else value


def _is_clamped(draft: Draft, value: Value, limit: float | None) -> bool:
    """Whether nothing of the value is below zero, or above the limit, anyway."""
    if draft.tensors[value.tensor].signed:
        return False
    while value.tensor in draft.pooled_from:
        _, value = draft.pooled_from[value.tensor]
    ends = [draft.layers[index].relu_limit for index in draft.writers.get(value.tensor, [])]
    return limit is None or (bool(ends) and all(end is not None and end <= limit for end in ends))


def _clamp(draft: Draft, node: Node, value: Value, *, input_too: bool) -> bool:
    """Whether what writes the value can clamp it as the node does, and then it does; ``input_too``: or it is an input
    of the model."""
    same = (Kind.RELU, Kind.CLAMP)
    if any(r is None or r.kind not in same or r.limit != node.limit for r in draft.readers_of(value.source)):
        return False
    clamped = [value]
    while value.tensor in draft.pooled_from:
        pool, value = draft.pooled_from[value.tensor]
        if draft.readers_of(value.source) != [pool]:
            return False
        clamped.append(value)
    # A tensor that is clamped at zero already may have gone its ways from there, some without the upper end.
    if node.limit is not None and any(_is_forked(draft, entry) for entry in clamped):
        return False
    writers = draft.writers.get(value.tensor, [])
    if not writers and not (input_too and value.tensor in {entry.name for entry in draft.graph.inputs}):
        return False
    for index in writers:
        layer = draft.layers[index]
        # A pool or concat that stores an unsigned type clamps at zero by doing so, and a sum of such ones has no need.
        at_zero = layer.workload.op.has_weights or layer.workload.op is Op.ADD
        relu = layer.relu or (at_zero and draft.tensors[value.tensor].signed)
        limits = [limit for limit in (layer.relu_limit, node.limit) if limit is not None]
        draft.layers[index] = replace(layer, relu=relu, relu_limit=min(limits, default=None))
    for entry in clamped:
        draft.tensors[entry.tensor] = replace(draft.tensors[entry.tensor], signed=False)
    return True


def _is_forked(draft: Draft, value: Value) -> bool:
    """Whether several read its tensor under a name that it had before it got this source."""
    names = {entry.source for entry in draft.values.values() if entry is not None and entry.tensor == value.tensor}
    return any(len(draft.readers_of(name)) > 1 for name in names - {value.source})


RULES: Mapping[Kind, Rule] = {
    Kind.RELU: _relu,
    Kind.CLAMP: _relu,
    Kind.FOLD: _fold,
    Kind.RESHAPE: _reshape,
    Kind.PASS: _pass,
}
