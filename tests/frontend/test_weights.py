"""Folded weights: a layer computed from them is what the model computes, by ONNX Runtime and by torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidWorkload, UnsupportedModel
from profiler.frontend import load_network, network_file
from profiler.frontend.weights import LayerWeights, load_weights
from profiler.workload import Network, Workload
from tests.frontend.torch_models import from_function, tiny_model

onnx = pytest.importorskip("onnx")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

DATA = Path(__file__).parents[1] / "data"
Array = npt.NDArray[Any]


def computed(workload: Workload, weights: LayerWeights, x: Array) -> Array:
    """The layer of an NCHW image or of features, in float64, as its definition has it."""
    if x.ndim == 2:
        return x @ weights.weight.reshape(workload.out_channels, -1).T + weights.bias
    w = workload
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (w.pad_top, w.pad_bottom), (w.pad_left, w.pad_right)))
    out = np.zeros((x.shape[0], w.out_channels, w.out_height, w.out_width))
    for channel in range(w.out_channels):
        first = channel // w.group_outputs * w.group_inputs
        for row in range(w.kernel_h):
            for column in range(w.kernel_w):
                top, left = row * w.dilation_h, column * w.dilation_w
                bottom = top + (w.out_height - 1) * w.stride_h + 1
                right = left + (w.out_width - 1) * w.stride_w + 1
                seen = padded[:, first : first + w.group_inputs, top : bottom : w.stride_h, left : right : w.stride_w]
                out[:, channel] += np.einsum("nihw,i->nhw", seen, weights.weight[channel, row, column])
    return out + weights.bias[:, None, None]


def constant(name: str, values: Any, kind: int = TensorProto.FLOAT) -> Any:
    values = np.asarray(values)
    return helper.make_tensor(name, kind, values.shape, values.reshape(-1).tolist())


def save(
    path: Path, nodes: Sequence[Any], constants: Sequence[Any], image: Sequence[Any], opset: int = 21, rank: int = 4
) -> str:
    """A model from ``x`` to ``y``."""
    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        list(constants),
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return str(path)


def run(model: str, x: Array) -> Array:
    """Operator by operator: optimized, ONNX Runtime multiplies integers where it finds dequantized operands."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (y,) = session.run(["y"], {"x": x})
    return np.asarray(y)


def only(model: str) -> tuple[Workload, LayerWeights]:
    network = load_network(model, 1)
    (layer,) = network.weighted_layers
    weights = load_weights(model, network)
    assert list(weights) == [layer.name]
    return layer.workload, weights[layer.name]


def refused(model: str, message: str, network: Network | None = None) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        load_weights(model, network or load_network(model, 1))
    text = str(caught.value)
    assert message in text
    assert text.startswith(model)
    assert "\n" not in text


# -- ONNX: convolutions and what is folded into them -----------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_convolution_with_whatever_follows_it(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    groups, per_group, outputs = (data.draw(st.integers(1, 3)) for _ in range(3))
    kernel, stride, dilation = ([data.draw(st.integers(1, high)) for _ in range(2)] for high in (3, 2, 2))
    pads = [data.draw(st.integers(0, 2)) for _ in range(4)]
    channels = groups * outputs
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    constants = [constant("w", rng.standard_normal((channels, per_group, *kernel)))]
    inputs = ["x", "w"]
    if data.draw(st.booleans()):
        constants.append(constant("b", rng.standard_normal(channels)))
        inputs.append("b")
    nodes = [helper.make_node("Conv", inputs, ["v0"], group=groups, strides=stride, dilations=dilation, pads=pads)]
    for index, op in enumerate(data.draw(st.lists(st.sampled_from(FOLDS), max_size=3))):
        name = f"c{index}"
        if op == "BatchNormalization":
            operands = [f"{name}{part}" for part in "sbmv"]
            constants += [constant(operand, rng.uniform(0.5, 1.5, channels)) for operand in operands]
            nodes.append(helper.make_node(op, [f"v{index}", *operands], [f"v{index + 1}"], epsilon=1e-3))
            continue
        shape = data.draw(st.sampled_from([(channels, 1, 1), (1, channels, 1, 1), (), (1,)]))
        constants.append(constant(name, rng.uniform(0.5, 1.5, shape)))
        operands = [f"v{index}", name]
        if op in ("Add", "Mul") and data.draw(st.booleans()):
            operands.reverse()
        nodes.append(helper.make_node(op, operands, [f"v{index + 1}"]))
    nodes.append(helper.make_node("Identity", [f"v{len(nodes) - 1}"], ["y"]))
    x = rng.standard_normal((2, groups * per_group, 9, 8)).astype(np.float32)
    model = save(tmp_path_factory.mktemp("conv") / "m.onnx", nodes, constants, x.shape)
    workload, weights = only(model)
    assert weights.weight.shape == workload.weight_shape
    assert weights.bias.shape == (channels,)
    np.testing.assert_allclose(computed(workload, weights, x), run(model, x), rtol=1e-4, atol=1e-4)


