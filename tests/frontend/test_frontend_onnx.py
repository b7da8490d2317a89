"""ONNX files: real exports, models built here operator by operator, and files that are hostile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from profiler.errors import UnsupportedModel
from profiler.frontend import load_network
from profiler.workload import Network, Op
from tests.frontend.average_pools import averages_of_ones

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

DATA = Path(__file__).parents[1] / "data"
Check = Callable[[Network], None]
REAL = ("tiny_torch", "tiny_torchscript", "tiny_qdq", "tiny_qoperator")


def weights(name: str, *shape: int, kind: int = TensorProto.FLOAT, values: Sequence[float] | None = None) -> Any:
    count = 1
    for extent in shape:
        count *= extent
    return helper.make_tensor(name, kind, shape, values if values is not None else [0] * count)


def model(
    nodes: Sequence[Any],
    constants: Sequence[Any] = (),
    *,
    image: Sequence[int | str | None] | None = ("n", 3, 16, 16),
    output: str = "y",
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    inputs: Sequence[Any] = (),
) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kind, image), *inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        list(constants),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("foreign", 1)])


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), [output], **attributes)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Network]:
    def read(proto: Any, batch: int = 1, **options: Any) -> Network:
        path = tmp_path / "model.onnx"
        path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
        return load_network(str(path), batch, **options)

    return read


@pytest.fixture
def refuses(read: Callable[..., Network]) -> Callable[..., None]:
    def refuses(proto: Any, message: str, **options: Any) -> None:
        with pytest.raises(UnsupportedModel, match=message) as caught:
            read(proto, **options)
        assert "\n" not in str(caught.value)
        assert "model.onnx" in str(caught.value)

    return refuses


# -- real files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_files_from_other_tools_hold_one_network(name: str, check_consistent: Check) -> None:
    network = load_network(str(DATA / f"{name}.onnx"), 4)
    check_consistent(network)
    assert network.name == name
    assert network.macs == 4 * 440_816  # by hand below
    assert network.parameters == 6_786  # batch normalization was folded when it was exported
    assert network.skipped == ()
    assert [sorted(tie) for tie in network.ties()] == [["layer2.conv1", "layer2.downsample.0"]]
    assert set(network.fusions().values()) == {"layer1.conv2", "layer2.conv2"}
    reference = load_network(str(DATA / "tiny_torch.onnx"), 4)
    assert network.multiplicities() == reference.multiplicities()
    names = {"conv1", "layer1.conv1", "layer1.conv2", "layer2.conv1", "layer2.conv2", "layer2.downsample.0"}
    assert {layer.name for layer in network.weighted_layers} == names | {"depthwise", "branch", "fc"}
    assert {layer.name for layer in network.weighted_layers if not layer.relu} == {
        "layer1.conv2",
        "layer2.conv2",
        "layer2.downsample.0",
        "fc",
    }
    signed = {t.name for t in network.tensors if t.signed}
    assert signed == {network.layers[0].inputs[0]} | {x.output for x in network.weighted_layers if not x.relu}


def test_macs_of_the_tiny_model_by_hand() -> None:
    by_hand = 16 * 16 * 8 * 147  # conv1
    by_hand += 2 * 8 * 8 * 8 * 72 + 4 * 4 * 16 * (72 + 144 + 8)  # both blocks
    by_hand += 4 * 4 * 16 * 9 + 4 * 4 * 8 * 48 + 24 * 10  # depthwise, branch, fc
    assert by_hand == 440_816


def test_the_batch_of_the_file_does_not_matter() -> None:
    fixed, symbolic = (load_network(str(DATA / f"{name}.onnx"), 8) for name in REAL[:2])
    assert {layer.workload.batch for layer in fixed.layers} == {8}
    assert fixed.multiplicities() == symbolic.multiplicities()


# -- shapes --------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_shapes_are_those_of_onnx_runtime(read: Callable[..., Network], data: st.DataObject) -> None:
    runtime = pytest.importorskip("onnxruntime")
    np = pytest.importorskip("numpy")
    op = data.draw(st.sampled_from(["Conv", "MaxPool", "AveragePool"]))
    kernel, stride, dilation = (data.draw(st.tuples(st.integers(1, top), st.integers(1, top))) for top in (4, 3, 2))
    auto_pad = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "auto_pad": auto_pad}
    if auto_pad == "NOTSET":
        attributes["pads"] = [data.draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4)]
    if auto_pad == "NOTSET" and op != "AveragePool":
        attributes["dilations"] = dilation
    if op != "Conv" and auto_pad == "NOTSET":
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    groups = data.draw(st.sampled_from([1, 2, 4])) if op == "Conv" else 1
    if op == "Conv":
        attributes["group"] = groups
    height, width = data.draw(st.tuples(st.integers(3, 14), st.integers(3, 14)))
    constants = [weights("w", 8, 4 // groups, *kernel)] if op == "Conv" else []
    pads, steps = attributes.get("pads", (0, 0, 0, 0)), attributes.get("dilations", (1, 1))
    for axis, size in enumerate((height, width)):  # the runtime lets some windows pass that do not fit
        span = steps[axis] * (kernel[axis] - 1) + 1
        assume("SAME" in auto_pad or span <= size + pads[axis] + pads[axis + 2])
    proto = model([node(op, "x w" if op == "Conv" else "x", **attributes)], constants, image=(1, 4, height, width))
    proto.ir_version = 8
    runtime.set_default_logger_severity(4)
    try:
        session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {"x": np.zeros((1, 4, height, width), np.float32)})
    except Exception:  # the runtime has limits of its own, as on padding that it would have to make negative
        assume(False)
        return
    (layer,) = read(proto).layers
    _, out_height, out_width, channels = layer.workload.output_shape
    assert (1, channels, out_height, out_width) == expected.shape
    assert layer.workload.groups == groups


def test_asymmetric_attributes_arrive(read: Callable[..., Network]) -> None:
    attributes: dict[str, Any] = {"strides": [2, 1], "pads": [1, 2, 3, 0], "dilations": [1, 2]}
    (layer,) = read(model([node("Conv", "x w b", **attributes)], [weights("w", 5, 3, 3, 2), weights("b", 5)])).layers
    w = layer.workload
    assert (w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w) == (3, 2, 2, 1, 1, 2)
    assert (w.pad_top, w.pad_left, w.pad_bottom, w.pad_right) == (1, 2, 3, 0)
    assert layer.parameters == 5 * 3 * 3 * 2 + 5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_averages_are_those_of_onnx_runtime(read: Callable[..., Network], data: st.DataObject) -> None:
    """Of an input of ones, which tells what each sum was divided by."""
    runtime = pytest.importorskip("onnxruntime")
    np = pytest.importorskip("numpy")
    quantized = data.draw(st.booleans())
    kernel, stride = (data.draw(st.tuples(st.integers(1, top), st.integers(1, top))) for top in (4, 3))
    auto_pad = data.draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER"]))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "auto_pad": auto_pad}
    attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    counting = data.draw(st.sampled_from([None, 0, 1]))
    if counting is not None:
        attributes["count_include_pad"] = counting
    pads, dilation = [0, 0, 0, 0], (1, 1)
    if auto_pad == "NOTSET":
        pads = attributes["pads"] = [data.draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4)]
        if not quantized:
            dilation = attributes["dilations"] = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    size = data.draw(st.tuples(st.integers(3, 9), st.integers(3, 9)))
    for axis in range(2):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        assume(auto_pad != "NOTSET" or span <= size[axis] + pads[axis] + pads[axis + 2])
    proto = _average_pool(quantized, size, attributes)
    runtime.set_default_logger_severity(4)
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    one = np.array(255, np.uint8) if quantized else np.array(1, np.float32)
    (expected,) = session.run(None, {"x": np.broadcast_to(one, (1, 1, *size))})
    (layer,) = read(proto).layers
    found = averages_of_ones(layer) * float(one)
    assert found == pytest.approx(expected[0, 0].astype(np.float64), abs=0.501 if quantized else 1e-6, nan_ok=True)


def _average_pool(quantized: bool, size: tuple[int, int], attributes: dict[str, Any]) -> Any:
    """One operator over one channel; the quantized one (uint8) changes no scale."""
    kind = TensorProto.UINT8 if quantized else TensorProto.FLOAT
    if quantized:
        operator = node("QLinearAveragePool", "x s z s z", domain="com.microsoft", **attributes)
    else:
        operator = node("AveragePool", "x", **attributes)
    graph = helper.make_graph(
        [operator],
        "g",
        [helper.make_tensor_value_info("x", kind, (1, 1, *size))],
        [helper.make_tensor_value_info("y", kind, None)],
        [weights("s", values=[1]), weights("z", kind=TensorProto.UINT8)] if quantized else [],
    )
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize(
    ("op", "attributes", "padding", "counted"),
    [
        ("AveragePool", {}, (1, 2, 1, 0), (0, 0, 0, 0)),
        ("AveragePool", {"count_include_pad": 0}, (1, 2, 1, 0), (0, 0, 0, 0)),
        ("AveragePool", {"count_include_pad": 1}, (1, 2, 1, 0), (1, 2, 1, 0)),
        ("AveragePool", {"count_include_pad": 1, "auto_pad": "SAME_UPPER"}, (0, 0, 1, 1), (0, 0, 1, 1)),
        ("AveragePool", {"count_include_pad": 1, "auto_pad": "SAME_LOWER"}, (1, 1, 0, 0), (1, 1, 0, 0)),
        ("AveragePool", {"count_include_pad": 0, "auto_pad": "SAME_LOWER"}, (1, 1, 0, 0), (0, 0, 0, 0)),
        # Of 16 rows the last window holds one, one of the padding, and one that ceil_mode adds; of 16 columns two, and
        # one that ceil_mode adds.
        ("AveragePool", {"count_include_pad": 1, "ceil_mode": 1}, (1, 2, 2, 1), (1, 2, 1, 0)),
        ("AveragePool", {"ceil_mode": 1}, (1, 2, 2, 1), (0, 0, 0, 0)),
        # A window that would start in the padding below is dropped, and two rows of padding with it.
        ("AveragePool", {"count_include_pad": 1, "ceil_mode": 1, "pads": [1, 2, 4, 0]}, (1, 2, 2, 1), (1, 2, 2, 0)),
        ("QLinearAveragePool", {"count_include_pad": 1, "ceil_mode": 1}, (1, 2, 2, 1), (1, 2, 2, 1)),
        ("QLinearAveragePool", {"ceil_mode": 1}, (1, 2, 2, 1), (0, 0, 0, 0)),
        ("MaxPool", {"ceil_mode": 1}, (1, 2, 2, 1), (0, 0, 0, 0)),
        ("MaxPool", {"count_include_pad": 1}, (1, 2, 1, 0), (0, 0, 0, 0)),  # which has no such attribute
    ],
)
def test_padding_that_counts_by_hand(
    read: Callable[..., Network], op: str, attributes: dict[str, Any], padding: Any, counted: Any
) -> None:
    window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], **attributes}
    if "auto_pad" not in attributes:
        window.setdefault("pads", [1, 2, 1, 0])
    inputs = "x s z s z" if op == "QLinearAveragePool" else "x"
    constants = [weights("s", values=[1]), weights("z", kind=TensorProto.UINT8)]
    (layer,) = read(model([node(op, inputs, **window)], constants)).layers
    w = layer.workload
    assert (w.pad_top, w.pad_left, w.pad_bottom, w.pad_right) == padding
    assert layer.counted_pads == counted


# -- folding and fusing --------------------------------------------------------------------------------------

CONV = node("Conv", "x w", "c")
W = weights("w", 4, 3, 1, 1)
BN = [weights(name, 4) for name in ("scale", "shift", "mean", "var")]


def test_batch_norm_bias_and_relu_become_one_layer(read: Callable[..., Network]) -> None:
    nodes = [
        CONV,
        node("BatchNormalization", "c scale shift mean var", "b"),
        node("Mul", "b factor", "m"),
        node("Add", "m bias", "a"),
        node("Clip", "a low high"),
    ]
    constants = [W, *BN, weights("bias", 4, 1, 1), weights("factor"), weights("low"), weights("high", values=[6])]
    (layer,) = read(model(nodes, constants)).layers
    assert layer.relu
    assert layer.parameters == 12 + 2 * 4 + 4 + 1


def test_relu_moves_across_a_max_pool(read: Callable[..., Network]) -> None:
    nodes = [CONV, node("MaxPool", "c", "p", kernel_shape=[2, 2]), node("Relu", "p")]
    network = read(model(nodes, [W]))
    assert [layer.relu for layer in network.layers] == [True, False]
    assert [t.signed for t in network.tensors] == [True, False, False]


def test_relu_behind_pools_and_concat_is_the_type_that_they_store(
    read: Callable[..., Network], check_consistent: Check
) -> None:
    nodes = [CONV, node("Concat", "c x", "k", axis=1), node("Relu", "k", "r"), node("GlobalAveragePool", "r")]
    network = read(model(nodes, [W]))
    assert not network.tensor("k").signed
    assert network.tensor("c").signed
    assert [layer.name for layer in network.layers] == ["c", "k.0", "k.1", "y"]
    check_consistent(network)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([CONV, node("Relu", "c", "r"), node("Add", "c r")], "Relu .*fused only"),
        ([CONV, node("MaxPool", "c", "p", kernel_shape=[1, 1]), node("Relu", "p", "r"), node("Add", "c r")], "Relu"),
        ([CONV, node("BatchNormalization", "c scale shift mean var", "b"), node("Add", "b c")], "reads too"),
        ([CONV, node("Relu", "c", "r"), node("BatchNormalization", "r scale shift mean var")], "folded only"),
        ([node("Relu", "x")], "fused only"),
        ([CONV, node("Clip", "c", min=1.0, max=2.0)], "clips from another value"),
        ([CONV, node("Add", "c wide")], "not one value per channel"),
    ],
)
def test_what_cannot_be_fused_is_refused(refuses: Callable[..., None], nodes: list[Any], message: str) -> None:
    opset = 10 if any(n.op_type == "Clip" for n in nodes) else 17
    refuses(model(nodes, [W, *BN, weights("wide", 16)], opset=opset), message)


def test_readers_behind_identities_count(refuses: Callable[..., None], read: Callable[..., Network]) -> None:
    nodes = [CONV, node("Identity", "c", "i"), node("Dropout", "i", "d"), node("Relu", "d")]
    assert read(model(nodes, [W])).layers[0].relu
    refuses(model([*nodes[:3], node("Relu", "d", "r"), node("Add", "i r")], [W]), "fused only")


def test_quantization_that_stores_nothing_negative_is_a_relu(read: Callable[..., Network]) -> None:
    for kind, zero, relu in (
        (TensorProto.UINT8, 0, True),
        (TensorProto.INT8, -128, True),
        (TensorProto.INT8, 0, False),
    ):
        nodes = [CONV, node("QuantizeLinear", "c s z", "q"), node("DequantizeLinear", "q s z")]
        network = read(model(nodes, [W, weights("s", values=[1]), weights("z", kind=kind, values=[zero])]))
        assert [layer.relu for layer in network.layers] == [relu]
        assert network.tensor("c").signed is not relu


def test_dequantized_weights_are_weights(read: Callable[..., Network]) -> None:
    nodes = [
        node("DequantizeLinear", "wq s z", "wd"),
        node("QuantizeLinear", "x s z", "xq"),
        node("DequantizeLinear", "xq s z", "xd"),
        node("Conv", "xd wd"),
    ]
    constants = [weights("s", values=[1]), weights("z", kind=TensorProto.INT8)]
    network = read(model(nodes, [weights("wq", 4, 3, 3, 3, kind=TensorProto.INT8), *constants]))
    assert network.layers[0].parameters == 4 * 27
    assert network.layers[0].inputs == ("x",)


def test_an_input_of_unsigned_type_is_unsigned(read: Callable[..., Network]) -> None:
    nodes = [node("DequantizeLinear", "x s z", "d"), node("Conv", "d w")]
    constants = [W, weights("s", values=[1]), weights("z", kind=TensorProto.UINT8)]
    assert not read(model(nodes, constants, kind=TensorProto.UINT8)).tensor("x").signed
    assert read(model([node("Conv", "x w")], [W])).tensor("x").signed


# -- dense layers and reshapes -------------------------------------------------------------------------------

SHAPED = {
    "Flatten": [node("Flatten", "g", "f")],
    "Reshape": [node("Reshape", "g target", "f")],
    "Squeeze": [node("Squeeze", "g axes", "f")],
    "computed": [
        node("Shape", "g", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n zeros", "u"),
        node("Concat", "u minus", "t", axis=0),
        node("Reshape", "g t", "f"),
    ],
}


def _ints(name: str, *values: int, scalar: bool = False) -> Any:
    return weights(name, *([] if scalar else [len(values)]), kind=TensorProto.INT64, values=values)


@pytest.mark.parametrize("how", list(SHAPED))
@pytest.mark.parametrize("dense", ["Gemm", "MatMul"])
def test_every_way_to_a_dense_layer(
    read: Callable[..., Network], how: str, dense: str, check_consistent: Check
) -> None:
    last = [node("Gemm", "f v b", transB=1)] if dense == "Gemm" else [node("MatMul", "f v", "m"), node("Add", "m b")]
    matrix = weights("v", 10, 3) if dense == "Gemm" else weights("v", 3, 10)
    constants = [matrix, weights("b", 10), _ints("target", 0, -1), _ints("axes", 2, 3), _ints("minus", -1)]
    constants += [_ints("zero", 0, scalar=True), _ints("zeros", 0)]
    network = read(model([node("GlobalAveragePool", "x", "g"), *SHAPED[how], *last], constants), 2)
    pool, fc = network.layers
    assert (pool.workload.op, pool.workload.kernel_h) == (Op.AVG_POOL, 16)
    assert fc.workload.input_shape == (2, 1, 1, 3)
    assert fc.workload.out_channels == 10
    assert fc.parameters == 40
    check_consistent(network)


def test_flattening_an_image_keeps_its_tensor(read: Callable[..., Network], check_consistent: Check) -> None:
    network = read(model([node("Flatten", "x", "f"), node("MatMul", "f v")], [weights("v", 768, 5)]))
    assert network.layers[0].inputs == ("x",)
    assert network.layers[0].workload.in_channels == 768
    check_consistent(network)


def test_mean_over_height_and_width_is_a_pool(read: Callable[..., Network]) -> None:
    for nodes in (
        [node("ReduceMean", "x", "f", axes=[2, 3], keepdims=0), node("MatMul", "f v")],
        [node("ReduceMean", "x", "k", axes=[-1, -2]), node("Conv", "k c")],
    ):
        network = read(model(nodes, [weights("v", 3, 5), weights("c", 5, 3, 1, 1)]))
        assert network.layers[0].workload.op is Op.AVG_POOL
        assert len(network.layers) == 2


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Reshape", "x target")], "only flattening"),
        ([node("Reshape", "x merged")], "changes the batch|only flattening"),
        ([node("Reshape", "x halves", "r"), node("MatMul", "r v")], "changes the batch"),
        ([node("MatMul", "x square")], "last dimension"),
        ([node("Transpose", "x", perm=[0, 1, 3, 2])], "reorders"),
        ([node("Flatten", "x", axis=2)], "flattens the batch"),
        ([node("ReduceMean", "x", axes=[1])], "mean over other dimensions"),
        ([node("Flatten", "x", "f"), node("Gemm", "f v", transA=1)], "transposes its activations"),
        ([node("Flatten", "x", "f"), node("Gemm", "f square", transB=1)], "16 input channels, but it reads 768"),
    ],
)
def test_reshapes_that_move_data_are_refused(refuses: Callable[..., None], nodes: list[Any], message: str) -> None:
    constants = [_ints("target", 0, 6, 8, 16), _ints("merged", -1, 16), _ints("halves", 2, -1)]
    constants += [weights("v", 768, 5), weights("square", 16, 16)]
    refuses(model(nodes, constants), message)


def test_channels_last_input_of_tensorflow(read: Callable[..., Network]) -> None:
    nodes = [node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w")]
    assert read(model(nodes, [W], image=("n", 20, 10, 3))).layers[0].workload.input_shape == (1, 20, 10, 3)


# -- what is not supported -----------------------------------------------------------------------------------


def test_an_unsupported_operator_is_named_or_skipped(
    refuses: Callable[..., None], read: Callable[..., Network], check_consistent: Check
) -> None:
    proto = model(
        [
            CONV,
            helper.make_node("Softplus", ["c"], ["s"], name="odd one"),
            node("Conv", "s v", "d"),
            node("Softmax", "d"),
        ],
        [W, weights("v", 2, 4, 3, 3)],
    )
    refuses(proto, r"operator Softplus \('odd one'\): this operator is not supported \(--skip-unsupported")
    network = read(proto, skip_unsupported=True)
    assert network.skipped == ("operator Softplus ('odd one')", "operator Softmax (that makes 'y')")
    assert [layer.name for layer in network.layers] == ["c", "d"]
    assert network.layers[1].workload.input_shape == (1, 16, 16, 4)
    assert network.tensor("s").signed
    assert network.outputs == ("y",)  # which no layer writes: d is not what the model hands out
    check_consistent(network)


def test_behind_an_unknown_shape_everything_is_left_out(read: Callable[..., Network]) -> None:
    nodes = [CONV, node("Mystery", "c", "m", domain="foreign"), node("Conv", "m v", "d"), node("Concat", "d c", axis=1)]
    network = read(model(nodes, [W, weights("v", 2, 4, 3, 3)]), skip_unsupported=True)
    assert [layer.name for layer in network.layers] == ["c"]
    assert network.outputs == ()
    assert len(network.skipped) == 3
    assert network.skipped[0] == "operator foreign.Mystery (that makes 'm')"


def test_an_output_that_is_added_too_keeps_its_convolution(
    read: Callable[..., Network], check_consistent: Check
) -> None:
    nodes = [CONV, node("Conv", "x w", "d"), node("Add", "c d")]
    assert read(model(nodes, [W])).fusions() == {"y": "c"}
    proto = model(nodes, [W])
    proto.graph.output.add().CopyFrom(helper.make_tensor_value_info("c", TensorProto.FLOAT, None))
    network = read(proto)
    check_consistent(network)
    assert network.outputs == ("y", "c")
    assert network.fusions() == {"y": "d"}


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (model([node("Conv", "x w")], [weights("w", 4, 3, 3)], image=(1, 3, 9)), "1 spatial dimensions"),
        (model([node("Conv", "x w")], [weights("w", 4, 3, 3, 3, 3)], image=(1, 3, 9, 9, 9)), "3 spatial dimensions"),
        (model([node("ConvTranspose", "x w")], [weights("w", 3, 4, 3, 3)]), "operator ConvTranspose"),
        (model([node("Conv", "x w")], [weights("w", 4, 5, 3, 3)]), "for 5 input channels, but it reads 3"),
        (model([node("Conv", "x w", kernel_shape=[5, 5])], [weights("w", 4, 3, 3, 3)]), "contradicts its weights"),
        (model([node("Conv", "x w")], [weights("w", 4, 3, 17, 3)]), "does not fit"),
        (model([node("Conv", "x w", group=2)], [weights("w", 3, 2, 1, 1)], image=(1, 4, 9, 9)), "groups do not divide"),
        (model([node("Conv", "x w", strides=[0, 1])], [W]), "at least 1"),
        (model([node("Conv", "x w", pads=[-1, 0, 0, 0])], [W]), "at least 0"),
        (model([node("Conv", "x w", auto_pad="ODD")], [W]), "auto_pad"),
        (model([node("Conv", "x w", strides=1.5)], [W]), "malformed"),
        (model([node("Conv", "x")]), "not constants"),
        (model([node("Conv", "w w")], [W], output="z"), "nothing defines|no outputs|no layer"),
        (model([node("Concat", "x x", axis=2)]), "along axis 2"),
        (model([node("Sum", "x x x")]), "sums 3 tensors"),
        (model([node("Mul", "x x")]), "between two activations"),
        (model([CONV, node("MaxPool", "c", "p", kernel_shape=[2, 2]), node("Add", "c p")], [W]), "different shapes"),
        (
            model(
                [CONV, helper.make_node("MaxPool", ["c"], ["y", "i"], kernel_shape=[1, 1]), node("Cast", "i", "j")], [W]
            ),
            "^$",
        ),
    ],
)
def test_operators_that_have_no_kernel(
    refuses: Callable[..., None], read: Callable[..., Network], proto: Any, message: str
) -> None:
    if message == "^$":  # the indices of a pool that no output needs
        assert len(read(proto).layers) == 2
        return
    refuses(proto, message)


def test_names_are_unique_and_printable(read: Callable[..., Network]) -> None:
    nodes = [
        helper.make_node("Conv", [a, "w"], [b], name=name)
        for a, b, name in (
            ("x", "a", "same"),
            ("a", "b", "same"),
            ("b", "c", "same_1"),
            ("c", "d", "two\nlines"),
            ("d", "y", ""),
        )
    ]
    network = read(model(nodes, [weights("w", 3, 3, 1, 1)]))
    assert [layer.name for layer in network.layers] == ["same", "same_1", "same_1_1", "two_lines", "y"]


def test_layers_are_called_after_their_weights(read: Callable[..., Network]) -> None:
    nodes = [node("Conv", "x a.0.weight", "b"), node("Conv", "b a.0.weight")]
    assert [x.name for x in read(model(nodes, [weights("a.0.weight", 3, 3, 1, 1)])).layers] == ["a.0", "a.0_1"]


# -- hostile files -------------------------------------------------------------------------------------------


def test_files_that_are_something_else(refuses: Callable[..., None]) -> None:
    for content in (b"", b"\x00" * 64, b"not an onnx file\n", b"\xff" * 1000, b"PK\x03\x04"):
        refuses(content, "not an ONNX")


def _one_line_at_most(read: Callable[..., Network], check_consistent: Check, content: bytes, **options: Any) -> None:
    """The file is read, as a network that fits together, or refused in one line; nothing else happens."""
    try:
        network = read(content, **options)
    except UnsupportedModel as error:
        message = str(error)
    else:
        message = ""
        check_consistent(network)
    assert "\n" not in message


def test_truncated_files_never_surprise(read: Callable[..., Network], check_consistent: Check) -> None:
    whole = (DATA / "tiny_torchscript.onnx").read_bytes()
    for length in range(1, len(whole), 997):
        _one_line_at_most(read, check_consistent, whole[:length])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(REAL), skip=st.booleans())
def test_damaged_files_never_surprise(
    read: Callable[..., Network], check_consistent: Check, data: st.DataObject, name: str, skip: bool
) -> None:
    content = bytearray((DATA / f"{name}.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _one_line_at_most(read, check_consistent, bytes(content), skip_unsupported=skip)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "input 'x'.*shape is not known"),
        ((), "input 'x'.*shape is not known"),
        (("n", 3, "h", "w"), r"zero or open: batchx3x\?x\?.*fixed NCHW size"),
        (("n", 3, 0, 16), "zero or open"),
        (("n", 3, -5, 16), "zero or open"),
        (("n", 3, 2**40, 2**40), "more than 2147483647 elements"),
        (("n", 3, 16), "3 dimensions"),
    ],
)
def test_inputs_without_a_usable_shape(refuses: Callable[..., None], image: Any, message: str) -> None:
    refuses(model([node("Conv", "x w")], [W], image=image), message)


def test_weights_of_impossible_size(refuses: Callable[..., None]) -> None:
    for dims in ((2**62, 3, 1, 1), (0, 3, 1, 1), (-4, 3, 1, 1), (4, 3, 2**40, 1)):
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
        refuses(model([node("Conv", "x w", pads=[0, 0, 0, 0])], [tensor]), "w|elements|empty|fit")


def test_a_batch_too_big_for_the_index_is_refused(refuses: Callable[..., None]) -> None:
    refuses(model([node("Conv", "x w")], [W]), "elements", batch=2**40)


def test_external_weights_are_not_needed(read: Callable[..., Network]) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(4, 3, 3, 3), data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="nowhere.bin")
    assert read(model([node("Conv", "x w")], [tensor])).layers[0].parameters == 108


def test_order_and_cycles(refuses: Callable[..., None], read: Callable[..., Network]) -> None:
    unsorted = [node("Relu", "c"), CONV]
    assert [layer.relu for layer in read(model(unsorted, [W])).layers] == [True]
    w = weights("w", 3, 3, 1, 1)
    refuses(model([node("Add", "x b", "a"), node("Conv", "a w", "b"), node("Relu", "b")], [w]), "cycle")
    refuses(model([node("Add", "x y")]), "cycle")
    refuses(model([CONV, CONV, node("Relu", "c")], [W]), "defined twice")
    refuses(model([node("Conv", "ghost w")], [W]), "'ghost', which nothing defines")
    assert len(read(model([CONV, node("Relu", "c"), node("Softmax", "c", "dead")], [W])).layers) == 1


def test_opsets(refuses: Callable[..., None], read: Callable[..., Network]) -> None:
    for opset in (999, 6, 0, -1):
        refuses(model([node("Conv", "x w")], [W], opset=opset), f"opset {opset} is not supported")
    proto = model([node("Conv", "x w")], [W])
    del proto.opset_import[:]
    refuses(proto, "does not say its opset")


def test_a_model_without_layers_or_outputs(refuses: Callable[..., None]) -> None:
    refuses(model([node("Identity", "x")]), "no layer")
    proto = model([CONV], [W])
    del proto.graph.output[:]
    refuses(proto, "no outputs")
    del proto.graph.node[:]
    refuses(proto, "no graph with nodes")


def test_local_functions_are_inlined(read: Callable[..., Network]) -> None:
    body = helper.make_function(
        "own",
        "Act",
        ["a", "w"],
        ["b"],
        [node("Conv", "a w", "t"), node("Relu", "t", "b")],
        [helper.make_opsetid("", 17)],
    )
    proto = model([node("Act", "x w", domain="own")], [W])
    proto.functions.append(body)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    (layer,) = read(proto).layers
    assert layer.relu


def test_without_onnx_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(UnsupportedModel, match=r"pip install 'lowbit-profiler\[onnx\]'"):
        load_network(str(tmp_path / "model.onnx"), 1)
