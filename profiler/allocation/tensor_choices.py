"""Which choices a network has: one per layer with weights, and one per tensor whose storage no such layer decides.

- A layer with weights chooses its precision, which is that of its weights and of what it reads.
- A tensor that one such layer reads is stored in that layer's precision. Where several read it, it has a choice of its
  own, and copies for the readers that differ are paid for; readers without a priced conversion are tied to one choice.
  A max pool keeps the type of its input, so both its ends are one tensor here. A convolution whose addition adds what
  it reads takes the tensor as it is stored.
- What cannot be narrow as memory is laid out (`lut.narrow_tensors`) has no such choice.
- No sensitivity speaks of a tensor that no layer with weights reads (the shortcut of a residual block). So that nothing
  is narrowed for the sake of speed alone, it is stored no narrower than whatever it is made from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from profiler.allocation.freedom import Freedom
from profiler.allocation.price import Price
from profiler.allocation.problem import Choice, Costs, NotNarrower, Quantity, Sharing
from profiler.errors import NoAllocation
from profiler.lut.demand import Unit, conversion, stored_tensors
from profiler.lut.narrow_tensors import misfits
from profiler.workload import KernelSpec, Layer, Network

Prices = Mapping[KernelSpec, Price]
SensitivityOf = Callable[[str, str], float]
"""Of a layer in a precision, both by name."""


@dataclass(frozen=True)
class SharedTensor:
    """A tensor with readers that may differ, and the conversion kernel of each pair of levels that can be had.
    ``alike`` : by level, the first one with the same type, which stands for it in the pairs."""

    tensor: str
    readers: tuple[str, ...]
    kernels: Mapping[tuple[int, int], KernelSpec]
    alike: tuple[int, ...]

    @property
    def free(self) -> bool:
        """Whether its readers can have different levels."""
        return bool(self.kernels) or len(set(self.alike)) < len(self.alike)


@dataclass(frozen=True)
class TensorChoices:
    """``of_layer`` : index of the choice of each layer with weights. ``of_tensor`` : of each tensor, that of its
    storage; tensors inside of a fused pair and accumulators that are handed out have none. ``shared`` belongs to
    ``sharings``, one by one. ``tied`` : groups of layers that share a choice for want of a price of the conversions
    between them."""

    choices: tuple[Choice, ...]
    of_layer: Mapping[str, int]
    of_tensor: Mapping[str, int]
    sharings: tuple[Sharing, ...]
    shared: tuple[SharedTensor, ...]
    rules: tuple[NotNarrower, ...]
    tied: tuple[tuple[str, ...], ...]


def tensor_choices(
    network: Network,
    units: tuple[Unit, ...],
    freedom: Freedom,
    held: Collection[str],
    sensitivity_of: SensitivityOf,
    prices: Prices,
) -> TensorChoices:
    """``held`` layers stay as wide as they may be. Raises `NoAllocation` for tied layers that may have no precision in
    common."""
    draft = _Draft(network, units, freedom, held, sensitivity_of, prices)
    typed = stored_tensors(network)
    owners = list(dict.fromkeys(map(network.type_owner, typed)))
    for owner in owners:
        draft.decide(owner)
    of_tensor = {name: draft.stored[network.type_owner(name)] for name in typed}
    rules = tuple(dict.fromkeys(_rules(network, units, draft, of_tensor)))
    return TensorChoices(
        choices=tuple(draft.choices),
        of_layer=dict(draft.of_layer),
        of_tensor=of_tensor,
        sharings=tuple(draft.sharings),
        shared=tuple(draft.shared),
        rules=rules,
        tied=tuple(draft.tied),
    )


def adding_their_input(units: Sequence[Unit]) -> frozenset[str]:
    """Layers whose kernel reads a tensor twice, to convolve and to add it, in one type: no copy can stand between."""
    return frozenset(unit.layer.name for unit in units if unit.other in unit.layer.inputs)


class _Draft:
    """The choices while they are being made."""

    def __init__(
        self,
        network: Network,
        units: tuple[Unit, ...],
        freedom: Freedom,
        held: Collection[str],
        sensitivity_of: SensitivityOf,
        prices: Prices,
    ) -> None:
        self._network, self._freedom, self._held = network, freedom, held
        self._sensitivity_of, self._prices = sensitivity_of, prices
        self._misfits = [misfits(network, precision.activation_bits) for precision in freedom.precisions]
        """By level."""
        self._adding_their_input = adding_their_input(units)
        self._readers: dict[str, list[Layer]] = {}
        for layer in network.weighted_layers:
            self._readers.setdefault(network.type_owner(layer.inputs[0]), []).append(layer)
        self.choices: list[Choice] = []
        self.of_layer: dict[str, int] = {}
        self.stored: dict[str, int] = {}
        """By owner of a type."""
        self.sharings: list[Sharing] = []
        self.shared: list[SharedTensor] = []
        self.tied: list[tuple[str, ...]] = []

    def decide(self, owner: str) -> None:
        """Make the choices of a tensor and of the layers that read it."""
        readers = self._readers.get(owner, [])
        if not readers:
            written = self._network.producer(owner) is not None
            self.stored[owner] = self._storage(owner, all_levels=written)
            return
        shared = self._shared(readers) if len(readers) > 1 else ()
        if not any(tensor.free for tensor in shared):
            if len(readers) > 1:
                self.tied.append(tuple(layer.name for layer in readers))
            self.stored[owner] = self._choice(readers, stores=owner)
            self.of_layer.update({layer.name: self.stored[owner] for layer in readers})
            return
        direct = [layer for layer in readers if layer.name in self._adding_their_input]
        self.stored[owner] = self._choice(direct, stores=owner) if direct else self._storage(owner, all_levels=True)
        self.of_layer.update({layer.name: self.stored[owner] for layer in direct})
        for layer in readers:
            if layer not in direct:
                self.of_layer[layer.name] = self._choice([layer])
        for tensor in shared:
            copies = {pair: self._copy_costs(spec) for pair, spec in tensor.kernels.items()}
            indices = tuple(self.of_layer[name] for name in tensor.readers)
            self.sharings.append(Sharing(tensor.tensor, self.stored[owner], indices, copies, tensor.alike))
            self.shared.append(tensor)

    def _shared(self, readers: list[Layer]) -> tuple[SharedTensor, ...]:
        by_tensor: dict[str, list[str]] = {}
        for layer in readers:
            by_tensor.setdefault(layer.inputs[0], []).append(layer.name)
        return tuple(self._shared_tensor(name, tuple(names)) for name, names in by_tensor.items())

    def _shared_tensor(self, tensor: str, readers: tuple[str, ...]) -> SharedTensor:
        signed = self._network.tensor(tensor).signed
        types = [precision.activation_dtype(signed) for precision in self._freedom.precisions]
        alike = tuple(map(types.index, types))
        found = {}
        for a, b in permutations(sorted(set(alike)), 2):
            spec = conversion(self._network, tensor, self._freedom.precisions[a], self._freedom.precisions[b])
            if spec is not None and spec in self._prices:
                found[a, b] = spec
        return SharedTensor(tensor, readers, found, alike)

    def _copy_costs(self, spec: KernelSpec) -> Costs:
        price = self._prices[spec]
        energy = {} if price.energy_j is None else {Quantity.ENERGY: price.energy_j}
        return {Quantity.LATENCY: price.bound_s, **energy}

    def _choice(self, layers: list[Layer], stores: str | None = None) -> int:
        """One for all of them, and for the storage of the tensor that they read as it lies."""
        freedom = self._freedom
        fitting = [self._reason(level, stores, layers) for level in range(len(freedom.precisions))]
        allowed = {level for level, reason in enumerate(fitting) if not reason}
        for layer in layers:
            own = [level for level in freedom.levels(layer.name) if not fitting[level]]
            allowed &= set(own[:1] if layer.name in self._held else own)
        names = ", ".join(layer.name for layer in layers)
        reasons = [fitting[level] for layer in layers for level in freedom.levels(layer.name) if fitting[level]]
        if not allowed and reasons:
            raise NoAllocation(f"{names}: no precision is left: {reasons[0]}; allow int8")
        if not allowed:
            raise NoAllocation(
                f"the layers {names} read one tensor and so share a precision, but may have none in common; loosen "
                "--keep or --forbid, or profile the conversions between them"
            )
        levels = range(len(freedom.precisions))
        sensitivity = tuple(
            sum(self._sensitivity_of(layer.name, freedom.precisions[level].name) for layer in layers)
            if level in allowed
            else 0.0
            for level in levels
        )
        costs = tuple(self._layer_costs(layers, level) for level in levels)
        self.choices.append(Choice(names, tuple(sorted(allowed)), sensitivity, costs))
        return len(self.choices) - 1

    def _layer_costs(self, layers: list[Layer], level: int) -> Costs:
        """Size is weights * bits / 8, BOPs are weight bits * activation bits * MACs of one image, as in HAWQ-V3."""
        precision = self._freedom.precisions[level]
        weight_bits = precision.weight_bits
        macs = sum(layer.workload.macs // layer.workload.batch for layer in layers)
        return {
            Quantity.SIZE: sum(layer.workload.weights for layer in layers) * weight_bits / 8,
            Quantity.BOPS: float(weight_bits * precision.activation_bits * macs),
        }

    def _reason(self, level: int, stored: str | None, layers: Sequence[Layer]) -> str:
        """Why the tensor cannot be stored, or a layer not read, in that precision; empty where they can."""
        unfit = self._misfits[level]
        found = [unfit.tensors.get(stored or "", ""), *(unfit.layers.get(layer.name, "") for layer in layers)]
        return next(filter(None, found), "")

    def _storage(self, owner: str, *, all_levels: bool) -> int:
        """What nobody writes (an input of the model) and no layer with weights reads stays wide. Precisions whose types
        are the same are one choice."""
        count = len(self._freedom.precisions)
        fitting = [self._reason(level, owner, ()) for level in range(count)]
        signed = self._network.tensor(owner).signed
        types = [precision.activation_dtype(signed) for precision in self._freedom.precisions]
        levels = [level for level, dtype in enumerate(types) if types.index(dtype) == level]
        allowed = tuple(level for level in (levels if all_levels else levels[:1]) if not fitting[level])
        if not allowed:
            raise NoAllocation(f"tensor '{owner}': no precision is left: {fitting[0]}; allow int8")
        self.choices.append(Choice(owner, allowed, (0.0,) * count, is_layer=False))
        return len(self.choices) - 1


def _rules(
    network: Network, units: tuple[Unit, ...], draft: _Draft, of_tensor: Mapping[str, int]
) -> Iterator[NotNarrower]:
    """Of the storage of what no layer with weights reads: no narrower than what it is made from."""
    for unit in units:
        choice = of_tensor.get(unit.output)
        if choice is None or draft.choices[choice].is_layer or choice in {s.tensor for s in draft.sharings}:
            continue
        made_from = [of_tensor[name] for name in unit.tensors if name != unit.output and name in of_tensor]
        if unit.layer.workload.op.has_weights:
            made_from = [draft.of_layer[unit.layer.name], *made_from[1:]]
        for other in made_from:
            if other != choice:
                yield NotNarrower(choice, other)
