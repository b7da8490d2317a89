"""From real weights to integers: layers worked out by hand in fractions, and every step of random networks against the
real layer that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.allocation.bits_file import TensorConversion
from profiler.allocation.deployment import Deployment
from profiler.errors import InvalidFile, InvalidWorkload, UnsupportedModel
from profiler.frontend import load_network
from profiler.frontend.weights import LayerWeights, load_weights
from profiler.lut.demand import emits_logits, units
from profiler.network.calibrate import calibrate
from profiler.network.features import channel_orders, in_model_order
from profiler.network.float_run import float_run
from profiler.network.integer_network import IntegerNetwork, Step
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.network.random_weights import random_images, random_weights
from profiler.network.ranges import TensorRange
from profiler.network.real_numbers import quantized_inputs, real_values
from profiler.sensitivity.perturbation import Clipping
from profiler.workload import INT4, INT8, DType, Epilogue, Layer, Network, Op, Precision, Tensor, Workload
from tests.allocation.networks import branches, own_shortcut, residual
from tests.network import random_models

Array = npt.NDArray[Any]
Reals = npt.NDArray[np.float64]
TOP = {INT8: 127, INT4: 7}
DYADIC = Fraction(1, 1 << 30)
"""Relative: a multiplier of 31 bits, and scales that are divided in floating point."""


# -- by hand ----------------------------------------------------------------------------------------------------------


def conv(
    name: str, source: str, output: str, size: int, inputs: int, outputs: int, relu: bool = False, kernel: int = 1
) -> Layer:
    return Layer(name, Workload(Op.CONV2D, 1, size, size, inputs, outputs, kernel, kernel), (source,), output, relu)


def tensor(name: str, size: int, channels: int, signed: bool = True) -> Tensor:
    return Tensor(name, size, size, channels, signed)


def weights(values: Any, bias: Any) -> LayerWeights:
    return LayerWeights(np.array(values, np.float64), np.array(bias, np.float64))


def holding(scale: float, dtype: DType) -> TensorRange:
    """The range that gives that scale."""
    return TensorRange(-scale * dtype.high if dtype.signed else 0.0, scale * dtype.high)


def ratio(step: Step, prefix: str = "", suffix: str = "") -> list[Fraction]:
    """multiplier / 2**shift of each channel, or pixel."""
    multipliers, shifts = (step.parameters[f"{prefix}{part}{suffix}"].reshape(-1) for part in ("multiplier", "shift"))
    return [Fraction(int(m), 1 << int(s)) for m, s in zip(multipliers, shifts, strict=True)]


def near(found: list[Fraction], expected: list[Fraction]) -> bool:
    return len(found) == len(expected) and all(abs(f / e - 1) < DYADIC for f, e in zip(found, expected, strict=True))


def rounded(value: Fraction) -> int:
    """Halves away from zero."""
    return floor(value + Fraction(1, 2)) if value >= 0 else -floor(-value + Fraction(1, 2))


def clamped(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def of_step(network: IntegerNetwork, name: str) -> Step:
    (step,) = [step for step in network.steps if step.name == name]
    return step


CONV = Network(
    "conv",
    1,
    (tensor("x", 3, 1), tensor("y", 2, 2, signed=False), tensor("logits", 1, 1)),
    (
        conv("c", "x", "y", 3, 1, 2, relu=True, kernel=2),
        Layer("fc", Workload(Op.DENSE, 1, 1, 1, 8, 1), ("y",), "logits"),
    ),
)
KERNELS = [[[3, -127], [5, 60]], [[-10, 100], [127, -1]]]
"""Of both output channels, in steps of 1/64 and of 1/8; the largest is the top level, so these are the integers."""
IMAGE = [[10, -128, 3], [77, 127, -5], [0, 31, 100]]


def test_a_convolution_with_bias_and_relu() -> None:
    """Scales are powers of two: input 1/4, weights 1/64 and 1/8, output 1/2. A bias is in steps of input and weight."""
    steps = [Fraction(1, 64), Fraction(1, 8)]
    biases = [-300, 41]
    real = weights(
        [[[[float(w * s)] for w in row] for row in kernel] for kernel, s in zip(KERNELS, steps, strict=True)],
        [float(b * s / 4) for b, s in zip(biases, steps, strict=True)],
    )
    trained = TrainedNetwork(
        CONV,
        {"c": real, "fc": weights(np.ones((1, 1, 1, 8)), [0])},
        {"x": holding(0.25, DType.INT8), "y": holding(0.5, DType.UINT8)},
    )
    network = integer_network(trained, Deployment.uniform(CONV, INT8))
    step = of_step(network, "c")
    assert step.parameters["weight"].tolist() == [[[[w] for w in row] for row in kernel] for kernel in KERNELS]
    assert step.parameters["bias"].tolist() == biases
    factors = [s * Fraction(1, 4) / Fraction(1, 2) for s in steps]
    assert near(ratio(step), factors)
    assert (network.value("x").scale, network.value("y").scale) == ((0.25,), (0.5,))
    found = oracle_run(network, {"x": np.array(IMAGE).reshape(1, 3, 3, 1)})["y"]
    seen = set()
    for row in range(2):
        for column in range(2):
            for channel in range(2):
                total = biases[channel] + sum(
                    KERNELS[channel][i][j] * IMAGE[row + i][column + j] for i in range(2) for j in range(2)
                )
                expected = clamped(rounded(total * factors[channel]), 0, 255)
                assert found[0, row, column, channel] == expected
                seen.add(expected)
    assert 0 in seen
    assert len(seen) > 4


def addition(signed_shortcut: bool = True, relu: bool = True) -> Network:
    """Two convolutions of one input, added up; the second one is stored and the first one's addition can be fused."""
    return Network(
        "addition",
        1,
        (
            tensor("x", 1, 2),
            tensor("main", 1, 2),
            tensor("shortcut", 1, 2, signed=signed_shortcut),
            tensor("sum", 1, 2, signed=not relu),
        ),
        (
            conv("s", "x", "shortcut", 1, 2, 2, relu=not signed_shortcut),
            conv("m", "x", "main", 1, 2, 2),
            Layer("add", Workload(Op.ADD, 1, 1, 1, 2, 2), ("shortcut", "main"), "sum", relu),
        ),
    )


