"""The activations that are alive while a network runs, layer after layer: what a peak of memory is made of.

A tensor lives from the unit that writes it (of a concatenation: the first slice) to the last one that reads it; inputs
of the network from its first unit on, outputs to its end. A copy in another precision is made ahead of the first reader
with weights, and lives to the last. A convolution whose addition runs apart has its accumulators in between: 4 bytes
an element, alive together with what it reads, and then with what the addition reads and writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler.allocation.freedom import Freedom
from profiler.allocation.problem import Moment, Sharing
from profiler.allocation.tensor_choices import TensorChoices
from profiler.allocation.unit_tables import UnitTable
from profiler.lut.demand import Unit, Variant
from profiler.quantize.whole_bytes import activation_nbytes
from profiler.workload import DType, Network

_ACCUMULATOR_BITS = DType.INT32.bits


@dataclass(frozen=True)
class _Life:
    """Indices of the first and the last unit during which a tensor is alive."""

    first: int
    last: int


def moments(
    network: Network,
    units: Sequence[Unit],
    choices: TensorChoices,
    freedom: Freedom,
    tables: Mapping[str, tuple[int, UnitTable]],
) -> tuple[Moment, ...]:
    """One for each unit; two where it may run as a convolution and an addition of its own. ``tables`` : index and table
    by name of the unit's layer; a unit without one is taken to be done in one kernel."""
    lives = _lives(network, units)
    copies = _copy_lives(units, choices)
    found = []
    for index, unit in enumerate(units):
        alive = [name for name, life in lives.items() if life.first <= index <= life.last]
        made = tuple(
            (number, _copy_sizes(network, sharing, freedom))
            for number, sharing in enumerate(choices.sharings)
            if copies[number].first <= index <= copies[number].last
        )
        accumulators = network.batch * _elements(network, unit.layer.output) * _ACCUMULATOR_BITS / 8
        number, table = tables.get(unit.layer.name, (0, None))
        apart = [way.variant is Variant.SEPARATE for way in table.ways] if table else []
        if not any(apart):
            found.append(Moment(unit.layer.name, _sizes(network, alive, choices, freedom), (), made))
            continue
        # While a convolution runs apart from its addition there are its accumulators, and the output is not there yet.
        assert table is not None
        output = choices.of_tensor[unit.output]
        position = table.table.choices.index(output)
        written = _bytes_by_level(network, unit.output, freedom)
        during = tuple(
            accumulators if separate else written[option.levels[position]]
            for separate, option in zip(apart, table.table.options, strict=True)
        )
        others = [name for name in alive if name != unit.output]
        found.append(Moment(unit.layer.name, _sizes(network, others, choices, freedom), ((number, during),), made))
        kept = [name for name in others if lives[name].last > index or name == unit.other]
        after = tuple(
            written[option.levels[position]] + (accumulators if separate else 0.0)
            for separate, option in zip(apart, table.table.options, strict=True)
        )
        name = unit.addition.name if unit.addition else unit.layer.name
        later = tuple((number, sizes) for number, sizes in made if copies[number].last > index)
        found.append(Moment(name, _sizes(network, kept, choices, freedom), ((number, after),), later))
    return tuple(found)


def _lives(network: Network, units: Sequence[Unit]) -> dict[str, _Life]:
    """Of all tensors but those inside of a pair of convolution and addition."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    inside = {unit.layer.output for unit in units if unit.addition is not None}
    for index, unit in enumerate(units):
        reads = [*unit.layer.inputs, *(unit.addition.inputs if unit.addition else ())]
        for name in reads:
            if name not in inside:
                first.setdefault(name, 0)
                last[name] = index
        first.setdefault(unit.output, index)
        last[unit.output] = max(index, last.get(unit.output, index))
    last.update(dict.fromkeys((name for name in network.outputs if name in first), len(units) - 1))
    return {name: _Life(first[name], last[name]) for name in first}


def _copy_lives(units: Sequence[Unit], choices: TensorChoices) -> list[_Life]:
    place = {unit.layer.name: index for index, unit in enumerate(units)}
    lives = []
    for shared in choices.shared:
        readers = [place[name] for name in shared.readers]
        lives.append(_Life(min(readers), max(readers)))
    return lives


def _copy_sizes(network: Network, sharing: Sharing, freedom: Freedom) -> Mapping[tuple[int, int], float]:
    sizes = _bytes_by_level(network, sharing.name, freedom)
    return {pair: sizes[pair[1]] for pair in sharing.copies}


def _sizes(
    network: Network, names: Sequence[str], choices: TensorChoices, freedom: Freedom
) -> tuple[tuple[int, tuple[float, ...]], ...]:
    """By choice; several tensors of one choice are added up. Accumulators that are handed out have no choice: they are
    counted with the first one, whatever its level."""
    total: dict[int, tuple[float, ...]] = {}
    for name in names:
        choice = choices.of_tensor.get(name)
        if choice is None:
            sizes = (network.batch * _elements(network, name) * _ACCUMULATOR_BITS / 8,) * len(freedom.precisions)
        else:
            sizes = _bytes_by_level(network, name, freedom)
        key = 0 if choice is None else choice
        total[key] = tuple(a + b for a, b in zip(total.get(key, (0.0,) * len(sizes)), sizes, strict=True))
    return tuple(total.items())


def _bytes_by_level(network: Network, tensor: str, freedom: Freedom) -> tuple[float, ...]:
    """As they lie in memory: packed along the channels, a pixel begins on a byte, a bit plane is of whole words."""
    found = network.tensor(tensor)
    shape = (network.batch, found.height, found.width, found.channels)
    types = [precision.activation_dtype(found.signed) for precision in freedom.precisions]
    return tuple(float(activation_nbytes(shape, dtype)) for dtype in types)


def _elements(network: Network, tensor: str) -> int:
    shape = network.tensor(tensor)
    return shape.height * shape.width * shape.channels
