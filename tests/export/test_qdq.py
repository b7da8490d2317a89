"""Exported ONNX models: their integers against NumPy, their outputs against the float model in ONNX Runtime."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidFile, ProfilerError, UnsupportedModel
from profiler.export.qdq import QdqModel, calibration, model_file, quantized_model
from profiler.export.qdq.quantizer import activation_scale, packed, quantize_weight
from profiler.frontend import load_network
from profiler.frontend.weights import load_weights
from profiler.network.images import read_inputs
from profiler.workload import DType, Network
from tests.export.examples import bits_of

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

DATA = Path(__file__).parents[1] / "data"
Array = npt.NDArray[Any]


def run(model: Any, inputs: Mapping[str, Array], *, optimized: bool = False) -> list[Array]:
    """Operator by operator, in float32; ``optimized``: as ONNX Runtime likes it, with integer kernels where it has
    them."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model if isinstance(model, str) else model.SerializeToString()
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, dict(inputs))]


def save(path: Path, nodes: Sequence[Any], constants: Mapping[str, Array], shapes: Mapping[str, Any], *outputs: str,
         opset: int = 21) -> Path:  # fmt: skip
    """A float model with inputs of those shapes."""
    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs or ("y",)],
        [numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9 if opset < 21 else 10)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


def network_of(model: Path) -> Network:
    return load_network(str(model), 1)


def exported(
    model: Path, narrow: Sequence[str] = (), inputs: Mapping[str, Array] | None = None, **stored: str
) -> QdqModel:
    """Checked as `write` checks it."""
    made = quantized_model(model, bits_of(network_of(model), narrow, tensors=stored), inputs)
    onnx.checker.check_model(made.proto, full_check=True)
    return made