@pytest.mark.parametrize("separate", [False, True], ids=["fused", "separate"])
@pytest.mark.parametrize("x", [(20, -30), (-1, 127), (9, 9), (-128, 100)])
def test_a_residual_addition(separate: bool, x: tuple[int, int]) -> None:
    """Steps: input 1/8, main weights 1/32 and 1/2, shortcut weights 1, shortcut 1/4, sum 1/16. The file lists the
    shortcut first; where the addition is a kernel of its own, accumulators come first all the same."""
    network = addition()
    network = replace(network, outputs=("sum",))
    main, shortcut = [[127, -3], [50, 127]], [[1, 127], [127, -20]]
    steps = [Fraction(1, 32), Fraction(1, 2)]
    bias = [7, -500]
    # The shortcut's convolution is listed first, but its own addition is taken by the first operand without a ReLU.
    assert network.fusions() == {"add": "s"}
    network = replace(
        network,
        layers=(*network.layers[:2], replace(network.layers[2], inputs=("main", "shortcut"))),
    )
    trained = TrainedNetwork(
        network,
        {
            "m": weights(
                [[[[float(w * s) for w in row]]] for row, s in zip(main, steps, strict=True)],
                [float(b * s / 8) for b, s in zip(bias, steps, strict=True)],
            ),
            "s": weights([[[list(map(float, row))]] for row in shortcut], [0, 0]),
        },
        {
            "x": holding(0.125, DType.INT8),
            "shortcut": holding(0.25, DType.INT8),
            "sum": holding(0.0625, DType.UINT8),
        },
    )
    chosen = Deployment.uniform(network, INT8, ["add"] if separate else [])
    made = integer_network(trained, chosen)
    kept = [clamped(rounded(sum(w * v for w, v in zip(row, x, strict=True)) * Fraction(1, 2)), -128, 127)
            for row in shortcut]  # fmt: skip
    sums = [b + sum(w * v for w, v in zip(row, x, strict=True)) for row, b in zip(main, bias, strict=True)]
    factors = [s * Fraction(1, 8) * 16 for s in steps]
    expected = [
        clamped(rounded(total * factor) + rounded(Fraction(other * 16, 4)), 0, 255)
        for total, factor, other in zip(sums, factors, kept, strict=True)
    ]
    values = oracle_run(made, {"x": np.array(x).reshape(1, 1, 1, 2)})
    assert values["shortcut"].reshape(-1).tolist() == kept
    assert values["sum"].reshape(-1).tolist() == expected
    if separate:
        step = of_step(made, "add")
        assert dict(step.reads) == {"input": "main", "input2": "shortcut"}
        assert made.value("main").dtype is DType.INT32
        assert made.value("main").scale == pytest.approx([float(s / 8) for s in steps], rel=1e-12)
        assert values["main"].reshape(-1).tolist() == sums
        assert near(ratio(step), factors)
        assert near(ratio(step, suffix="2"), [Fraction(4)] * 2)
    else:
        step = of_step(made, "m")
        assert dict(step.reads) == {"input": "x", "residual": "shortcut"}
        assert "main" not in [value.name for value in made.values]
        assert near(ratio(step, prefix="residual_"), [Fraction(4)] * 2)


def test_accumulators_come_first_whatever_the_model_lists_first() -> None:
    """The second operand is the convolution whose addition is fused: here the first one has a ReLU."""
    network = addition(signed_shortcut=False)
    assert network.fusions() == {"add": "m"}
    ones = {name: weights(np.eye(2).reshape(2, 1, 1, 2), [0, 0]) for name in "ms"}
    ranges = {name: TensorRange(-1, 1) for name in ("x", "shortcut", "sum")}
    made = integer_network(TrainedNetwork(network, ones, ranges), Deployment.uniform(network, INT8, ["add"]))
    assert dict(of_step(made, "add").reads) == {"input": "main", "input2": "shortcut"}
    x = np.array([100, -50]).reshape(1, 1, 1, 2)
    assert oracle_run(made, {"x": x})["sum"].reshape(-1).tolist() == [255, 0]  # 2 x 100/127 clipped; -50/127 + 0


def pooled(size: int = 6) -> Network:
    """One tensor, and what a max pool makes of it, each read by two."""
    half = size // 2
    return Network(
        "pooled",
        1,
        (
            tensor("x", size, 2),
            tensor("stem", size, 3, signed=False),
            tensor("half", half, 3, signed=False),
            *(tensor(name, half, 2, signed=False) for name in ("a", "b")),
        ),
        (
            conv("stem", "x", "stem", size, 2, 3, relu=True),
            Layer("pool", Workload(Op.MAX_POOL, 1, size, size, 3, 3, 2, 2, 2, 2), ("stem",), "half"),
            conv("wide", "half", "a", half, 3, 2, relu=True),
            conv("narrow", "half", "b", half, 3, 2, relu=True),
        ),
    )


