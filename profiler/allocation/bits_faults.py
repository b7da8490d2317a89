"""What chosen bits say that a network cannot do, a line for each fault. Those of an allocation have none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Protocol

from profiler.lut.demand import stored_tensors, units
from profiler.lut.narrow_tensors import Misfits, misfits
from profiler.workload import DType, Network, Precision


class Copy(Protocol):
    """A `bits_file.TensorConversion`."""

    @property
    def tensor(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def readers(self) -> tuple[str, ...]: ...


Precisions = Mapping[str, Precision]


def faults(
    network: Network, layers: Precisions, tensors: Precisions, copies: Sequence[Copy], separate: Sequence[str]
) -> Iterator[str]:
    """``layers`` are all with weights, ``tensors`` those of which the bits say how they are stored, ``separate`` the
    additions that run as kernels of their own; all names are the network's."""
    unfit = cache(partial(misfits, network))  # it walks the network, for each width of bits once
    yield from _of_tensors(network, tensors, unfit)
    fusable = network.fusions()
    for name in separate:
        if name not in fusable:
            yield f"'{name}' is no addition that could be fused"
    yield from _of_conversions(copies, network, tensors, layers)
    yield from _of_layers(copies, network, tensors, layers, unfit)


def _of_tensors(network: Network, stored: Precisions, unfit: Callable[[int], Misfits]) -> Iterator[str]:
    typed = stored_tensors(network)
    for name, precision in stored.items():
        owner = network.type_owner(name)
        if name not in typed:
            yield f"tensor '{name}' is never stored in {precision.name}: it stays in accumulators"
        elif not _same_type(network, name, stored.get(owner, precision), precision):
            yield f"tensor '{name}' is {precision.name}, but a max pool of '{owner}', which is {stored[owner].name}"
        elif reason := unfit(precision.activation_bits).tensors.get(name):
            yield f"tensor '{name}' cannot be {precision.name}: {reason}"


def _of_conversions(
    copies: Sequence[Copy], network: Network, stored: Precisions, of_layer: Precisions
) -> Iterator[str]:
    made: set[tuple[str, DType]] = set()
    served: set[tuple[str, str]] = set()
    known = {tensor.name for tensor in network.tensors}
    second_reads = {unit.layer.name: unit.other for unit in units(network)}
    for copy in copies:
        source, target = Precision.parse(copy.source), Precision.parse(copy.target)
        kept = stored_precision(network, stored, copy.tensor)
        signed = copy.tensor in known and network.tensor(copy.tensor).signed
        dtype = target.activation_dtype(signed)
        if source.activation_dtype(signed) is dtype or (copy.tensor, dtype) in made:
            yield f"tensor '{copy.tensor}' is converted from {source.name} into {target.name}, in which it is there"
        made.add((copy.tensor, dtype))
        if kept is None:
            yield f"tensor '{copy.tensor}' is converted, but has no precision"
        elif not _same_type(network, copy.tensor, kept, source):
            yield f"tensor '{copy.tensor}' is {kept.name}, but converted from {source.name}"
        if not copy.readers:
            yield f"tensor '{copy.tensor}' is converted into {target.name} for nobody"
        for reader in copy.readers:
            if reader not in of_layer or copy.tensor not in network.layer(reader).inputs:
                yield f"'{reader}' is no layer with weights that reads '{copy.tensor}'"
            elif (copy.tensor, reader) in served:
                yield f"layer '{reader}' has two copies of '{copy.tensor}' to read"
            elif second_reads.get(reader) == copy.tensor:
                yield f"layer '{reader}' convolves and adds '{copy.tensor}', in one type: it cannot read a copy"
            served.add((copy.tensor, reader))


def _of_layers(
    copies: Sequence[Copy],
    network: Network,
    stored: Precisions,
    of_layer: Precisions,
    unfit: Callable[[int], Misfits],
) -> Iterator[str]:
    targets = {(copy.tensor, reader): Precision.parse(copy.target) for copy in copies for reader in copy.readers}
    for name, precision in of_layer.items():
        tensor = network.layer(name).inputs[0]
        read = targets.get((tensor, name)) or stored_precision(network, stored, tensor)
        if read is not None and not _same_type(network, tensor, read, precision):
            yield f"layer '{name}' is {precision.name}, but reads '{tensor}' in {read.name}"
        elif reason := unfit(precision.activation_bits).layers.get(name):
            yield f"layer '{name}' cannot be {precision.name}: {reason}"


def stored_precision(network: Network, stored: Precisions, tensor: str) -> Precision | None:
    """In which precision a tensor lies in memory, ``stored`` those of which bits say it; a max pool keeps the type of
    its input. None where that was no choice."""
    return stored.get(tensor, stored.get(network.type_owner(tensor)))


def _same_type(network: Network, tensor: str, first: Precision, second: Precision) -> bool:
    signed = network.tensor(tensor).signed
    return first.activation_dtype(signed) is second.activation_dtype(signed)