def constants_of(model: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def ops(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def images(count: int = 4, *shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, *(shape or (3, 32, 32)))).astype(np.float32)


# -- numbers ---------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(data=st.data(), bits=st.sampled_from([4, 8]))
def test_weights_per_channel(data: st.DataObject, bits: int) -> None:
    channels, rest = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    numbers = st.floats(-1e30, 1e30, allow_subnormal=True)
    weight = np.asarray(data.draw(st.lists(numbers, min_size=channels * rest, max_size=channels * rest)))
    weight = weight.reshape(channels, rest)
    made = quantize_weight(weight, bits)
    high = 2 ** (bits - 1) - 1
    assert made.scales.dtype == np.float32
    assert np.abs(made.values).max() <= high
    scales = made.scales.astype(float)[:, None]
    assert (scales > 0).all()
    assert (np.abs(made.values * scales - weight) <= scales * 0.5 * (1 + 1e-5)).all()
    large = np.abs(weight).max(axis=1) > 1e-30
    assert (np.abs(made.values).max(axis=1)[large] == high).all(), "the range is used up"
    assert (made.scales[np.abs(weight).max(axis=1) == 0] == 1).all()


@given(values=st.lists(st.integers(-8, 7), max_size=9))
def test_nibbles_are_packed_as_onnx_unpacks_them(values: list[int]) -> None:
    tensor = helper.make_tensor("t", TensorProto.INT4, [len(values)], packed(np.asarray(values, np.int8), 4), raw=True)
    assert numpy_helper.to_array(tensor).astype(int).tolist() == values


@pytest.mark.parametrize(
    ("low", "high", "dtype", "scale"),
    [
        (-1.0, 2.0, DType.INT8, 2 / 127),
        (-3.0, 2.0, DType.INT4, 3 / 7),
        (0.0, 2.0, DType.UINT8, 2 / 255),
        (0.0, 2.0, DType.UINT4, 2 / 15),
        (0.0, 0.0, DType.INT8, 0.0),
    ],
)
def test_activation_scales(low: float, high: float, dtype: DType, scale: float) -> None:
    assert activation_scale(low, high, dtype) == np.float32(scale)


# -- whole models ----------------------------------------------------------------------------------------------------


TINY = [DATA / "tiny_torch.onnx", DATA / "tiny_torchscript.onnx"]


def feed(model: Path, count: int = 4) -> dict[str, Array]:
    (name,) = (entry.name for entry in onnx.load(str(model)).graph.input)
    return {name: images(count)}


def one_by_one(model: Any, inputs: Mapping[str, Array], **options: Any) -> Array:
    ((name, batch),) = inputs.items()
    return np.concatenate([run(model, {name: image[None]}, **options)[0] for image in batch])


@pytest.mark.parametrize("model", TINY, ids=lambda p: p.stem)
def test_int8_is_close_to_the_float_model(model: Path) -> None:
    inputs = feed(model)
    made = exported(model, inputs=inputs)
    expected = one_by_one(str(model), inputs)
    assert np.linalg.norm(one_by_one(made.proto, inputs) - expected) < 0.02 * np.linalg.norm(expected)
    optimized = one_by_one(made.proto, inputs, optimized=True)
    assert np.linalg.norm(optimized - expected) < 0.05 * np.linalg.norm(expected)
    assert (made.images, made.runtime, made.upgraded_from) == (4, "ONNX Runtime", 20)
    assert model_file.opset_of(made.proto) == 21


@pytest.mark.parametrize("model", TINY, ids=lambda p: p.stem)
def test_int4_weights_are_those_of_numpy(model: Path) -> None:
    network = network_of(model)
    narrow = {layer.name for layer in network.weighted_layers[1:-1]}
    made = exported(model, sorted(narrow))
    held = constants_of(made.proto)
    for name, weights in load_weights(str(model), network).items():
        high = 7 if name in narrow else 127
        folded = weights.weight
        folded = folded[:, 0, 0] if name == "fc" else folded.transpose(0, 3, 1, 2)
        axes = tuple(range(1, folded.ndim))
        scale = (np.abs(folded).max(axis=axes) / high).astype(np.float32)
        expected = np.round(folded / scale.astype(float).reshape(-1, *[1] * len(axes)))
        tensor = held[f"{name}.weight_quantized"]
        assert tensor.data_type == (TensorProto.INT4 if name in narrow else TensorProto.INT8)
        assert np.array_equal(numpy_helper.to_array(tensor).astype(int), expected.astype(int)), name
        assert np.array_equal(numpy_helper.to_array(held[f"{name}.weight_scale"]), scale)
    assert made.weight_bits == {x.name: 4 if x.name in narrow else 8 for x in network.weighted_layers}
    assert run(made.proto, {k: x[:1] for k, x in feed(model).items()}, optimized=True)[0].shape == (1, 10)


def test_without_calibration_activations_stay_floats() -> None:
    made = exported(TINY[0])
    assert "QuantizeLinear" not in ops(made.proto)
    assert (made.activations, made.images, made.runtime) == (0, 0, "")
    inputs = feed(TINY[0])
    expected = one_by_one(str(TINY[0]), inputs)
    assert np.linalg.norm(one_by_one(made.proto, inputs) - expected) < 0.02 * np.linalg.norm(expected)


@pytest.mark.parametrize("model", TINY, ids=lambda p: p.stem)
def test_our_own_frontend_reads_the_export_back(model: Path, tmp_path: Path) -> None:
    """The same layers under the same names, with the weights that the integers stand for."""
    made = exported(model, ["layer2.conv2", "fc"], feed(model))
    path = tmp_path / "out.onnx"
    model_file.write(made.proto, path)
    before, after = network_of(model), network_of(path)
    assert [(x.name, x.workload, x.relu) for x in before.layers] == [(x.name, x.workload, x.relu) for x in after.layers]
    floats, integers = load_weights(str(model), before), load_weights(str(path), after)
    for name, weights in floats.items():
        step = np.abs(weights.weight).max(axis=(1, 2, 3)) / (7 if name in ("layer2.conv2", "fc") else 127)
        assert (np.abs(integers[name].weight - weights.weight).max(axis=(1, 2, 3)) <= step * 0.5001).all()
        np.testing.assert_allclose(integers[name].bias, weights.bias, rtol=1e-6, atol=1e-7)


def test_nothing_is_left_of_what_is_folded() -> None:
    made = exported(TINY[0])
    assert "BatchNormalization" not in ops(made.proto)
    used = {name for node in made.proto.graph.node for name in node.input}
    assert set(constants_of(made.proto)) <= used
    assert {entry.name for entry in made.proto.graph.value_info} <= used | {
        n for x in made.proto.graph.node for n in x.output
    }


# -- operators -------------------------------------------------------------------------------------------------------


def fake(x: Array, dtype: DType, low: float, high: float) -> Array:
    """Quantized and dequantized, symmetric."""
    magnitude = max(high, -low) if dtype.signed else high
    scale = np.float32(magnitude / dtype.high)
    return np.clip(np.rint(x / scale), dtype.low, dtype.high).astype(np.float32) * scale


def conv1x1(x: Array, weight: Array, bits: int) -> Array:
    high = 2 ** (bits - 1) - 1
    scale = (np.abs(weight.astype(float)).max(axis=1) / high).astype(np.float32)[:, None]
    values = np.round(weight / scale.astype(float)).astype(np.float32) * scale
    return np.einsum("oi,nihw->nohw", values, x)


def test_readers_that_differ_get_a_quantization_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    wide, narrow = rng.standard_normal((2, 4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["s", "stem"], ["r0"]),
        helper.make_node("Relu", ["r0"], ["t"]),
        helper.make_node("Conv", ["t", "a.weight"], ["ya"]),
        helper.make_node("Conv", ["t", "b.weight"], ["yb"]),
        helper.make_node("Conv", ["t", "c.weight"], ["yc"]),
    ]
    weights = {"a.weight": wide, "b.weight": narrow, "c.weight": wide}
    constants = {"stem": np.eye(3)[:, :, None, None], **{k: w[:, :, None, None] for k, w in weights.items()}}
    model = save(tmp_path / "m.onnx", nodes, constants, {"s": (2, 3, 4, 4)}, "ya", "yb", "yc")
    x = images(2, 3, 4, 4)
    made = exported(model, ["b"], {"s": x})
    assert ops(made.proto).count("QuantizeLinear") == 3, "the image, and its ReLU for a and c, and for b"
    signed = fake(x, DType.INT8, x.min(), x.max())
    image = np.maximum(conv1x1(signed, np.eye(3, dtype=np.float32), 8), 0)
    floats = np.maximum(x, 0)
    read8, read4 = (fake(image, dtype, 0, floats.max()) for dtype in (DType.UINT8, DType.UINT4))
    ya, yb, yc = run(made.proto, {"s": x})
    np.testing.assert_allclose(ya, conv1x1(read8, wide, 8), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(yb, conv1x1(read4, narrow, 4), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(ya, yc)
    kinds = {name: t.data_type for name, t in constants_of(made.proto).items() if name.endswith("zero_point")}
    assert sorted(kinds.values()) == sorted([TensorProto.INT8, TensorProto.UINT8, TensorProto.UINT4])


def test_an_addition_reads_what_is_stored(tmp_path: Path) -> None:
    eye = np.eye(3)[:, :, None, None]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["d"]),
        helper.make_node("Conv", ["d", "u"], ["e"]),
        helper.make_node("Add", ["e", "r"], ["s"], name="sum"),
        helper.make_node("MaxPool", ["s"], ["m"], kernel_shape=[2, 2]),
        helper.make_node("ReduceMean", ["m"], ["y"], keepdims=0, axes=[2, 3]),
    ]
    model = save(tmp_path / "m.onnx", nodes, {"w": eye, "v": eye, "u": eye}, {"x": (1, 3, 4, 4)}, opset=17)
    x = images(1, 3, 4, 4)
    made = exported(model, inputs={"x": x}, c="int4", s="int4")
    makers = {node.output[0]: node for node in made.proto.graph.node}
    assert makers["d"].input[0] == "r.uint8_dequantized"
    assert list(makers["s"].input) == ["e", "r.uint4_dequantized"], "what is fused into the sum is no choice"
    assert makers["m"].input[0] == "s", "a max pool is left alone"
    assert makers["y"].input[0] == "m.int4_dequantized", "behind the max pool lies what lies ahead of it"
    only_layers = exported(model, inputs={"x": x})
    assert {node.op_type for node in only_layers.proto.graph.node if "dequantized" in "".join(node.input)} == {"Conv"}


def test_a_folded_output_that_the_model_hands_out_keeps_its_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "k"], ["d"]),
        helper.make_node("Add", ["d", "k"], ["y"]),
    ]
    constants = {"w": rng.standard_normal((4, 3, 1, 1)), "k": rng.standard_normal((4, 1, 1))}
    model = save(tmp_path / "m.onnx", nodes, constants, {"x": (1, 3, 4, 4)})
    made = exported(model)
    assert ops(made.proto) == ["DequantizeLinear", "Conv", "Identity"]
    x = images(1, 3, 4, 4)
    np.testing.assert_allclose(run(made.proto, {"x": x})[0], run(str(model), {"x": x})[0], atol=0.05)


