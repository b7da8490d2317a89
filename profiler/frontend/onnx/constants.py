"""What is known of a model without running it: its constants, what is computed from them, and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from profiler.frontend.onnx.protobuf import LARGEST_KEPT, Constant, Operator, constant_of, decoded

_KNOWN = ("Constant", "Shape", "Size")
"""Operators whose outputs are constants whatever they read: the batch left out, all shapes are fixed."""
_WITH_GRAPHS = ("If", "Loop", "Scan")


def known_constants(graph: Any, operators: Sequence[Operator]) -> dict[str, Constant]:
    """By name. ``graph`` is the ``GraphProto`` that holds the operators, which may stand in any order."""
    constants: dict[str, Constant] = {}
    for tensor in graph.initializer:
        constants[decoded(tensor.name)] = constant_of(tensor)
    for tensor in graph.sparse_initializer:
        name = decoded(tensor.values.name)
        constants[name] = Constant(tuple(tensor.dims), weight_name=name)
    waiting: dict[str, list[Operator]] = {}
    missing: dict[int, int] = {}
    ready = []
    for operator in operators:
        if operator.op in _KNOWN:
            ready.append(operator)
        if operator.op in (*_KNOWN, *_WITH_GRAPHS) or not any(operator.inputs):
            continue
        inputs = {name for name in operator.inputs if name and name not in constants}
        if not inputs:
            ready.append(operator)
            continue
        missing[id(operator)] = len(inputs)
        for name in inputs:
            waiting.setdefault(name, []).append(operator)
    while ready:
        operator = ready.pop()
        for name in operator.outputs:
            if name and name not in constants:
                constants[name] = _evaluate(operator, constants)
                for dependent in waiting.pop(name, ()):
                    missing[id(dependent)] -= 1
                    if missing[id(dependent)] == 0:
                        ready.append(dependent)
    return constants


def _evaluate(operator: Operator, constants: Mapping[str, Constant]) -> Constant:
    source = constants.get(operator.input(0), Constant(None))
    if operator.op == "Constant":
        return _attribute(operator)
    if operator.op in ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear"):
        values = source.values if operator.op in ("Identity", "Cast") else None
        return replace(source, values=values)
    if operator.op == "Transpose" and source.shape is not None:
        order = operator.get("perm", None) or range(len(source.shape) - 1, -1, -1)
        if sorted(order) == list(range(len(source.shape))):
            return replace(source, shape=tuple(source.shape[axis] for axis in order), values=None)
    return Constant(None, weight_name=source.weight_name)


def _attribute(operator: Operator) -> Constant:
    """What an operator ``Constant`` holds."""
    for name, value in operator.attributes.items():
        if name == "value" and hasattr(value, "dims"):
            return replace(constant_of(value), weight_name=decoded(value.name) or operator.outputs[0])
        if name in ("value_float", "value_int"):
            return Constant((), (float(value),))
        if name in ("value_floats", "value_ints"):
            return Constant((len(value),), tuple(float(item) for item in value) if len(value) <= LARGEST_KEPT else None)
    return Constant(None)
