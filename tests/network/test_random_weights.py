"""Weights from a seed: the same every time, and no activation of a deep network explodes or dies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.frontend import load_network
from profiler.frontend.weights import LayerWeights
from profiler.network.float_run import float_run
from profiler.network.images import Images
from profiler.network.random_weights import random_images, random_weights
from profiler.workload import Layer, Network, Op, Tensor, Workload

Array = npt.NDArray[Any]


def digest(weights: Mapping[str, LayerWeights]) -> str:
    found = hashlib.sha256()
    for name, layer in weights.items():
        found.update(name.encode() + layer.weight.tobytes() + layer.bias.tobytes())
    return found.hexdigest()


def root_mean_squares(network: Network, weights: Mapping[str, LayerWeights], images: Images) -> dict[str, float]:
    runs = float_run(network, weights, images.inputs)
    return {name: float(np.sqrt(np.square(values, dtype=np.float64).mean())) for name, values in runs}


def with_batch(layer: Layer, batch: int) -> Layer:
    return replace(layer, workload=layer.workload.with_batch(batch))


def residual_chain(blocks: int, width: int = 24) -> Network:
    """Blocks of two convolutions beside a shortcut that nothing ever scales."""
    tensors = [Tensor("x", 6, 6, width, True)]
    layers = []
    shortcut = "x"
    for block in range(blocks):
        work = Workload(Op.CONV2D, 1, 6, 6, width, width, 3, 3, 1, 1, 1, 1, 1, 1)
        names = [f"{block}.{part}" for part in ("first", "second", "sum")]
        tensors += [Tensor(name, 6, 6, width, signed=name.endswith("second")) for name in names]
        layers += [
            Layer(f"{block}.conv1", work, (shortcut,), names[0], relu=True),
            Layer(f"{block}.conv2", work, (names[0],), names[1]),
            Layer(f"{block}.add", Workload(Op.ADD, 1, 6, 6, width, width), (names[1], shortcut), names[2], relu=True),
        ]
        shortcut = names[2]
    return Network("chain", 1, tuple(tensors), tuple(layers))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "inceptionv3"])
def test_activations_keep_their_size(name: str) -> None:
    network = load_network(name, 1)
    weights = random_weights(network, 0)
    assert [layer.name for layer in network.weighted_layers] == list(weights)
    for layer in network.weighted_layers:
        assert weights[layer.name].weight.shape == layer.workload.weight_shape
        assert weights[layer.name].bias.shape == (layer.workload.out_channels,)
    sizes = root_mean_squares(network, weights, random_images(network, 1, 0))
    assert len(sizes) == len(network.tensors)
    assert min(sizes.values()) > 0.5
    assert max(sizes.values()) < 6


def test_a_shortcut_grows_by_steps_and_not_by_factors() -> None:
    network = residual_chain(60)
    images = random_images(network, 2, 0)
    sizes = root_mean_squares(network, random_weights(network, 0), images)
    assert max(sizes.values()) < 2 * np.sqrt(60)
    assert min(sizes.values()) > 0.3
    # What He et al.'s variance alone would do here.
    rng = np.random.default_rng(0)
    plain = {
        layer.name: LayerWeights(rng.standard_normal((24, 3, 3, 24)) * np.sqrt(2 / 216), np.zeros(24))
        for layer in network.weighted_layers
    }
    assert max(root_mean_squares(network, plain, images).values()) > 1e6


def test_sums_of_what_has_a_mean_are_followed_too() -> None:
    """Ten doublings ahead of a convolution."""
    tensors = [Tensor("t0", 4, 4, 8, False)]
    layers = []
    for index in range(10):
        work = Workload(Op.ADD, 1, 4, 4, 8, 8)
        tensors.append(Tensor(f"t{index + 1}", 4, 4, 8, False))
        layers.append(Layer(f"add{index}", work, (f"t{index}",) * 2, f"t{index + 1}"))
    tensors.append(Tensor("y", 4, 4, 64, True))
    layers.append(Layer("conv", Workload(Op.CONV2D, 1, 4, 4, 8, 64), ("t10",), "y"))
    network = Network("doubled", 1, tuple(tensors), tuple(layers))
    sizes = root_mean_squares(network, random_weights(network, 0), random_images(network, 4, 0))
    assert sizes["t10"] > 1000
    assert 0.5 < sizes["y"] < 2


def test_a_seed_says_it_all() -> None:
    network = residual_chain(3)
    one, again, other = (random_weights(network, seed) for seed in (1, 1, 2))
    assert digest(one) == digest(again)
    assert not any(np.array_equal(one[name].weight, other[name].weight) for name in one)
    kernels = [layer.weight.tobytes() for layer in one.values()]
    assert len(set(kernels)) == len(kernels)
    # Another batch is the same network.
    batches = (
        replace(network, batch=n, layers=tuple(with_batch(layer, n) for layer in network.layers)) for n in (1, 8)
    )
    assert len({digest(random_weights(entry, 5)) for entry in batches}) == 1


def test_biases_are_small_beside_the_sums() -> None:
    network = residual_chain(20)
    biases = np.concatenate([layer.bias for layer in random_weights(network, 0).values()])
    assert 0.05 < biases.std() < 0.2
    assert np.abs(biases).max() < 1


def test_the_first_images_of_many_are_those_of_few() -> None:
    network = residual_chain(1)
    few, many = (random_images(network, count, 3).inputs["x"] for count in (2, 5))
    assert few.shape == (2, 6, 6, 24)
    assert few.dtype == np.float32
    assert few.tobytes() == many[:2].tobytes()
    assert not np.array_equal(random_images(network, 2, 4).inputs["x"], few)
    assert few.min() < 0


def test_unsigned_inputs_get_no_negative_images() -> None:
    tensors = (Tensor("x", 8, 8, 1, False), Tensor("y", 8, 8, 1, False))
    network = Network("unsigned", 1, tensors, (Layer("pool", Workload(Op.MAX_POOL, 1, 8, 8, 1, 1), ("x",), "y"),))
    images = random_images(network, 10, 0).inputs["x"]
    assert images.min() >= 0
    assert 0.8 < np.square(images).mean() < 1.2


def test_images_of_a_whole_network_do_not_depend_on_their_neighbours() -> None:
    network = load_network("resnet18", 1)
    weights, images = random_weights(network, 0), random_images(network, 2, 0)
    alone = dict(float_run(network, weights, {"input": images.inputs["input"][1:]}))
    for name, values in float_run(network, weights, images.inputs):
        assert values[1:].tobytes() == alone[name].tobytes(), name
