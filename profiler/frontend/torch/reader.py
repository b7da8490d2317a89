"""From an exported program to a `Graph`: each call by its rule, what no rule takes as an unsupported node."""

from __future__ import annotations

import operator
from typing import Any

from profiler.frontend.graph import Graph, GraphInput, Kind, Node
from profiler.frontend.refusal import RefusedError
from profiler.frontend.torch.fx import arguments, is_tensor, is_unsigned, operator_name
from profiler.frontend.torch.rules import RULES
from profiler.frontend.torch.values import Values


def graph_of(program: Any, name: str, where: str) -> Graph:
    """``program`` is a ``torch.export.ExportedProgram``; ``where`` begins each message: the file."""
    signature = program.graph_signature
    user_inputs = set(signature.user_inputs)
    parameters = {**signature.inputs_to_buffers, **signature.inputs_to_parameters}
    values = Values()
    inputs: list[GraphInput] = []
    nodes: list[Node] = []
    for fx in program.graph.nodes:
        values.note_shapes(fx)
        if fx.op == "placeholder" and fx.name in user_inputs and is_tensor(fx):
            inputs.append(GraphInput(fx.name, values.shape_of(fx.name), not is_unsigned(fx)))
        elif fx.op in ("placeholder", "get_attr"):
            values.constants[fx.name] = parameters.get(fx.name, "")
        elif fx.op == "call_function":
            if not is_tensor(fx) or all(source.name in values.constants for source in fx.all_input_nodes):
                values.note_constant(fx)
            else:
                nodes += _translate(values, fx)
                values.note_overwritten(fx)
    outputs = [values.current(output) for output in signature.user_outputs if isinstance(output, str)]
    outputs = [output for output in dict.fromkeys(outputs) if output not in values.constants]
    return Graph(name, where, tuple(inputs), tuple(nodes), tuple(outputs), values.shape_of)


def _translate(values: Values, fx: Any) -> list[Node]:
    if fx.target is operator.getitem:
        source, index = fx.args
        return [values.node(fx, Kind.PASS, (values.name(source) if index == 0 else f"{source.name}:{index}",))]
    try:
        rule = RULES.get(operator_name(fx))
        if rule is None:
            raise RefusedError("this operator is not supported")
        return rule(values, fx, arguments(fx))
    except RefusedError as error:
        sources = (source for source in fx.all_input_nodes if source.name not in values.constants)
        return [values.node(fx, Kind.UNSUPPORTED, tuple(map(values.name, sources)), reason=str(error))]
