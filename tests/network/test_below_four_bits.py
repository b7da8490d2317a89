"""Networks with tensors of one to four bits, and weights of one and two: their numbers, and every step bit for bit."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.allocation.bits_file import TensorConversion
from profiler.allocation.deployment import Deployment
from profiler.artifact import Artifact
from profiler.errors import UnsupportedModel
from profiler.frontend import load_network
from profiler.frontend.weights import LayerWeights, load_weights
from profiler.hardware import host_cpu
from profiler.kernels.cpu.build import Toolchain, build
from profiler.kernels.cpu.target import target_of
from profiler.lut.demand import units
from profiler.lut.narrow_tensors import misfits
from profiler.network import integer_file
from profiler.network.calibrate import Method, calibrate
from profiler.network.host_run import HostNetwork
from profiler.network.images import Images
from profiler.network.integer_network import IntegerNetwork
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.network.random_weights import random_images, random_weights
from profiler.network.ranges import TensorRange
from profiler.network.real_numbers import quantized_inputs, real_values
from profiler.space.cpu_default import default_config
from profiler.workload import DType, KernelSpec, Layer, Network, Op, Precision, Tensor, Workload
from tests.allocation.networks import branches, own_shortcut, residual, slices
from tests.network.random_models import random_model, save

Array = npt.NDArray[Any]
ALL = tuple(map(Precision.parse, ("int8", "int4", "a2w2", "a2w1", "a1w1")))
TINY = Path(__file__).parents[1] / "data" / "tiny_torch.onnx"


# -- which numbers they are -------------------------------------------------------------------------------------------


def one_layer(weights: Array, relu: bool = False, head: bool = False) -> Network:
    """A 1x1 convolution of unsigned pixels, and one of its output unless it is the ``head``."""
    out, inputs = weights.shape
    tensors = [Tensor("x", 1, 4, inputs, False), Tensor("y", 1, 4, out, not relu)]
    layers = [Layer("c", Workload(Op.CONV2D, 1, 1, 4, inputs, out), ("x",), "y", relu)]
    if not head:
        tensors.append(Tensor("z", 1, 4, 1, True))
        layers.append(Layer("d", Workload(Op.CONV2D, 1, 1, 4, out, 1), ("y",), "z"))
    return Network("one", 1, tuple(tensors), tuple(layers))


def quantized(weights: Array, bias: Array, precision: str, head: bool = False) -> IntegerNetwork:
    network = one_layer(weights, head=head)
    real = {"c": LayerWeights(weights.reshape(len(weights), 1, 1, -1), bias)}
    real["d"] = LayerWeights(np.ones((1, 1, 1, len(weights))), np.zeros(1))
    ranges = {"x": TensorRange(0, 3.0), "y": TensorRange(-4, 4), "z": TensorRange(-4, 4)}
    return integer_network(
        TrainedNetwork(network, real, ranges), Deployment.uniform(network, Precision.parse(precision))
    )


def test_one_bit_weights_are_signs_times_the_mean_magnitude_of_their_channel() -> None:
    weights = np.array([[0.5, -1.5, 0.0, 2.0], [-0.1, -0.1, -0.1, 0.3]])
    made = quantized(weights, np.zeros(2), "a2w1")
    step = made.steps[0]
    np.testing.assert_array_equal(step.parameters["weight"].reshape(2, 4), [[1, -1, 1, 1], [-1, -1, -1, 1]])
    scale = made.value("x").scale[0] / made.value("y").scale[0]
    factors = step.parameters["multiplier"] / 2.0 ** step.parameters["shift"]
    np.testing.assert_allclose(factors, np.array([1.0, 0.15]) * scale, rtol=1e-8)


def test_logits_of_one_bit_share_the_mean_magnitude_of_all() -> None:
    weights = np.array([[0.5, -1.5, 0.0, 2.0], [-0.1, -0.1, -0.1, 0.3]])
    made = quantized(weights, np.array([1.0, -1.0]), "a1w1", head=True)
    (logits,) = (made.value(name) for name in made.outputs)
    assert logits.scale == pytest.approx((np.abs(weights).mean() * made.value("x").scale[0],))
    for scale in np.linspace(0.1, 2, 50):  # no shared scale has a smaller squared error
        error, least = (
            np.square(np.where(weights < 0, -s, s) - weights).sum() for s in (scale, np.abs(weights).mean())
        )
        assert least <= error


@pytest.mark.parametrize("bias", [0.0, 1.25, -2.5])
def test_a_channel_of_zeros_gives_its_bias(bias: float) -> None:
    """There is no zero among -1 and +1: whatever is read, the outputs are those of the bias alone."""
    weights = np.concatenate([np.zeros((1, 64)), np.random.default_rng(0).standard_normal((1, 64))])
    made = quantized(weights, np.array([bias, 0.0]), "a1w1")
    value = made.value("y")
    for pixel in (0, 1):
        x = np.full((1, 1, 4, 64), pixel, np.uint8)
        found = oracle_run(made, {"x": x})["y"][..., 0]
        expected = np.clip(np.floor(abs(bias) / value.scale[0] + 0.5) * np.sign(bias), -2, 1)
        np.testing.assert_array_equal(found, np.full((1, 1, 4), expected))


def test_a_layer_of_zeros_can_be_quantized() -> None:
    made = quantized(np.zeros((2, 4)), np.zeros(2), "a1w1")
    assert not oracle_run(made, {"x": np.ones((1, 1, 4, 4), np.uint8)})["y"].any()


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("kind", ["normal", "uniform", "sparse", "far"])
def test_an_activation_of_one_bit_has_the_scale_of_least_squared_error(kind: str, method: Method) -> None:
    """Levels 0 and s, what is at least s / 2 is s: no s is better, by trying them. That is so by every method, whose
    other types are as they were."""
    rng = np.random.default_rng(3)
    drawn = {
        "normal": np.maximum(rng.standard_normal(4000), 0),
        "uniform": rng.uniform(0, 5, 4000),
        "sparse": np.where(rng.random(4000) < 0.9, 0, rng.exponential(1.0, 4000)),
        "far": rng.uniform(5, 6, 4000),
    }[kind].astype(np.float32)
    work = Workload(Op.MAX_POOL, 1, 1, 1000, 1, 1)
    tensors = (Tensor("x", 1, 1000, 1, False), Tensor("y", 1, 1000, 1, False))
    network = Network("one", 1, tensors, (Layer("pool", work, ("x",), "y"),))
    images = Images({"x": drawn.reshape(4, 1, 1000, 1)})
    found = calibrate(network, {}, images, method, bits=(1, 4))["x"]
    s = found.of(DType.UINT1)[1]

    def error(scale: float) -> float:
        return float(np.square(np.where(drawn >= scale / 2, scale, 0) - drawn).sum())

    assert error(s) <= 1.001 * min(error(scale) for scale in np.linspace(0.001, 2, 2000) * drawn.max())
    plain = calibrate(network, {}, images, method, bits=(4,))["x"]
    assert found.of(DType.UINT4) == plain.of(DType.UINT4)
    assert (found.low, found.high) == (plain.low, plain.high)


# -- whole networks ---------------------------------------------------------------------------------------------------


class Kernels:
    """Compiled when they are first wanted."""

    def __init__(self, folder: Path) -> None:
        self._toolchain, self._cpu = Toolchain.prepare(folder), host_cpu()
        self._built: dict[KernelSpec, Artifact] = {}

    def of(self, network: IntegerNetwork) -> dict[KernelSpec, Artifact]:
        for spec in dict.fromkeys(step.spec for step in network.steps):
            if spec not in self._built:
                config = default_config(spec, self._cpu)
                self._built[spec] = build(spec, config, target_of(self._cpu), 1, self._toolchain)
        return self._built


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(tmp_path_factory.mktemp("toolchain"))


def trained(network: Network, weights: Any = None) -> TrainedNetwork:
    real = random_weights(network, 0) if weights is None else weights
    return TrainedNetwork(network, real, calibrate(network, real, random_images(network, 2, 0), bits=(1, 2, 4, 8)))


def random_deployment(network: Network, seed: int) -> Deployment:
    """Any precision that fits for any tensor, other ones for some layers (with a copy where the type differs), some
    additions by themselves."""
    rng = np.random.default_rng(seed)
    unfit = {precision: misfits(network, precision.activation_bits) for precision in ALL}
    tensors: dict[str, Precision] = {}
    for tensor in network.tensors:
        owner = network.type_owner(tensor.name)
        fitting = [p for p in ALL if owner not in unfit[p].tensors]
        tensors[tensor.name] = tensors.get(owner) or fitting[rng.integers(len(fitting))]
        tensors.setdefault(owner, tensors[tensor.name])
    adds_its_input = {unit.layer.name for unit in units(network) if unit.other in unit.layer.inputs}
    layers: dict[str, Precision] = {}
    copies: dict[tuple[str, str], tuple[Precision, list[str]]] = {}
    for layer in network.weighted_layers:
        (source,) = layer.inputs
        signed, stored = network.tensor(source).signed, tensors[source]
        fitting = [p for p in ALL if layer.name not in unfit[p].layers]
        if layer.name in adds_its_input:
            fitting = [p for p in fitting if p.activation_dtype(signed) is stored.activation_dtype(signed)]
        chosen = stored if stored in fitting and rng.random() < 0.6 else fitting[rng.integers(len(fitting))]
        layers[layer.name] = chosen
        dtype = chosen.activation_dtype(signed)
        if dtype is not stored.activation_dtype(signed):
            copies.setdefault((source, dtype.value), (chosen, []))[1].append(layer.name)
    conversions = tuple(
        TensorConversion(tensor, tensors[tensor].name, target.name, tuple(readers))
        for (tensor, _), (target, readers) in copies.items()
    )
    return Deployment(layers, tensors, conversions, frozenset(n for n in network.fusions() if rng.random() < 0.5))


def checked(kernels: Kernels, real: TrainedNetwork, deployment: Deployment, path: Path) -> IntegerNetwork:
    """Quantized, through its file, and bit for bit on this CPU."""
    made = integer_network(real, deployment)
    integer_file.save(path, made)
    again = integer_file.load(path)
    assert integer_file.to_bytes(again) == integer_file.to_bytes(made)
    images = random_images(real.network, real.network.batch, 1).inputs
    inputs = quantized_inputs(again, images)
    with HostNetwork(again, kernels.of(again)) as host:
        verified = host.verify(inputs)
        assert verified.steps == len(made.steps)
        expected = oracle_run(made, inputs)
        for name, values in host.run(inputs).items():
            np.testing.assert_array_equal(values, expected[name])
            assert np.isfinite(real_values(again, name, values)).all()
    return made


@pytest.mark.compile
@pytest.mark.parametrize("precision", ["a2w2", "a2w1", "a1w1", "a4w1"])
def test_uniform_networks(kernels: Kernels, tmp_path: Path, precision: str) -> None:
    few = Precision.parse(precision)
    tiny = load_network(str(TINY), 1)
    networks = (residual(), branches(), own_shortcut(), slices())
    for real in (trained(tiny, load_weights(str(TINY), tiny)), *map(trained, networks)):
        made = checked(kernels, real, Deployment.uniform(real.network, few), tmp_path / "made.npz")
        types = {step.spec.weight_dtype for step in made.steps if step.spec.workload.op.has_weights}
        assert few.weight_dtype in types


@pytest.mark.compile
def test_mixed_networks(kernels: Kernels, tmp_path: Path) -> None:
    seen: set[object] = set()
    for make, seed in product((residual, branches, own_shortcut, slices), range(6)):
        network = make()
        made = checked(kernels, trained(network), random_deployment(network, seed), tmp_path / "made.npz")
        seen |= {(step.spec.workload.op, step.spec.epilogue.adds) for step in made.steps}
        seen |= {step.spec.weight_dtype for step in made.steps} | {value.dtype for value in made.values}
    ops = {entry[0] for entry in seen if isinstance(entry, tuple)}
    assert ops == set(Op) - {Op.RELAYOUT}
    assert (Op.CONV2D, True) in seen
    assert {DType.INT1, DType.INT2, DType.UINT1, DType.UINT2, DType.UINT4, DType.UINT8, DType.INT32} <= seen


@pytest.mark.compile
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_models_with_anything_in_them(kernels: Kernels, tmp_path: Path, seed: int) -> None:
    path = save(random_model(seed), tmp_path / "model.onnx")
    network = load_network(path, 1)
    real = trained(network, load_weights(path, network))
    reason = ""
    try:
        for deployment in (random_deployment(network, seed), Deployment.uniform(network, ALL[2 + seed % 3])):
            checked(kernels, real, deployment, tmp_path / "made.npz")
    except UnsupportedModel as error:
        reason = str(error)
    assert not reason or "windows in which nothing" in reason
