"""Which nodes of a graph take part, and in which order."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from profiler.errors import UnsupportedModel
from profiler.frontend.graph import Graph, Node
from profiler.frontend.refusal import quoted


def needed(graph: Graph) -> tuple[Node, ...]:
    """The nodes that the outputs depend on, in topological order, otherwise in the order of the file."""
    made_by: dict[str, int] = {}
    inputs = {entry.name for entry in graph.inputs}
    for index, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name in made_by or name in inputs:
                raise UnsupportedModel(f"{graph.where}: the tensor {quoted(name)} is defined twice")
            made_by[name] = index
    if not graph.outputs:
        raise UnsupportedModel(f"{graph.where}: the model has no outputs")
    return tuple(graph.nodes[index] for index in _sorted(graph, _reached(graph, made_by), made_by))


def _reached(graph: Graph, made_by: Mapping[str, int]) -> set[int]:
    """Indices of the nodes that the outputs depend on; ``made_by`` tells the node that makes a name."""
    inputs = {entry.name for entry in graph.inputs}
    reached: set[int] = set()
    pending = [made_by[name] for name in graph.outputs if name in made_by]
    while pending:
        index = pending.pop()
        if index in reached:
            continue
        reached.add(index)
        for name in graph.nodes[index].inputs:
            if name in made_by:
                pending.append(made_by[name])
            elif name not in inputs:
                reader = graph.nodes[index].text
                raise UnsupportedModel(f"{graph.where}: {reader} reads {quoted(name)}, which nothing defines")
    return reached


def _sorted(graph: Graph, indices: set[int], made_by: Mapping[str, int]) -> list[int]:
    """Topological, of those that are ready the first of the file next."""
    sources = {i: {made_by[name] for name in graph.nodes[i].inputs if name in made_by} for i in indices}
    dependents: dict[int, list[int]] = {}
    for index, made in sources.items():
        for source in made:
            dependents.setdefault(source, []).append(index)
    missing = {index: len(made) for index, made in sources.items()}
    ready = [index for index, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for dependent in dependents.get(index, ()):
            missing[dependent] -= 1
            if missing[dependent] == 0:
                heapq.heappush(ready, dependent)
    if len(order) < len(indices):
        stuck = graph.nodes[min(indices.difference(order))]
        raise UnsupportedModel(f"{graph.where}: the graph has a cycle through {stuck.text}")
    return order
