"""Networks: layers with their names, and the tensors between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, prod

from profiler.errors import InvalidWorkload
from profiler.workload.kernel_spec import Op, Workload


@dataclass(frozen=True)
class Tensor:
    """An activation tensor of a network (batch left out): NHWC extents and whether its values can be negative."""

    name: str
    height: int
    width: int
    channels: int
    signed: bool


@dataclass(frozen=True)
class Layer:
    """A named occurrence of a workload: what it reads, what it writes, and whether a ReLU is fused into it.

    Batch normalization is folded. ``inputs`` and ``output`` are names of tensors. A residual ``add`` is a layer of
    its own here; `Network.fusions` tells which additions can move into the epilogue of a convolution. ``parameters``
    counts the weights and biases as the model defines them, with those of a folded batch normalization.

    ``relu_limit`` is the upper end of a clipped ReLU (6 of a ReLU6) in the model's units, None of a plain one. It may
    also stand where an unsigned type alone cuts at zero (a pool or a concatenation; all slices have the same one). No
    part of a kernel: an integer type ends there by its scale.

    ``counted_pads`` are the elements of padding at the top, left, bottom and right that count in the divisor of an
    average pool, at most those of the workload. What is there only because the output's extent is rounded up
    (ceil_mode) does not count, except where the divisor is the size of the kernel, whatever lies under it. No part of
    the workload: a kernel does not divide, it multiplies by what it is given.
    """

    name: str
    workload: Workload
    inputs: tuple[str, ...]
    output: str
    relu: bool = False
    parameters: int = 0
    counted_pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    relu_limit: float | None = None


@dataclass(frozen=True)
class Network:
    """Layers in topological order, and the tensors between them. Ties and fusions are derived, never typed in.

    ``skipped`` names the nodes that were left out on the user's demand, so that totals can say what is missing.
    ``outputs`` are the tensors that the model hands out; where none are given and nothing was skipped, they are those
    that are written and never read. A tensor has one writer, or all slices of a concatenation.
    """

    name: str
    batch: int
    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    skipped: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise InvalidWorkload(f"network '{self.name}' has no layer that can be profiled")
        if not self.outputs and not self.skipped:
            read = {tensor for layer in self.layers for tensor in layer.inputs}
            written = dict.fromkeys(layer.output for layer in self.layers)
            object.__setattr__(self, "outputs", tuple(tensor for tensor in written if tensor not in read))
        self._check_names()
        self._check_order()
        self._check_extents()
        self._check_writers()
        self._check_counted_pads()
        self._check_relu_limits()

    def _check_names(self) -> None:
        for name in (self.name, *(t.name for t in self.tensors), *(layer.name for layer in self.layers), *self.skipped):
            if not isinstance(name, str) or not name.isprintable():
                raise InvalidWorkload(f"the name {name!a} is not a text that can be printed; rename it in the model")
        known = {t.name for t in self.tensors}
        for label, names in (
            ("tensor", [t.name for t in self.tensors]),
            ("layer", [layer.name for layer in self.layers]),
            ("output", self.outputs),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise InvalidWorkload(f"network '{self.name}': {label} '{twice[0]}' is defined twice")
        for layer in self.layers:
            for tensor in (*layer.inputs, layer.output):
                if tensor not in known:
                    raise InvalidWorkload(
                        f"network '{self.name}': layer '{layer.name}' refers to unknown tensor '{tensor}'"
                    )
        for tensor in self.outputs:
            if tensor not in known:
                raise InvalidWorkload(f"network '{self.name}': output '{tensor}' is an unknown tensor")

    def _check_order(self) -> None:
        unwritten = Counter(layer.output for layer in self.layers)  # the slices of a concat write one tensor
        for layer in self.layers:
            unwritten[layer.output] -= 1
            for tensor in layer.inputs:
                if unwritten[tensor] > 0 or tensor == layer.output:
                    raise InvalidWorkload(
                        f"network '{self.name}': layer '{layer.name}' reads '{tensor}' before it is written"
                    )

    def _check_extents(self) -> None:
        """A layer reads and writes its tensors whole; what it sees flattened (dense, concat) as H*W*C channels."""
        tensors = self._tensor_index()
        for layer in self.layers:
            work = layer.workload
            if work.batch != self.batch:
                raise InvalidWorkload(
                    f"network '{self.name}': layer '{layer.name}' has batch {work.batch}, not {self.batch}"
                )
            accesses = [("reads", name, work.input_shape[1:]) for name in layer.inputs]
            accesses.append(("writes", layer.output, work.output_shape[1:]))
            for verb, name, shape in accesses:
                extents = (tensors[name].height, tensors[name].width, tensors[name].channels)
                flattens = verb == "reads" and work.op in (Op.DENSE, Op.CONCAT)
                if shape != extents and not (flattens and shape == (1, 1, prod(extents))):
                    raise InvalidWorkload(
                        f"network '{self.name}': layer '{layer.name}' {verb} {_extents(shape)} (NHWC without batch), "
                        f"but tensor '{name}' is {_extents(extents)}"
                    )

    def _check_writers(self) -> None:
        """Only the slices of a concatenation share a tensor, and together they fill it."""
        writers = Counter(layer.output for layer in self.layers)
        filled: Counter[str] = Counter()
        for layer in self.layers:
            if layer.workload.op is Op.CONCAT:
                filled[layer.output] += layer.workload.in_channels
            elif writers[layer.output] > 1:
                raise InvalidWorkload(
                    f"network '{self.name}': layer '{layer.name}' is not the only one that writes '{layer.output}'; "
                    "only the slices of a concat share a tensor"
                )
        tensors = self._tensor_index()
        for name, channels in filled.items():
            if channels != tensors[name].channels:
                raise InvalidWorkload(
                    f"network '{self.name}': the slices of a concat fill {channels} of the {tensors[name].channels} "
                    f"channels of '{name}'"
                )

    def _check_counted_pads(self) -> None:
        """Only an average pool has a divisor, and only padding that is there counts in it."""
        for layer in self.layers:
            work, counted = layer.workload, layer.counted_pads
            where = f"network '{self.name}': layer '{layer.name}'"
            if not isinstance(counted, tuple) or len(counted) != 4 or any(type(pad) is not int for pad in counted):
                raise InvalidWorkload(f"{where} has counted_pads {counted!r}, not four integers")
            if work.op is not Op.AVG_POOL and any(counted):
                raise InvalidWorkload(f"{where} has counted_pads {counted}, but a {work.op.value} divides by nothing")
            pads = (work.pad_top, work.pad_left, work.pad_bottom, work.pad_right)
            if any(not 0 <= count <= pad for count, pad in zip(counted, pads)):
                raise InvalidWorkload(f"{where} has counted_pads {counted}, but its padding is {pads}")

    def _check_relu_limits(self) -> None:
        """A clipped ReLU ends above zero, where nothing below zero is; a max pool leaves values as they are."""
        tensors = self._tensor_index()
        of_output: dict[str, float | None] = {}
        for layer in self.layers:
            limit, where = layer.relu_limit, f"network '{self.name}': layer '{layer.name}'"
            is_number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
            if limit is not None and not (is_number and 0 < limit < inf):
                raise InvalidWorkload(f"{where} has relu_limit {limit!r}, not a number above zero")
            if of_output.setdefault(layer.output, limit) != limit:
                raise InvalidWorkload(f"{where} has relu_limit {limit}, but another slice {of_output[layer.output]}")
            if limit is None:
                continue
            if layer.workload.op is Op.MAX_POOL or tensors[layer.output].signed:
                raise InvalidWorkload(f"{where} has relu_limit {limit}, but no ReLU")

    def tensor(self, name: str) -> Tensor:
        return self._tensor_index()[name]

    def layer(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise InvalidWorkload(f"network '{self.name}' has no layer '{name}'")

    def _tensor_index(self) -> dict[str, Tensor]:
        return {t.name: t for t in self.tensors}

    @property
    def weighted_layers(self) -> tuple[Layer, ...]:
        """Convolutions and dense layers: those with a precision to choose."""
        return tuple(layer for layer in self.layers if layer.workload.op.has_weights)

    @property
    def macs(self) -> int:
        return sum(layer.workload.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    def readers(self, tensor: str) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if tensor in layer.inputs)

    def producer(self, tensor: str) -> Layer | None:
        """The layer that writes the tensor (of a concatenation: the first slice); None where no layer does."""
        for layer in self.layers:
            if layer.output == tensor:
                return layer
        return None

    def multiplicities(self) -> Mapping[Workload, int]:
        """How many layers share each distinct workload, in order of first occurrence."""
        return dict(Counter(layer.workload for layer in self.layers))

    def ties(self) -> tuple[tuple[str, ...], ...]:
        """Groups of weighted layers that read one tensor, and so share its type unless a conversion is paid for.

        A max pool keeps the type of its input, so readers behind it belong to the group of the tensor ahead of it.
        """
        groups: dict[str, list[str]] = {}
        for layer in self.weighted_layers:
            groups.setdefault(self.type_owner(layer.inputs[0]), []).append(layer.name)
        return tuple(tuple(names) for names in groups.values() if len(names) > 1)

    def type_owner(self, tensor: str) -> str:
        """The tensor whose type it has: itself, or behind max pools the one ahead of them."""
        producer = self.producer(tensor)
        while producer is not None and producer.workload.op is Op.MAX_POOL:
            tensor = producer.inputs[0]
            producer = self.producer(tensor)
        return tensor

    def relu_limit(self, tensor: str) -> float | None:
        """The most that its values can be, where a clipped ReLU made them; behind max pools the one ahead of them."""
        producer = self.producer(self.type_owner(tensor))
        return None if producer is None else producer.relu_limit

    def fusions(self) -> Mapping[str, str]:
        """Additions that can move into a convolution's epilogue: name of the ``add`` layer to name of that layer.

        The producer must be a convolution or dense layer without ReLU whose output nobody else reads and the model
        does not hand out; of two such operands the first one listed is taken, which in residual networks is the main
        branch.
        """
        fused: dict[str, str] = {}
        for layer in self.layers:
            if layer.workload.op is not Op.ADD:
                continue
            for tensor in layer.inputs:
                producer = self.producer(tensor)
                if producer is None or not producer.workload.op.has_weights or producer.relu:
                    continue
                if tensor in self.outputs:
                    continue
                if len(self.readers(tensor)) == 1 and layer.inputs.count(tensor) == 1:
                    fused[layer.name] = producer.name
                    break
        return fused


def _extents(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