def drawn(network: Network, seed: int = 0, images: int = 4) -> TrainedNetwork:
    real = random_weights(network, seed)
    return TrainedNetwork(network, real, calibrate(network, real, random_images(network, images, seed)))


def test_readers_of_another_precision_read_a_copy() -> None:
    network = pooled()
    trained = drawn(network)
    chosen = Deployment.uniform(network, INT8)
    chosen = replace(
        chosen,
        layers={**chosen.layers, "narrow": INT4},
        conversions=(TensorConversion("half", "int8", "int4", ("narrow",)),),
    )
    made = integer_network(trained, chosen)
    copy = next(step for step in made.steps if step.spec.workload.op is Op.CONVERT)
    assert (copy.reads, copy.layer) == ((("input", "half"),), "narrow")
    assert of_step(made, "wide").reads == (("input", "half"),)
    assert of_step(made, "narrow").reads == (("input", copy.writes),)
    assert of_step(made, "narrow").spec.weight_dtype is DType.INT4
    high = Fraction(trained.ranges["stem"].high)
    assert near(ratio(copy), [(high / 255) / (high / 15)] * 3)
    assert made.value(copy.writes).scale[0] == pytest.approx(float(high) / 15, rel=1e-12)
    values = oracle_run(made, quantized_inputs(made, random_images(network, 1, 0).inputs))
    copied = [clamped(rounded(Fraction(int(v) * 15, 255)), 0, 15) for v in values["half"].reshape(-1)]
    assert values[copy.writes].reshape(-1).tolist() == copied
    assert len(set(copied)) > 5


def test_a_copy_that_is_made_twice_is_refused() -> None:
    """As no allocation has it, but a file may say so."""
    network = pooled()
    copies = tuple(TensorConversion("half", "int8", "int4", (name,)) for name in ("wide", "narrow"))
    chosen = Deployment.uniform(network, INT8)
    chosen = replace(chosen, layers={"stem": INT8, "wide": INT4, "narrow": INT4}, conversions=copies)
    with pytest.raises(InvalidWorkload, match="'half as uint4' is written already"):
        integer_network(drawn(network), chosen)
    both = replace(copies[0], readers=("wide", "narrow"))
    assert len(integer_network(drawn(network), replace(chosen, conversions=(both,))).steps) == 5


def test_max_pools_keep_the_scale_of_what_they_read() -> None:
    """Their own range is not asked for."""
    network = pooled()
    trained = drawn(network)
    assert "half" not in trained.ranges
    made = integer_network(trained, Deployment.uniform(network, INT8))
    assert made.value("half").scale == made.value("stem").scale
    assert not of_step(made, "pool").parameters


