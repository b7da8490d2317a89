"""Clipped ReLUs: their upper end is the layer's, whoever wrote the model down, and what cannot have one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiler.errors import InvalidFile, InvalidWorkload, UnsupportedModel
from profiler.frontend import load_network, network_file
from profiler.frontend.refusal import RefusedError
from profiler.frontend.relu_limit import relu_limit
from profiler.workload import Layer, Network, Op, Tensor, Workload
from tests.frontend.torch_models import from_function

onnx = pytest.importorskip("onnx")
helper = onnx.helper
INF = float("inf")


def model(nodes: list[Any], opset: int = 17, **scalars: float) -> Any:
    """Input x (1, 4, 8, 8); weights w (4, 4, 1, 1); output y."""
    kind = onnx.TensorProto.FLOAT
    constants = [helper.make_tensor("w", kind, (4, 4, 1, 1), [0.5] * 16)]
    constants += [helper.make_tensor(name, kind, (), [value]) for name, value in scalars.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, (1, 4, 8, 8))],
        [helper.make_tensor_value_info("y", kind, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), [output], **attributes)


CONV = node("Conv", "x w", "c")


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Network]:
    def read(proto: Any) -> Network:
        path = tmp_path / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        return load_network(str(path), 1)

    return read


def limits(network: Network) -> dict[str, tuple[bool, float | None]]:
    return {layer.name: (layer.relu, layer.relu_limit) for layer in network.layers}


@pytest.mark.parametrize(
    ("ends", "limit"),
    [((0.0, 6.0), 6.0), ((0.0, 0.5), 0.5), ((0.0, INF), None), ((0.0, 3.4028234663852886e38), None), ((0.0,), None)],
)
def test_an_operator_that_clips_in_old_and_new_opsets(
    read: Callable[..., Network], ends: tuple[float, ...], limit: float | None
) -> None:
    names = ("low", "high")[: len(ends)]
    new = read(model([CONV, node("Clip", " ".join(["c", *names]))], **dict(zip(names, ends, strict=True))))
    old = read(model([CONV, node("Clip", "c", **dict(zip(("min", "max"), ends, strict=False)))], opset=10))
    for network in (new, old):
        assert limits(network) == {"c": (True, limit)}
        assert network.relu_limit("c") == limit


def test_a_clip_behind_a_relu_a_pool_or_a_concatenation(read: Callable[..., Network]) -> None:
    behind = node("Clip", "r zero six")
    scalars = {"zero": 0.0, "six": 6.0, "four": 4.0}
    pool = node("MaxPool", "c", "r", kernel_shape=[2, 2])
    assert limits(read(model([CONV, node("Relu", "c", "r"), behind], **scalars))) == {"c": (True, 6.0)}
    twice = read(model([CONV, node("Clip", "c zero four", "r"), behind], **scalars))
    assert limits(twice) == {"c": (True, 4.0)}
    pooled = read(model([CONV, pool, behind], **scalars))
    assert [(layer.relu, layer.relu_limit) for layer in pooled.layers] == [(True, 6.0), (False, None)]
    assert [pooled.relu_limit(tensor.name) for tensor in pooled.tensors] == [None, 6.0, 6.0]
    assert not any(pooled.tensor(layer.output).signed for layer in pooled.layers)
    concat = read(model([CONV, node("Concat", "c x", "r", axis=1), behind], **scalars))
    assert [(layer.relu, layer.relu_limit) for layer in concat.layers] == [(False, None), *[(False, 6.0)] * 2]
    average = read(model([CONV, node("GlobalAveragePool", "c", "r"), behind], **scalars))
    assert [(layer.relu, layer.relu_limit) for layer in average.layers] == [(False, None), (False, 6.0)]
    sums = [CONV, node("Relu", "c", "r"), node("Add", "r r", "s"), node("Clip", "s zero six")]
    added = read(model(sums, **scalars))
    assert [(layer.relu, layer.relu_limit) for layer in added.layers] == [(True, None), (False, 6.0)]


@pytest.mark.parametrize(
    "nodes",
    [
        # One of them has no upper end, or another one, or somebody reads what is not clipped yet.
        [CONV, node("Relu", "c", "r"), node("Clip", "c zero six", "s"), node("Add", "r s")],
        [CONV, node("Clip", "c zero four", "r"), node("Clip", "c zero six", "s"), node("Add", "r s")],
        [CONV, node("Relu", "c", "r"), node("Clip", "r zero six", "s"), node("Add", "r s")],
        [CONV, node("Relu", "c", "r"), node("Relu", "c", "t"), node("Clip", "r zero six", "s"), node("Add", "t s")],
        [node("Clip", "x zero six")],
    ],
)
def test_a_tensor_that_has_other_readers_is_not_clipped(read: Callable[..., Network], nodes: list[Any]) -> None:
    with pytest.raises(UnsupportedModel, match=r"operator Clip .* fused only|operator Relu .* fused only") as caught:
        read(model(nodes, zero=0.0, six=6.0, four=4.0))
    assert "\n" not in str(caught.value)


def test_the_same_clip_twice_is_one(read: Callable[..., Network]) -> None:
    nodes = [CONV, node("Clip", "c zero six", "r"), node("Clip", "c zero six", "s"), node("Add", "r s")]
    assert limits(read(model(nodes, zero=0.0, six=6.0)))["c"] == (True, 6.0)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([CONV, node("Clip", "c one six")], "it clips from another value than 0"),
        ([CONV, node("Clip", "c")], "it clips from another value than 0"),
        ([CONV, node("Clip", "c zero minus")], "it clips from 0 to -1, which leaves nothing"),
        ([CONV, node("Clip", "c zero zero")], "it clips from 0 to 0, which leaves nothing"),
        ([CONV, node("Clip", "c zero nan")], "which leaves nothing"),
        ([CONV, node("Clip", "c zero x")], "its max is not a constant"),
    ],
)
def test_what_is_no_relu_is_refused(read: Callable[..., Network], nodes: list[Any], reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason) as caught:
        read(model(nodes, zero=0.0, one=1.0, six=6.0, minus=-1.0, nan=float("nan")))
    assert "\n" not in str(caught.value)


def test_an_end_below_all_numbers_of_32_bits_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"it clips from 0 to -1e\+39, which leaves nothing"):
        relu_limit(0.0, -1e39)


@pytest.mark.parametrize(
    ("call", "limit"),
    [
        ("functional.relu6(x)", 6.0),
        ("functional.relu6(x, inplace=True)", 6.0),
        ("functional.relu(x)", None),
        ("functional.hardtanh(x, 0.0, 2.5)", 2.5),
        ("clamp(x, 0, 3)", 3.0),
        ("clamp(x, 0)", None),
        ("clamp(x, min=0, max=INF)", None),
        ("clamp_min(x, 0)", None),
    ],
)
def test_operators_of_torch(tmp_path: Path, call: str, limit: float | None) -> None:
    torch = pytest.importorskip("torch")
    names = {"functional": torch.nn.functional, "clamp": torch.clamp, "clamp_min": torch.clamp_min, "INF": INF}

    def forward(self: Any, x: Any) -> Any:
        return self.b(eval(call, names, {"x": self.a(x)}))

    network = exported(torch, tmp_path, forward)
    assert limits(network)["a"] == (True, limit)
    assert limits(network)["b"] == (False, None)


@pytest.mark.parametrize("call", ["functional.hardtanh(x)", "clamp(x, 0, -1)", "clamp(x, max=6)", "clamp(x, 1, 6)"])
def test_what_is_no_relu_in_torch_is_refused(tmp_path: Path, call: str) -> None:
    torch = pytest.importorskip("torch")

    def forward(self: Any, x: Any) -> Any:
        return self.b(eval(call, {"functional": torch.nn.functional, "clamp": torch.clamp}, {"x": self.a(x)}))

    with pytest.raises(UnsupportedModel, match="it clips from") as caught:
        exported(torch, tmp_path, forward)
    assert "\n" not in str(caught.value)


def exported(torch: Any, folder: Path, forward: Any) -> Network:
    module = from_function(torch, forward, torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 4, 1))
    torch.export.save(torch.export.export(module, (torch.zeros(1, 4, 8, 8),)), str(folder / "model.pt2"))
    return load_network(str(folder / "model.pt2"), 1)


# -- the network and its file ------------------------------------------------------------------------------------------

CLIPPED = Network(
    "clipped",
    1,
    (Tensor("x", 2, 2, 4, True), Tensor("y", 2, 2, 4, False), Tensor("p", 1, 1, 4, False)),
    (
        Layer("c", Workload(Op.CONV2D, 1, 2, 2, 4, 4), ("x",), "y", True, relu_limit=6.0),
        Layer("pool", Workload(Op.MAX_POOL, 1, 2, 2, 4, 4, 2, 2), ("y",), "p"),
    ),
)


def test_a_limit_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    network_file.save(CLIPPED, path)
    assert load_network(str(path), 1) == CLIPPED
    body = json.loads(path.read_text())
    assert [layer.get("relu_limit", "nothing") for layer in body["layers"]] == [6.0, "nothing"]
    del body["layers"][0]["relu_limit"]  # as version 2 was written before there were limits
    path.write_text(json.dumps(body))
    plain = replace(CLIPPED.layers[0], relu_limit=None)
    assert load_network(str(path), 1) == replace(CLIPPED, layers=(plain, CLIPPED.layers[1]))
    body["version"], body["layers"][0]["relu_limit"] = 1, 6.0
    for layer in body["layers"]:
        del layer["counted_pads"]
    path.write_text(json.dumps(body))
    with pytest.raises(InvalidFile, match="relu_limit"):
        load_network(str(path), 1)


@pytest.mark.parametrize("limit", [0, -1.0, True, "6", float("nan"), INF, [6]])
def test_a_file_whose_limit_is_none_is_refused(tmp_path: Path, limit: Any) -> None:
    body = json.loads(network_file.to_text(CLIPPED))
    body["layers"][0]["relu_limit"] = limit
    path = tmp_path / "network.json"
    path.write_text(json.dumps(body))
    with pytest.raises(InvalidFile, match=r"layer 'c' has relu_limit .*, not a number above zero"):
        load_network(str(path), 1)


def test_limits_that_no_relu_has_are_refused() -> None:
    conv, pool = CLIPPED.layers
    signed = (CLIPPED.tensors[0], replace(CLIPPED.tensors[1], signed=True), CLIPPED.tensors[2])
    with pytest.raises(InvalidWorkload, match=r"layer 'c' has relu_limit 6\.0, but no ReLU"):
        replace(CLIPPED, tensors=signed)
    with pytest.raises(InvalidWorkload, match=r"layer 'pool' has relu_limit 6\.0, but no ReLU"):
        replace(CLIPPED, layers=(conv, replace(pool, relu_limit=6.0)))
    halves = tuple(Layer(f"s{i}", Workload(Op.CONCAT, 1, 2, 2, 2, 4), (f"x{i}",), "y") for i in range(2))
    tensors = (*(Tensor(f"x{i}", 2, 2, 2, True) for i in range(2)), CLIPPED.tensors[1])
    with pytest.raises(InvalidWorkload, match=r"layer 's1' has relu_limit 5.0, but another slice None"):
        Network("slices", 1, tensors, (halves[0], replace(halves[1], relu_limit=5.0)))