@pytest.mark.parametrize("form", ["MatMul", "Gemm", "Gemm transposed"])
def test_dense_layers_become_one_form(tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(3)
    weight, bias = rng.standard_normal((6, 4)), rng.standard_normal(4)
    op, _, transposed = form.partition(" ")
    attributes = {"transB": 1, "alpha": 0.5, "beta": 2.0} if transposed else {}
    layer = helper.make_node(op, ["f", "w"] + (["b"] if op == "Gemm" else []), ["v"], **attributes)
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), layer, helper.make_node("Add", ["v", "b"], ["y"])]
    constants = {"w": weight.T if transposed else weight, "b": bias}
    model = save(tmp_path / "m.onnx", nodes, constants, {"x": (2, 6, 1, 1)})
    x = images(2, 6, 1, 1)
    made = exported(model, inputs={"x": x})
    assert ops(made.proto)[-2:] == ["Gemm", "Identity"]
    np.testing.assert_allclose(run(made.proto, {"x": x})[0], run(str(model), {"x": x})[0], atol=0.1)


def test_old_models_are_upgraded_and_their_inputs_cleaned(tmp_path: Path) -> None:
    """Opset 9 in a file of version 3, which lists its constants among the inputs."""
    rng = np.random.default_rng(4)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "s", "s", "s", "s"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    constants = {"w": rng.standard_normal((4, 3, 3, 3)), "s": rng.uniform(0.5, 1, 4)}
    model = save(tmp_path / "m.onnx", nodes, constants, {"x": (1, 3, 6, 6)}, opset=9)
    proto = onnx.load(str(model))
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.save(proto, str(model))
    x = images(1, 3, 6, 6)
    made = exported(model, inputs={"x": x})
    assert made.upgraded_from == 9
    assert "BatchNormalization" not in ops(made.proto)
    assert [entry.name for entry in made.proto.graph.input] == ["x"]
    np.testing.assert_allclose(run(made.proto, {"x": x})[0], run(str(model), {"x": x})[0], atol=0.2)


