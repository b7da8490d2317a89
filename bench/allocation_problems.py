"""Random allocation problems that look like those of residual networks on a device.

Bottleneck blocks of three convolutions. The tensor ahead of every second block is read by two of them, the first one
and the shortcut's: it has a choice of its own, and copies in other precisions cost time and energy. All other tensors
are stored in the precision of their one reader. Latency and energy of a layer depend on the precision of its input and
on that of its output; size and BOPs on its own.

Magnitudes are those of HAWQ-V3's ResNets on a T4: normalized Hessian traces over two decades, a squared perturbation
that grows by 4 with each bit less, latencies that shrink by less than the bits do, and by nothing for some layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from profiler.allocation.problem import Choice, Costs, Option, Problem, Quantity, Sharing, Table

BITS = (8, 6, 4, 2)
LIMITED = (Quantity.LATENCY, Quantity.SIZE, Quantity.BOPS, Quantity.ENERGY)

_LEVELS = range(len(BITS))
_PLAIN_BLOCK, _SHORTCUT_BLOCK = 3, 4
"""Layers of a block without and with a convolution in its shortcut."""


def residual_problem(layers: int, seed: int) -> Problem:
    """The choices of the layers come first, those of the shared tensors after them."""
    generator = np.random.default_rng(seed)
    drawn = [_Layer(generator, index) for index in range(layers)]
    shared = _shared_readers(layers)
    tensor_of = {readers[0]: layers + number for number, readers in enumerate(shared)}
    choices = [layer.choice for layer in drawn]
    choices += [Choice(f"input of layer {first}", tuple(_LEVELS), (0.0,) * len(BITS), is_layer=False)
                for first, _ in shared]  # fmt: skip
    return Problem(
        precisions=tuple(f"int{bits}" for bits in BITS),
        choices=tuple(choices),
        tables=tuple(layer.table(generator, _output(layer.index, layers, tensor_of, shared)) for layer in drawn),
        sharings=tuple(
            Sharing(f"input of layer {readers[0]}", tensor_of[readers[0]], readers, _copies(generator, drawn, readers))
            for readers in shared
        ),
    )


class _Layer:
    """What a layer takes, drawn at random."""

    def __init__(self, generator: np.random.Generator, index: int) -> None:
        self.index = index
        parameters, macs = 10 ** generator.uniform(4, 6.3), 10 ** generator.uniform(7, 8.3)
        trace, perturbation = 10 ** generator.uniform(-3.2, -1), 1e-4 * parameters * generator.uniform(0.5, 2)
        narrowing = generator.choice((0.0, 0.65), p=(0.05, 0.95))  # part of the time that shrinks with the bits
        self.choice = Choice(
            f"layer {index}",
            tuple(_LEVELS),
            tuple(trace * perturbation * 4.0 ** (8 - bits) * generator.uniform(0.9, 1.1) for bits in BITS),
            tuple({Quantity.SIZE: parameters * bits / 8, Quantity.BOPS: macs * bits**2} for bits in BITS),
        )
        self.latency_s = [macs / 1e12 * (1 - narrowing + narrowing * b / 8) * generator.uniform(0.9, 1.1) for b in BITS]

    def table(self, generator: np.random.Generator, output: int | None) -> Table:
        """Narrower outputs are written faster, by up to a tenth; 50 W, give or take a fifth."""

        def costs(level: int, stored: int) -> Costs:
            faster = 1 - 0.03 * stored
            latency_s = self.latency_s[level] * faster * generator.uniform(0.97, 1.03)
            return {Quantity.LATENCY: latency_s, Quantity.ENERGY: latency_s * 50 * generator.uniform(0.8, 1.2)}

        if output is None:
            return Table(self.choice.name, (self.index,), tuple(Option((a,), costs(a, 0)) for a in _LEVELS))
        options = tuple(Option((a, b), costs(a, b)) for a, b in product(_LEVELS, _LEVELS))
        return Table(self.choice.name, (self.index, output), options)


def _shared_readers(layers: int) -> list[tuple[int, int]]:
    """The first layer of each block with a shortcut convolution, and that convolution."""
    period = _PLAIN_BLOCK + _SHORTCUT_BLOCK
    firsts = range(_PLAIN_BLOCK, layers - _SHORTCUT_BLOCK + 1, period)
    return [(first, first + _SHORTCUT_BLOCK - 1) for first in firsts]


def _output(index: int, layers: int, tensor_of: dict[int, int], shared: Sequence[tuple[int, int]]) -> int | None:
    """The choice that a layer's output is stored by: its reader's, or the tensor's own. The last convolution of a block
    and its shortcut are added up, so both write what the next block reads; the last layer of all writes no integers."""
    shortcuts = {shortcut for _, shortcut in shared}
    following = index + 2 if index + 1 in shortcuts else index + 1
    return tensor_of.get(following, following if following < layers else None)


def _copies(
    generator: np.random.Generator, drawn: Sequence[_Layer], readers: Sequence[int]
) -> dict[tuple[int, int], Costs]:
    """About a tenth of what the readers take."""
    usual_s = 0.1 * float(np.mean([drawn[reader].latency_s for reader in readers]))
    found = {}
    for pair in product(_LEVELS, _LEVELS):
        if pair[0] != pair[1]:
            latency_s = usual_s * generator.uniform(0.8, 1.2)
            found[pair] = {Quantity.LATENCY: latency_s, Quantity.ENERGY: 50 * latency_s}
    return found
