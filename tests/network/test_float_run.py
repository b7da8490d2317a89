"""The float network: every value is that of ONNX Runtime or torch, for any number of images, in bounded memory."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import UnsupportedModel
from profiler.frontend import load_network
from profiler.frontend.weights import LayerWeights, load_weights
from profiler.network.float_run import float_run, input_tensors
from profiler.workload import Layer, Network, Op, Tensor, Workload
from tests.frontend.torch_models import tiny_model
from tests.network.random_models import random_model, save, values_by_onnxruntime

DATA = Path(__file__).parents[1] / "data"
Array = npt.NDArray[Any]


def nhwc(x: Array) -> Array:
    return np.ascontiguousarray(x.reshape(*x.shape, *(1,) * (4 - x.ndim)).transpose(0, 2, 3, 1))


def images(seed: int, count: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal((count, *shape), dtype=np.float32)


def expected_of(network: Network, tensor: Tensor, values: Mapping[str, Array]) -> Array:
    """A tensor goes by the name ahead of the ReLU that is fused into what writes it."""
    found = nhwc(values[tensor.name])
    return found if tensor.signed else np.clip(found, 0, network.relu_limit(tensor.name))


# -- values ----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 3))
def test_every_value_is_that_of_onnxruntime(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    model = random_model(seed, clipped=0.4)
    path = save(model, tmp_path_factory.mktemp("random") / "model.onnx")
    network = load_network(path, 2)
    (tensor,) = input_tensors(network)
    x = images(seed, count, tensor.channels, tensor.height, tensor.width)
    expected = values_by_onnxruntime(model, x)
    seen = []
    for name, values in float_run(network, load_weights(path, network), {"x": nhwc(x)}):
        wanted = expected_of(network, network.tensor(name), expected)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5 * max(1, np.abs(wanted).max()), err_msg=name)
        seen.append(name)
    assert seen == ["x", *dict.fromkeys(layer.output for layer in network.layers if layer.output in seen)]
    assert set(seen) == {tensor.name for tensor in network.tensors}


@pytest.mark.parametrize(
    ("name", "tolerance"),
    # Those that hold quantized activations are met up to what these lose: steps of a 255th of the range.
    [("tiny_torch", 1e-5), ("tiny_torchscript", 1e-5), ("tiny_qdq", 0.03), ("tiny_qoperator", 0.03)],
)
def test_files_of_other_peoples_tools(name: str, tolerance: float) -> None:
    runtime, path = pytest.importorskip("onnxruntime"), str(DATA / f"{name}.onnx")
    network = load_network(path, 1)
    (tensor,) = input_tensors(network)
    x = images(0, 1, 3, 32, 32)
    (wanted,) = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {tensor.name: x})
    *_, (last, values) = float_run(network, load_weights(path, network), {tensor.name: nhwc(x)})
    assert (last,) == network.outputs
    np.testing.assert_allclose(values[:, 0, 0], wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_an_exported_program_is_what_torch_computes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model, x = tiny_model(), images(1, 3, 3, 32, 32)
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 32, 32),)), str(tmp_path / "tiny.pt2"))
    network = load_network(str(tmp_path / "tiny.pt2"), 4)
    weights = load_weights(str(tmp_path / "tiny.pt2"), network)
    values = dict(float_run(network, weights, {input_tensors(network)[0].name: nhwc(x)}))
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(values[network.outputs[0]][:, 0, 0], expected, rtol=1e-5, atol=1e-6)


def single(work: Workload, signed: bool = True, **layer: Any) -> Network:
    tensors = (
        Tensor("x", work.in_height, work.in_width, work.in_channels, signed),
        Tensor("y", work.out_height, work.out_width, work.out_channels, signed),
    )
    return Network("single", work.batch, tensors, (Layer("layer", work, ("x",), "y", **layer),))


def test_padding_of_a_max_pool_never_wins() -> None:
    work = Workload(Op.MAX_POOL, 1, 2, 2, 1, 1, 3, 3, 2, 2, 1, 1, 1, 1)
    x = -np.arange(1, 5, dtype=np.float32).reshape(1, 2, 2, 1)
    assert dict(float_run(single(work), {}, {"x": x}))["y"].item() == -1


def test_an_average_divides_by_what_counts() -> None:
    work = Workload(Op.AVG_POOL, 1, 2, 2, 1, 1, 2, 2, 1, 1, 1, 1)
    x = np.float32([[1, 2], [3, 4]]).reshape(1, 2, 2, 1)
    without = dict(float_run(single(work), {}, {"x": x}))["y"][0, :, :, 0]
    np.testing.assert_array_equal(without, [[1, 1.5], [2, 2.5]])
    top_counts = dict(float_run(single(work, counted_pads=(1, 0, 0, 0)), {}, {"x": x}))["y"][0, :, :, 0]
    np.testing.assert_array_equal(top_counts, [[0.5, 0.75], [2, 2.5]])


def test_an_unsigned_input_holds_nothing_below_zero() -> None:
    network = single(Workload(Op.MAX_POOL, 1, 1, 2, 1, 1), signed=False)
    x = np.float32([-3, 2]).reshape(1, 1, 2, 1)
    values = dict(float_run(network, {}, {"x": x}))
    np.testing.assert_array_equal(values["x"].ravel(), [0, 2])
    np.testing.assert_array_equal(x.ravel(), [-3, 2])


def test_a_clipped_relu_ends_at_its_limit() -> None:
    work = Workload(Op.CONV2D, 1, 1, 4, 1, 1)
    tensors = (Tensor("x", 1, 4, 1, True), Tensor("y", 1, 4, 1, False))
    network = Network("clip", 1, tensors, (Layer("layer", work, ("x",), "y", True, relu_limit=6.0),))
    weights = {"layer": LayerWeights(np.full((1, 1, 1, 1), 2.0), np.zeros(1))}
    x = np.float32([-1, 1, 3, 4]).reshape(1, 1, 4, 1)
    assert dict(float_run(network, weights, {"x": x}))["y"].ravel().tolist() == [0, 2, 6, 6]


def test_what_leaves_float32_is_no_warning() -> None:
    network = single(Workload(Op.CONV2D, 1, 2, 2, 1, 1))
    weights = {"layer": LayerWeights(np.full((1, 1, 1, 1), 1e30), np.zeros(1))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = dict(float_run(network, weights, {"x": np.full((1, 2, 2, 1), 1e30, np.float32)}))
    assert np.isinf(values["y"]).all()


# -- images and memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_bits_of_an_image_do_not_depend_on_its_neighbours(tmp_path: Path, seed: int) -> None:
    path = save(random_model(seed, steps=10), tmp_path / "model.onnx")
    network = load_network(path, 1)
    weights, (tensor,) = load_weights(path, network), input_tensors(network)
    x = nhwc(images(seed, 5, tensor.channels, tensor.height, tensor.width))
    together = dict(float_run(network, weights, {"x": x}))
    for part in (slice(0, 1), slice(1, 3), slice(2, 5)):
        for name, values in float_run(network, weights, {"x": x[part]}):
            assert values.tobytes() == together[name][part].tobytes(), name


def chain(length: int) -> tuple[Network, dict[str, LayerWeights]]:
    work = Workload(Op.CONV2D, 1, 64, 64, 16, 16)
    tensors = tuple(Tensor(f"t{index}", 64, 64, 16, True) for index in range(length + 1))
    layers = tuple(Layer(f"l{index}", work, (f"t{index}",), f"t{index + 1}") for index in range(length))
    weight = np.random.default_rng(0).standard_normal(work.weight_shape) / 4
    return Network("chain", 1, tensors, layers), {layer.name: LayerWeights(weight, np.zeros(16)) for layer in layers}


def peak_bytes(length: int, x: Array) -> int:
    network, weights = chain(length)
    tracemalloc.start()
    try:
        for _ in float_run(network, weights, {"t0": x}):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_tensors_are_forgotten_behind_their_last_reader() -> None:
    x = images(0, 8, 64, 64, 16)
    assert peak_bytes(30, x) < peak_bytes(3, x) + x.nbytes // 2
    assert peak_bytes(30, x) < 5 * x.nbytes


# -- refusals --------------------------------------------------------------------------------------------------------


def test_inputs_and_weights_that_do_not_fit() -> None:
    network, weights = chain(2)
    x = images(0, 1, 64, 64, 16)
    for inputs in ({}, {"t0": x.astype(np.float64)}, {"t0": x[:, :-1]}, {"t0": x[0]}):
        with pytest.raises(ValueError, match=r"input 't0' is missing, or not float32 of shape \(images, \(64, 64, 16"):
            float_run(network, weights, inputs)
    with pytest.raises(ValueError, match=r"layer 'l1' has no weights of shape \(16, 1, 1, 16\)"):
        float_run(network, {"l0": weights["l0"]}, {"t0": x})
    with pytest.raises(ValueError, match="layer 'l0' has no weights of shape"):
        float_run(network, {**weights, "l0": LayerWeights(np.zeros((16, 1, 1, 8)), np.zeros(16))}, {"t0": x})


def test_inputs_of_different_numbers_of_images() -> None:
    work = Workload(Op.ADD, 1, 1, 1, 2, 2)
    tensors = tuple(Tensor(name, 1, 1, 2, True) for name in "aby")
    network = Network("sum", 1, tensors, (Layer("sum", work, ("a", "b"), "y"),))
    assert [tensor.name for tensor in input_tensors(network)] == ["a", "b"]
    with pytest.raises(ValueError, match=r"different numbers of images: \{'a': 1, 'b': 2\}"):
        float_run(network, {}, {"a": images(0, 1, 1, 1, 2), "b": images(0, 2, 1, 1, 2)})


def test_a_network_that_operators_were_left_out_of() -> None:
    network, weights = chain(2)
    with pytest.raises(UnsupportedModel, match="network 'chain' cannot be run: Softmax 's' was left out"):
        float_run(replace(network, skipped=("Softmax 's'",)), weights, {"t0": images(0, 1, 64, 64, 16)})