def average(counted: tuple[int, int, int, int]) -> Network:
    work = Workload(Op.AVG_POOL, 1, 4, 5, 2, 2, 3, 2, 2, 1, 1, 0, 2, 1)
    return Network(
        "average",
        1,
        (Tensor("x", 4, 5, 2, True), Tensor("mean", work.out_height, work.out_width, 2, True),
         Tensor("y", work.out_height, work.out_width, 2, True)),
        (
            Layer("mean", work, ("x",), "mean", counted_pads=counted),
            Layer("c", Workload(Op.CONV2D, 1, work.out_height, work.out_width, 2, 2), ("mean",), "y"),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("counted", [(0, 0, 0, 0), (1, 0, 2, 1), (1, 0, 0, 1)])
def test_an_average_divides_by_what_counts(counted: tuple[int, int, int, int]) -> None:
    network = average(counted)
    work = network.layers[0].workload
    trained = TrainedNetwork(
        network,
        {"c": weights(np.eye(2).reshape(2, 1, 1, 2), [0, 0])},
        {"x": holding(0.5, DType.INT8), "mean": holding(0.125, DType.INT8)},
    )
    made = integer_network(trained, Deployment.uniform(network, INT8))
    top, left, bottom, right = counted
    divisors = [
        sum(
            -top <= row * 2 - 1 + i < 4 + bottom and -left <= column + j < 5 + right for i in range(3) for j in range(2)
        )
        for row in range(work.out_height)
        for column in range(work.out_width)
    ]
    assert (len(set(divisors)) == 1) == (counted == (1, 0, 2, 1))
    factors = [Fraction(4, divisor) for divisor in divisors]
    assert near(ratio(of_step(made, "mean")), factors)
    x = np.random.default_rng(0).integers(-30, 31, (1, 4, 5, 2))
    found = oracle_run(made, {"x": x})["mean"]
    for index, factor in enumerate(factors):
        row, column = divmod(index, work.out_width)
        for channel in range(2):
            total = sum(
                int(x[0, h, w, channel])
                for h in range(row * 2 - 1, row * 2 + 2)
                for w in range(column, column + 2)
                if 0 <= h < 4 and w < 5
            )
            assert found[0, row, column, channel] == clamped(rounded(total * factor), -128, 127)


def test_slices_of_a_concatenation_have_a_scale_each() -> None:
    """One tensor in it twice; all in the scale of the whole."""
    parts = (("a", 2, 0.25), ("b", 3, 2.0), ("a", 2, 0.25))
    network = Network(
        "concat",
        1,
        (tensor("a", 1, 2), tensor("b", 1, 3), tensor("whole", 1, 7), tensor("y", 1, 1)),
        (
            *(
                Layer(f"cat.{i}", Workload(Op.CONCAT, 1, 1, 1, channels, 7), (name,), "whole")
                for i, (name, channels, _) in enumerate(parts)
            ),
            conv("c", "whole", "y", 1, 7, 1),
        ),
    )
    ranges = {name: holding(scale, DType.INT8) for name, _, scale in parts} | {"whole": holding(0.5, DType.INT8)}
    trained = TrainedNetwork(network, {"c": weights(np.ones((1, 1, 1, 7)), [0])}, ranges)
    made = integer_network(trained, Deployment.uniform(network, INT8))
    assert [of_step(made, f"cat.{i}").first_channel for i in range(3)] == [0, 2, 5]
    assert near(ratio(of_step(made, "cat.0")), [Fraction(1, 2)] * 2)
    assert near(ratio(of_step(made, "cat.1")), [Fraction(4)] * 3)
    a, b = np.array([10, -7]), np.array([3, 90, -4])
    values = oracle_run(made, {"a": a.reshape(1, 1, 1, 2), "b": b.reshape(1, 1, 1, 3)})
    assert values["whole"].reshape(-1).tolist() == [5, -4, 12, 127, -16, 5, -4]


def test_features_of_a_flattened_image_are_the_models() -> None:
    """An identity matrix: logit o is feature o of the image as NCHW."""
    shape = (2, 3, 4)  # height, width, channels
    network = Network(
        "flat",
        1,
        (Tensor("x", *shape, True), tensor("y", 1, 24)),
        (Layer("fc", Workload(Op.DENSE, 1, 1, 1, 24, 24), ("x",), "y"),),
    )
    real = {"fc": weights(np.eye(24).reshape(24, 1, 1, 24), np.zeros(24))}
    made = integer_network(
        TrainedNetwork(network, real, {"x": holding(1.0, DType.INT8)}), Deployment.uniform(network, INT8)
    )
    image = np.arange(24).reshape(1, *shape)
    found = oracle_run(made, {"x": image})["y"].reshape(-1)
    assert found.tolist() == [127 * int(image[0, h, w, c]) for c in range(4) for h in range(2) for w in range(3)]
    for name, values in float_run(network, real, {"x": image.astype(np.float32)}):
        if name == "y":
            np.testing.assert_allclose(real_values(made, "y", found), values.reshape(-1), atol=1e-4)


def features(x: Array) -> Array:
    """[N, 1, 1, features] of [N, H, W, C], flattened as a model does."""
    return x.transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1)


def in_parts(x: Array, shapes: list[tuple[int, ...]]) -> Array:
    """The features of images that lie one behind the other, [N, 1, 1, features]."""
    parts = np.split(x.reshape(len(x), -1), np.cumsum([np.prod(shape) for shape in shapes])[:-1], axis=1)
    return np.concatenate([features(p.reshape(-1, *shape)) for p, shape in zip(parts, shapes, strict=True)], axis=3)


def image(name: str, height: int, width: int, channels: int) -> Tensor:
    return Tensor(name, height, width, channels, True)


def concat(name: str, source: str, channels: int, total: int, output: str) -> Layer:
    return Layer(name, Workload(Op.CONCAT, 1, 1, 1, channels, total), (source,), output)


def test_features_of_concatenated_flattened_images_are_the_models() -> None:
    """An identity matrix behind (a, (b, c), b) with scales of one: logit o is feature o of the model."""
    network = Network(
        "flat",
        1,
        (image("a", 2, 3, 2), image("b", 1, 2, 3), image("c", 1, 1, 4), image("inner", 1, 1, 10),
         image("whole", 1, 1, 28), image("y", 1, 1, 28)),
        (concat("i.0", "b", 6, 10, "inner"), concat("i.1", "c", 4, 10, "inner"), concat("w.0", "a", 12, 28, "whole"),
         concat("w.1", "inner", 10, 28, "whole"), concat("w.2", "b", 6, 28, "whole"),
         Layer("fc", Workload(Op.DENSE, 1, 1, 1, 28, 28), ("whole",), "y")),
    )  # fmt: skip
    real = {"fc": weights(np.eye(28).reshape(28, 1, 1, 28), np.zeros(28))}
    ranges = {name: holding(1.0, DType.INT8) for name in ("a", "b", "c", "inner", "whole")}
    made = integer_network(TrainedNetwork(network, real, ranges), Deployment.uniform(network, INT8))
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(-100, 100, made.value(name).shape) for name in "abc"}
    expected = np.concatenate([features(inputs[name]) for name in "abcb"], axis=3).reshape(-1)
    assert (oracle_run(made, inputs)["y"].reshape(-1) == 127 * expected).all()
    floats = dict(float_run(network, real, {name: x.astype(np.float32) for name, x in inputs.items()}))
    assert (floats["y"].reshape(-1) == expected).all()


