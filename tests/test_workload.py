"""Workloads, specs and networks: arithmetic against counting by hand, keys, and what is derived from the graph."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidWorkload
from profiler.workload import (
    INT4,
    INT8,
    PRECISIONS,
    DType,
    Epilogue,
    KernelSpec,
    Layer,
    Network,
    Op,
    Precision,
    Tensor,
    Workload,
    distinct,
)

small = st.integers(1, 5)
pads = st.integers(0, 3)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    op = draw(st.sampled_from(Op))
    batch, height, width = draw(small), draw(small), draw(small)
    channels, out = draw(small), draw(small)
    try:
        if op in (Op.CONV2D, Op.MAX_POOL, Op.AVG_POOL):
            window = {
                n: draw(small) for n in ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w")
            }
            window |= {n: draw(pads) for n in ("pad_top", "pad_left", "pad_bottom", "pad_right")}
            groups = draw(st.integers(1, 3)) if op is Op.CONV2D else 1
            out = out * groups if op is Op.CONV2D else channels * groups
            return Workload(op, batch, height, width, channels * groups, out, groups=groups, **window)
        if op is Op.DENSE:
            return Workload(op, batch, 1, 1, channels, out)
        return Workload(op, batch, height, width, channels, channels + (out if op is Op.CONCAT else 0))
    except InvalidWorkload:
        assume(False)
        raise


@st.composite
def specs(draw: st.DrawFn) -> KernelSpec:
    workload = draw(workloads())
    low_bit = st.sampled_from([DType.INT4, DType.UINT4, DType.INT8, DType.UINT8])
    weight, second, epilogue, output = None, None, Epilogue.REQUANT, draw(low_bit)
    source = draw(low_bit)
    if workload.op.has_weights:
        weight, epilogue = draw(low_bit), draw(st.sampled_from(Epilogue))
        second = draw(low_bit) if epilogue.adds else None
        output = output if epilogue.requantizes else DType.INT32
    elif workload.op is Op.ADD:
        second, source = draw(low_bit), draw(st.sampled_from([source, DType.INT32]))
    elif workload.op is Op.MAX_POOL:
        epilogue, output = Epilogue.NONE, source
    layouts = draw(st.sampled_from([("nhwc", "nhwc"), ("nchw", "nhwc"), ("nhwc", "nchw")]))
    return KernelSpec(workload, source, output, weight, second, epilogue, *layouts)


# -- workloads ---------------------------------------------------------------------------------------------------------


def test_resnet_stem_by_hand() -> None:
    stem = Workload(Op.CONV2D, 8, 224, 224, 3, 64, 7, 7, 2, 2, 3, 3, 3, 3)
    assert stem.output_shape == (8, 112, 112, 64)
    assert stem.macs == 8 * 112 * 112 * 64 * 147
    assert stem.weights == 9408
    assert stem.weight_shape == (64, 7, 7, 3)
    assert stem.text == "conv2d_n8_224x224x3_o64_k7x7_s2x2_p3.3.3.3"


@settings(max_examples=150)
@given(workloads())
def test_output_extents_equal_the_number_of_window_positions(w: Workload) -> None:
    def positions(extent: int, before: int, after: int, kernel: int, stride: int, dilation: int) -> int:
        last = dilation * (kernel - 1)
        return len([s for s in range(0, extent + before + after, stride) if s + last < extent + before + after])

    assert w.out_height == positions(w.in_height, w.pad_top, w.pad_bottom, w.kernel_h, w.stride_h, w.dilation_h)
    assert w.out_width == positions(w.in_width, w.pad_left, w.pad_right, w.kernel_w, w.stride_w, w.dilation_w)


@given(workloads())
def test_macs_count_one_product_per_weight_and_output_pixel(w: Workload) -> None:
    per_pixel = sum(w.kernel_h * w.kernel_w * (w.in_channels // w.groups) for _ in range(w.out_channels))
    expected = w.batch * w.out_height * w.out_width * per_pixel if w.op.has_weights else 0
    assert w.macs == expected
    assert w.weights == (per_pixel if w.op.has_weights else 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch": 0}, "batch"),
        ({"batch": True}, "batch"),
        ({"in_height": 2.0}, "in_height"),
        ({"pad_left": -1}, "pad_left"),
        ({"kernel_h": 9}, "does not fit"),
        ({"groups": 3}, "groups"),
    ],
)
def test_a_workload_refuses_numbers_that_cannot_be(change: dict[str, object], says: str) -> None:
    good = Workload(Op.CONV2D, 1, 8, 8, 4, 4, 3, 3)
    with pytest.raises(InvalidWorkload, match=says):
        replace(good, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        (Op.ADD, 1, 4, 4, 8, 9),
        (Op.MAX_POOL, 1, 4, 4, 8, 9, 2, 2),
        (Op.CONCAT, 1, 4, 4, 8, 7),
        (Op.DENSE, 1, 2, 1, 8, 9),
        (Op.ADD, 1, 4, 4, 8, 8, 3, 3),
        (Op.DENSE, 1, 1, 1, 8, 8, 1, 1, 2, 2),
        (Op.CONVERT, 1, 4, 4, 8, 8, 1, 1, 1, 1, 1),
    ],
)
def test_a_workload_refuses_what_its_operator_does_not_have(arguments: tuple[object, ...]) -> None:
    with pytest.raises(InvalidWorkload):
        Workload(*arguments)  # type: ignore[arg-type]


# -- types and precisions ----------------------------------------------------------------------------------------------


def test_integer_types_by_hand() -> None:
    assert [(d.low, d.high) for d in (DType.INT4, DType.UINT4, DType.INT8, DType.UINT8)] == [
        (-8, 7),
        (0, 15),
        (-128, 127),
        (0, 255),
    ]
    assert DType.FLOAT16.bits == 16
    assert not DType.FLOAT16.is_integer
    for dtype in DType:
        if dtype.is_integer:
            assert DType.integer(dtype.bits, dtype.signed) is dtype
    with pytest.raises(InvalidWorkload, match="5-bit"):
        DType.integer(5, signed=False)


def test_precision_names() -> None:
    assert Precision.parse(" INT4 ") is INT4
    assert INT8.activation_dtype(signed=False) is DType.UINT8
    assert INT4.weight_dtype is DType.INT4
    with pytest.raises(InvalidWorkload, match="int8, int4"):
        Precision.parse("int5")


def test_precisions_below_four_bits() -> None:
    assert len(PRECISIONS) == 17
    for activation in range(1, 5):
        for weight in range(1, 5):
            precision = Precision.parse(f"a{activation}w{weight}")
            assert (precision.activation_bits, precision.weight_bits) == (activation, weight)
            assert Precision.parse(precision.name) is precision
    assert Precision.parse("a4w4") is INT4
    assert Precision.parse("int2") is Precision.parse("A2W2")
    assert Precision.parse("int1").name == "a1w1"


def test_weights_of_one_bit_and_signed_activations() -> None:
    binary = Precision.parse("a1w1")
    assert binary.weight_dtype is DType.INT1
    assert list(range(DType.INT1.low, DType.INT1.high + 1, DType.INT1.step)) == [-1, 1]
    assert binary.activation_dtype(signed=False) is DType.UINT1
    assert binary.activation_dtype(signed=True) is DType.INT2
    assert (DType.INT2.low, DType.INT2.high, DType.UINT3.high) == (-2, 1, 7)
    with pytest.raises(InvalidWorkload, match="int1 is a type of weights"):
        KernelSpec(Workload(Op.CONVERT, 1, 1, 1, 4, 4), DType.INT1, DType.INT8)


# -- kernel specs ------------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(specs())
def test_a_spec_survives_json(spec: KernelSpec) -> None:
    assert KernelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@settings(max_examples=300)
@given(specs(), specs(), st.data())
def test_keys_are_unique_and_fit_a_file_name(a: KernelSpec, b: KernelSpec, data: st.DataObject) -> None:
    assert (a.key == b.key) == (a == b)
    field = data.draw(st.sampled_from([k for k, v in a.to_dict().items() if isinstance(v, int)]))
    try:
        near = replace(a, workload=replace(a.workload, **{field: getattr(a.workload, field) + 1}))
    except InvalidWorkload:
        near = None
    assert near is None or near.key != a.key
    assert set(a.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
    assert len(a.key) < 200


CONV = Workload(Op.CONV2D, 1, 8, 8, 4, 4, 3, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"workload": CONV, "input_dtype": "int8", "output_dtype": "int32"},
        {"workload": CONV, "input_dtype": "int8", "output_dtype": "int8", "weight_dtype": "int8"},
        {
            "workload": CONV,
            "input_dtype": "int8",
            "output_dtype": "int8",
            "weight_dtype": "int8",
            "epilogue": "add_requant",
        },
        {"workload": Workload(Op.ADD, 1, 8, 8, 4, 4), "input_dtype": "int8", "output_dtype": "int8"},
        {
            "workload": Workload(Op.MAX_POOL, 1, 8, 8, 4, 4, 2, 2),
            "input_dtype": "int8",
            "output_dtype": "int4",
        },
        {
            "workload": Workload(Op.AVG_POOL, 1, 8, 8, 4, 4, 2, 2),
            "input_dtype": "int8",
            "input2_dtype": "int8",
            "output_dtype": "int8",
            "epilogue": "add_requant",
        },
    ],
)
def test_a_spec_refuses_types_that_do_not_go_together(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidWorkload):
        KernelSpec(**arguments)  # type: ignore[arg-type]


FLOATS = [DType.FLOAT16, DType.FLOAT32]
INTEGERS = [d for d in DType if d.is_integer]


@pytest.mark.parametrize("epilogue", [Epilogue.NONE, Epilogue.BIAS])
@pytest.mark.parametrize("workload", [CONV, Workload(Op.DENSE, 1, 1, 1, 8, 8)], ids=lambda w: w.op.value)
def test_what_is_not_rescaled_leaves_as_it_was_summed(workload: Workload, epilogue: Epilogue) -> None:
    """All types of activations, weights and outputs, against the rule written as a table."""

    def admitted(*types: DType) -> bool:
        try:
            source, weight, output = types
            return bool(KernelSpec(workload, source, output, weight, epilogue=epilogue))
        except InvalidWorkload:
            return False

    expected = {
        *product([d for d in INTEGERS if d is not DType.INT1], INTEGERS, [DType.INT32]),
        *product(FLOATS, FLOATS, FLOATS),
        *product(FLOATS, INTEGERS, FLOATS),  # only the weights are quantized
    }
    assert {types for types in product(DType, repeat=3) if admitted(*types)} == expected


@pytest.mark.parametrize("output", [DType.FLOAT32, DType.INT8])
def test_a_float_kernel_may_end_in_a_relu_or_quantize_its_output(output: DType) -> None:
    spec = KernelSpec(CONV, DType.FLOAT32, output, DType.FLOAT32, epilogue=Epilogue.REQUANT_RELU)
    assert spec.key == f"{CONV.text}-float32-float32-{output.value}-requant_relu"
    residual = replace(spec, input2_dtype=DType.FLOAT32, epilogue=Epilogue.ADD_REQUANT_RELU)
    assert KernelSpec.from_dict(residual.to_dict()) == residual


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("float32", "int32", "float32"), "with epilogue none on float32 emits a float type, not int32"),
        (("float32", "int32", "int4"), "emits a float type, not int32"),
        (("int8", "float32", "int8"), "with epilogue none emits int32, not float32"),
        (("uint8", "float32", "float16"), "weights of float16 on uint8; float weights take float activations"),
        (("uint8", "int8", "float16", None, "requant"), "weights of float16 on uint8"),
    ],
)
def test_types_that_cannot_be_multiplied_or_stored_are_named(arguments: tuple[object, ...], says: str) -> None:
    with pytest.raises(InvalidWorkload, match=says):
        KernelSpec(CONV, *arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"op": "conv3d"}, {"input_dtype": "int5"}, {"batch": "1"}, {"epilogue": None}])
def test_from_dict_names_what_is_wrong(change: dict[str, object]) -> None:
    spec = KernelSpec(CONV, DType.INT8, DType.INT32, DType.INT8)
    with pytest.raises(InvalidWorkload):
        KernelSpec.from_dict({**spec.to_dict(), **change})
    with pytest.raises(InvalidWorkload):
        KernelSpec.from_dict({k: v for k, v in spec.to_dict().items() if k != next(iter(change))})


def test_distinct_keeps_the_order() -> None:
    a = KernelSpec(CONV, DType.INT8, DType.INT32, DType.INT8)
    b = replace(a, input_dtype=DType.UINT8)
    assert distinct([b, a, b, replace(a)]) == (b, a)


# -- networks ----------------------------------------------------------------------------------------------------------


def conv(name: str, source: str, output: str, *, kernel: int = 3, relu: bool = False) -> Layer:
    pad = kernel // 2
    workload = Workload(Op.CONV2D, 1, 8, 8, 4, 4, kernel, kernel, 1, 1, pad, pad, pad, pad)
    return Layer(name, workload, (source,), output, relu)


def add(name: str, a: str, b: str, output: str, relu: bool = True) -> Layer:
    return Layer(name, Workload(Op.ADD, 1, 8, 8, 4, 4), (a, b), output, relu)


def pool(name: str, source: str, output: str) -> Layer:
    return Layer(name, Workload(Op.MAX_POOL, 1, 8, 8, 4, 4, 3, 3, 1, 1, 1, 1, 1, 1), (source,), output)


def network(*layers: Layer, outputs: tuple[str, ...] = (), skipped: tuple[str, ...] = ()) -> Network:
    """Of tensors of 8x8, of 4 channels where no layer tells."""
    names = dict.fromkeys(name for layer in layers for name in (*layer.inputs, layer.output))
    channels = {layer.output: layer.workload.out_channels for layer in layers}
    tensors = tuple(Tensor(n, 8, 8, channels.get(n, 4), signed=True) for n in names)
    return Network("net", 1, tensors, layers, skipped, outputs)


def test_ties_look_through_max_pools() -> None:
    net = network(
        conv("a", "x", "t"), pool("p", "t", "u"), conv("b", "u", "v"), conv("c", "u", "w"), conv("d", "t", "y")
    )
    assert net.ties() == (("b", "c", "d"),)


def test_a_downsampling_block() -> None:
    net = network(
        conv("conv1", "x", "a", relu=True),
        conv("conv2", "a", "b"),
        conv("shortcut", "x", "s", kernel=1),
        add("add", "b", "s", "y"),
    )
    assert net.ties() == (("conv1", "shortcut"),)
    assert net.fusions() == {"add": "conv2"}
    assert net.multiplicities()[net.layer("conv1").workload] == 2


@pytest.mark.parametrize(
    "layers",
    [
        (conv("a", "x", "t", relu=True), add("add", "t", "x", "y")),  # clamped ahead of the addition
        (conv("a", "x", "t"), add("add", "t", "x", "y"), conv("b", "t", "z")),  # somebody else reads it
        (conv("a", "x", "t"), add("add", "t", "t", "y")),  # both operands
        (pool("a", "x", "t"), add("add", "t", "x", "y")),  # no accumulators
        (add("add", "x", "x", "y"),),
    ],
)
def test_additions_that_cannot_move(layers: tuple[Layer, ...]) -> None:
    assert network(*layers).fusions() == {}


def test_an_addition_cannot_move_into_what_the_model_hands_out() -> None:
    layers = (conv("a", "x", "t"), add("add", "t", "x", "y"))
    assert network(*layers, outputs=("y",)).fusions() == {"add": "a"}
    assert network(*layers, outputs=("t", "y")).fusions() == {}


def test_outputs_are_what_nobody_reads_unless_they_are_given() -> None:
    layers = (conv("a", "x", "t"), conv("b", "t", "u"), conv("c", "t", "v"))
    assert network(*layers).outputs == ("u", "v")
    assert network(*layers, outputs=("t", "v")).outputs == ("t", "v")
    assert network(*layers, skipped=("softmax",)).outputs == ()  # what read u and v may be the skipped one
    with pytest.raises(InvalidWorkload, match="output 'z' is an unknown tensor"):
        network(*layers, outputs=("z",))
    with pytest.raises(InvalidWorkload, match="output 'u' is defined twice"):
        network(*layers, outputs=("u", "u"))


def test_an_addition_moves_into_the_second_operand_if_the_first_cannot_take_it() -> None:
    net = network(conv("a", "x", "t", relu=True), conv("b", "t", "u"), add("add", "t", "u", "y"))
    assert net.fusions() == {"add": "b"}


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ((), "no layer"),
        ((conv("a", "x", "t"), conv("a", "t", "u")), "'a' is defined twice"),
        ((conv("b", "t", "u"), conv("a", "x", "t")), "before it is written"),
        ((conv("a", "x", "x"),), "before it is written"),
        ((replace(conv("a", "x", "t"), workload=CONV.with_batch(2)),), "batch 2"),
    ],
)
def test_a_network_checks_itself(layers: tuple[Layer, ...], says: str) -> None:
    with pytest.raises(InvalidWorkload, match=says):
        network(*layers)


def test_a_network_knows_its_tensors() -> None:
    with pytest.raises(InvalidWorkload, match="unknown tensor 't'"):
        Network("net", 1, (Tensor("x", 8, 8, 4, True),), (conv("a", "x", "t"),))
    with pytest.raises(InvalidWorkload, match="has no layer 'z'"):
        network(conv("a", "x", "t")).layer("z")


def test_the_slices_of_a_concat_write_one_tensor() -> None:
    layers = (*slices(4, 4), Layer("p", Workload(Op.AVG_POOL, 1, 8, 8, 8, 8), ("y",), "z"))
    net = network(*layers)
    assert net.readers("y") == (layers[2],)
    assert net.producer("y") == layers[0]
    assert net.producer("x0") is None
    with pytest.raises(InvalidWorkload, match="before it is written"):
        network(layers[0], layers[2], layers[1])


def slices(*channels: int) -> tuple[Layer, ...]:
    """A concatenation of tensors x0, x1, ... to y, of 8 channels."""
    return tuple(Layer(f"cat.{i}", Workload(Op.CONCAT, 1, 8, 8, c, 8), (f"x{i}",), "y") for i, c in enumerate(channels))


@pytest.mark.parametrize("layers", [slices(4), slices(4, 4, 4)])
def test_the_slices_of_a_concat_fill_their_tensor(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(InvalidWorkload, match=rf"fill {4 * len(layers)} of the 8 channels of 'y'"):
        network(*layers)


@pytest.mark.parametrize(
    "layers",
    [
        (conv("a", "x", "t"), conv("b", "x", "t")),
        (conv("a", "x", "t"), add("b", "x", "z", "t")),
        (*slices(4, 4), Layer("b", Workload(Op.CONV2D, 1, 8, 8, 4, 8), ("x0",), "y")),
    ],
)
def test_nothing_but_the_slices_of_a_concat_shares_a_tensor(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(InvalidWorkload, match=r"'(a|b)' is not the only one that writes"):
        network(*layers)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (replace(conv("a", "x", "t"), workload=CONV), "'a' writes 6x6x4 .*tensor 't' is 8x8x4"),
        (
            replace(conv("a", "x", "t"), workload=Workload(Op.CONV2D, 1, 8, 8, 3, 4)),
            "'a' reads 8x8x3 .*tensor 'x' is 8x8x4",
        ),
        (
            replace(conv("a", "x", "t"), workload=Workload(Op.CONV2D, 1, 1, 1, 256, 4)),
            "'a' reads 1x1x256 .*tensor 'x' is 8x8x4",
        ),
        (replace(add("a", "x", "z", "t"), workload=Workload(Op.ADD, 1, 8, 4, 4, 4)), "'a' reads 8x4x4"),
        (Layer("a", Workload(Op.DENSE, 1, 1, 1, 4, 4), ("x",), "t"), "'a' reads 1x1x4"),
        (Layer("a", Workload(Op.DENSE, 1, 1, 1, 256, 256), ("x",), "t"), "'a' writes 1x1x256"),
    ],
)
def test_the_extents_of_a_layer_are_those_of_its_tensors(layer: Layer, says: str) -> None:
    with pytest.raises(InvalidWorkload, match=says) as caught:
        network(layer)
    assert "\n" not in str(caught.value)


def test_what_is_flattened_is_read_as_the_product_of_its_extents() -> None:
    image, flat = Tensor("x", 7, 7, 4, True), Tensor("y", 1, 1, 10, True)
    dense = Layer("fc", Workload(Op.DENSE, 1, 1, 1, 196, 10), ("x",), "y")
    assert Network("net", 1, (image, flat), (dense,)).readers("x") == (dense,)
    joined = tuple(
        Layer(f"cat.{name}", Workload(Op.CONCAT, 1, 1, 1, c, 206), (name,), "z") for name, c in (("x", 196), ("y", 10))
    )
    net = Network("net", 1, (image, flat, Tensor("z", 1, 1, 206, True)), (dense, *joined))
    assert net.outputs == ("z",)


def test_what_is_stored_begins_at_zero_behind_a_relu() -> None:
    workload = Workload(Op.CONVERT, 1, 2, 2, 3, 3)
    for epilogue, expected in ((Epilogue.REQUANT, (-8, 7)), (Epilogue.REQUANT_RELU, (0, 7))):
        assert KernelSpec(workload, DType.INT8, DType.INT4, epilogue=epilogue).output_range == expected
    assert KernelSpec(workload, DType.INT8, DType.UINT8, epilogue=Epilogue.REQUANT).output_range == (0, 255)
