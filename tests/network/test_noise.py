"""How far integers are from float: against each image by itself, and against what is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import log10, prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.allocation.deployment import Deployment
from profiler.frontend import load_network
from profiler.frontend.weights import LayerWeights
from profiler.network.calibrate import calibrate
from profiler.network.float_run import float_run
from profiler.network.images import Images
from profiler.network.noise import OutputNoise, output_noise, with_batch
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.network.random_weights import random_images, random_weights
from profiler.network.ranges import TensorRange
from profiler.network.real_numbers import quantized_inputs, real_values
from profiler.workload import INT4, INT8, Layer, Network, Op, Tensor, Workload
from tests.network.random_models import random_model, save

DENSE = Network(
    "dense",
    1,
    (Tensor("x", 1, 1, 2, signed=True), Tensor("y", 1, 1, 2, signed=True)),
    (Layer("fc", Workload(Op.DENSE, 1, 1, 1, 2, 2), ("x",), "y"),),
)


def drawn(network: Network, count: int) -> tuple[TrainedNetwork, Images]:
    weights, images = random_weights(network, 0), random_images(network, count, 0)
    return TrainedNetwork(network, weights, calibrate(network, weights, images)), images


def dense(weight: Any, bias: Any, x: Any) -> tuple[OutputNoise, ...]:
    """Of y = weight x + bias in INT8, where an integer of x stands for 1/127."""
    values = LayerWeights(np.array(weight, float).reshape(2, 1, 1, 2), np.array(bias, float))
    trained = TrainedNetwork(DENSE, {"fc": values}, {"x": TensorRange(-1, 1), "y": TensorRange(-1, 1)})
    inputs = {"x": np.array(x, np.float32).reshape(-1, 1, 1, 2)}
    return output_noise(trained, integer_network(trained, Deployment.uniform(DENSE, INT8)), inputs)


def test_what_an_integer_holds_has_no_noise() -> None:
    (found,) = dense([[127, 0], [0, -127]], [0, 0], [[1, -1], [0, 1]])
    assert found.name == "y"
    assert found.relative_error == pytest.approx(0, abs=1e-7)
    assert OutputNoise("y", 0.0).snr_db is None


def test_what_is_clamped_is_lost() -> None:
    """Twice the range of x: half of the signal is lost, 6.02 dB."""
    (found,) = dense([[127, 0], [0, 127]], [0, 0], [[2, 2]])
    assert found.relative_error == pytest.approx(0.5)
    assert found.snr_db == pytest.approx(20 * log10(2))


def test_an_output_of_zeros_has_no_error_to_speak_of() -> None:
    (found,) = dense([[1, 1], [1, 1]], [0, 0], [[0, 0]])
    assert found == OutputNoise("y", None)
    assert found.snr_db is None


def test_two_images_count_together() -> None:
    """And not as the mean of two ratios: one image is exact, the other, half as large, is lost."""
    exact, lost = [[1, -1]], [[1.5, 1.5]]
    (found,) = dense([[127, 0], [0, 127]], [0, 0], exact + lost)
    assert found.relative_error == pytest.approx(sqrt(2 * 0.5**2 / (2 + 2 * 1.5**2)))


@pytest.mark.parametrize("seed", [2, 3, 5, 6, 7, 8, 9])
def test_every_image_is_as_in_a_network_of_batch_one(seed: int, tmp_path: Path) -> None:
    """Of random models with every operator, quantized for another batch than that of the images."""
    pytest.importorskip("onnx")
    network = load_network(save(random_model(seed), tmp_path / "random.onnx"), 3)
    trained, images = drawn(network, 2)
    integers = integer_network(trained, Deployment.uniform(network, INT8))
    one = load_network(str(tmp_path / "random.onnx"), 1)
    single = integer_network(replace(trained, network=one), Deployment.uniform(one, INT8))
    parts: dict[str, list[tuple[float, float]]] = {name: [] for name in network.outputs}
    for image in images.batches(1):
        computed = oracle_run(single, quantized_inputs(single, image))
        wanted: Mapping[str, Any] = dict(float_run(one, trained.weights, image))
        for name, found in parts.items():
            error = real_values(single, name, computed[name]) - wanted[name].astype(float)
            found.append((float((error**2).sum()), float((wanted[name].astype(float) ** 2).sum())))
    noise = output_noise(trained, integers, images.inputs)
    assert [output.name for output in noise] == list(network.outputs)
    for output in noise:
        errors, signals = map(sum, zip(*parts[output.name], strict=True))
        assert output.relative_error == pytest.approx(sqrt(errors / signals), rel=1e-9)
        assert 0 < sqrt(errors / signals) < 0.3


def test_fewer_bits_are_noisier() -> None:
    network = load_network("resnet18", 1)
    trained, images = drawn(network, 1)
    eight, four = (
        output_noise(trained, integer_network(trained, Deployment.uniform(network, p)), images.inputs)[0].snr_db
        for p in (INT8, INT4)
    )
    assert eight is not None
    assert four is not None
    assert 20 < eight - four < 30  # 16 times the step: 24 dB


def test_an_output_that_is_flattened_images_is_compared_in_their_order() -> None:
    """Two images side by side, rescaled alone: nothing but half a step of difference."""
    shapes = {"a": (2, 3, 4), "b": (1, 2, 3)}
    slices = tuple(
        Layer(f"cat.{name}", Workload(Op.CONCAT, 1, 1, 1, prod(shape), 30), (name,), "y")
        for name, shape in shapes.items()
    )
    tensors = (*(Tensor(name, *shape, True) for name, shape in shapes.items()), Tensor("y", 1, 1, 30, True))
    network = Network("flat", 1, tensors, slices)
    images = random_images(network, 2, 0)
    trained = TrainedNetwork(network, {}, calibrate(network, {}, images))
    (noise,) = output_noise(trained, integer_network(trained, Deployment.uniform(network, INT8)), images.inputs)
    assert noise.relative_error is not None
    assert noise.relative_error < 0.02


def test_a_batch_changes_extents_alone() -> None:
    network = load_network("resnet18", 1)
    trained, _ = drawn(network, 1)
    one = integer_network(trained, Deployment.uniform(network, INT8))
    two = load_network("resnet18", 2)
    other = integer_network(replace(trained, network=two), Deployment.uniform(two, INT8))
    assert with_batch(one, 2) == other
    assert with_batch(other, 1) == one
    for ours, theirs in zip(with_batch(one, 2).steps, other.steps, strict=True):
        for name, values in ours.parameters.items():
            np.testing.assert_array_equal(values, theirs.parameters[name])
