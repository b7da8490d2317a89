"""Where a layer came from: the way back from a network to the operators of its model."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.frontend.graph import Node


@dataclass(frozen=True)
class Origin:
    """The node that became a layer, and the FOLD nodes that were folded into it, in the order in which they run.

    ``reads`` are the names of the graph that the layer reads, in the order of `Layer.inputs`: a tensor of the network
    goes by several names in the graph, one behind each operator that moves no data.
    """

    layer: str
    node: Node
    reads: tuple[str, ...]
    folds: tuple[Node, ...] = ()
