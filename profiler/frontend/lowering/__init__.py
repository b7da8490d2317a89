"""From a `Graph` to a `Network`: what all frontends share.

- ``order``: the nodes that the outputs depend on, sorted
- ``draft``: the network while it is being made
- ``origin``: which operators of the model a layer came from
- ``layers``: rules for the operators that have a price
- ``folding``: rules for those that disappear: batch normalization, biases, ReLU, reshapes
- ``extents``: shape and padding arithmetic

A graph is NCHW, a network NHWC; a flattened value stays the same tensor, since the order of its features is a
permutation of the next layer's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from profiler.errors import InvalidWorkload, UnsupportedModel
from profiler.frontend.graph import Graph, GraphInput, Kind, Node
from profiler.frontend.lowering import folding, layers
from profiler.frontend.lowering.draft import Draft, Rule
from profiler.frontend.lowering.order import needed
from profiler.frontend.lowering.origin import Origin
from profiler.frontend.refusal import RefusedError, quoted
from profiler.workload import Network

__all__ = ["Lowered", "Origin", "build_network", "lower"]

_RULES: Mapping[Kind, Rule] = {**layers.RULES, **folding.RULES}


@dataclass(frozen=True)
class Lowered:
    """A network, and where its layers came from, in their order."""

    network: Network
    origins: tuple[Origin, ...]


def build_network(graph: Graph, batch: int, *, skip_unsupported: bool = False) -> Network:
    """The network of a graph; see `lower`."""
    return lower(graph, batch, skip_unsupported=skip_unsupported).network


def lower(graph: Graph, batch: int, *, skip_unsupported: bool = False) -> Lowered:
    """The network of a graph, with the way back.

    An operator that has no place in a `Network` raises `UnsupportedModel` with its name; with ``skip_unsupported`` it
    is left out and named in ``skipped``, and its output goes on as a tensor without a producer where its shape is known
    (what reads an output of unknown shape is left out too).
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UnsupportedModel(f"{graph.where}: the batch must be an integer of at least 1, not {batch!r}")
    nodes = needed(graph)
    draft = Draft(graph, nodes, batch)
    skipped = []
    for entry in graph.inputs:
        if entry.name in draft.readers:
            _define_input(draft, entry)
    for node in nodes:
        try:
            _lower(draft, node)
        except (RefusedError, InvalidWorkload) as refusal:
            if not skip_unsupported:
                hint = "--skip-unsupported of profile, kernels and allocate leaves it out"
                raise UnsupportedModel(f"{graph.where}: {node.text}: {refusal} ({hint})") from None
            skipped.append(node.text)
            _define_outputs(draft, node)
    if not draft.layers:
        raise UnsupportedModel(f"{graph.where}: the model has no layer that can be profiled")
    network = Network(
        name=graph.name,
        batch=batch,
        tensors=tuple(draft.tensors.values()),
        layers=tuple(draft.layers),
        skipped=tuple(skipped),
        outputs=draft.outputs(),
    )
    return Lowered(network, tuple(draft.origins))


def _define_input(draft: Draft, entry: GraphInput) -> None:
    try:
        draft.define(entry.name, entry.shape, entry.signed)
    except RefusedError as refusal:
        if all(node.kind is Kind.UNSUPPORTED for node in draft.readers[entry.name]):
            draft.values[entry.name] = None  # the reader is the better one to complain about
            return
        advice = "export the model with inputs of a fixed NCHW size (the batch can be open)"
        raise UnsupportedModel(f"{draft.graph.where}: input {quoted(entry.name)}: {refusal}; {advice}") from None


def _lower(draft: Draft, node: Node) -> None:
    if node.kind is Kind.UNSUPPORTED:
        raise RefusedError(node.reason)
    values = [value for value in map(draft.values.__getitem__, node.inputs) if value is not None]
    if len(values) < len(node.inputs):
        raise RefusedError("it reads the output of a skipped operator whose shape is not known")
    for extra in node.outputs[1:]:
        if extra in draft.readers or extra in draft.graph.outputs:
            raise RefusedError(f"its output {quoted(extra)} is used; only the first one is supported")
    _RULES[node.kind](draft, node, values)


def _define_outputs(draft: Draft, node: Node) -> None:
    """What a skipped node would have written."""
    for name in node.outputs:
        try:
            draft.define(name, draft.graph.shape_of(name), signed=True)
        except RefusedError:
            draft.values[name] = None
