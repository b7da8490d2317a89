"""What an integer network refuses to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from profiler.errors import InvalidWorkload
from profiler.network.integer_network import IntegerNetwork, Value
from profiler.network.oracle_run import oracle_run
from profiler.workload import DType, Epilogue, Op
from tests.network.integer_drafts import Draft, random_inputs


def sound() -> IntegerNetwork:
    """A convolution, a fused addition, a concatenation of two slices, a dense layer of the flattened image."""
    draft = Draft(seed=1)
    x = draft.input(4, 4, 3, DType.INT8)
    a = draft.conv(x, 5, 3)
    b = draft.conv(a, 5, epilogue=Epilogue.ADD_REQUANT_RELU, residual=a)
    return draft.network([draft.dense(draft.concat([a, b]), 4)], "sound")


def changed(step: int, **changes: Any) -> IntegerNetwork:
    network = sound()
    steps = list(network.steps)
    steps[step] = replace(steps[step], **changes)
    return replace(network, steps=tuple(steps))


def parameters(step: int, **changes: Any) -> dict[str, Any]:
    """Those of a step with others in it; None leaves one out."""
    found = {**sound().steps[step].parameters, **changes}
    return {name: values for name, values in found.items() if values is not None}


def with_value(index: int, **changes: Any) -> IntegerNetwork:
    network = sound()
    values = list(network.values)
    values[index] = replace(values[index], **changes)
    return replace(network, values=tuple(values))


def test_what_is_changed_below_is_sound() -> None:
    network = sound()
    assert [value.name for value in network.values] == ["v0", "v1", "v2", "v3", "v4"]
    assert [step.spec.workload.op for step in network.steps] == [Op.CONV2D, Op.CONV2D, Op.CONCAT, Op.CONCAT, Op.DENSE]
    assert [step.first_channel for step in network.steps] == [0, 0, 0, 5, 0]
    assert set(oracle_run(network, random_inputs(network))) == {value.name for value in network.values}
    assert network.value("v3").shape == (1, 4, 4, 10)
    with pytest.raises(KeyError):
        network.value("v9")


@pytest.mark.parametrize(
    ("step", "changes", "message"),
    [
        (0, {"reads": (("input", "v9"),)}, "input 'v9' is not there"),
        (0, {"reads": (("input", "v1"),)}, "input 'v1' is not there"),
        (0, {"reads": ()}, "operand 'input' is missing"),
        (0, {"reads": (("input", "v0"), ("input", "v0"))}, "operand 'input' is missing, superfluous or there twice"),
        (0, {"reads": (("input", "v0"), ("residual", "v0"))}, "operand 'residual'"),
        (1, {"reads": (("input", "v1"), ("residual", "v0"))}, r"residual is uint8 \(1, 4, 4, 5\)"),
        (0, {"writes": "v9"}, "output 'v9' is not there"),
        (0, {"writes": "v0"}, "value 'v0' is int8"),
        (1, {"writes": "v1"}, "'v1' is written already"),
        (2, {"writes": "v1"}, "output is uint8"),
        (0, {"first_channel": 1}, "cannot begin at channel 1"),
        (0, {"first_channel": -1}, "cannot begin at channel -1"),
        (2, {"first_channel": -5}, "cannot begin at channel -5"),
        (3, {"first_channel": 4}, "cannot begin at channel 4"),
        (3, {"first_channel": 6}, "its slice ends behind the channels of 'v3'"),
        (4, {"reads": (("input", "v2"),)}, "input is uint8"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(step: int, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidWorkload, match=rf"network 'sound', step 'layer{step}': .*{message}"):
        changed(step, **changes)


INT32_MIN = np.full(5, -(2**31), np.int32)


@pytest.mark.parametrize(
    ("step", "name", "values", "message"),
    [
        (0, "bias", None, "operand 'bias' is missing"),
        (0, "scale", np.ones(5, np.int32), "operand 'scale'"),
        (0, "bias", np.zeros(4, np.int32), r"'bias' is not integers of shape \(5,\)"),
        (0, "bias", np.zeros(5), "'bias' is not integers"),
        (0, "bias", np.zeros(5, bool), "'bias' is not integers"),
        (0, "bias", np.zeros(5, object), "'bias' is not integers"),
        (0, "bias", np.full(5, 2**31), "'bias' is out of its range"),
        (0, "weight", np.full((5, 3, 3, 3), 128), "'weight' is out of its range, -128 to 127"),
        (0, "multiplier", np.array([-1, 1, 1, 1, 1]), "'multiplier' is out of its range, 0 to 2147483647"),
        (0, "multiplier", INT32_MIN, "'multiplier' is out of its range"),
        (0, "shift", np.array([0, 1, 1, 1, 1]), "'shift' is out of its range, 1 to 62"),
        (0, "shift", np.array([63, 1, 1, 1, 1]), "'shift' is out of its range, 1 to 62"),
        (1, "residual_multiplier", INT32_MIN, "'residual_multiplier' is out of its range"),
        (1, "residual_shift", np.full(5, 63), "'residual_shift' is out of its range"),
    ],
)
def test_a_parameter_that_no_kernel_takes_is_refused(step: int, name: str, values: Any, message: str) -> None:
    with pytest.raises(InvalidWorkload, match=f"step 'layer{step}': .*{message}"):
        changed(step, parameters=parameters(step, **{name: values}))


@pytest.mark.parametrize(("shift", "multiplier"), [(1, 0), (62, 2**31 - 1)])
def test_the_ends_of_dyadic_numbers_are_admitted(shift: int, multiplier: int) -> None:
    changes = {"shift": np.full(5, shift), "multiplier": np.full(5, multiplier)}
    network = changed(0, parameters=parameters(0, **changes))
    oracle_run(network, random_inputs(network))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": ()}, "0 scales for 3 channels"),
        ({"scale": (1.0, 1.0)}, "2 scales for 3 channels"),
        ({"scale": (0.0,)}, "positive and finite"),
        ({"scale": (-1.0,)}, "positive and finite"),
        ({"scale": (float("nan"),)}, "positive and finite"),
        ({"scale": (1.0, float("inf"), 1.0)}, "positive and finite"),
        ({"dtype": DType.FLOAT32}, "is float32"),
        ({"shape": (1, 4, 4)}, "not four extents"),
        ({"shape": (1, -4, -4, 3)}, "extents of at least 1"),
        ({"shape": (0, 4, 4, 3)}, "extents of at least 1"),
    ],
)
def test_a_value_that_is_none_is_refused(changes: dict[str, Any], message: str) -> None:
    value = Value("v", (1, 4, 4, 3), DType.INT8, (1.0, 2.0, 3.0))
    with pytest.raises(InvalidWorkload, match=f"value 'v'.*{message}"):
        replace(value, **changes)


def test_a_network_that_does_not_hang_together_is_refused() -> None:
    network = sound()
    with pytest.raises(InvalidWorkload, match="a value is defined twice"):
        replace(network, values=(*network.values, network.values[0]))
    with pytest.raises(InvalidWorkload, match="'v8' is written by no step"):
        replace(network, outputs=("v8",))
    with pytest.raises(InvalidWorkload, match="step 'layer4': input 'v3' is not there"):  # half of it is
        replace(network, steps=(*network.steps[:3], network.steps[4]))
    with pytest.raises(InvalidWorkload, match="input 'v0' is not there"):
        replace(network, inputs=())
    with pytest.raises(InvalidWorkload, match="'v0' is not of batch 2"):
        replace(network, batch=2)
    with pytest.raises(InvalidWorkload, match="not of batch 1"):
        with_value(0, shape=(2, 4, 4, 3))
    with pytest.raises(InvalidWorkload, match="input is int8"):
        with_value(0, dtype=DType.UINT8)
    with pytest.raises(InvalidWorkload, match="'v1' is written already"):
        replace(network, inputs=("v0", "v1"))


def test_layouts_other_than_nhwc_are_refused() -> None:
    network = sound()
    for odd in ("nchw", ["nhwc"]):
        spec = replace(network.steps[0].spec, input_layout=odd)
        with pytest.raises(InvalidWorkload, match="layouts"):
            changed(0, spec=spec)


def test_nothing_to_run_is_no_network() -> None:
    draft = Draft()
    sound = draft.network([draft.conv(draft.input(4, 4, 8, DType.UINT8), 8)])
    for change in ({"outputs": ()}, {"steps": (), "outputs": sound.inputs}, {"inputs": ()}):
        with pytest.raises(InvalidWorkload, match=r"nothing to run|is not there|named twice"):
            replace(sound, **change)  # type: ignore[arg-type]
    first, *rest = sound.values
    assert first.name == sound.inputs[0]
    with pytest.raises(InvalidWorkload, match="has a scale for each channel"):
        replace(sound, values=(replace(first, scale=(1.0,) * 8), *rest))


def test_sums_that_int32_does_not_hold_are_refused() -> None:
    draft = Draft()
    sound = draft.network([draft.conv(draft.input(4, 4, 8, DType.UINT8), 8)])
    (step,) = sound.steps
    weight = step.parameters["weight"]
    room = DType.INT32.high - int(np.abs(weight.reshape(8, -1).astype(np.int64)).sum(axis=1).max()) * 255
    for bias, fits in ((room, True), (room + 1, False), (-room - 1, False)):
        parameters = {**step.parameters, "bias": np.full(8, bias, np.int32)}
        made = replace(step, parameters=parameters)
        if fits:
            replace(sound, steps=(made,))
        else:
            with pytest.raises(InvalidWorkload, match="which int32 does not hold"):
                replace(sound, steps=(made,))


def test_an_end_that_is_named_twice_is_refused() -> None:
    draft = Draft()
    sound = draft.network([draft.conv(draft.input(4, 4, 8, DType.UINT8), 8)])
    for change in ({"outputs": sound.outputs * 2}, {"inputs": sound.inputs * 2}, {"outputs": sound.inputs}):
        with pytest.raises(InvalidWorkload, match="named twice"):
            replace(sound, **change)  # type: ignore[arg-type]
