"""A network that is like another one but for a few steps, run from where the two differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.network.integer_network import IntegerNetwork, Step
from profiler.network.oracle_run import checked_inputs, oracle_steps

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Computed:
    """A network and all of its values, as `oracle_run` gives them."""

    network: IntegerNetwork
    values: Mapping[str, Array] = field(hash=False, compare=False)


def changed_run(network: IntegerNetwork, inputs: Mapping[str, Array], like: Computed) -> dict[str, Array]:
    """`oracle_run` of the network, to the bit: what the same steps made of the same values in ``like`` is taken over.

    Errors as those of `oracle_run`.
    """
    values = checked_inputs(network, inputs)
    same = _same(network, values, like)
    values |= {name: like.values[name] for name in same}
    for step, output in oracle_steps(network, values, known=same):
        values[step.writes] = output
    return values


def _same(network: IntegerNetwork, inputs: Mapping[str, Array], like: Computed) -> set[str]:
    """Values that are those of ``like`` by how they come about. A concatenation is if all of its slices are."""
    steps = {(step.writes, step.first_channel): step for step in like.network.steps}
    changed = {name for name, values in inputs.items() if not np.array_equal(values, like.values.get(name, ()))}
    for step in network.steps:
        counterpart = steps.get((step.writes, step.first_channel))
        if counterpart is None or not _alike(step, counterpart) or any(name in changed for _, name in step.reads):
            changed.add(step.writes)
    return {step.writes for step in network.steps} - changed


def _alike(first: Step, second: Step) -> bool:
    if first != second or first.parameters.keys() != second.parameters.keys():
        return False
    pairs = ((values, second.parameters[name]) for name, values in first.parameters.items())
    return all(a is b or np.array_equal(a, b) for a, b in pairs)