@pytest.mark.parametrize("op", [Op.MAX_POOL, Op.AVG_POOL, Op.ADD])
def test_channels_of_concatenated_flattened_images_keep_their_order(op: Op) -> None:
    """Through layers without weights, and into a convolution of 1 x 1."""
    work = Workload(op, 1, 1, 1, 10, 10)
    network = Network(
        "flat",
        1,
        (image("a", 2, 3, 1), image("b", 2, 1, 2), *(image(name, 1, 1, 10) for name in ("whole", "same", "y"))),
        (concat("w.0", "a", 6, 10, "whole"), concat("w.1", "b", 4, 10, "whole"),
         Layer("same", work, ("whole", "whole") if op is Op.ADD else ("whole",), "same"),
         conv("c", "same", "y", 1, 10, 10)),
    )  # fmt: skip
    real = {"c": weights(np.eye(10).reshape(10, 1, 1, 10), np.zeros(10))}
    ranges = {name: holding(1.0, DType.INT8) for name in ("a", "b", "whole", "same")}
    made = integer_network(TrainedNetwork(network, real, ranges), Deployment.uniform(network, INT8))
    inputs = {"a": np.arange(6).reshape(1, 2, 3, 1), "b": 10 + np.arange(4).reshape(1, 2, 1, 2)}
    expected = np.concatenate([features(inputs["a"]), features(inputs["b"])], axis=3).reshape(-1)
    found = oracle_run(made, inputs)["y"].reshape(-1)
    assert (found == 127 * expected * (2 if op is Op.ADD else 1)).all()
    floats = dict(float_run(network, real, {name: x.astype(np.float32) for name, x in inputs.items()}))
    assert (floats["y"].reshape(-1) == expected * (2 if op is Op.ADD else 1)).all()
    orders = channel_orders(network)
    assert set(orders) == {"whole", "same"}
    stored = oracle_run(made, inputs)["whole"]
    assert (in_model_order(stored, orders["whole"]).reshape(-1) == expected).all()


def test_what_would_have_to_be_reordered_is_refused_by_name() -> None:
    tensors = (image("a", 1, 2, 2), image("whole", 1, 1, 4), image("y", 1, 1, 4))
    concatenated = concat("w", "a", 4, 4, "whole")
    for layer, reason in (
        (Layer("sum", Workload(Op.ADD, 1, 1, 1, 4, 4), ("whole", "p"), "y"), r"'sum' adds .* another order"),
        (Layer("c", Workload(Op.CONV2D, 1, 1, 1, 4, 4, groups=2), ("whole",), "y"), "'c' reads groups of channels"),
    ):
        more = (image("p", 1, 1, 4),) if "p" in layer.inputs else ()
        network = Network("flat", 1, (*tensors, *more), (concatenated, layer))
        ranges = {name: holding(1.0, DType.INT8) for name in ("a", "p", "whole", "y")}
        trained = TrainedNetwork(network, {"c": weights(np.ones((4, 1, 1, 2)), np.zeros(4))}, ranges)
        with pytest.raises(UnsupportedModel, match=reason) as caught:
            integer_network(trained, Deployment.uniform(network, INT8))
        assert "\n" not in str(caught.value)


def test_integers_end_where_a_clipped_relu_does() -> None:
    """Whatever range was found, 255 stands for no more than the limit; for less, where the range is narrower."""
    network = Network(
        "clip",
        1,
        (tensor("x", 1, 1), tensor("y", 1, 1, signed=False), tensor("p", 1, 1, signed=False), tensor("z", 1, 1)),
        (
            replace(conv("c", "x", "y", 1, 1, 1, relu=True), relu_limit=6.0),
            Layer("pool", Workload(Op.MAX_POOL, 1, 1, 1, 1, 1), ("y",), "p"),
            conv("d", "p", "z", 1, 1, 1),
        ),
    )
    real = {"c": weights(np.full((1, 1, 1, 1), 1.0), [0]), "d": weights(np.full((1, 1, 1, 1), 1.0), [0])}
    for found, ends in ((6.0, 6.0), (9.0, 6.0), (2.0, 2.0), (0.0, 6.0)):
        for precision, top in ((INT8, 255), (INT4, 15)):
            ranges = {"x": holding(1.0, DType.INT8), "y": TensorRange(0.0, found)}
            made = integer_network(TrainedNetwork(network, real, ranges), Deployment.uniform(network, precision))
            assert made.value("y").scale == made.value("p").scale
            assert made.value("y").scale[0] * top == pytest.approx(min(ends, 6.0) if found else min(1.0, 6 / top) * top)
            largest = made.value("x").dtype.high
            values = oracle_run(made, {"x": np.full((1, 1, 1, 1), largest)})
            assert real_values(made, "p", values["p"]).item() <= 6.0 + 1e-9


