"""Weights that several networks share are those that each would have made for itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from profiler.allocation.deployment import Deployment
from profiler.allocation.one_narrow import one_narrow
from profiler.network import integer_file, integer_weights
from profiler.network.calibrate import calibrate
from profiler.network.integer_weights import IntegerWeights
from profiler.network.quantized import TrainedNetwork, integer_network, integer_network_with
from profiler.network.random_weights import random_images, random_weights
from profiler.sensitivity.perturbation import Clipping
from profiler.workload import INT8, Network, Precision
from tests.allocation.networks import own_shortcut, residual

PRECISIONS = tuple(map(Precision.parse, ("int8", "int4", "a4w2", "a2w2", "a2w1", "a1w1")))


def trained(network: Network) -> TrainedNetwork:
    real = random_weights(network, 0)
    return TrainedNetwork(network, real, calibrate(network, real, random_images(network, 2, 0), bits=(1, 2, 4, 8)))


@pytest.mark.parametrize("clipping", Clipping)
@pytest.mark.parametrize("make", [residual, own_shortcut])
def test_networks_are_the_same_as_without_sharing(make: Callable[[], Network], clipping: Clipping) -> None:
    real = trained(make())
    names = [layer.name for layer in real.network.weighted_layers]
    deployments = [Deployment.uniform(real.network, precision) for precision in PRECISIONS]
    deployments += [one_narrow(real.network, name, precision) for name in names[:3] for precision in PRECISIONS[1:4]]
    shared = IntegerWeights(real.network, real.weights, clipping)
    for deployment in (*deployments, *reversed(deployments)):
        found = integer_network_with(shared, real, deployment)
        assert integer_file.to_bytes(found) == integer_file.to_bytes(integer_network(real, deployment, clipping))


def test_scales_are_sought_once_for_each_layer_and_width(monkeypatch: pytest.MonkeyPatch) -> None:
    real = trained(residual())
    sought: list[tuple[tuple[int, ...], int]] = []
    seek = integer_weights.channel_scales

    def counted(weight: np.ndarray, bits: int, clipping: Clipping) -> np.ndarray:
        sought.append((weight.shape, bits))
        return seek(weight, bits, clipping)

    monkeypatch.setattr(integer_weights, "channel_scales", counted)
    shared = IntegerWeights(real.network, real.weights, Clipping.MSE)
    base = integer_network_with(shared, real, Deployment.uniform(real.network, INT8))
    for layer in real.network.weighted_layers:
        for precision in PRECISIONS[1:]:
            other = integer_network_with(shared, real, one_narrow(real.network, layer.name, precision))
            kept = {step.name: step.parameters.get("weight") for step in base.steps}
            same = [step.name for step in other.steps if step.parameters.get("weight", 0) is kept.get(step.name)]
            assert {entry.name for entry in real.network.weighted_layers} - set(same) == {layer.name}
    widths = {precision.weight_bits for precision in PRECISIONS}
    assert len(sought) == len(real.network.weighted_layers) * len(widths)