def test_what_a_subgraph_reads_stays(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["m"], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, (1, 4, 4, 4))],
        )
        for name, op in (("then", "Neg"), ("else", "Abs"))
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "k"], ["m"]),
        helper.make_node("Relu", ["m"], ["y"]),
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("", TensorProto.BOOL, [], [True])),
        helper.make_node("If", ["yes"], ["z"], **branches),
    ]
    constants = {"w": rng.standard_normal((4, 3, 1, 1)), "k": rng.standard_normal((4, 1, 1))}
    model = save(tmp_path / "m.onnx", nodes, constants, {"x": (1, 3, 4, 4)}, "y", "z")
    network = load_network(str(model), 1, skip_unsupported=True)
    made = quantized_model(model, bits_of(network), None)
    onnx.checker.check_model(made.proto, full_check=True)
    x = images(1, 3, 4, 4)
    for ours, theirs in zip(run(made.proto, {"x": x}), run(str(model), {"x": x}), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.05)


# -- calibration -----------------------------------------------------------------------------------------------------


def scales_of(model: QdqModel) -> dict[str, float]:
    held = constants_of(model.proto)
    return {k: float(numpy_helper.to_array(t)) for k, t in held.items() if k.endswith("int8_scale")}


def test_ranges_are_those_of_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the model, and however many images it runs at once."""
    model = TINY[1]  # its batch is open
    inputs = feed(model, 5)
    expected = scales_of(exported(model, inputs=inputs))
    assert len(expected) == exported(model, inputs=inputs).activations > 5
    assert expected["image.int8_scale"] == np.float32(np.abs(inputs["image"]).max() / 127)
    monkeypatch.setattr(calibration, "AT_ONCE", 2)
    assert scales_of(exported(model, inputs=inputs)) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made = exported(model, inputs=feed(model, 2))
    assert made.runtime == "onnx.reference"
    monkeypatch.undo()
    assert scales_of(made) == pytest.approx(scales_of(exported(model, inputs=feed(model, 2))), rel=1e-4)


def conv_model(folder: Path, shape: Sequence[Any] = (2, 3, 4, 4), **constants: Array) -> Path:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"])]
    nodes.append(helper.make_node("Conv", ["r", "w"], ["y"]))
    constants.setdefault("w", np.eye(3)[:, :, None, None])
    return save(folder / "m.onnx", nodes, constants, {"x": shape})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "the inputs are none, but"),
        ({"z": images(2, 3, 4, 4)}, "the inputs are 'z', but"),
        ({"x": images(2, 3, 4, 5)}, "input 'x' has shape (2, 3, 4, 5), but"),
        ({"x": images(2, 3, 4)}, "input 'x' has shape (2, 3, 4), but"),
        ({"x": np.zeros((2, 3, 4, 4), np.int64)}, "input 'x' is int64, but"),
        ({"x": images(0, 3, 4, 4)}, "input 'x' is empty, or not finite"),
        ({"x": np.full((2, 3, 4, 4), np.nan, np.float32)}, "input 'x' is empty, or not finite"),
        ({"x": images(3, 3, 4, 4)}, "3 images are no multiple of the batch of"),
        ({"x": -np.abs(images(2, 3, 4, 4))}, "the activation 'r' is zero in all calibration images"),
        ({"x": np.full((2, 3, 4, 4), 1e-46)}, "the activation 'x' is zero in all calibration images"),
    ],
)
def test_inputs_that_do_not_fit(tmp_path: Path, inputs: dict[str, Array], message: str) -> None:
    _refused(lambda: exported(conv_model(tmp_path), inputs=inputs), message)


def test_activations_that_are_not_finite(tmp_path: Path) -> None:
    model = conv_model(tmp_path, w=np.full((3, 3, 1, 1), 1e30))
    _refused(lambda: exported(model, inputs={"x": images(2, 3, 4, 4) * 1e10}), "activation 'r' is not finite")


def test_inputs_of_another_precision_are_converted(tmp_path: Path) -> None:
    x = images(2, 3, 4, 4)
    model = conv_model(tmp_path)
    assert scales_of(exported(model, inputs={"x": x.astype(np.float64)})) == scales_of(exported(model, inputs={"x": x}))


def test_files_of_inputs(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, x=images(2))
    assert list(read_inputs(path)) == ["x"]
    _refused(lambda: read_inputs(tmp_path / "no.npz"), "cannot be read: No such file")
    np.savez(path, x=np.asarray([{}], dtype=object))
    _refused(lambda: read_inputs(path), "is not an .npz file")
    np.save(tmp_path / "in.npy", images(2))
    _refused(lambda: read_inputs(tmp_path / "in.npy"), "save it with numpy.savez")
    path.write_bytes(b"PK\x03\x04 torn")
    _refused(lambda: read_inputs(path), "is not an .npz file")


# -- files -----------------------------------------------------------------------------------------------------------


def _refused(act: Callable[[], Any], message: str) -> None:
    with pytest.raises(ProfilerError) as caught:
        act()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bits_of_another_network(tmp_path: Path) -> None:
    bits = bits_of(load_network("resnet18", 1))
    with pytest.raises(InvalidFile, match="the bits are of network 'resnet18', not of 'm'"):
        quantized_model(conv_model(tmp_path), bits, None)


def test_models_that_are_quantized_or_half(tmp_path: Path) -> None:
    for name in ("tiny_qdq", "tiny_qoperator"):
        _refused(lambda name=name: exported(DATA / f"{name}.onnx"), "is quantized already (operator ")  # type: ignore[misc]
    model = conv_model(tmp_path)
    proto = onnx.load(str(model))
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float16), "w"))
    onnx.save(proto, str(model))
    _refused(lambda: exported(model), "its weights are float16; export the model in float32")


def test_weights_beyond_float32(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Mul", ["c", "k"], ["y"])]
    constants = {"w": np.full((3, 3, 1, 1), 1e30), "k": np.full((3, 1, 1), 1e30)}
    model = save(tmp_path / "m.onnx", nodes, constants, {"x": (2, 3, 4, 4)})
    _refused(lambda: exported(model), "layer 'c': its folded weights or biases are beyond float32")


def test_a_failed_upgrade_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save(tmp_path / "m.onnx", [helper.make_node("Conv", ["x", "w"], ["y"])], {"w": np.ones((2, 3, 1, 1))},
                 {"x": (1, 3, 4, 4)}, opset=13)  # fmt: skip

    def fails(*_: Any) -> Any:
        raise RuntimeError("No Adapter From Version 13 for Conv\nmore")

    monkeypatch.setattr("onnx.version_converter.convert_version", fails)
    _refused(
        lambda: exported(model), "cannot upgrade the model from 13 (No Adapter From Version 13 for Conv); export it"
    )

    def renames(proto: Any, _: int) -> Any:
        proto.graph.node[0].output[0] = "other"
        return proto

    monkeypatch.setattr("onnx.version_converter.convert_version", renames)
    _refused(lambda: exported(model), "layer 'y' is not found in the model that onnx upgraded")


def test_external_data_in_and_out(tmp_path: Path) -> None:
    proto = onnx.load(str(TINY[0]))
    (tmp_path / "in").mkdir()
    model = tmp_path / "in" / "tiny_torch.onnx"
    onnx.save(proto, str(model), save_as_external_data=True, location="w.bin", size_threshold=100)
    inputs = feed(TINY[0], 2)
    out = tmp_path / "out" / "big.onnx"
    out.parent.mkdir()
    made = exported(model, ["fc"], inputs)
    files = model_file.write(made.proto, out, external_above=100)
    assert files == (out, out.with_name("big.onnx.data"))
    assert sorted(path.name for path in out.parent.iterdir()) == ["big.onnx", "big.onnx.data"]
    whole = exported(TINY[0], ["fc"], inputs)
    np.testing.assert_array_equal(one_by_one(str(out), inputs), one_by_one(whole.proto, inputs))
    assert model_file.is_export(out)
    assert not model_file.is_export(TINY[0])
    assert not model_file.is_export(out.with_name("big.onnx.data"))
    out.unlink()
    _refused(lambda: model_file.write(made.proto, out, external_above=100), "is there without the model")
    (model.parent / "w.bin").unlink()
    _refused(lambda: exported(model, inputs=inputs), "w.bin")


def test_the_same_bits_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        model_file.write(exported(TINY[1], ["fc"], feed(TINY[1])).proto, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@settings(max_examples=40, deadline=None)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
def test_damaged_models_never_surprise(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[float, int]]
) -> None:
    content = bytearray(TINY[1].read_bytes())
    for place, bits in flips:
        content[int(place * len(content))] ^= bits
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "m.onnx").write_bytes(content)
    refusal = ""
    try:
        network = load_network(str(folder / "m.onnx"), 1, skip_unsupported=True)
        made = quantized_model(folder / "m.onnx", bits_of(network), None)
        model_file.write(made.proto, folder / "out.onnx")
    except ProfilerError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert (folder / "out.onnx").exists() != bool(refusal)


def test_a_model_that_the_checker_refuses_is_not_written(tmp_path: Path) -> None:
    made = exported(TINY[0])
    made.proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(UnsupportedModel, match="onnx refuses the exported model"):
        model_file.write(made.proto, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())