FOLDS = ("BatchNormalization", "Add", "Sub", "Mul", "Div")


# -- ONNX: dense layers ----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    transposed=st.booleans(),
    alpha=st.sampled_from([1.0, 0.5, -2.0]),
    beta=st.sampled_from([1.0, 0.25]),
    bias=st.sampled_from([None, (), (1,), (4,), (1, 4)]),
)
def test_gemm(
    tmp_path_factory: pytest.TempPathFactory,
    transposed: bool,
    alpha: float,
    beta: float,
    bias: tuple[int, ...] | None,
) -> None:
    rng = np.random.default_rng(1)
    constants = [constant("w", rng.standard_normal((4, 6) if transposed else (6, 4)))]
    if bias is not None:
        constants.append(constant("b", rng.standard_normal(bias)))
    operands = ["x", "w"] + (["b"] if bias is not None else [])
    node = helper.make_node("Gemm", operands, ["y"], transB=int(transposed), alpha=alpha, beta=beta)
    model = save(tmp_path_factory.mktemp("gemm") / "m.onnx", [node], constants, (3, 6), rank=2)
    x = rng.standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_allclose(computed(*only(model), x), run(model, x), rtol=1e-5, atol=1e-5)


def test_matmul_with_its_bias_behind_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    constants = [constant("w", rng.standard_normal((6, 4))), constant("b", rng.standard_normal(4))]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["v"]), helper.make_node("Add", ["b", "v"], ["y"])]
    model = save(tmp_path / "m.onnx", nodes, constants, (3, 6), rank=2)
    x = rng.standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_allclose(computed(*only(model), x), run(model, x), rtol=1e-5, atol=1e-5)


def test_features_behind_a_flattened_image_stand_in_the_models_order(tmp_path: Path) -> None:
    weight = np.arange(2 * 12.0).reshape(2, 12)
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)]
    model = save(tmp_path / "m.onnx", nodes, [constant("w", weight)], (1, 3, 2, 2), rank=2)
    np.testing.assert_array_equal(only(model)[1].weight.reshape(2, 12), weight)


# -- ONNX: weights that are computed ---------------------------------------------------------------------------------


