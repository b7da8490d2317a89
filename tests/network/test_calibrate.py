"""Ranges against raw values: extremes by ONNX Runtime, percentiles by NumPy, clips by brute force over all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.errors import InvalidFile, InvalidWorkload, ProfilerError
from profiler.frontend import load_network
from profiler.frontend.weights import LayerWeights, load_weights
from profiler.network.calibrate import Method, calibrate
from profiler.network.float_run import float_run
from profiler.network.images import Images
from profiler.network.random_weights import random_images
from profiler.network.ranges import Ranges, TensorRange
from profiler.workload import DType, Layer, Network, Op, Tensor, Workload
from tests.network.random_models import random_model, save, values_by_onnxruntime

Array = npt.NDArray[Any]

BINS = 2048


def one_tensor(values: Array, signed: bool) -> tuple[Network, Images]:
    """A network whose input takes the values, one image each of a part of them."""
    image = Tensor("x", 1, values.size // 8, 1, signed)
    pool = Layer("pool", Workload(Op.MAX_POOL, 1, 1, values.size // 8, 1, 1), ("x",), "y")
    network = Network("one", 1, (image, Tensor("y", 1, values.size // 8, 1, signed)), (pool,))
    return network, Images({"x": values.astype(np.float32).reshape(8, 1, -1, 1)})


def range_of(values: Array, signed: bool, method: Method, **options: Any) -> TensorRange:
    network, images = one_tensor(values, signed)
    return calibrate(network, {}, images, method, **options)["x"]


def samples(kind: str) -> Array:
    """8,000 values, of which the name says whether they are signed."""
    rng = np.random.default_rng(7)
    drawn = {
        "signed normal": lambda: rng.standard_normal(8000),
        "signed laplace": lambda: rng.laplace(size=8000),
        "signed lopsided": lambda: np.concatenate([-rng.exponential(1.0, 6000), rng.exponential(0.2, 2000)]),
        "signed heavy tails": lambda: rng.standard_t(3, 8000),
        "signed uniform": lambda: rng.uniform(-3, 5, 8000),
        "relu normal": lambda: np.maximum(rng.standard_normal(8000), 0),
        "relu sparse": lambda: np.where(rng.random(8000) < 0.95, 0, rng.exponential(1.0, 8000)),
        "relu log-normal": lambda: rng.lognormal(0, 1.2, 8000),
        "relu uniform": lambda: rng.uniform(0, 1e-3, 8000),
        "relu far from zero": lambda: rng.uniform(5, 6, 8000),
    }[kind]()
    return np.asarray(drawn, np.float32)


KINDS = [
    "signed normal", "signed laplace", "signed lopsided", "signed heavy tails", "signed uniform",
    "relu normal", "relu sparse", "relu log-normal", "relu uniform", "relu far from zero",
]  # fmt: skip


# -- extremes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_extremes_are_those_of_onnxruntime(tmp_path: Path, seed: int) -> None:
    model = random_model(seed)
    path = save(model, tmp_path / "model.onnx")
    network = load_network(path, 1)
    images = random_images(network, 5, seed)
    values = values_by_onnxruntime(model, images.inputs["x"].transpose(0, 3, 1, 2))
    found = calibrate(network, load_weights(path, network), images)
    pooled = {layer.output for layer in network.layers if layer.workload.op is Op.MAX_POOL}
    assert set(found) == {tensor.name for tensor in network.tensors} - pooled
    for name, limits in found.items():
        wanted = values[name] if network.tensor(name).signed else np.maximum(values[name], 0)
        expected = (wanted.min(), wanted.max())
        np.testing.assert_allclose((limits.low, limits.high), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
        assert limits.clipped == ()


@pytest.mark.parametrize("method", Method)
def test_how_images_are_cut_does_not_matter(tmp_path: Path, method: Method) -> None:
    path = save(random_model(3, steps=5), tmp_path / "model.onnx")
    network = load_network(path, 1)
    weights, images = load_weights(path, network), random_images(network, 7, 0)
    whole = calibrate(network, weights, images, method)
    for at_once in (1, 3, 100):
        assert calibrate(network, weights, images, method, at_once=at_once) == whole
    assert len(whole) > 4


@pytest.mark.parametrize("method", Method)
def test_every_image_counts(method: Method) -> None:
    values = np.ones(64)
    values[-1] = -9
    limits = range_of(values, True, method, percentile=100, bits=(8,), at_once=3)
    assert (limits.low, limits.high) == (-9, 1)
    assert limits.of(DType.INT8)[0] == -9


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("signed", [False, True])
def test_nothing_but_zeros(method: Method, signed: bool) -> None:
    limits = range_of(np.zeros(64), signed, method)
    for dtype in (DType.integer(bits, signed) for bits in (4, 8)):
        assert limits.of(dtype) == (0, 0)


# -- percentiles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [50, 97, 99.9, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_percentiles_are_numpys_to_a_bin(kind: str, percent: float) -> None:
    x, signed = samples(kind), kind.startswith("signed")
    limits = range_of(x, signed, Method.PERCENTILE, percentile=percent)
    exact, largest = np.percentile(np.abs(x), percent, method="inverted_cdf"), np.abs(x).max()
    low, high = limits.of(DType.integer(4, signed))
    clip = max(high, -low)
    assert exact * (1 - 1e-6) <= clip <= exact + largest / BINS * (1 + 1e-3)
    assert low == pytest.approx(max(-clip, x.min()))
    assert high == pytest.approx(min(clip, x.max()))
    assert limits.of(DType.integer(8, signed)) == (low, high)
    assert (limits.low, limits.high) == (x.min(), x.max())


def test_a_percentile_within_the_zeros_is_not_zero() -> None:
    limits = range_of(samples("relu sparse"), False, Method.PERCENTILE, percentile=60)
    assert 0 < limits.of(DType.UINT4)[1] == pytest.approx(limits.high / BINS)


# -- least squared error ---------------------------------------------------------------------------------------------


def squared_error(x: Array, clip: float, dtype: DType) -> float:
    scale = clip / dtype.high
    quantized = np.clip(np.rint(x.astype(np.float64) / scale), dtype.low, dtype.high) * scale
    return float(np.square(quantized - x).sum())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_no_clip_is_much_better_than_the_one_found(kind: str, bits: int) -> None:
    x, signed = samples(kind), kind.startswith("signed")
    dtype, largest = DType.integer(bits, signed), np.abs(x).max()
    low, high = range_of(x, signed, Method.MSE, bits=(4, 8)).of(dtype)
    clip = max(high, -low)
    assert 0 < clip <= largest
    clips = largest * np.arange(1, 601) / 600
    best = min(squared_error(x, candidate, dtype) for candidate in clips)
    assert squared_error(x, clip, dtype) <= 1.01 * best
    assert low == pytest.approx(max(-clip, x.min()))
    assert high == pytest.approx(min(clip, x.max()))


def test_fewer_bits_clip_more() -> None:
    x = samples("signed heavy tails")
    limits = range_of(x, True, Method.MSE, bits=(4, 8))
    assert limits.of(DType.INT4)[1] < limits.of(DType.INT8)[1] < np.abs(x).max()
    # The clip is for what the extremes would cost at 4 bits.
    assert squared_error(x, limits.of(DType.INT4)[1], DType.INT4) < squared_error(x, np.abs(x).max(), DType.INT4) / 4


def test_the_level_that_a_signed_type_has_below_the_others_is_used() -> None:
    x = np.repeat([-1.0, -0.5, 0.125, 0.0], 16)
    low, high = range_of(x, True, Method.MSE, bits=(4,)).of(DType.INT4)
    assert -low == pytest.approx(7 / 8, abs=2 / BINS)
    assert high == 0.125


# -- refusals --------------------------------------------------------------------------------------------------------


def conv_with_weight(value: float) -> tuple[Network, dict[str, LayerWeights]]:
    work = Workload(Op.CONV2D, 1, 2, 2, 1, 1)
    tensors = (Tensor("x", 2, 2, 1, True), Tensor("layer1/act", 2, 2, 1, True))
    network = Network("conv", 1, tensors, (Layer("conv", work, ("x",), "layer1/act"),))
    return network, {"conv": LayerWeights(np.full((1, 1, 1, 1), value), np.zeros(1))}


@pytest.mark.parametrize(("weight", "bad"), [(1e38, 2), (np.nan, 0)])
def test_an_activation_that_is_not_finite_is_named_with_its_image(weight: float, bad: int) -> None:
    network, weights = conv_with_weight(weight)
    x = np.ones((4, 2, 2, 1), np.float32)
    x[2] = 1e10
    for at_once in (1, 2, 4):
        with pytest.raises(InvalidFile) as caught:
            calibrate(network, weights, Images({"x": x}), at_once=at_once)
        assert str(caught.value) == (
            f"calibration: the activation 'layer1/act' is not finite for image {bad} (the first is 0)"
        )


def test_requests_that_make_no_sense() -> None:
    network, weights = conv_with_weight(1.0)
    with pytest.raises(InvalidFile, match="there are no images"):
        calibrate(network, weights, Images({"x": np.zeros((0, 2, 2, 1), np.float32)}))
    images = Images({"x": np.ones((1, 2, 2, 1), np.float32)})
    for percent in (0, -1, 100.1, float("nan")):
        with pytest.raises(ProfilerError, match="a percentile lies above 0 and not above 100, which"):
            calibrate(network, weights, images, Method.PERCENTILE, percentile=percent)
    with pytest.raises(InvalidWorkload, match="no signed 5-bit type"):
        calibrate(network, weights, images, Method.MSE, bits=(5,))


def test_small_and_large_magnitudes() -> None:
    """As far as float32 reaches, whose smallest numbers have no reciprocal in it."""
    for unit in (1e-42, 1e-30, 1e30):
        x = (np.arange(-40, 40) * unit).astype(np.float32)
        found: Ranges = {method.value: range_of(x, True, method, percentile=90) for method in Method}
        assert found["min-max"].of(DType.INT8) == (float(x.min()), float(x.max()))
        low, high = found["percentile"].of(DType.INT8)
        assert (low / unit, high / unit) == pytest.approx((-36, 36), rel=0.01)
        assert squared_error(x / unit, -found["mse"].of(DType.INT8)[0] / unit, DType.INT8) < 80 * 0.34


def test_values_are_those_of_the_float_run() -> None:
    """An oracle for a chain: the histogram of a tensor within the network, not of an input."""
    network, weights = conv_with_weight(-2.0)
    x = np.random.default_rng(0).standard_normal((50, 2, 2, 1), dtype=np.float32)
    values = dict(float_run(network, weights, {"x": x}))["layer1/act"]
    found = calibrate(network, weights, Images({"x": x}), Method.PERCENTILE, percentile=90)["layer1/act"]
    exact = float(np.percentile(np.abs(values), 90, method="inverted_cdf"))
    assert max(found.of(DType.INT4)) == pytest.approx(exact, abs=float(np.abs(values).max()) / BINS)
