"""Rules for the operators that have a price: each becomes a layer (a concatenation: one per input)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from profiler.frontend.graph import Adaptive, Kind, Node, Window
from profiler.frontend.lowering.draft import Draft, Rule, Value
from profiler.frontend.lowering.extents import adaptive_window, counted_pads, window_fields
from profiler.frontend.refusal import RefusedError
from profiler.workload import Op, Tensor, Workload


def _conv2d(draft: Draft, node: Node, values: Sequence[Value]) -> None:
    tensor = _image(draft, values[0])
    assert isinstance(node.window, Window)
    _check_channels(node, tensor.channels)
    workload = Workload(
        op=Op.CONV2D,
        batch=draft.batch,
        in_height=tensor.height,
        in_width=tensor.width,
        in_channels=tensor.channels,
        out_channels=node.out_channels,
        groups=node.groups,
        **window_fields(node.window, tensor.height, tensor.width),
    )
    draft.emit(node, workload, (tensor,), signed=True)


def _dense(draft: Draft, node: Node, values: Sequence[Value]) -> None:
    tensor = draft.tensors[values[0].tensor]
    features = tensor.height * tensor.width * tensor.channels
    if not values[0].flat:
        raise RefusedError("it multiplies the last dimension of an NCHW tensor; only (batch, features) is supported")
    _check_channels(node, features)
    workload = Workload(Op.DENSE, draft.batch, 1, 1, features, node.out_channels)
    draft.emit(node, workload, (tensor,), signed=True, flat=True)


def _add(draft: Draft, node: Node, values: Sequence[Value]) -> None:
    first, second = (draft.tensors[value.tensor] for value in values)
    shapes = [(t.height, t.width, t.channels) for t in (first, second)]
    if shapes[0] != shapes[1] or values[0].flat != values[1].flat:
        raise RefusedError(f"it adds tensors of different shapes (NHWC without batch: {shapes[0]} and {shapes[1]})")
    workload = Workload(Op.ADD, draft.batch, *shapes[0], first.channels)
    draft.emit(node, workload, (first, second), signed=first.signed or second.signed, flat=values[0].flat)


def _pool(draft: Draft, node: Node, values: Sequence[Value]) -> None:
    tensor = _image(draft, values[0])
    window = node.window
    if isinstance(window, Adaptive):
        if window.size == (tensor.height, tensor.width):
            draft.values[node.outputs[0]] = values[0]
            return
        window = adaptive_window(window, tensor.height, tensor.width)
    assert window is not None
    workload = Workload(
        op=Op.MAX_POOL if node.kind is Kind.MAX_POOL else Op.AVG_POOL,
        batch=draft.batch,
        in_height=tensor.height,
        in_width=tensor.width,
        in_channels=tensor.channels,
        out_channels=tensor.channels,
        **window_fields(window, tensor.height, tensor.width),
    )
    counted = (0, 0, 0, 0) if node.kind is Kind.MAX_POOL else counted_pads(window, workload)
    draft.emit(node, workload, (tensor,), signed=tensor.signed, counted_pads=counted)
    if node.kind is Kind.MAX_POOL:
        draft.pooled_from[node.outputs[0]] = (node, values[0])


def _concat(draft: Draft, node: Node, values: Sequence[Value]) -> None:
    """One layer per input: each copies its slice into the common output, in the order of the channels."""
    flat = values[0].flat
    slices: list[tuple[Tensor, int, int, int]] = []
    for value in values:
        tensor = draft.tensors[value.tensor]
        extents = (tensor.height, tensor.width, tensor.channels)
        slices.append((tensor, *((1, 1, prod(extents)) if flat else extents)))
    if any(value.flat != flat for value in values) or len({s[1:3] for s in slices}) > 1:
        raise RefusedError("it concatenates tensors of different height, width or rank")
    total = sum(s[3] for s in slices)
    signed = any(tensor.signed for tensor, *_ in slices)
    workloads = [Workload(Op.CONCAT, draft.batch, height, width, c, total) for _, height, width, c in slices]
    label = draft.unique(node.label)
    for index, ((tensor, *_), workload) in enumerate(zip(slices, workloads, strict=True)):
        name = label if len(slices) == 1 else draft.unique(f"{label}.{index}")
        reads = (node.inputs[index],)
        draft.emit(node, workload, (tensor,), signed=signed, flat=flat, name=name, reads=reads)


def _image(draft: Draft, value: Value) -> Tensor:
    if value.flat:
        raise RefusedError("it reads a tensor of 2 dimensions; only NCHW is supported")
    return draft.tensors[value.tensor]


def _check_channels(node: Node, channels: int) -> None:
    if node.in_channels != channels:
        raise RefusedError(f"its weights are for {node.in_channels} input channels, but it reads {channels}")


RULES: Mapping[Kind, Rule] = {
    Kind.CONV2D: _conv2d,
    Kind.DENSE: _dense,
    Kind.ADD: _add,
    Kind.MAX_POOL: _pool,
    Kind.AVG_POOL: _pool,
    Kind.CONCAT: _concat,
}
