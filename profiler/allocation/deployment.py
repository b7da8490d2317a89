"""What of chosen bits decides on the kernels of a network, however they were chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from profiler.allocation.bits_file import Bits, TensorConversion
from profiler.lut.demand import units
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.workload import Network, Precision


@dataclass(frozen=True)
class Deployment:
    """``layers`` : the precision of each layer with weights; ``tensors`` : that in which each tensor is stored.
    ``conversions`` are copies for readers that want another one; ``separate`` names the additions that run as kernels
    of their own."""

    layers: Mapping[str, Precision] = field(hash=False)
    tensors: Mapping[str, Precision] = field(hash=False)
    conversions: tuple[TensorConversion, ...] = ()
    separate: frozenset[str] = frozenset()

    @property
    def precisions(self) -> frozenset[Precision]:
        """All that occur."""
        copied = (Precision.parse(copy.target) for copy in self.conversions)
        return frozenset((*self.layers.values(), *self.tensors.values(), *copied))

    @staticmethod
    def of(bits: Bits) -> Deployment:
        """Of an allocation."""
        return Deployment(
            layers=bits.of_layers,
            tensors=bits.of_tensors,
            conversions=bits.conversions,
            separate=frozenset(bits.separate),
        )

    @staticmethod
    def uniform(network: Network, precision: Precision, separate: Iterable[str] = ()) -> Deployment:
        """Everything in one precision, but for what does not fit it (`narrow_tensors`)."""
        found = uniform_precisions(network, precision)
        tensors = {name: found[name] for unit in units(network) for name in (*unit.tensors, unit.output)}
        layers = {layer.name: found[layer.inputs[0]] for layer in network.weighted_layers}
        return Deployment(layers, tensors, separate=frozenset(separate))
