"""Bits that differ from INT8 in one layer: who reads what, and that a network can do what they say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from profiler.allocation.bits_faults import faults
from profiler.allocation.bits_file import TensorConversion
from profiler.allocation.deployment import Deployment
from profiler.allocation.freedom import Freedom
from profiler.allocation.network_problem import network_problem
from profiler.allocation.one_narrow import one_narrow, why_wide
from profiler.errors import NoAllocation
from profiler.frontend import load_network
from profiler.lut.demand import stored_tensors
from profiler.workload import INT4, INT8, Network, Precision
from tests.allocation.networks import branches, own_shortcut, random_prices, residual, slices
from tests.lut.test_narrow_tensors import Draft

FEW = tuple(map(Precision.parse, ("int4", "a2w2", "a2w1", "a1w1")))
A1W1 = FEW[-1]


def flattened() -> Network:
    """A dense layer and a convolution of an image whose pixels fill no bytes; a dense layer of one that nobody else
    reads, behind a concatenation in the middle of a byte."""
    d = Draft(2, 3)
    stem = d.conv("x", 5)
    d.dense(stem)
    d.dense(d.concat([d.conv(stem, 3), d.conv(stem, 4)]))
    return d.network()


def concatenated() -> Network:
    """Two convolutions of a concatenation in the middle of a byte, which has no kernel below 8 bits, and one of another
    such."""
    d = Draft(2, 3)
    whole = d.concat([d.conv("x", 3), d.conv("x", 16)])
    other = d.concat([d.conv(whole, 5), d.conv(whole, 8)])
    d.conv(other, 8)
    return d.network()


NETWORKS = (residual, branches, own_shortcut, slices, flattened, concatenated)


def test_resnet18s_layers_by_name() -> None:
    network = load_network("resnet18", 1)
    int8 = Deployment.uniform(network, INT8)
    # nobody else reads what a block's first convolution writes
    alone = one_narrow(network, "layer1.0.conv2", A1W1)
    source = network.layer("layer1.0.conv2").inputs[0]
    assert alone.layers == {**int8.layers, "layer1.0.conv2": A1W1}
    assert alone.tensors == {**int8.tensors, source: A1W1}
    assert (alone.conversions, alone.separate) == ((), frozenset())
    # a max pool keeps the type, so that the stem writes it; the shortcut adds it as it lies
    pooled = one_narrow(network, "layer1.0.conv1", A1W1)
    behind = network.layer("layer1.0.conv1").inputs[0]
    ahead = network.layer("conv1").output
    assert {name for name, p in pooled.tensors.items() if p == A1W1} == {ahead, behind} & set(int8.tensors) | {ahead}
    assert pooled.conversions == ()
    # two layers read it: the other one is left with what is in the bits, in a copy
    shared = one_narrow(network, "layer2.0.conv1", A1W1)
    tensor = network.layer("layer2.0.conv1").inputs[0]
    assert shared.tensors == {**int8.tensors, tensor: A1W1}
    assert shared.layers == {**int8.layers, "layer2.0.conv1": A1W1}
    assert shared.conversions == (TensorConversion(tensor, "a1w1", "int8", ("layer2.0.downsample",)),)


@pytest.mark.parametrize("make", NETWORKS)
def test_every_choice_is_one_that_the_network_can_do(make: Callable[[], Network]) -> None:
    network = make()
    int8 = Deployment.uniform(network, INT8)
    for layer, precision in product(network.weighted_layers, FEW):
        if why_wide(network, layer.name, precision):
            continue
        found = one_narrow(network, layer.name, precision)
        assert found.layers == {**int8.layers, layer.name: precision}
        assert not found.separate
        kept = {name: found.tensors[name] for name in stored_tensors(network)}
        assert list(faults(network, found.layers, kept, found.conversions, ())) == []
        read = {(copy.tensor, reader): copy.target for copy in found.conversions for reader in copy.readers}
        stored = found.tensors[layer.inputs[0]]
        assert read.get((layer.inputs[0], layer.name), stored.name) == precision.name


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("precision", FEW)
def test_what_stays_wide_is_what_an_allocation_would_not_offer(
    make: Callable[[], Network], precision: Precision
) -> None:
    """With every conversion priced."""
    network = make()
    prices = random_prices(network, (INT8, precision), np.random.default_rng(0))
    for layer in network.weighted_layers:
        try:
            network_problem(network, prices, lambda *_: 1.0, Freedom((INT8, precision), {layer.name: (1,)}))
            offered = True
        except NoAllocation:
            offered = False
        assert offered == (not why_wide(network, layer.name, precision)), layer.name


def test_a_copy_is_made_where_the_tensor_itself_cannot_be_narrow() -> None:
    network = concatenated()
    reader = next(layer for layer in network.weighted_layers if layer.inputs[0] not in ("x",))
    found = one_narrow(network, reader.name, INT4)
    assert found.tensors == Deployment.uniform(network, INT8).tensors
    assert found.conversions == (TensorConversion(reader.inputs[0], "int8", "int4", (reader.name,)),)
    last = network.weighted_layers[-1]
    assert "in a byte" in why_wide(network, last.name, INT4)


def test_a_layer_that_adds_what_it_reads_keeps_its_tensor() -> None:
    """The other reader has a copy; where the layer itself is narrow, its tensor is, too."""
    network = own_shortcut()
    tensor = network.layer("b").inputs[0]
    other = one_narrow(network, "c", A1W1)
    assert other.tensors[tensor] == INT8
    assert other.conversions == (TensorConversion(tensor, "int8", "a1w1", ("c",)),)
    itself = one_narrow(network, "b", A1W1)
    assert itself.tensors[tensor] == A1W1
    assert itself.conversions == (TensorConversion(tensor, "a1w1", "int8", ("c",)),)