def test_logits_are_compared_as_integers() -> None:
    """Channels of very different magnitudes; the largest real number is the largest integer."""
    network = Network(
        "logits", 1, (tensor("x", 1, 8), tensor("y", 1, 5)),
        (Layer("fc", Workload(Op.DENSE, 1, 1, 1, 8, 5), ("x",), "y"),),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    real = {"fc": LayerWeights(rng.standard_normal((5, 1, 1, 8)) * [[[[2.0]]], [[[1]]], [[[0.1]]], [[[0.5]]], [[[0]]]],
                               rng.standard_normal(5))}  # fmt: skip
    made = integer_network(TrainedNetwork(network, real, {"x": TensorRange(-3, 3)}), Deployment.uniform(network, INT8))
    value = made.value("y")
    assert value.dtype is DType.INT32
    assert len(value.scale) == 1
    winners = set()
    for _ in range(50):
        x = rng.integers(-128, 128, (1, 1, 1, 8))
        integers = oracle_run(made, {"x": x})["y"].reshape(-1)
        exact = real["fc"].weight.reshape(5, 8) @ (x.reshape(-1) * 3 / 127) + real["fc"].bias
        # By the widest step of a weight each product is off by half of it.
        slack = 2 * (np.abs(real["fc"].weight).max() / 127 / 2 * np.abs(x).sum() * 3 / 127 + value.scale[0])
        top = np.sort(exact)
        if top[-1] - top[-2] > slack:
            assert integers.argmax() == exact.argmax()
            winners.add(int(integers.argmax()))
    assert len(winners) > 2


# -- numbers at the edges ---------------------------------------------------------------------------------------------


def one_layer(outputs: int = 3, inputs: int = 2) -> Network:
    """A convolution whose output is stored."""
    return Network(
        "one",
        1,
        (tensor("x", 1, inputs), tensor("y", 1, outputs), tensor("z", 1, 1)),
        (conv("c", "x", "y", 1, inputs, outputs), conv("d", "y", "z", 1, outputs, 1)),
    )


def made_of(real: LayerWeights, y: float, precision: Precision = INT8) -> IntegerNetwork:
    outputs, _, _, inputs = real.weight.shape
    network = one_layer(outputs, inputs)
    last = weights(np.ones((1, 1, 1, outputs)), [0])
    ranges = {"x": TensorRange(-1, 1), "y": TensorRange(-y, y)}
    trained = TrainedNetwork(network, {"c": real, "d": last}, ranges)
    return integer_network(trained, Deployment.uniform(network, precision))


@pytest.mark.parametrize("precision", [INT8, INT4], ids=lambda precision: precision.name)
@pytest.mark.parametrize(
    "weight",
    [[[0.5, -0.25], [0, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]], [[0.5, 1], [1e-12, -3e-12], [1e-30, 0]]],
    ids=["some zero", "all zero", "tiny"],
)
def test_what_a_channel_of_nothing_hands_on_is_its_bias(precision: Precision, weight: Any) -> None:
    real = weights(np.array(weight).reshape(3, 1, 1, 2), [0.3, 1.5, -2.0])
    made = made_of(real, y=2.0, precision=precision)
    x = np.array([3, -2]).reshape(1, 1, 1, 2)
    values = oracle_run(made, {"x": x})
    scale = made.value("x").scale[0]
    exact = real.weight.reshape(3, 2) @ (x.reshape(-1) * scale) + real.bias
    step_y = made.value("y").scale[0]
    off = np.abs(real_values(made, "y", values["y"]).reshape(-1) - exact)
    assert (off <= step_y / 2 + np.abs(real.weight).max() / TOP[precision] * 5 * scale).all()
    assert off[1:].max() <= step_y / 2 * 1.0001
    bias = of_step(made, "c").parameters["bias"]
    assert np.abs(bias.astype(np.int64)).max() <= 1 << 30


def test_a_channel_of_nothing_at_all_is_zero() -> None:
    """Neither weights nor bias say what its scale is; it has one all the same, and so have logits of nothing."""
    real = weights([[[[0.5, -1.0]]], [[[0, 0]]], [[[0, 0]]]], [0.25, 0, 0])
    made = made_of(real, y=2.0)
    values = oracle_run(made, {"x": np.array([100, -100]).reshape(1, 1, 1, 2)})
    assert values["y"].reshape(-1).tolist()[1:] == [0, 0]
    assert values["y"][0, 0, 0, 0] > 0
    nothing = integer_network(
        TrainedNetwork(CONV, {"c": weights(np.zeros((2, 2, 2, 1)), [0, 0]), "fc": weights(np.zeros((1, 1, 1, 8)), [0])},
                       {"x": TensorRange(-1, 1), "y": TensorRange(0, 0)}),
        Deployment.uniform(CONV, INT8),
    )  # fmt: skip
    assert not oracle_run(nothing, {"x": np.array(IMAGE).reshape(1, 3, 3, 1)})["logits"].any()


def test_a_wide_layer_leaves_its_bias_less_room() -> None:
    """Sums of 100,000 products may take 1.6e9 of 2.1e9: bias and sums together still fit, at their worst."""
    inputs = 100_000
    weight = np.full((2, 1, 1, inputs), 1e-9)
    made = made_of(weights(weight, [4.0, -4.0]), y=4.0)
    step = of_step(made, "c")
    bias = step.parameters["bias"].astype(np.int64)
    largest = inputs * 127 * 128
    assert np.abs(bias).max() + largest <= 2**31 - 1
    assert np.abs(bias).max() > 0.99 * (2**31 - 1 - largest)
    values = oracle_run(made, {"x": np.full((1, 1, 1, inputs), 127)})
    np.testing.assert_allclose(real_values(made, "y", values["y"]).reshape(-1), [4.0, -4.0], atol=2 / 127)


def test_sums_that_may_leave_32_bits_are_refused_by_name() -> None:
    inputs = 2**31 // (127 * 128) + 1
    with pytest.raises(UnsupportedModel, match=r"layer 'c'.*32 bits"):
        made_of(weights(np.ones((1, 1, 1, inputs)), [0]), y=1.0)
    made_of(weights(np.ones((1, 1, 1, inputs)), [0]), y=1.0, precision=INT4)


def test_what_is_missing_is_named() -> None:
    network = one_layer()
    trained = drawn(network)
    uniform = Deployment.uniform(network, INT8)
    without = replace(trained, ranges={"x": trained.ranges["x"]})
    with pytest.raises(UnsupportedModel, match="range of tensor 'y' is not known"):
        integer_network(without, uniform)
    with pytest.raises(InvalidFile, match="no precision of tensor 'y'"):
        integer_network(trained, replace(uniform, tensors={"x": INT8}))
    with pytest.raises(UnsupportedModel, match="tensor 'x' has no precision"):
        integer_network(trained, replace(uniform, tensors={"y": INT8}))
    with pytest.raises(UnsupportedModel, match="layer 'd' reads int8, not int4"):
        integer_network(trained, replace(uniform, layers={"c": INT8, "d": INT4}))


def test_an_output_that_is_never_more_than_nothing() -> None:
    """A dead ReLU has a range of zero; what it writes is zero, whatever its scale is called."""
    network = pooled()
    trained = drawn(network)
    dead = {**trained.ranges, "stem": TensorRange(0, 0)}
    made = integer_network(replace(trained, ranges=dead), Deployment.uniform(network, INT8))
    assert made.value("stem").scale == (1.0,)


def test_a_scale_that_no_dyadic_number_holds_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModel, match=r"layer 'c': scale .* is too large"):
        made_of(weights(np.full((1, 1, 1, 2), 1.0), [0]), y=1e-12)


