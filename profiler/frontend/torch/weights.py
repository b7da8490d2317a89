"""What an exported program says of a layer with weights: one rule per operator, from the torch.fx node to numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from profiler.frontend.layer_values import Affine, Doubles, LayerValues, normalization, row
from profiler.frontend.lowering import Lowered, Origin, lower
from profiler.frontend.refusal import RefusedError, first_line, quoted
from profiler.frontend.torch.file import read
from profiler.frontend.torch.fx import arguments, operator_name
from profiler.frontend.torch.reader import graph_of


def opened(
    path: Path, batch: int, *, skip_unsupported: bool = False
) -> tuple[Lowered, Callable[[Origin], LayerValues]]:
    """The network in an exported program, and what it says of a layer; the latter raises `RefusedError`."""
    program = read(path)
    lowered = lower(graph_of(program, path.stem, str(path)), batch, skip_unsupported=skip_unsupported)
    constants = Constants(program)
    makers = {fx.name: fx for fx in program.graph.nodes}

    def values_of(origin: Origin) -> LayerValues:
        fx = makers[origin.node.outputs[0]]
        weight, bias = _LAYERS[operator_name(fx)](constants, arguments(fx))
        return LayerValues(weight, bias, tuple(_affine(constants, makers[fold.outputs[0]]) for fold in origin.folds))

    return lowered, values_of


class Constants:
    """The numbers of a program's parameters, buffers and constants, and of what the program computes from them alone.

    The latter is computed by torch itself, node by node. Raises `RefusedError`.
    """

    def __init__(self, program: Any) -> None:
        signature = program.graph_signature
        names = {
            **signature.inputs_to_buffers,
            **signature.inputs_to_parameters,
            **getattr(signature, "inputs_to_lifted_tensor_constants", {}),
        }
        self._held = {**program.constants, **program.state_dict}
        self._names: Mapping[str, str] = names
        self._computed: dict[str, Any] = {}

    def is_constant(self, value: Any) -> bool:
        """Whether an operand is a number, or depends on no input of the model."""
        if not hasattr(value, "all_input_nodes"):
            return True
        pending, seen = [value], set()
        while pending:
            fx = pending.pop()
            if fx.op == "placeholder" and fx.name not in self._names:
                return False
            seen.add(fx)
            pending += [source for source in fx.all_input_nodes if source not in seen]
        return True

    def doubles(self, value: Any) -> Doubles:
        """An operand in float64: a number, or a tensor."""
        if not hasattr(value, "all_input_nodes"):
            return np.asarray(float(value))
        tensor = self._tensor(value)
        if tensor.is_complex():
            raise RefusedError(f"its constant {quoted(value.name)} is complex")
        array: Doubles = tensor.detach().double().contiguous().cpu().numpy()
        return array

    def optional(self, value: Any) -> Doubles | None:
        return None if value is None else self.doubles(value)

    def _tensor(self, fx: Any) -> Any:
        if fx.name not in self._computed:
            self._computed[fx.name] = self._compute(fx)
        return self._computed[fx.name]

    def _compute(self, fx: Any) -> Any:
        import torch

        if fx.op == "placeholder":
            held = self._held.get(self._names.get(fx.name, ""))
            if held is None:
                raise RefusedError(f"its constant {quoted(fx.name)} is not in the file")
            return held.detach().clone()
        what = f"its constant {quoted(fx.name)} is computed by {fx.target}"
        name = operator_name(fx)
        if fx.op != "call_function" or not hasattr(fx.target, "_schema"):
            raise RefusedError(f"its constant {quoted(fx.name)} is made by {fx.op} {fx.target}, which is not supported")
        if name.endswith("_") and name != "aten.detach_":
            raise RefusedError(f"{what}, which overwrites what it reads")
        if torch.Tag.nondeterministic_seeded in fx.target.tags:
            raise RefusedError(f"{what}, which is random")
        given = torch.fx.node.map_arg((fx.args, fx.kwargs), self._tensor)
        try:
            with torch.no_grad():
                return fx.target(*given[0], **given[1])
        except RuntimeError as error:
            raise RefusedError(f"{what}, which fails ({first_line(error)})") from None


def _conv(constants: Constants, a: Mapping[str, Any]) -> tuple[Doubles, Doubles | None]:
    return constants.doubles(a["weight"]), constants.optional(a["bias"])


def _linear(constants: Constants, a: Mapping[str, Any]) -> tuple[Doubles, Doubles | None]:
    return constants.doubles(a["weight"]), constants.optional(a["bias"])


def _addmm(constants: Constants, a: Mapping[str, Any]) -> tuple[Doubles, Doubles | None]:
    bias = constants.doubles(a["self"])
    if bias.size > 1 and bias.shape[-1] != bias.size:
        raise RefusedError(f"its bias of shape {bias.shape} is not one value per output")
    return constants.doubles(a["mat2"]).T * float(a["alpha"]), row(bias) * float(a["beta"])


def _product(weight: str) -> Callable[[Constants, Mapping[str, Any]], tuple[Doubles, Doubles | None]]:
    return lambda constants, a: (constants.doubles(a[weight]).T, None)


def _affine(constants: Constants, fx: Any) -> Affine:
    a = arguments(fx)
    name = operator_name(fx).removeprefix("aten.").rstrip("_")
    if "running_mean" in a:
        mean, variance = constants.doubles(a["running_mean"]), constants.doubles(a["running_var"])
        gain, shift = constants.optional(a["weight"]), constants.optional(a["bias"])
        return normalization(mean, variance, float(a["eps"]), gain, shift)
    constant_first = constants.is_constant(a["self"])
    constant = row(constants.doubles(a["self" if constant_first else "other"]))
    one, zero = np.ones(()), np.zeros(())
    alpha = np.asarray(float(a.get("alpha", 1)))
    if name == "add":
        return Affine(alpha, constant) if constant_first else Affine(one, alpha * constant)
    with np.errstate(divide="ignore"):
        return {
            "sub": Affine(one, -alpha * constant),
            "mul": Affine(constant, zero),
            "div": Affine(1 / constant, zero),
        }[name]


_LAYERS: Mapping[str, Callable[[Constants, Mapping[str, Any]], tuple[Doubles, Doubles | None]]] = {
    **dict.fromkeys(("aten.conv2d", "aten.convolution"), _conv),
    "aten.linear": _linear,
    "aten.addmm": _addmm,
    "aten.mm": _product("mat2"),
    "aten.matmul": _product("other"),
}
