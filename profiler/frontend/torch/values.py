"""What is known of a program's values, as far as it has been read: constants, names, shapes."""

from __future__ import annotations

from math import prod
from typing import Any

from profiler.frontend.graph import Kind, Node
from profiler.frontend.refusal import RefusedError, quoted
from profiler.frontend.torch.fx import dims_of, extent_of, operator_name, results


class Values:
    """Filled node by node, in the program's order, which is that in which it runs."""

    def __init__(self) -> None:
        self.constants: dict[str, str] = {}
        """Names that do not depend on the inputs, to the parameter that they are (made of); else empty."""
        self._overwritten: dict[str, str] = {}
        """Values that an operator like relu_ has overwritten, to what they hold from there on."""
        self._shapes: dict[str, tuple[int, ...] | None] = {}

    def note_shapes(self, fx: Any) -> None:
        for index, item in enumerate(results(fx)):
            shape = getattr(item, "shape", None)
            name = fx.name if index == 0 else f"{fx.name}:{index}"
            self._shapes[name] = None if shape is None else tuple(extent_of(extent) for extent in shape)

    def note_constant(self, fx: Any) -> None:
        """Made of constants only: it is called as the first of the parameters among them."""
        named = [self.constants.get(source.name, "") for source in fx.all_input_nodes]
        self.constants[fx.name] = next(filter(None, named), "")

    def note_overwritten(self, fx: Any) -> None:
        """An operator whose name ends in ``_`` writes into its first operand."""
        if not operator_name(fx).endswith("_") or not fx.all_input_nodes:
            return
        target = fx.all_input_nodes[0]
        held = self.name(target)
        aliases = [old for old, new in self._overwritten.items() if new == held]
        self._overwritten.update(dict.fromkeys((target.name, *aliases), fx.name))

    def name(self, source: Any) -> str:
        """The graph's name for what a torch.fx node holds by now."""
        return self.current(str(source.name))

    def current(self, name: str) -> str:
        return self._overwritten.get(name, name)

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """Batch left out, -1 for an open extent."""
        shape = self._shapes.get(name)
        return shape[1:] if shape else None

    def is_constant(self, value: Any) -> bool:
        """Whether an argument is a number, a parameter, or made of these."""
        return not hasattr(value, "name") or value.name in self.constants

    def constant_shape(self, value: Any) -> tuple[int, ...]:
        """The shape of a constant operand; () of a number."""
        if not hasattr(value, "name"):
            return ()
        if value.name not in self.constants:
            raise RefusedError("its weights are not constants")
        dims = dims_of(value)
        if dims is None or any(extent < 1 for extent in dims):
            raise RefusedError("the shape of its weights is not known, or empty")
        return dims

    def count(self, value: Any) -> int:
        """Elements of an optional constant."""
        return 0 if value is None else prod(self.constant_shape(value))

    def label(self, fx: Any, weight: Any) -> str:
        """``layer1.0.conv1`` for weights of that name."""
        name: str = self.constants.get(weight.name, "").removesuffix(".weight")
        return name or str(fx.name)

    def node(self, fx: Any, kind: Kind, inputs: tuple[str, ...], **details: Any) -> Node:
        """A node of the graph for a torch.fx node; inputs are names of the graph."""
        details.setdefault("label", fx.name)
        outputs = (fx.name, *(f"{fx.name}:{index}" for index in range(1, len(results(fx)))))
        text = f"operator {fx.target} ({quoted(fx.name)})"
        return Node(text=text, kind=kind, inputs=inputs, outputs=outputs, **details)
