"""The built-in networks against published figures, HAWQ-V3's allocation problem and its tuning logs."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from profiler.errors import UnsupportedModel
from profiler.frontend import BUILTINS, load_network
from profiler.workload import Network, Op, Workload

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def ilp() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / "hawqv3_resnet18_ilp.json").read_text())
    return content


@pytest.fixture(scope="module")
def tuned() -> list[dict[str, str]]:
    with (DATA / "t4_hawqv3_tuning.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        # Parameters: torchvision's model pages (InceptionV3: 27,161,264 less 3,326,696 of the auxiliary head). MACs:
        # its "GFLOPS" column, 1.814, 4.089 and 5.713 G; 3.858 G for v1.
        ("resnet18", 11_689_512, 1_814_073_344),
        ("resnet50", 25_557_032, 3_857_973_248),
        ("resnet50_v1.5", 25_557_032, 4_089_184_256),
        ("inceptionv3", 23_834_568, 5_713_216_096),
    ],
)
def test_parameters_and_macs_are_the_published_ones(name: str, parameters: int, macs: int) -> None:
    network = load_network(name, 1)
    assert network.name == name
    assert network.parameters == parameters
    assert network.macs == macs
    assert load_network(name, 8).macs == 8 * macs
    assert load_network(name, 8).parameters == parameters


def test_resnet18_is_hawqv3s_layer_by_layer(ilp: dict[str, Any]) -> None:
    network = load_network("resnet18", ilp["batch"])
    ours = [layer.workload for layer in network.weighted_layers[1:-1]]  # HAWQ-V3 fixes the first and the last layer
    assert len(ours) == len(ilp["layers"])
    for workload, theirs in zip(ours, ilp["layers"], strict=True):
        assert workload.op is Op.CONV2D
        assert (workload.in_height, workload.in_channels, workload.out_channels) == (
            theirs["height"],
            theirs["in_channels"],
            theirs["out_channels"],
        )
        assert (workload.kernel_h, workload.kernel_w, workload.stride_h) == (
            theirs["kernel"],
            theirs["kernel"],
            theirs["stride"],
        )
        assert workload.weights == theirs["parameters"]
        assert workload.macs == ilp["batch"] * theirs["macs"]


def test_resnet18_ties_are_hawqv3s(ilp: dict[str, Any]) -> None:
    network = load_network("resnet18", 1)
    index = {layer.name: i for i, layer in enumerate(network.weighted_layers[1:-1])}
    assert [[index[name] for name in tie] for tie in network.ties()] == ilp["ties"]


def test_resnet50_ties_first_convolution_and_shortcut_of_each_stage() -> None:
    # pytorchcv's resnet50, which HAWQ-V3 quantizes, has a shortcut convolution in the first unit of all four stages.
    expected = tuple((f"layer{stage}.0.conv1", f"layer{stage}.0.downsample") for stage in (1, 2, 3, 4))
    assert load_network("resnet50", 1).ties() == expected
    assert load_network("resnet50_v1.5", 1).ties() == expected


def test_inceptionv3_ties_are_the_branches_that_read_one_tensor() -> None:
    ties = {frozenset(names) for names in load_network("inceptionv3", 1).ties()}
    assert {"Mixed_5b.branch1x1", "Mixed_5b.branch5x5_1", "Mixed_5b.branch3x3dbl_1"} in ties
    assert {"Mixed_6a.branch3x3", "Mixed_6a.branch3x3dbl_1"} in ties
    assert {"Mixed_7c.branch3x3dbl_3a", "Mixed_7c.branch3x3dbl_3b"} in ties
    assert len(ties) == 15  # 11 blocks, and two forks inside each of the last two
    assert not any("branch_pool" in name for tie in ties for name in tie)  # behind an average pool of their own


def _geometry(workload: Workload) -> tuple[int, ...]:
    return (
        workload.in_height,
        workload.in_channels,
        workload.out_channels,
        workload.kernel_h,
        workload.stride_h,
        workload.out_height,
    )


def test_shapes_are_those_that_hawqv3_tuned(tuned: list[dict[str, str]]) -> None:
    columns = ("height", "in_channels", "out_channels", "kernel", "stride", "out_height")
    published = {
        network: {tuple(int(row[c]) for c in columns) for row in tuned if row["network"] == network}
        for network in ("resnet18", "resnet50")
    }
    ours = {name: {_geometry(layer.workload) for layer in load_network(name, 8).weighted_layers} for name in BUILTINS}
    assert ours["resnet18"] == published["resnet18"]
    # Their ResNet50 logs hold v1 and v1.5 in one.
    assert ours["resnet50"] <= published["resnet50"]
    assert published["resnet50"] <= ours["resnet50"] | ours["resnet50_v1.5"]


@pytest.mark.parametrize("name", list(BUILTINS))
def test_layers_fit_the_tensors_between_them(name: str, check_consistent: Callable[[Network], None]) -> None:
    network = load_network(name, 2)
    check_consistent(network)
    assert network.outputs == ("fc",)


def test_signs_follow_the_relus() -> None:
    resnet = load_network("resnet50", 1)
    assert resnet.tensor("input").signed  # the normalized image, symmetric int8
    signed = {t.name for t in resnet.tensors if t.signed}
    assert signed == {"input", "fc"} | {
        layer.name for layer in resnet.layers if layer.name.endswith((".conv3", ".downsample"))
    }
    inception = load_network("inceptionv3", 1)
    assert {t.name for t in inception.tensors if t.signed} == {"input", "fc"}


def test_each_residual_addition_fuses_into_the_main_branch() -> None:
    fusions = load_network("resnet50", 1).fusions()
    assert len(fusions) == 16
    assert all(conv == add.replace(".add", ".conv3") for add, conv in fusions.items())


def test_strides_of_the_two_resnet50() -> None:
    v1, v15 = load_network("resnet50", 1), load_network("resnet50_v1.5", 1)
    assert [v1.layer(f"layer2.0.{c}").workload.stride_h for c in ("conv1", "conv2")] == [2, 1]
    assert [v15.layer(f"layer2.0.{c}").workload.stride_h for c in ("conv1", "conv2")] == [1, 2]


def test_data_movement_and_pools_are_layers() -> None:
    ops = [layer.workload.op for layer in load_network("inceptionv3", 1).layers]
    assert ops.count(Op.CONV2D) == 94
    assert ops.count(Op.MAX_POOL) == 4
    assert ops.count(Op.AVG_POOL) == 10  # one in each of the nine blocks of types A, C and E, and the last
    assert ops.count(Op.CONCAT) == 3 * 4 + 3 + 4 * 4 + 3 + 2 * (4 + 2 + 2)


def test_padding_counts_in_the_average_pools_of_the_inception_blocks() -> None:
    # torchvision's inception.py: F.avg_pool2d(x, kernel_size=3, stride=1, padding=1) in the blocks of types A, C and E;
    # count_include_pad is true by default.
    layers = load_network("inceptionv3", 1).layers
    counting = {layer.name: layer.counted_pads for layer in layers if any(layer.counted_pads)}
    blocks = ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b", "7c")
    assert counting == {f"Mixed_{block}.pool": (1, 1, 1, 1) for block in blocks}


@pytest.mark.parametrize("batch", [0, -1, True])
def test_a_batch_that_is_none_is_refused(batch: int) -> None:
    with pytest.raises(UnsupportedModel, match="batch must be an integer of at least 1"):
        load_network("resnet18", batch)


def test_names_that_mean_nothing_are_answered_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"unknown model 'resnet19'.*resnet18, resnet50.*\.onnx, \.pt2"):
        load_network("resnet19", 1)
    with pytest.raises(UnsupportedModel, match=r"torch\.export\.save"):
        load_network("model.pth", 1)
    with pytest.raises(UnsupportedModel, match="no such file"):
        load_network(str(tmp_path / "missing.onnx"), 1)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UnsupportedModel, match="not a file"):
        load_network(str(tmp_path / "folder.onnx"), 1)
    assert load_network(" ResNet18 ", 1).name == "resnet18"


def test_importing_the_frontends_imports_neither_onnx_nor_torch() -> None:
    code = "import sys, profiler.frontend; print([m for m in ('onnx', 'torch', 'numpy') if m in sys.modules])"
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
