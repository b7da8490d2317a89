"""HAWQ-V3's figures under our names: they are of the layers that they are said to be of."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from profiler.frontend import load_network
from profiler.sensitivity import Sensitivity, published_sensitivity

PROBLEM = json.loads((Path(__file__).parents[1] / "data" / "hawqv3_resnet18_ilp.json").read_text())

# Million multiply-accumulates of ResNet50's layers as HAWQ-V3's notebook lists them, in the notebook's order.
_A, _B, _C, _D, _E = 12.845056, 115.605504, 51.380224, 25.690112, 102.760448
RESNET50_MACS_M = [
    *(_A, _B, _C, _C), *(_C, _B, _C) * 2,
    *(_D, _B, _C, _E), *(_C, _B, _C) * 3,
    *(_D, _B, _C, _E), *(_C, _B, _C) * 5,
    *(_D, _B, _C, _E), *(_C, _B, _C) * 2,
]  # fmt: skip
RESNET50_TIES = [(0, 3), (10, 13), (23, 26), (42, 45)]


def published(name: str) -> Sensitivity:
    table = published_sensitivity(name)
    assert table is not None
    return table


@pytest.mark.parametrize(("name", "count"), [("resnet18", 19), ("resnet50", 52)])
def test_all_layers_but_the_first_and_the_last_have_figures(name: str, count: int) -> None:
    table, network = published(name), load_network(name, 1)
    inner = [layer.name for layer in network.weighted_layers[1:-1]]
    assert [layer.name for layer in table.layers] == inner
    assert len(inner) == count
    table.check(network, [(layer, precision) for layer in inner for precision in ("int8", "int4")])
    assert "2011.10680" in table.citation
    assert "MIT" in table.citation


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_cost_is_the_trace_times_the_perturbation(name: str) -> None:
    for layer in published(name).layers:
        assert layer.trace is not None
        assert layer.cost == {p: layer.trace * layer.perturbation[p] for p in ("int8", "int4")}
        # A step 127/7 times as wide, and so an error of about its square, 329 times as large.
        assert 200 < layer.perturbation["int4"] / layer.perturbation["int8"] < 400


def test_resnet18_is_the_published_problem() -> None:
    table, network = published("resnet18"), load_network("resnet18", 1)
    assert len(PROBLEM["layers"]) == len(table.layers)
    for layer, given in zip(table.layers, PROBLEM["layers"], strict=True):
        work = network.layer(layer.name).workload
        assert layer.trace == given["hessian_trace_normalised"]
        assert layer.perturbation == given["weight_perturbation_sq"]
        assert layer.parameters == work.weights == given["parameters"]
        assert work.macs == given["macs"]
        assert (work.in_height, work.in_channels, work.out_channels, work.kernel_h, work.stride_h) == (
            given["height"], given["in_channels"], given["out_channels"], given["kernel"], given["stride"],
        )  # fmt: skip
        assert ("identity" in given["name"]) == layer.name.endswith("downsample")


def test_resnet18_has_the_published_ties() -> None:
    names = [layer.name for layer in published("resnet18").layers]
    assert {frozenset(names[i] for i in tie) for tie in PROBLEM["ties"]} == {
        frozenset(tie) for tie in load_network("resnet18", 1).ties()
    }


def test_resnet50_has_the_published_order() -> None:
    table, network = published("resnet50"), load_network("resnet50", 1)
    macs = [network.layer(layer.name).workload.macs / 1e6 for layer in table.layers]
    assert macs == RESNET50_MACS_M
    names = [layer.name for layer in table.layers]
    assert {frozenset(names[i] for i in tie) for tie in RESNET50_TIES} == {frozenset(tie) for tie in network.ties()}


def test_resnet50_figures() -> None:
    """Ends and middle of the lists, as the notebook has them."""
    table = published("resnet50")
    expected = {
        "layer1.0.conv1": (0.19270050525665214, 0.0031, 0.9257),
        "layer1.0.downsample": (0.07639402896166123, 0.0025, 0.7805),
        "layer3.0.conv3": (0.0018696154002090816, 0.0371, 11.7131),
        "layer4.2.conv3": (0.000525604293216296, 0.0246, 8.08),
    }
    for name, (trace, int8, int4) in expected.items():
        layer = table.layer(name)
        assert (layer.trace, layer.perturbation) == (trace, {"int8": int8, "int4": int4})


def test_traces_fall_with_depth() -> None:
    """As in the paper's figures: earlier stages are the more sensitive ones, by their mean."""
    for name in ("resnet18", "resnet50"):
        layers = published(name).layers
        stages = [[e.trace or 0.0 for e in layers if e.name.startswith(f"layer{i}.")] for i in (1, 2, 3, 4)]
        means = [sum(stage) / len(stage) for stage in stages]
        assert all(earlier > later for earlier, later in pairwise(means))


def test_other_networks_have_none() -> None:
    assert published_sensitivity("resnet50_v1.5") is None
    assert published_sensitivity("inceptionv3") is None
