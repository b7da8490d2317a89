"""network.json: what is written is what is read, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.errors import InvalidFile
from profiler.frontend import load_network, network_file


@pytest.mark.parametrize("name", ["resnet18", "inceptionv3"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    network = load_network(name, 2)
    path = tmp_path / "network.json"
    network_file.save(network, path)
    assert load_network(str(path), 2) == network
    assert load_network(str(path), 8) == load_network(name, 8)
    assert [p.name for p in tmp_path.iterdir()] == ["network.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"version": 2}',
        '{"version": 3}',
        '{"version": 1, "name": "x"}',
        "\x00",
        '{"version": 1',
        "[" * 100_000,
    ],
    ids=range(10),
)
def test_what_is_no_network_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InvalidFile, match=r"bad\.json: not a network file"):
        load_network(str(path), 1)


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "\ud800", None, 7])
def test_names_that_cannot_be_printed_are_refused(tmp_path: Path, name: object) -> None:
    body = json.loads(network_file.to_text(load_network("resnet18", 1)))
    path = tmp_path / "bad.json"
    for change in (lambda: body.update(name=name), lambda: body["layers"][3].update(name=name)):
        change()
        path.write_text(json.dumps(body))
        with pytest.raises(InvalidFile, match=r"bad\.json: not a network file: the name .* is not a text"):
            load_network(str(path), 1)
        body["name"] = "fine"


def test_outputs_survive(tmp_path: Path) -> None:
    network = load_network("resnet18", 1)
    path = tmp_path / "network.json"
    for changed in (
        replace(network, outputs=("fc", "layer1.0.conv2")),
        replace(network, outputs=(), skipped=("softmax",)),
    ):
        network_file.save(changed, path)
        assert load_network(str(path), 1) == changed


def test_a_contradiction_is_refused(tmp_path: Path) -> None:
    body = json.loads(network_file.to_text(load_network("resnet18", 1)))
    body["layers"][0]["inputs"] = ["nowhere"]
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(body))
    with pytest.raises(InvalidFile, match="unknown tensor 'nowhere'"):
        load_network(str(path), 1)


def test_version_1_did_not_say_which_padding_counts(tmp_path: Path) -> None:
    network = load_network("inceptionv3", 1)
    body = json.loads(network_file.to_text(network))
    assert body["version"] == 2
    assert [x["counted_pads"] for x in body["layers"] if x["name"] == "Mixed_5b.pool"] == [[1, 1, 1, 1]]
    body["version"] = 1
    for layer in body["layers"]:
        del layer["counted_pads"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(body))
    nothing = tuple(replace(layer, counted_pads=(0, 0, 0, 0)) for layer in network.layers)
    assert load_network(str(path), 1) == replace(network, layers=nothing) != network


@pytest.mark.parametrize(("version", "says"), [(1, "counted_pads"), (2, "'counted_pads' is missing")])
def test_a_version_has_its_own_fields(tmp_path: Path, version: int, says: str) -> None:
    body = json.loads(network_file.to_text(load_network("resnet18", 1)))
    body["version"] = version
    if version == 2:
        del body["layers"][0]["counted_pads"]
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(body))
    with pytest.raises(InvalidFile, match=rf"bad\.json: not a network file: .*{says}"):
        load_network(str(path), 1)


@pytest.mark.parametrize(
    ("layer", "pads", "says"),
    [
        ("Mixed_5b.pool", [1, 1, 2, 1], r"'Mixed_5b\.pool' has counted_pads \(1, 1, 2, 1\), but its padding is \(1, 1"),
        ("Mixed_5b.pool", [1, -1, 1, 1], r"counted_pads \(1, -1, 1, 1\), but its padding is \(1, 1, 1, 1\)"),
        ("avgpool", [0, 0, 0, 1], r"but its padding is \(0, 0, 0, 0\)"),
        ("Conv2d_2b_3x3", [1, 1, 1, 1], "but a conv2d divides by nothing"),
        ("fc", [1, 0, 0, 0], "but a dense divides by nothing"),
        ("Mixed_5b.pool", [1, 1, 1], "not four integers"),
        ("Mixed_5b.pool", [1, 1, 1, True], "not four integers"),
        ("Mixed_5b.pool", [1, 1, 1, 1.0], "not four integers"),
        ("Mixed_5b.pool", "1111", "not four integers"),
        ("Mixed_5b.pool", None, "not a network file"),
    ],
)
def test_padding_that_cannot_count_is_refused(tmp_path: Path, layer: str, pads: object, says: str) -> None:
    body = json.loads(network_file.to_text(load_network("inceptionv3", 1)))
    next(x for x in body["layers"] if x["name"] == layer)["counted_pads"] = pads
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(body))
    with pytest.raises(InvalidFile, match=says):
        load_network(str(path), 1)