def test_ranges_and_clips_are_those_that_were_chosen() -> None:
    """A clip for four bits alone, and weights with an outlier that four bits had better not hold."""
    network = one_layer(1, 2000)
    weight = np.concatenate([np.linspace(-1, 1, 1999), [3.0]]).reshape(1, 1, 1, 2000)
    trained = TrainedNetwork(
        network,
        {"c": weights(weight, [0]), "d": weights([[[[1.0]]]], [0])},
        {"x": TensorRange(-8, 8, ((4, -2.0, 3.5),)), "y": TensorRange(-1, 1)},
    )
    for precision, x in ((INT8, 8 / 127), (INT4, 3.5 / 7)):
        made = integer_network(trained, Deployment.uniform(network, precision))
        assert made.value("x").scale == pytest.approx((x,))
        clipped = integer_network(trained, Deployment.uniform(network, precision), Clipping.MSE)
        plain, mse = (
            np.abs(of_step(m, "c").parameters["weight"][0, 0, 0, :1999].astype(int)).max() for m in (made, clipped)
        )
        assert plain == round(TOP[precision] / 3)
        assert mse > plain or precision is INT8


# -- any network ------------------------------------------------------------------------------------------------------


def test_eight_bits_are_near_the_real_network() -> None:
    """Relative error in the 2-norm, of all values of networks of up to 8 layers: below 4%; 16 times as many levels as
    with four bits, whose outputs are off by more than that."""
    for network in (residual(), branches(), own_shortcut()):
        trained = drawn(network, images=network.batch)
        images = random_images(network, network.batch, 0).inputs
        real = dict(float_run(network, trained.weights, images))
        worst = {}
        for precision in (INT8, INT4):
            made = integer_network(trained, Deployment.uniform(network, precision))
            values = oracle_run(made, quantized_inputs(made, images))
            worst[precision] = max(
                float(np.linalg.norm(real_values(made, name, values[name]) - real[name]) / np.linalg.norm(real[name]))
                for name in values
                if name in real
            )
        assert worst[INT8] < 0.04 < worst[INT4]


def random_deployment(network: Network, rng: np.random.Generator) -> Deployment:
    """Any tensor and layer in either precision, with the copies that it takes, and some additions by themselves."""
    either = {tensor.name: (INT8, INT4)[rng.integers(2)] for tensor in network.tensors}
    tensors = {name: either[network.type_owner(name)] for name in either}
    adds_its_input = {unit.layer.name for unit in units(network) if unit.other in unit.layer.inputs}
    layers, copies = {}, {}
    for layer in network.weighted_layers:
        (source,) = layer.inputs
        layers[layer.name] = tensors[source]
        if rng.random() < 0.4 and layer.name not in adds_its_input:
            layers[layer.name] = INT4 if tensors[source] is INT8 else INT8
            copies.setdefault((source, tensors[source].name, layers[layer.name].name), []).append(layer.name)
    return Deployment(
        layers,
        tensors,
        tuple(TensorConversion(*key, tuple(readers)) for key, readers in copies.items()),
        frozenset(name for name in network.fusions() if rng.random() < 0.5),
    )


def windows(work: Workload, x: Reals) -> Reals:
    """[N, OH, OW, C, KH, KW], padded with zeros."""
    margins = ((0, 0), (work.pad_top, work.pad_bottom), (work.pad_left, work.pad_right), (0, 0))
    extents = (work.dilation_h * (work.kernel_h - 1) + 1, work.dilation_w * (work.kernel_w - 1) + 1)
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(x, margins), extents, axis=(1, 2))
    return seen[:, :: work.stride_h, :: work.stride_w, :, :: work.dilation_h, :: work.dilation_w]


def products(work: Workload, x: Reals, weight: Reals) -> Reals:
    seen, per = windows(work, x), work.group_inputs
    outs = work.out_channels // work.groups
    return np.concatenate(
        [
            np.einsum("nhwcij,oijc->nhwo", seen[:, :, :, g * per : (g + 1) * per], weight[g * outs : (g + 1) * outs])
            for g in range(work.groups)
        ],
        axis=-1,
    )