def test_weights_through_constants_casts_transpositions_and_reshapes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    held = constant("", rng.standard_normal((4, 6)).astype(np.float16), TensorProto.FLOAT16)
    nodes = [
        helper.make_node("Constant", [], ["c"], value=held),
        helper.make_node("Identity", ["c"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["f", "shape"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    model = save(tmp_path / "m.onnx", nodes, [constant("shape", [0, -1], TensorProto.INT64)], (3, 6), rank=2)
    x = rng.standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_allclose(computed(*only(model), x), run(model, x), rtol=1e-5, atol=1e-5)


INTEGERS = {"INT8": (-128, 127), "UINT8": (0, 255), "INT4": (-8, 7), "UINT4": (0, 15)}


@settings(max_examples=24, deadline=None)
@given(
    kind=st.sampled_from(list(INTEGERS)),
    per_axis=st.booleans(),
    offset=st.booleans(),
    form=st.sampled_from(["Conv", "MatMul"]),
)
def test_dequantized_weights(
    tmp_path_factory: pytest.TempPathFactory, kind: str, per_axis: bool, offset: bool, form: str
) -> None:
    rng = np.random.default_rng(4)
    low, high = INTEGERS[kind]
    shape, axis = ((4, 2, 3, 3), 0) if form == "Conv" else ((6, 4), 1)
    slices = (4,) if per_axis else ()
    code = getattr(TensorProto, kind)
    constants = [
        constant("q", rng.integers(low, high + 1, shape), code),
        constant("s", rng.uniform(0.01, 0.1, slices)),
    ]
    if offset:
        constants.append(constant("z", rng.integers(low, high + 1, slices), code))
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"] + (["z"] if offset else []), ["w"], axis=axis),
        helper.make_node(form, ["x", "w"], ["y"]),
    ]
    x = rng.standard_normal((1, 2, 5, 5) if form == "Conv" else (1, 6)).astype(np.float32)
    model = save(tmp_path_factory.mktemp("dq") / "m.onnx", nodes, constants, x.shape, rank=x.ndim)
    np.testing.assert_allclose(computed(*only(model), x), run(model, x), rtol=1e-4, atol=1e-4)


def test_weights_dequantized_in_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    constants = [
        constant("q", rng.integers(-8, 8, (6, 4)), TensorProto.INT4),
        constant("s", rng.uniform(0.01, 0.1, (3, 4))),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=2),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    model = save(tmp_path / "m.onnx", nodes, constants, (3, 6), rank=2)
    x = rng.standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_allclose(computed(*only(model), x), run(model, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "slices"), [("INT8", (4,)), ("UINT8", ()), ("INT4", ())])
def test_float_weights_that_the_model_quantizes_itself(tmp_path: Path, kind: str, slices: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    code = getattr(TensorProto, kind)
    low, high = INTEGERS[kind]
    constants = [
        constant("f", rng.standard_normal((4, 2, 3, 3))),
        constant("s", rng.uniform(0.02, 0.1, slices)),
        constant("z", rng.integers(low // 4, high // 4 + 1, slices), code),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["f", "s", "z"], ["q"], axis=0),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    model = save(tmp_path / "m.onnx", nodes, constants, (1, 2, 5, 5))
    x = rng.standard_normal((1, 2, 5, 5)).astype(np.float32)
    np.testing.assert_allclose(computed(*only(model), x), run(model, x), rtol=1e-4, atol=1e-4)


# -- ONNX: quantized operators ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["QLinearConv", "QGemm", "QGemm transposed", "QLinearMatMul"])
@pytest.mark.parametrize("per_axis", [False, True])
def test_quantized_operators(tmp_path: Path, form: str, per_axis: bool) -> None:
    """Their output differs from that of the float layer by the rounding of its own type alone."""
    rng = np.random.default_rng(7)
    op, _, transposed = form.partition(" ")
    is_conv = op == "QLinearConv"
    shape = (4, 2, 3, 3) if is_conv else ((4, 6) if transposed else (6, 4))
    slices = (4,) if per_axis else ()
    offset = np.zeros(slices, int) if is_conv and per_axis else rng.integers(-9, 9, slices)
    x_scale, y_scale = 0.02, 0.05
    constants = [
        constant("xs", x_scale),
        constant("xz", 3, TensorProto.INT8),
        constant("w", rng.integers(-60, 60, shape), TensorProto.INT8),
        constant("ws", rng.uniform(0.01, 0.03, slices)),
        constant("wz", offset, TensorProto.INT8),
        constant("ys", y_scale),
        constant("yz", 0, TensorProto.INT8),
        constant("b", rng.integers(-500, 500, 4), TensorProto.INT32),
    ]
    operands = {
        "QLinearConv": ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"],
        "QGemm": ["q", "xs", "xz", "w", "ws", "wz", "b", "ys", "yz"],
        "QLinearMatMul": ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz"],
    }[op]
    attributes: dict[str, Any] = {"domain": "com.microsoft"} if op == "QGemm" else {}
    if op == "QGemm":
        attributes |= {"transB": int(bool(transposed)), "alpha": 1.5}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node(op, operands, ["v"], **attributes),
        helper.make_node("DequantizeLinear", ["v", "ys", "yz"], ["y"]),
    ]
    integers = rng.integers(-40, 41, (1, 2, 5, 5) if is_conv else (1, 6))
    x = (integers * x_scale).astype(np.float32)  # numbers that quantization keeps
    model = save(tmp_path / "m.onnx", nodes, constants, x.shape, rank=x.ndim)
    expected = computed(*only(model), x)
    clipped = np.clip(expected, -128 * y_scale, 127 * y_scale)
    assert np.mean(clipped == expected) > 0.5
    np.testing.assert_allclose(run(model, x), clipped, atol=y_scale * 0.501)


@pytest.mark.parametrize("name", ["tiny_qdq", "tiny_qoperator"])
def test_what_onnx_runtime_quantized_is_half_a_step_from_the_float_model(name: str) -> None:
    floats = load(DATA / "tiny_torchscript.onnx")
    integers = load(DATA / f"{name}.onnx")
    assert sorted(floats) == sorted(integers)
    for layer, weights in floats.items():
        step = np.abs(weights.weight).max() / 127
        assert np.abs(integers[layer].weight - weights.weight).max() <= 0.501 * step, layer
        assert np.abs(integers[layer].bias - weights.bias).max() <= 1e-3, layer


def load(path: Path) -> Mapping[str, LayerWeights]:
    return load_weights(str(path), load_network(str(path), 1))


# -- ONNX: files -----------------------------------------------------------------------------------------------------


def conv(folder: Path, weight: Array) -> str:
    return save(
        folder / "m.onnx",
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
        (1, 2, 5, 5),
    )


def test_external_data(tmp_path: Path) -> None:
    weight = np.random.default_rng(8).standard_normal((4, 2, 3, 3)).astype(np.float32)
    model = conv(tmp_path, weight)
    onnx.save(onnx.load(model), model, save_as_external_data=True, location="big.bin", size_threshold=0)
    np.testing.assert_array_equal(only(model)[1].weight, weight.transpose(0, 2, 3, 1).astype(np.float64))
    (tmp_path / "big.bin").write_bytes(b"short")
    refused(model, "'big.bin'")
    (tmp_path / "big.bin").unlink()
    refused(model, "layer 'y': its constant 'w' lies in the file 'big.bin' beside the model, which cannot be read")


def test_weights_outside_the_model_folder_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    model = conv(folder, np.ones((4, 2, 3, 3)))
    proto = onnx.load(model)
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], "../secret.bin")
    proto.graph.initializer[0].ClearField("raw_data")
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 2 * 9 * 4))
    refused(model, "secret.bin")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    weight = np.ones((4, 2, 3, 3))
    weight[1, 0, 0, 0] = value
    refused(conv(tmp_path, weight), "layer 'y': 1 of its 72 weight values are not finite")


def test_a_normalization_without_variance(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["v"]),
        helper.make_node("BatchNormalization", ["v", "c", "c", "c", "var"], ["y"], epsilon=0.0),
    ]
    constants = [
        constant("w", np.ones((2, 2, 1, 1))),
        constant("c", np.ones(2)),
        constant("var", np.asarray([0.0, 1.0])),
    ]
    refused(save(tmp_path / "m.onnx", nodes, constants, (1, 2, 5, 5)), "are not finite, batch normalization folded in")


def test_constants_that_only_running_the_model_would_tell(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Exp", ["c"], ["w"], name="exp"),
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv"),
    ]
    model = save(tmp_path / "m.onnx", nodes, [constant("c", np.ones((2, 2, 1, 1)))], (1, 2, 5, 5))
    refused(model, "layer 'conv': its constant 'w' is computed by operator Exp ('exp')")


def test_models_without_weights(tmp_path: Path) -> None:
    network = load_network("resnet18", 1)
    refused("resnet18", "has no weights; give the model itself, as a file that ends in .onnx or .pt2", network)
    network_file.save(network, tmp_path / "n.json")
    refused(str(tmp_path / "n.json"), "has no weights", network)


def test_another_model_than_that_of_the_network(tmp_path: Path) -> None:
    refused(
        conv(tmp_path, np.ones((4, 2, 3, 3))), "is not the model of network 'resnet18'", load_network("resnet18", 1)
    )


def test_the_network_of_another_batch_has_the_same_weights() -> None:
    path = str(DATA / "tiny_torch.onnx")
    one, four = (load_weights(path, load_network(path, batch)) for batch in (1, 4))
    assert all(np.array_equal(one[name].weight, four[name].weight) for name in one)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["tiny_qdq", "tiny_qoperator", "tiny_torch"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6),
)
def test_damaged_files_never_surprise(
    tmp_path_factory: pytest.TempPathFactory, name: str, flips: list[tuple[float, int]]
) -> None:
    content = bytearray((DATA / f"{name}.onnx").read_bytes())
    for place, bits in flips:
        content[int(place * len(content))] ^= bits
    path = tmp_path_factory.mktemp("damaged") / "m.onnx"
    path.write_bytes(content)
    weights: Mapping[str, LayerWeights] = {}
    refusal = ""
    try:
        weights = load(path)
    except (UnsupportedModel, InvalidWorkload) as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert bool(weights) != bool(refusal)
    assert all(np.isfinite(w.weight).all() and np.isfinite(w.bias).all() for w in weights.values())


