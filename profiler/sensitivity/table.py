"""What quantizing each layer to each precision costs the loss, wherever the figures come from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from profiler.errors import ProfilerError
from profiler.workload import Network

_MOST_NAMES = 6


@dataclass(frozen=True)
class LayerSensitivity:
    """Of one layer. Whatever is not known is None, or an empty mapping.

    cost : by name of the precision; finite and not negative, in units of the loss (or of squared weights, where the
    method knows no loss). perturbation : ||Q(W) - W||^2 by precision. trace : the trace of the loss's Hessian over
    this layer's weights, divided by their number (negative where the model is not at a minimum); trace_stderr : its
    standard error; probes : how many random vectors it was estimated with. parameters : number of weights, no bias.

    Raises `ProfilerError` that names the layer and the field.
    """

    name: str
    cost: Mapping[str, float]
    perturbation: Mapping[str, float] = field(default_factory=dict)
    trace: float | None = None
    trace_stderr: float | None = None
    probes: int | None = None
    parameters: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            raise ProfilerError(f"the layer name {self.name!a} is not a text that can be printed")
        if not self.cost:
            raise ProfilerError(f"layer '{self.name}' has no cost for any precision")
        for label, column in (("cost", "{}"), ("perturbation", "perturbation_{}")):
            numbers = {p: self._number(column.format(p), value) for p, value in getattr(self, label).items()}
            object.__setattr__(self, label, numbers)
        strangers = [name for name in self.perturbation if name not in self.cost]
        if strangers:
            raise ProfilerError(f"layer '{self.name}': a perturbation for {strangers[0]}, but no cost")
        if self.trace is not None:
            object.__setattr__(self, "trace", self._number("trace", self.trace, signed=True))
        if self.trace_stderr is not None:
            object.__setattr__(self, "trace_stderr", self._number("trace_stderr", self.trace_stderr))
        for label in ("probes", "parameters"):
            value = getattr(self, label)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ProfilerError(f"layer '{self.name}', {label}: must be an integer of at least 1, not {value!r}")

    def _number(self, column: str, value: object, *, signed: bool = False) -> float:
        wanted = "finite" if signed else "finite and not negative"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ProfilerError(f"layer '{self.name}', {column}: must be a number, not {value!r}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number) or (number < 0 and not signed):
            raise ProfilerError(f"layer '{self.name}', {column}: must be {wanted}, not {number!r}")
        return number + 0.0  # no negative zero


@dataclass(frozen=True)
class Sensitivity:
    """A table of layers by precisions; every layer has a cost for each of the ``precisions``.

    ``method`` says in a few words what the costs are, ``citation`` where published figures come from. Raises
    `ProfilerError` for no layer, a layer that is listed twice, and precisions that differ between layers.
    """

    method: str
    layers: tuple[LayerSensitivity, ...]
    citation: str = ""
    _index: Mapping[str, LayerSensitivity] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for label, text in (("method", self.method), ("citation", self.citation)):
            if not isinstance(text, str) or not text.isprintable() or text != text.strip():
                raise ProfilerError(f"the {label} of a sensitivity must be one line of text, not {text!a}")
        if not self.method:
            raise ProfilerError("a sensitivity must say its method")
        if not self.layers:
            raise ProfilerError("a sensitivity without any layer")
        twice = [name for name, count in Counter(layer.name for layer in self.layers).items() if count > 1]
        if twice:
            raise ProfilerError(f"layer '{twice[0]}' is listed twice")
        for layer in self.layers:
            if set(layer.cost) != set(self.precisions):
                raise ProfilerError(
                    f"layer '{layer.name}' has costs for {', '.join(layer.cost)}, layer '{self.layers[0].name}' for "
                    f"{', '.join(self.precisions)}"
                )
        object.__setattr__(self, "_index", {layer.name: layer for layer in self.layers})

    @property
    def precisions(self) -> tuple[str, ...]:
        """Names of the precisions, in the order of the first layer."""
        return tuple(self.layers[0].cost)

    def __contains__(self, layer: object) -> bool:
        return layer in self._index

    def layer(self, name: str) -> LayerSensitivity:
        """Raises `ProfilerError` for a layer that is not listed."""
        try:
            return self._index[name]
        except KeyError:
            raise ProfilerError(f"the sensitivity ({self.method}) has no layer '{name}'") from None

    def of(self, layer: str, precision: str) -> float:
        """The cost of quantizing that layer to that precision. Raises `ProfilerError` where there is none."""
        costs = self.layer(layer).cost
        try:
            return costs[precision]
        except KeyError:
            raise ProfilerError(
                f"the sensitivity ({self.method}) has no cost of {precision} for layer '{layer}'; it has "
                f"{', '.join(costs)}"
            ) from None

    def unknown_layers(self, network: Network) -> tuple[str, ...]:
        """Listed layers that are no weighted layer of the network, in the table's order."""
        known = {layer.name for layer in network.weighted_layers}
        return tuple(layer.name for layer in self.layers if layer.name not in known)

    def check(self, network: Network, needed: Iterable[tuple[str, str]] | None = None) -> None:
        """That the table answers for the network.

        needed : pairs of layer and precision that will be asked for (a layer whose precision is fixed need not be
        among them); by default all weighted layers in all of the table's precisions. Raises `ProfilerError` that names
        the layers without an entry, or a layer whose number of weights is not that of the network's.
        """
        if needed is None:
            needed = [(layer.name, precision) for layer in network.weighted_layers for precision in self.precisions]
        missing = dict.fromkeys(
            layer if layer not in self else f"{layer} ({precision})"
            for layer, precision in needed
            if layer not in self or precision not in self._index[layer].cost
        )
        if missing:
            text = f"the sensitivity ({self.method}) has no entry for {_names(missing)} of network '{network.name}'"
            unknown = self.unknown_layers(network)
            if unknown:
                text += f"; it lists {_names(unknown)}, which the network has not: are the names another model's?"
            raise ProfilerError(text)
        for layer in network.weighted_layers:
            entry = self._index.get(layer.name)
            counted = entry.parameters if entry is not None else None
            # Either way of counting: without the bias, as ours do, or with it, as a user may.
            if counted is not None and counted not in (layer.workload.weights, layer.parameters):
                raise ProfilerError(
                    f"the sensitivity ({self.method}) is of another model: layer '{layer.name}' has {counted} weights "
                    f"there, and {layer.workload.weights} in network '{network.name}'"
                )


def _names(names: Iterable[str]) -> str:
    every = [f"'{name}'" for name in names]
    more = f" and {len(every) - _MOST_NAMES} more" if len(every) > _MOST_NAMES else ""
    return ", ".join(every[:_MOST_NAMES]) + more