def check_steps(trained: TrainedNetwork, chosen: Deployment, made: IntegerNetwork, values: Mapping[str, Array]) -> None:
    """Each step by itself, on what the steps before it wrote: how far from the layer in real numbers it may be.

    Half a step of the output for each number that is rescaled into it; half a step of a weight times what it meets;
    half a step of the accumulators for the bias; and 2**-29 of a number for its dyadic scale.
    """
    network = trained.network

    def real(name: str) -> Reals:
        return real_values(made, name, values[name])

    def as_stored(y: Reals, name: str, relu: bool) -> Reals:
        value = made.value(name)
        return np.clip(y, 0 if relu else value.dtype.low * value.scale[0], value.dtype.high * value.scale[0])

    filled: dict[str, int] = {}
    flat: dict[str, list[tuple[int, ...]]] = {}
    """Of concatenations without a height and width: what their slices were, height, width and channels."""
    for step in made.steps:
        work, reads, scale = step.spec.workload, dict(step.reads), np.array(made.value(step.writes).scale)
        x = real(reads["input"])
        slack: Any = 0.0
        rescaled = 1
        if work.op.has_weights:
            layer = network.layer(step.layer)
            weight, bias = trained.weights[layer.name].weight, trained.weights[layer.name].bias
            if work.op is Op.DENSE:
                x = in_parts(x, flat.get(reads["input"], [x.shape[1:]]))  # the model's order
            top = TOP[chosen.layers[layer.name]]
            steps = np.abs(weight).reshape(len(weight), -1).max(axis=1) / top
            if emits_logits(network, layer):
                steps = np.full_like(steps, steps.max())
            y = products(work, x, weight) + bias
            sums = steps * made.value(reads["input"]).scale[0]
            slack = products(work, np.abs(x), np.ones_like(weight)) * steps / 2 + sums / 2
            if "residual" in reads:
                y, rescaled = y + real(reads["residual"]), 2
            if not step.spec.epilogue.requantizes:
                np.testing.assert_allclose(scale, sums if len(scale) > 1 else sums[:1], rtol=1e-9)
                rescaled = 0
        elif work.op is Op.ADD:
            y, rescaled = x + real(reads["input2"]), 2
        elif work.op is Op.AVG_POOL:
            top_, left, bottom, right = network.layer(step.layer).counted_pads
            inside = np.zeros((1, work.in_height + work.pad_top + work.pad_bottom,
                               work.in_width + work.pad_left + work.pad_right, 1))  # fmt: skip
            inside[:, work.pad_top - top_ : work.pad_top + work.in_height + bottom,
                   work.pad_left - left : work.pad_left + work.in_width + right] = 1  # fmt: skip
            unpadded = replace(work, in_height=inside.shape[1], in_width=inside.shape[2],
                               pad_top=0, pad_left=0, pad_bottom=0, pad_right=0)  # fmt: skip
            y = windows(work, x).sum(axis=(4, 5)) / windows(unpadded, inside).sum(axis=(4, 5))
        elif work.op is Op.MAX_POOL:
            low = real(reads["input"]).min() - 1.0
            y, rescaled = windows(work, x - low).max(axis=(4, 5)) + low, 0
        else:
            y = x.reshape(work.input_shape)
        found = real(step.writes)
        if work.op is Op.CONCAT:
            first = filled.get(step.writes, 0)
            filled[step.writes] = first + work.in_channels
            found = found[..., first : first + work.in_channels]
            if (work.in_height, work.in_width) == (1, 1):
                flat.setdefault(step.writes, []).append(x.shape[1:])
        elif work.op is Op.CONVERT and reads["input"] in flat:
            flat[step.writes] = flat[reads["input"]]
        slack = slack + rescaled * scale / 2 + np.abs(y) * 2.0**-29 + 1e-12
        relu = step.spec.epilogue.relu
        expected = as_stored(y, step.writes, relu) if rescaled else y
        off = np.abs(found - expected)
        assert (off <= slack).all(), f"{step.name} ({step.spec.key}): {off.max()}"


def check_network(network: Network, real: Mapping[str, LayerWeights], rng: np.random.Generator) -> IntegerNetwork:
    images = random_images(network, network.batch, int(rng.integers(1000)))
    trained = TrainedNetwork(network, real, calibrate(network, real, images))
    chosen = random_deployment(network, rng)
    made = integer_network(trained, chosen)
    values = oracle_run(made, quantized_inputs(made, images.inputs))
    assert set(values) == {value.name for value in made.values}
    check_steps(trained, chosen, made, values)
    return made


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([residual, branches, own_shortcut]))
def test_every_step_is_as_near_to_the_real_layer_as_rounding_admits(seed: int, make: Any) -> None:
    rng = np.random.default_rng(seed)
    network = make()
    check_network(network, random_weights(network, int(rng.integers(1000))), rng)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_so_is_every_step_of_models_with_anything_in_them(seed: int) -> None:
    pytest.importorskip("onnx")
    with TemporaryDirectory() as folder:
        model = random_models.save(random_models.random_model(seed, clipped=0.4), Path(folder) / "model.onnx")
        network = load_network(model, 1)
        rng = np.random.default_rng(seed)
        reason = ""
        try:
            check_network(network, load_weights(model, network), rng)
        except UnsupportedModel as error:
            reason = str(error)
        assert not reason or "windows in which nothing" in reason


def test_random_deployments_have_everything() -> None:
    """What the properties above are about does occur."""
    found = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for network in (residual(), branches(), own_shortcut()):
            made = check_network(network, random_weights(network, seed), rng)
            found |= {(step.spec.workload.op, step.spec.epilogue) for step in made.steps}
            found |= {value.dtype for value in made.values}
    assert {op for op, _ in (entry for entry in found if isinstance(entry, tuple))} == set(Op) - {Op.RELAYOUT}
    assert {Epilogue.BIAS, Epilogue.ADD_REQUANT_RELU} <= {e[1] for e in found if isinstance(e, tuple)}
    assert {DType.INT4, DType.UINT4, DType.INT8, DType.UINT8, DType.INT32} <= found
