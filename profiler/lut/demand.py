"""Which kernels a network can need: per layer, precision and, on request, mixtures of precisions.

The type of an activation belongs to its tensor, so a choice is a precision per tensor: that of a convolution's input
is also that of its weights, that of its output is what its reader wants. Uniform is the same one everywhere, as far as
it fits (`narrow_tensors`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import permutations, product

from profiler.errors import InvalidWorkload
from profiler.lut.narrow_tensors import Misfits, misfits, uniform_precisions
from profiler.workload import DType, Epilogue, KernelSpec, Layer, Network, Op, Precision, Workload, distinct


class Role(str, Enum):
    """Why a kernel is wanted.

    ``uniform``: the network in one precision; ``alternative``: the second way to do the same, a convolution that emits
    its accumulators and an addition of its own; ``mixed``: only where neighbouring tensors differ in precision.
    """

    UNIFORM = "uniform"
    ALTERNATIVE = "alternative"
    MIXED = "mixed"


class Variant(str, Enum):
    """How a unit is done: one way only, the addition in the convolution's epilogue, or by a kernel of its own."""

    PLAIN = "plain"
    FUSED = "fused"
    SEPARATE = "separate"


@dataclass(frozen=True)
class Demand:
    """A kernel, the layers that need it, and the strongest of the roles that it plays in them."""

    spec: KernelSpec
    layers: tuple[str, ...]
    role: Role


@dataclass(frozen=True)
class Kernel:
    """A kernel of an implementation, and the layer that it does (of a fused pair: the convolution)."""

    spec: KernelSpec
    layer: str


@dataclass(frozen=True)
class Implementation:
    """Kernels that, run one after the other, do a unit."""

    variant: Variant
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True)
class Unit:
    """What is planned as one: a layer, with the addition that can move into it (`Network.fusions`)."""

    layer: Layer
    addition: Layer | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer.name,) if self.addition is None else (self.layer.name, self.addition.name)

    @property
    def output(self) -> str:
        return (self.addition or self.layer).output

    @property
    def other(self) -> str | None:
        """The tensor that the moved addition adds."""
        if self.addition is None:
            return None
        first, second = _operands(self.addition)
        return second if first == self.layer.output else first

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors whose precisions decide on the kernels, without repetition."""
        if self.layer.workload.op is Op.MAX_POOL:
            return self.layer.inputs  # keeps its type
        other = () if self.other is None else (self.other,)
        return tuple(dict.fromkeys((*self.layer.inputs, *other, self.output)))


def units(network: Network) -> tuple[Unit, ...]:
    """The network's layers in their order, each fusable addition with its convolution."""
    additions = {convolution: network.layer(add) for add, convolution in network.fusions().items()}
    moved = {layer.name for layer in additions.values()}
    return tuple(Unit(layer, additions.get(layer.name)) for layer in network.layers if layer.name not in moved)


def implementations(network: Network, unit: Unit, precision_of: Mapping[str, Precision]) -> tuple[Implementation, ...]:
    """The ways to do a unit, given the precision of each of its tensors (`Unit.tensors`); the usual one first.

    Raises `InvalidWorkload` for a layer that no kernel can do.
    """

    def dtype(tensor: str) -> DType:
        return precision_of[tensor].activation_dtype(network.tensor(tensor).signed)

    layer, addition = unit.layer, unit.addition
    workload, op = layer.workload, layer.workload.op
    if op.has_weights:
        input_dtype, weight_dtype = dtype(layer.inputs[0]), precision_of[layer.inputs[0]].weight_dtype
        raw = KernelSpec(workload, input_dtype, DType.INT32, weight_dtype, epilogue=Epilogue.BIAS)
        if addition is None:
            if emits_logits(network, layer):
                return _plain(layer, raw)  # nothing would read them in fewer bits
            return _plain(layer, replace(raw, output_dtype=dtype(layer.output), epilogue=_requant(layer)))
        assert unit.other is not None
        operand, output = dtype(unit.other), dtype(unit.output)
        epilogue = Epilogue.ADD_REQUANT_RELU if addition.relu else Epilogue.ADD_REQUANT
        fused = replace(raw, input2_dtype=operand, output_dtype=output, epilogue=epilogue)
        add = KernelSpec(addition.workload, DType.INT32, output, input2_dtype=operand, epilogue=_requant(addition))
        return (
            Implementation(Variant.FUSED, (Kernel(fused, layer.name),)),
            Implementation(Variant.SEPARATE, (Kernel(raw, layer.name), Kernel(add, addition.name))),
        )
    if op is Op.ADD:
        first, second = _operands(layer)
        spec = KernelSpec(
            workload, dtype(first), dtype(layer.output), input2_dtype=dtype(second), epilogue=_requant(layer)
        )
        return _plain(layer, spec)
    (source,) = layer.inputs
    if op is Op.MAX_POOL:
        if layer.relu:
            raise InvalidWorkload(f"layer '{layer.name}': a max pool has no ReLU; put it ahead of the pool")
        return _plain(layer, KernelSpec(workload, dtype(source), dtype(source)))
    if op in (Op.AVG_POOL, Op.CONCAT):
        return _plain(layer, KernelSpec(workload, dtype(source), dtype(layer.output), epilogue=_requant(layer)))
    raise InvalidWorkload(f"layer '{layer.name}': {op.value} cannot be a layer of a network")


