"""The noise of one narrow layer: against a few lines of NumPy, against each network run by itself, and what is known of
it beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.allocation.deployment import Deployment
from profiler.allocation.one_narrow import one_narrow, why_wide
from profiler.errors import ProfilerError
from profiler.frontend import load_network
from profiler.frontend.weights import LayerWeights
from profiler.network.calibrate import calibrate
from profiler.network.images import Images
from profiler.network.layer_noise import relative_squared_errors
from profiler.network.noise import output_noise
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.network.random_weights import random_images, random_weights
from profiler.network.ranges import TensorRange
from profiler.workload import INT8, Layer, Network, Op, Precision, Tensor, Workload
from tests.allocation.networks import branches, own_shortcut, residual
from tests.network.random_models import random_model, save

Reals = npt.NDArray[np.float64]
FEW = tuple(map(Precision.parse, ("int4", "a2w2", "a2w1", "a1w1")))

TWO = Network(
    "two",
    1,
    (Tensor("x", 1, 1, 6, True), Tensor("y", 1, 1, 5, False), Tensor("z", 1, 1, 4, True)),
    (
        Layer("first", Workload(Op.DENSE, 1, 1, 1, 6, 5), ("x",), "y", relu=True),
        Layer("second", Workload(Op.DENSE, 1, 1, 1, 5, 4), ("y",), "z"),
    ),
)


# -- by hand ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TwoLayers:
    """V relu(W x + b) + c. ``tops`` are the largest magnitudes of x and of y = relu(...), and the clip of y in one
    bit."""

    w: Reals
    b: Reals
    v: Reals
    c: Reals
    tops: tuple[float, float, float]

    def real(self, x: Reals) -> Reals:
        return np.maximum(x @ self.w.T + self.b, 0) @ self.v.T + self.c

    def quantized(self, x: Reals, first: Precision, second: Precision) -> Reals:
        """By the definitions of symmetric quantization, in real numbers that are multiples of their scales."""
        top, top_y, clip = self.tops
        levels = 2 ** (max(first.activation_bits, 2) - 1)  # a sign takes a bit, and a value one more
        scale = top / (levels - 1)
        integers = np.clip(np.rint(x / scale), -levels, levels - 1)
        y = _layer(self.w, self.b, integers, scale, first.weight_bits, one_scale=False)
        levels = 2**second.activation_bits
        scale = (clip if second.activation_bits == 1 else top_y) / (levels - 1)
        integers = np.clip(np.floor(y / scale + 0.5), 0, levels - 1)
        return _layer(self.v, self.c, integers, scale, second.weight_bits, one_scale=True)

    def trained(self) -> TrainedNetwork:
        weights = {"first": (self.w, self.b), "second": (self.v, self.c)}
        top, top_y, clip = self.tops
        ranges = {"x": TensorRange(-top, top), "y": TensorRange(0, top_y, ((1, 0, clip),))}
        ranges["z"] = TensorRange(-1, 1)
        real = {name: LayerWeights(w.reshape(len(w), 1, 1, -1), bias) for name, (w, bias) in weights.items()}
        return TrainedNetwork(TWO, real, ranges)


def _layer(w: Reals, bias: Reals, x: Reals, x_scale: float, bits: int, *, one_scale: bool) -> Reals:
    magnitudes = np.abs(w)
    scales = magnitudes.mean(axis=1) if bits == 1 else magnitudes.max(axis=1) / (2 ** (bits - 1) - 1)
    if one_scale:  # of the logits: the mean of one bit, the largest of more
        scales = np.full_like(scales, scales.mean() if bits == 1 else scales.max())
    integers = np.where(w >= 0, 1, -1) if bits == 1 else np.rint(w / scales[:, None])
    sums = scales * x_scale
    return np.asarray((x @ integers.T + np.rint(bias / sums)) * sums)


def drawn(seed: int) -> tuple[TwoLayers, Reals]:
    """With images that reach beyond the range of x, and values of y beyond its own."""
    rng = np.random.default_rng(seed)
    shapes = ((5, 6), (5,), (4, 5), (4,))
    model = TwoLayers(*(rng.standard_normal(shape) for shape in shapes), tops=(1.8, 3.1, 1.4))
    return model, rng.standard_normal((7, 6)).astype(np.float32).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_two_layers_in_numpy(seed: int) -> None:
    model, x = drawn(seed)
    trained = model.trained()
    choices = [(INT8, INT8), *((p, INT8) for p in FEW), *((INT8, p) for p in FEW)]
    networks = [integer_network(trained, Deployment.uniform(TWO, INT8))]
    networks += [integer_network(trained, one_narrow(TWO, name, p)) for name in ("first", "second") for p in FEW]
    images = Images({"x": x.astype(np.float32).reshape(-1, 1, 1, 6)})
    found = relative_squared_errors(trained, networks, images, at_once=3)
    real = model.real(x)
    expected = [np.square(model.quantized(x, *pair) - real).sum() / np.square(real).sum() for pair in choices]
    assert found == pytest.approx(expected, rel=1e-5)  # of float32, in which the real network is computed
    assert len(set(found)) == len(choices) - 1  # images have a sign: a2w1 and a1w1 read them alike
    assert min(found) >= 0


# -- beside each network by itself ------------------------------------------------------------------------------------


def quantized(network: Network, count: int, seed: int = 0) -> tuple[TrainedNetwork, Images]:
    weights, images = random_weights(network, seed), random_images(network, count, seed)
    return TrainedNetwork(network, weights, calibrate(network, weights, images, bits=(1, 2, 4, 8))), images


def cases(trained: TrainedNetwork) -> list[Any]:
    network = trained.network
    pairs = product((layer.name for layer in network.weighted_layers), FEW)
    narrow = [one_narrow(network, name, p) for name, p in pairs if not why_wide(network, name, p)]
    return [integer_network(trained, deployment) for deployment in (Deployment.uniform(network, INT8), *narrow)]


def squared(trained: TrainedNetwork, network: Any, images: Images) -> float:
    noise = [output.relative_error for output in output_noise(trained, network, images.inputs)]
    return float(np.mean([error**2 for error in noise if error is not None]))


@pytest.mark.parametrize("make", [residual, branches, own_shortcut])
def test_it_is_the_square_of_the_outputs_noise(make: Any) -> None:
    trained, images = quantized(make(), 3)
    networks = cases(trained)
    found = relative_squared_errors(trained, networks, images)
    assert found == pytest.approx([squared(trained, network, images) for network in networks], rel=1e-9)


@pytest.mark.parametrize("seed", [2, 5, 7])
def test_of_models_with_anything_in_them(seed: int, tmp_path: Path) -> None:
    """Several outputs count alike; one that is zero throughout does not count."""
    pytest.importorskip("onnx")
    network = load_network(save(random_model(seed), tmp_path / "random.onnx"), 1)
    trained, images = quantized(network, 3)
    networks = cases(trained)
    found = relative_squared_errors(trained, networks, images, at_once=2)
    assert found == pytest.approx([squared(trained, network, images) for network in networks], rel=1e-9)


def test_the_same_bits_whatever_the_number_of_images_at_once() -> None:
    trained, images = quantized(residual(batch=2), 7)
    networks = cases(trained)
    outcomes = {relative_squared_errors(trained, networks, images, at_once=size) for size in (1, 2, 3, 5, 7, 100)}
    assert len(outcomes) == 1


def test_all_runs_are_told() -> None:
    trained, images = quantized(residual(), 7)
    networks = cases(trained)[:3]
    heard: list[tuple[int, int]] = []
    relative_squared_errors(trained, networks, images, lambda done, total: heard.append((done, total)), at_once=3)
    assert heard == [(done, 9) for done in range(1, 10)]


def test_outputs_of_zeros_have_no_relative_error() -> None:
    model, x = drawn(0)
    dead = TwoLayers(model.w, model.b, np.zeros((4, 5)), np.zeros(4), model.tops).trained()
    images = Images({"x": x.astype(np.float32).reshape(-1, 1, 1, 6)})
    with pytest.raises(ProfilerError, match="outputs of network 'two' are zero for all images"):
        relative_squared_errors(dead, [integer_network(dead, Deployment.uniform(TWO, INT8))], images)


# -- what is known of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [residual, branches, own_shortcut])
def test_the_sum_over_layers_says_about_what_all_of_them_do(make: Any, seed: int) -> None:
    """To first order errors add up; and four bits are worse than eight."""
    trained, images = quantized(make(), 16, seed)
    network, int4 = trained.network, FEW[0]
    made = [integer_network(trained, Deployment.uniform(network, precision)) for precision in (INT8, int4)]
    names = [layer.name for layer in network.weighted_layers if not why_wide(network, layer.name, int4)]
    made += [integer_network(trained, one_narrow(network, name, int4)) for name in names]
    base, all_narrow, *alone = relative_squared_errors(trained, made, images)
    expected = base + sum(cost - base for cost in alone)
    assert 0.45 < expected / all_narrow < 2.2
    assert min(alone) > base
