"""What is taken over from a like network is what the oracle would have computed, and nothing is computed that is not
needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.allocation.deployment import Deployment
from profiler.allocation.one_narrow import one_narrow, why_wide
from profiler.network import oracle_run as oracle
from profiler.network.calibrate import calibrate
from profiler.network.changed_run import Computed, changed_run
from profiler.network.integer_network import IntegerNetwork
from profiler.network.integer_weights import IntegerWeights
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import TrainedNetwork, integer_network_with
from profiler.network.random_weights import random_images, random_weights
from profiler.network.real_numbers import quantized_inputs
from profiler.sensitivity.perturbation import Clipping
from profiler.workload import INT8, DType, Network, Precision
from tests.allocation.networks import branches, own_shortcut, residual, slices
from tests.network.integer_drafts import Draft, random_inputs

FEW = tuple(map(Precision.parse, ("int4", "a2w2", "a1w1")))
Made = Callable[[Deployment], IntegerNetwork]


def quantizer_of(network: Network) -> Made:
    real = random_weights(network, 0)
    ranges = calibrate(network, real, random_images(network, 2, 0), bits=(1, 2, 4, 8))
    shared = IntegerWeights(network, real, Clipping.MAX_ABS)
    return lambda deployment: integer_network_with(shared, TrainedNetwork(network, real, ranges), deployment)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the kernels that the oracle is asked for."""
    asked: list[str] = []
    reference = oracle.reference

    def counted(spec: Any, arguments: Any) -> npt.NDArray[Any]:
        asked.append(spec.key)
        return reference(spec, arguments)

    monkeypatch.setattr(oracle, "reference", counted)
    return asked


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name]) for name in expected
    )


@pytest.mark.parametrize("make", [residual, branches, own_shortcut, slices])
def test_it_is_the_oracles_outcome(make: Callable[[], Network], computed: list[str]) -> None:
    """Of every layer and precision: concatenations, shortcuts, conversions and pools among what is changed."""
    network = make()
    made = quantizer_of(network)
    images = random_images(network, network.batch, 1).inputs
    base = made(Deployment.uniform(network, INT8))
    like = Computed(base, oracle_run(base, quantized_inputs(base, images)))
    taken = 0
    for layer, precision in product(network.weighted_layers, FEW):
        if why_wide(network, layer.name, precision):
            continue
        other = made(one_narrow(network, layer.name, precision))
        inputs = quantized_inputs(other, images)
        computed.clear()
        found = changed_run(other, inputs, like)
        ran = len(computed)
        assert same(found, oracle_run(other, inputs))
        taken += len(other.steps) - ran
    assert taken > 0


def test_only_what_lies_behind_the_change_is_computed(computed: list[str]) -> None:
    network = residual()
    made = quantizer_of(network)
    images = random_images(network, network.batch, 1).inputs
    base = made(Deployment.uniform(network, INT8))
    like = Computed(base, oracle_run(base, quantized_inputs(base, images)))
    computed.clear()
    assert same(changed_run(base, quantized_inputs(base, images), like), dict(like.values))
    assert computed == []
    other = made(one_narrow(network, "d", FEW[0]))  # c writes 4 bits, d reads them
    changed_run(other, quantized_inputs(other, images), like)
    behind = [step.name for step in other.steps][-4:]
    assert behind == ["c", "d", "avgpool", "fc"]
    assert computed == [step.spec.key for step in other.steps if step.name in behind]


def test_other_inputs_are_another_run(computed: list[str]) -> None:
    """Of one input out of two, what the other one leads to is taken over."""
    d = Draft()
    first, second = d.input(4, 4, 3, DType.INT8), d.input(4, 4, 3, DType.INT8)
    a, b = d.conv(first, 8), d.conv(second, 8)
    network = d.network([d.add(a, b), d.conv(a, 4, output=DType.UINT4)])
    inputs = random_inputs(network)
    like = Computed(network, oracle_run(network, inputs))
    other = {**inputs, second: random_inputs(network, 2)[second]}
    computed.clear()
    found = changed_run(network, other, like)
    assert len(computed) == 2
    assert same(found, oracle_run(network, other))


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_one_slice_of_a_concatenation_that_is_another_one(changed: int) -> None:
    """Slices of three channels in two bits: the first kernel clears bits that the next one writes."""
    d = Draft()
    x = d.input(2, 2, 3, DType.UINT8)
    parts = [d.conv(x, channels, output=DType.UINT2) for channels in (8, 3, 5)]
    network = d.network([d.concat(parts, DType.UINT2)])
    inputs = random_inputs(network)
    like = Computed(network, oracle_run(network, inputs))
    index = changed
    parameters = dict(network.steps[index].parameters)
    parameters["bias"] = parameters["bias"] + 999
    steps = [replace(s, parameters=parameters) if i == index else s for i, s in enumerate(network.steps)]
    other = replace(network, steps=tuple(steps))
    assert same(changed_run(other, inputs, like), oracle_run(other, inputs))


def test_inputs_are_checked() -> None:
    d = Draft()
    network = d.network([d.conv(d.input(2, 2, 3, DType.UINT4), 4)])
    inputs = random_inputs(network)
    like = Computed(network, oracle_run(network, inputs))
    with pytest.raises(ValueError, match="is missing"):
        changed_run(network, {}, like)
    with pytest.raises(ValueError, match="out of the range of uint4"):
        changed_run(network, {name: values + 16 for name, values in inputs.items()}, like)