def stored_tensors(network: Network) -> tuple[str, ...]:
    """Tensors that are stored in a precision, in order of first use: not those inside of a fused pair, nor accumulators
    that are handed out."""
    seen: dict[str, None] = {}
    for unit in units(network):
        for name in (*unit.tensors, unit.output):
            if not (name == unit.layer.output and emits_logits(network, unit.layer)):
                seen.setdefault(name)
    return tuple(seen)


def emits_logits(network: Network, layer: Layer) -> bool:
    """Whether the layer hands out its accumulators, so that its output has no precision."""
    return (
        layer.workload.op.has_weights
        and layer.output in network.outputs
        and not layer.relu
        and not network.readers(layer.output)
    )


def demand(network: Network, precisions: Sequence[Precision], *, mixed: bool) -> tuple[Demand, ...]:
    """The kernels that the network can need in those precisions, each once, in the network's order.

    ``mixed`` adds those that are needed only where tensors of one unit differ in precision (all combinations of input,
    second operand and output that fit, `narrow_tensors`), and the conversions of tensors with several weighted readers.
    """
    layers: dict[KernelSpec, list[str]] = {}
    roles: dict[KernelSpec, Role] = {}
    strength = list(Role)
    for spec, layer, role in _wanted(network, precisions, mixed):
        names = layers.setdefault(spec, [])
        if layer not in names:
            names.append(layer)
        roles[spec] = min(role, roles.get(spec, role), key=strength.index)
    return tuple(Demand(spec, tuple(names), roles[spec]) for spec, names in layers.items())


def _wanted(network: Network, precisions: Sequence[Precision], mixed: bool) -> Iterator[tuple[KernelSpec, str, Role]]:
    converted: set[str] = set()
    uniform = [uniform_precisions(network, precision) for precision in precisions]
    unfit = {precision: misfits(network, precision.activation_bits) for precision in precisions}
    for unit in units(network):
        tensors = unit.tensors
        ways = [way for chosen in uniform for way in implementations(network, unit, chosen)]
        for separate, role in ((False, Role.UNIFORM), (True, Role.ALTERNATIVE)):
            for way in ways:
                if (way.variant is Variant.SEPARATE) == separate:
                    yield from ((kernel.spec, kernel.layer, role) for kernel in way.kernels)
        if not mixed:
            continue
        for combination in product(precisions, repeat=len(tensors)):
            chosen = dict(zip(tensors, combination, strict=True))
            if _fits(unit, chosen, unfit):
                for way in implementations(network, unit, chosen):
                    yield from ((kernel.spec, kernel.layer, Role.MIXED) for kernel in way.kernels)
        tensor = unit.layer.inputs[0]
        if unit.layer.workload.op.has_weights and tensor not in converted and tensor in _shared(network):
            converted.add(tensor)
            readers = [reader.name for reader in network.readers(tensor) if reader.workload.op.has_weights]
            for spec in conversions(network, tensor, precisions):
                yield from ((spec, name, Role.MIXED) for name in readers)


def _fits(unit: Unit, chosen: Mapping[str, Precision], unfit: Mapping[Precision, Misfits]) -> bool:
    """Whether the unit can be done in these precisions as far as memory goes. What a layer with weights reads may be a
    copy."""
    source = unit.layer.inputs[0]
    if unit.layer.workload.op.has_weights:
        if unit.layer.name in unfit[chosen[source]].layers:
            return False
        chosen = {name: precision for name, precision in chosen.items() if name != source}
    return all(name not in unfit[precision].tensors for name, precision in chosen.items())


def _shared(network: Network) -> set[str]:
    """Tensors that members of a tie read: the places where a conversion can undo the tie."""
    return {network.layer(name).inputs[0] for tie in network.ties() for name in tie}


def conversion(network: Network, tensor: str, source: Precision, target: Precision) -> KernelSpec | None:
    """The kernel that copies a tensor from one precision into another; None where both have the same type."""
    shape = network.tensor(tensor)
    workload = Workload(Op.CONVERT, network.batch, shape.height, shape.width, shape.channels, shape.channels)
    first, second = source.activation_dtype(shape.signed), target.activation_dtype(shape.signed)
    return None if first is second else KernelSpec(workload, first, second, epilogue=Epilogue.REQUANT)


def conversions(network: Network, tensor: str, precisions: Sequence[Precision]) -> tuple[KernelSpec, ...]:
    """The conversion kernels of a tensor between its types in those precisions, in both directions."""
    pairs = permutations(precisions, 2)
    return distinct(spec for a, b in pairs if (spec := conversion(network, tensor, a, b)) is not None)


def _plain(layer: Layer, spec: KernelSpec) -> tuple[Implementation, ...]:
    return (Implementation(Variant.PLAIN, (Kernel(spec, layer.name),)),)


def _requant(layer: Layer) -> Epilogue:
    return Epilogue.REQUANT_RELU if layer.relu else Epilogue.REQUANT


def _operands(layer: Layer) -> tuple[str, str]:
    if len(layer.inputs) != 2:
        raise InvalidWorkload(f"layer '{layer.name}': an addition has two operands, not {len(layer.inputs)}")
    return layer.inputs[0], layer.inputs[1]
