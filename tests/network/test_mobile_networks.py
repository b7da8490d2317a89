"""Networks like MobileNet, with depthwise convolutions and clipped ReLUs: real numbers as ONNX Runtime and torch have
them, integers bit for bit from compiled kernels, and no value beyond a ReLU's end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.frontend import load_network
from profiler.frontend.weights import load_weights
from profiler.network.calibrate import Method, calibrate
from profiler.network.float_run import float_run, input_tensors
from profiler.network.host_run import HostNetwork
from profiler.network.images import Images
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.network.real_numbers import quantized_inputs, real_values
from profiler.network_stages.deployments import uniform_deployment
from profiler.workload import INT4, INT8, Network, Op, Precision
from tests.network import random_models
from tests.network.test_host_run import Kernels

Array = npt.NDArray[Any]
IMAGE = (3, 12, 12)
IMAGES = 4


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(tmp_path_factory.mktemp("toolchain"))


@dataclass
class _Draft:
    """An ONNX graph that grows node by node; methods give the name of the value that is written."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, np.float32), name))
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, inputs: int, outputs: int, size: int, groups: int = 1, stride: int = 1) -> str:
        """So large that a good part of what comes out lies beyond 6."""
        shape = (outputs, inputs // groups, size, size)
        weight = self.rng.standard_normal(shape) * 4 / np.sqrt(np.prod(shape[1:]))
        pads, bias = [size // 2] * 4, self.rng.standard_normal(outputs)
        operands = (x, self.constant(weight), self.constant(bias))
        return self.node("Conv", *operands, group=groups, strides=[stride] * 2, pads=pads)

    def clip(self, x: str) -> str:
        return self.node("Clip", x, self.constant(0.0), self.constant(6.0))


def mobile_onnx() -> Any:
    """A stem, two inverted residual blocks, one with a shortcut, and a head of two flattened images side by side."""
    from onnx import TensorProto, helper

    d = _Draft(np.random.default_rng(0))
    stem = d.clip(d.conv("x", 3, 8, 3, stride=2))
    deep = d.clip(d.conv(stem, 8, 8, 3, groups=8))
    narrow = d.conv(deep, 8, 6, 1)
    wide = d.clip(d.conv(narrow, 6, 24, 1))
    deep = d.clip(d.conv(wide, 24, 24, 3, groups=24))
    added = d.node("Add", d.conv(deep, 24, 6, 1), narrow)
    last = d.clip(d.conv(added, 6, 10, 1))
    pooled = d.node("MaxPool", last, kernel_shape=[2, 2], strides=[2, 2])
    halved = d.node("AveragePool", last, kernel_shape=[3, 3], strides=[3, 3])
    flat = d.node("Concat", d.node("Flatten", pooled), d.node("Flatten", halved), axis=1)
    weight = d.rng.standard_normal((5, 10 * 9 + 10 * 4)) / 8
    d.node("Gemm", flat, d.constant(weight), d.constant(np.zeros(5)), transB=1)
    graph = helper.make_graph(
        d.nodes,
        "mobile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *IMAGE])],
        [helper.make_tensor_value_info(d.nodes[-1].output[0], TensorProto.FLOAT, ["n", 5])],
        d.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def mobile_torch(torch: Any) -> Any:
    nn = torch.nn

    def unit(inputs: int, outputs: int, size: int, groups: int = 1, act: Any = None) -> Any:
        conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([act] if act else []))

    class Mobile(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = unit(3, 8, 3, act=nn.ReLU6(inplace=True))
            self.expand = unit(8, 16, 1, act=nn.Hardtanh(0.0, 4.0))
            self.deep = unit(16, 16, 3, groups=16, act=nn.ReLU6())
            self.project = unit(16, 8, 1)
            self.pool, self.mean = nn.MaxPool2d(3), nn.AvgPool2d(6)
            self.fc = nn.Linear(8 * 16 + 8 * 4, 5)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            x = (x + self.project(self.deep(self.expand(x)))).clamp(0, 5)
            return self.fc(torch.cat([self.pool(x).flatten(1), self.mean(x).flatten(1)], 1))

    torch.manual_seed(0)
    model = Mobile().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.01, 0.1)
                module.running_mean.uniform_(-0.2, 0.2)
    return model


@dataclass(frozen=True)
class Case:
    """``x`` is NCHW, ``logits`` are what the other library makes of it, ``path`` the model's file."""

    path: str
    network: Network
    x: Array
    logits: Array

    @property
    def images(self) -> Images:
        return Images({input_tensors(self.network)[0].name: np.ascontiguousarray(self.x.transpose(0, 2, 3, 1))})


@pytest.fixture(scope="module", params=["onnx", "torch"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    x = np.random.default_rng(1).standard_normal((IMAGES, *IMAGE)).astype(np.float32)
    folder = tmp_path_factory.mktemp("mobile")
    if request.param == "onnx":
        pytest.importorskip("onnxruntime")
        model = mobile_onnx()
        path = random_models.save(model, folder / "mobile.onnx")
        logits = random_models.values_by_onnxruntime(model, x)[model.graph.output[0].name]
    else:
        torch = pytest.importorskip("torch")
        path, module = str(folder / "mobile.pt2"), mobile_torch(torch)
        torch.export.save(torch.export.export(module, (torch.zeros(1, *IMAGE),)), path)
        with torch.no_grad():
            logits = module(torch.from_numpy(x)).numpy()
    return Case(path, load_network(path, IMAGES), x, logits)


def limits(network: Network) -> dict[str, float]:
    found = {tensor.name: network.relu_limit(tensor.name) for tensor in network.tensors}
    return {name: limit for name, limit in found.items() if limit is not None}


def test_real_numbers_are_the_other_librarys(case: Case) -> None:
    network, ends = case.network, limits(case.network)
    assert any(layer.workload.is_depthwise for layer in network.layers)
    assert set(ends.values()) in ({6.0}, {4.0, 5.0, 6.0})
    assert len(ends) > 4
    values = dict(float_run(network, load_weights(case.path, network), case.images.inputs))
    for name, limit in ends.items():
        assert values[name].max() == np.float32(limit)  # it is reached
        assert np.mean(values[name] == np.float32(limit)) < 0.9
    found = values[network.outputs[0]].reshape(IMAGES, -1)
    np.testing.assert_allclose(found, case.logits, rtol=1e-4, atol=1e-4 * np.abs(case.logits).max())


@pytest.mark.parametrize("method", list(Method))
def test_no_range_goes_beyond_a_relu(case: Case, method: Method) -> None:
    network = case.network
    ranges = calibrate(network, load_weights(case.path, network), case.images, method)
    for name, limit in limits(network).items():
        found = ranges[network.type_owner(name)]
        assert found.high == limit
        assert all(0 < high <= limit for _, _, high in found.clipped)


@pytest.mark.compile
@pytest.mark.parametrize("precision", [INT8, INT4])
def test_integers_are_the_oracles_and_near_the_real_numbers(case: Case, kernels: Kernels, precision: Precision) -> None:
    network, weights = case.network, load_weights(case.path, case.network)
    trained = TrainedNetwork(network, weights, calibrate(network, weights, case.images))
    integers = integer_network(trained, uniform_deployment(network, precision, {}))
    inputs = quantized_inputs(integers, case.images.inputs)
    expected = oracle_run(integers, inputs)
    for name, limit in limits(network).items():
        value = integers.value(name)
        assert value.scale[0] * value.dtype.high == pytest.approx(limit)
    with HostNetwork(integers, kernels.of(integers)) as host:
        assert host.verify(inputs).steps == len(integers.steps)
        found = host.run(inputs)
    (output,) = network.outputs
    np.testing.assert_array_equal(found[output], expected[output])
    assert {step.spec.workload.op for step in integers.steps} >= {Op.CONCAT, Op.MAX_POOL, Op.AVG_POOL, Op.DENSE}
    if precision is INT8:
        logits = real_values(integers, output, found[output]).reshape(IMAGES, -1)
        assert np.abs(logits - case.logits).max() < 0.1 * np.abs(case.logits).max()
        assert np.corrcoef(logits.reshape(-1), case.logits.reshape(-1))[0, 1] > 0.99


@pytest.mark.parametrize("precision", [INT8, INT4])
def test_fine_tuning_computes_the_same(case: Case, precision: Precision) -> None:
    """Clips and flattened images included; float32 may round a value on the border between two integers otherwise."""
    torch = pytest.importorskip("torch")
    from profiler.finetune.fake_quantized import FakeQuantized

    network, weights = case.network, load_weights(case.path, case.network)
    trained = TrainedNetwork(network, weights, calibrate(network, weights, case.images))
    deployment = uniform_deployment(network, precision, {})
    integers = integer_network(trained, deployment)
    exact = oracle_run(integers, quantized_inputs(integers, case.images.inputs))[network.outputs[0]]
    expected = real_values(integers, network.outputs[0], exact).reshape(IMAGES, -1)
    name = input_tensors(network)[0].name
    with torch.no_grad():
        found = FakeQuantized(trained, deployment)({name: torch.from_numpy(case.x)}).numpy()
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
