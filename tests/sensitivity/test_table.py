"""The table: what it answers, what it refuses, and whether it is of a given network."""

from __future__ import annotations

import math
from typing import Any

import pytest

from profiler.errors import ProfilerError
from profiler.frontend import load_network
from profiler.sensitivity import LayerSensitivity, Sensitivity


def table(*names: str, **fields: Any) -> Sensitivity:
    return Sensitivity("invented", tuple(LayerSensitivity(name, {"int8": 0.1, "int4": 2}, **fields) for name in names))


def test_it_answers_for_a_layer_and_a_precision() -> None:
    known = table("a", "b")
    assert known.precisions == ("int8", "int4")
    assert known.of("b", "int4") == 2.0
    assert "b" in known
    assert "c" not in known
    with pytest.raises(ProfilerError, match="no layer 'c'"):
        known.of("c", "int4")
    with pytest.raises(ProfilerError, match="no cost of int2 for layer 'a'; it has int8, int4"):
        known.of("a", "int2")


@pytest.mark.parametrize("value", [-1e-300, math.nan, math.inf, -math.inf, 10**400, True, "1", None])
@pytest.mark.parametrize("place", ["cost", "perturbation"])
def test_a_cost_is_finite_and_not_negative(value: Any, place: str) -> None:
    fields = {"cost": {"int8": 1.0}, "perturbation": {"int8": 1.0}, place: {"int8": value}}
    with pytest.raises(ProfilerError, match=r"layer 'conv', (perturbation_)?int8: must be"):
        LayerSensitivity("conv", **fields)


def test_a_cost_of_zero_has_no_sign() -> None:
    assert math.copysign(1, LayerSensitivity("a", {"int8": -0.0}).cost["int8"]) == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"trace": math.nan}, "trace: must be finite"),
        ({"trace_stderr": -0.1}, "trace_stderr: must be finite and not negative"),
        ({"probes": 0}, "probes: must be an integer of at least 1"),
        ({"parameters": 2.0}, "parameters: must be an integer of at least 1"),
        ({"perturbation": {"int4": 1.0}}, "a perturbation for int4, but no cost"),
        ({"cost": {}}, "has no cost"),
        ({"name": "a\nb"}, "is not a text that can be printed"),
        ({"name": " "}, "is not a text that can be printed"),
    ],
)
def test_what_a_layer_refuses(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ProfilerError, match=text):
        LayerSensitivity(**{"name": "a", "cost": {"int8": 1.0}, **fields})


def test_a_trace_may_be_negative() -> None:
    assert LayerSensitivity("a", {"int8": 0.0}, trace=-0.5).trace == -0.5


def test_what_a_table_refuses() -> None:
    one = LayerSensitivity("a", {"int8": 1.0})
    with pytest.raises(ProfilerError, match="'a' is listed twice"):
        Sensitivity("m", (one, one))
    with pytest.raises(ProfilerError, match="layer 'b' has costs for int4, layer 'a' for int8"):
        Sensitivity("m", (one, LayerSensitivity("b", {"int4": 1.0})))
    with pytest.raises(ProfilerError, match="without any layer"):
        Sensitivity("m", ())
    with pytest.raises(ProfilerError, match="must say its method"):
        Sensitivity("", (one,))
    with pytest.raises(ProfilerError, match="citation of a sensitivity must be one line"):
        Sensitivity("m", (one,), "two\nlines")


def test_a_network_needs_an_entry_for_what_is_asked_for() -> None:
    network = load_network("resnet18", 1)
    names = [layer.name for layer in network.weighted_layers]
    table(*names).check(network)
    inner = table(*names[1:-1])
    inner.check(network, [(name, p) for name in names[1:-1] for p in ("int8", "int4")])
    with pytest.raises(ProfilerError, match=r"no entry for 'conv1', 'fc' of network 'resnet18'$"):
        inner.check(network)
    with pytest.raises(ProfilerError, match=r"no entry for 'layer1.0.conv1 \(int2\)'"):
        inner.check(network, [("layer1.0.conv1", "int2")])


def test_names_of_another_model_are_told() -> None:
    network = load_network("resnet18", 1)
    with pytest.raises(ProfilerError, match=r"and 15 more of network 'resnet18'; it lists 'stem', 'head', which"):
        table("stem", "head").check(network)
    assert table("stem", "fc").unknown_layers(network) == ("stem",)


def test_weights_of_another_model_are_told() -> None:
    network = load_network("resnet18", 1)
    for count in (512_000, 513_000):  # without the bias, and with it
        table("fc", parameters=count).check(network, [("fc", "int8")])
    with pytest.raises(ProfilerError, match="layer 'fc' has 2048000 weights there, and 512000 in"):
        table("fc", parameters=2_048_000).check(network, [])