# -- torch -----------------------------------------------------------------------------------------------------------


def exported(torch: Any, folder: Path, model: Any, *shape: int, decomposed: bool = False) -> str:
    program = torch.export.export(model, (torch.zeros(*shape),))
    path = folder / "model.pt2"
    torch.export.save(program.run_decompositions() if decomposed else program, str(path))
    return str(path)


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.parametrize("decomposed", [False, True])
def test_the_tiny_model_is_what_torch_itself_folds(torch: Any, tmp_path: Path, decomposed: bool) -> None:
    model = tiny_model()
    path = Path(exported(torch, tmp_path, model, 1, 3, 32, 32, decomposed=decomposed))
    weights = load(path)
    fuse = torch.nn.utils.fuse_conv_bn_eval
    pairs = {
        "conv1": fuse(model.conv1, model.bn1),
        **{f"layer{i}.conv{k}": fuse(getattr(b, f"conv{k}"), getattr(b, f"bn{k}"))
           for i, b in ((1, model.layer1), (2, model.layer2)) for k in (1, 2)},
        "layer2.downsample.0": fuse(*model.layer2.downsample),
        "depthwise": model.depthwise,
        "branch": model.branch,
        "fc": model.fc,
    }  # fmt: skip
    assert sorted(weights) == sorted(pairs)
    for name, module in pairs.items():
        expected = module.weight.detach().double().numpy()
        expected = expected[:, None, None, :] if expected.ndim == 2 else expected.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(weights[name].weight, expected, rtol=1e-5, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(weights[name].bias, module.bias.detach().double().numpy(), rtol=1e-4, atol=1e-6)


CONV = (2, 3, 3)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda self, x: self.torch.add(self.a(x), self.c, alpha=3), (1, 2, 6, 6)),
        (lambda self, x: self.torch.add(self.c, self.a(x), alpha=3), (1, 2, 6, 6)),
        (lambda self, x: self.torch.sub(self.a(x), self.c, alpha=2), (1, 2, 6, 6)),
        (lambda self, x: self.a(x) * self.c / 3.0 + 0.5, (1, 2, 6, 6)),
        (lambda self, x: (self.a(x) * self.c.exp()) / self.c, (1, 2, 6, 6)),
        (lambda self, x: self.a(x).mul_(self.c), (1, 2, 6, 6)),
        (lambda self, x: self.torch.addmm(self.v, x, self.m, beta=2, alpha=0.5), (2, 5)),
        (lambda self, x: x @ self.m, (2, 5)),
        (lambda self, x: self.torch.mm(x, self.m) + self.v, (2, 5)),
        (lambda self, x: self.torch.nn.functional.linear(x, self.m.t(), self.v), (2, 5)),
        (lambda self, x: self.torch.nn.functional.linear(x, self.m.t()) * self.v, (2, 5)),
    ],
)
@pytest.mark.parametrize("decomposed", [False, True])
def test_every_way_to_write_a_layer(
    torch: Any, tmp_path: Path, function: Callable[..., Any], shape: tuple[int, ...], decomposed: bool
) -> None:
    torch.manual_seed(0)
    model = from_function(torch, function, torch.nn.Conv2d(2, 3, 3))
    model.torch = torch
    for name, extents in (("c", (3, 1, 1)), ("m", (5, 3)), ("v", (3,))):
        model.register_buffer(name, torch.rand(*extents) + 0.5)
    workload, weights = only(exported(torch, tmp_path, model, *shape, decomposed=decomposed))
    x = torch.randn(*shape)
    expected = model(x).detach().numpy()
    np.testing.assert_allclose(computed(workload, weights, x.numpy()), expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_without_gain_and_shift(torch: Any, tmp_path: Path) -> None:
    norm = torch.nn.BatchNorm2d(3, affine=False)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), norm).eval()
    workload, weights = only(exported(torch, tmp_path, model, 1, 2, 6, 6))
    x = torch.randn(1, 2, 6, 6)
    np.testing.assert_allclose(computed(workload, weights, x.numpy()), model(x).detach(), rtol=1e-4, atol=1e-5)


def test_weights_that_are_random_or_not_finite(torch: Any, tmp_path: Path) -> None:
    model = from_function(torch, lambda self, x: self.a(x) * torch.rand(3, 1, 1), torch.nn.Conv2d(2, 3, 3))
    refused(exported(torch, tmp_path, model, 1, 2, 6, 6), "layer 'a': its constant 'rand' is computed by aten.rand")
    conv = torch.nn.Conv2d(2, 3, 3)
    conv.weight.data[0, 0, 0, 0] = float("nan")
    model = torch.nn.Sequential(conv)
    refused(exported(torch, tmp_path, model, 1, 2, 6, 6), "layer '0': 1 of its 54 weight values are not finite")
