"""What a torch.fx node of an exported program says: its operator, its arguments, and the shape of its value."""

from __future__ import annotations

from typing import Any

from profiler.frontend.refusal import RefusedError


def operator_name(fx: Any) -> str:
    """``aten.relu_`` for ``aten.relu_.default``: the overloads that matter differ in their arguments only."""
    name = str(fx.target)
    return name.rsplit(".", 1)[0] if name.count(".") == 2 else name


def arguments(fx: Any) -> dict[str, Any]:
    """The arguments by their names in the operator's schema, defaults included."""
    schema = getattr(fx.target, "_schema", None)
    if schema is None:
        raise RefusedError("this operator is not supported")
    found = {}
    for index, argument in enumerate(schema.arguments):
        given = fx.args[index] if index < len(fx.args) else fx.kwargs.get(argument.name, argument.default_value)
        found[argument.name] = given
    return found


def results(fx: Any) -> tuple[Any, ...]:
    """The traced values of a node that has several outputs, or the one; None where none was traced."""
    value = fx.meta.get("val")
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def is_tensor(fx: Any) -> bool:
    return fx.meta.get("val") is None or any(hasattr(item, "shape") for item in results(fx))


def is_unsigned(fx: Any) -> bool:
    return str(getattr(fx.meta.get("val"), "dtype", "")) == "torch.uint8"


def dims_of(fx: Any) -> tuple[int, ...] | None:
    """The shape of its only value, batch included, -1 for an open extent."""
    shape = getattr(fx.meta.get("val"), "shape", None)
    return None if shape is None else tuple(extent_of(extent) for extent in shape)


def extent_of(extent: Any) -> int:
    """An extent that is open (a symbol) is -1."""
    return extent if isinstance(extent, int) else -1
