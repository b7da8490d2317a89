"""From a model to a `Graph`: each operator by its rule, what no rule takes as an unsupported node."""

from __future__ import annotations

from profiler.frontend.graph import Graph, Kind, Node
from profiler.frontend.onnx.model import Model
from profiler.frontend.onnx.protobuf import Operator
from profiler.frontend.onnx.rules import RULES
from profiler.frontend.refusal import RefusedError


def graph_of(model: Model, name: str, where: str) -> Graph:
    """``where`` begins each message: the file."""
    nodes: list[Node] = []
    for operator in model.operators:
        outputs = [output for output in operator.outputs if output]
        if outputs and not all(output in model.constants for output in outputs):
            nodes += _translate(model, operator)
    return Graph(name, where, model.inputs(), tuple(nodes), model.outputs(), model.shape_of)


def _translate(model: Model, operator: Operator) -> list[Node]:
    if operator.op not in RULES:
        return [_unsupported(model, operator, "this operator is not supported")]
    try:
        return RULES[operator.op](model, operator)
    except RefusedError as error:
        return [_unsupported(model, operator, str(error))]
    except (TypeError, ValueError, IndexError, AttributeError, KeyError, OverflowError):
        return [_unsupported(model, operator, "its attributes or inputs are malformed")]


def _unsupported(model: Model, operator: Operator, reason: str) -> Node:
    return Node(
        label=operator.label,
        text=operator.text,
        kind=Kind.UNSUPPORTED,
        inputs=tuple(name for name in operator.inputs if name and name not in model.constants),
        outputs=tuple(name for name in operator.outputs if name and name not in model.constants),
        reason=reason,
    )
