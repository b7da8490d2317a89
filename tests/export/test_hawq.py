"""The bit configurations that HAWQ publishes for ResNet18, ResNet50 and InceptionV3, rebuilt from bits per layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiler.errors import UnsupportedModel
from profiler.export.hawq import KNOWN, is_hawq, source_text
from profiler.frontend import load_network
from profiler.workload import Network
from tests.export.examples import bits_of


def dictionary(network: Network, narrow: set[str], scheme: str = "mine") -> dict[str, dict[str, int]]:
    scope: dict[str, Any] = {}
    exec(source_text(bits_of(network, narrow), scheme), scope)
    found: dict[str, dict[str, int]] = scope["bit_config_dict"]
    return found


def between(network: Network) -> set[str]:
    """All layers but the first and the last."""
    return {layer.name for layer in network.weighted_layers[1:-1]}


# HAWQ's names for the modules of a unit, in its order.
BASIC = ["quant_act", "quant_convbn1", "quant_act1", "quant_convbn2"]
BOTTLENECK = [*BASIC, "quant_act2", "quant_convbn3"]


def resnet_keys(units: list[int], unit: list[str], stem: str, first_has_shortcut: bool) -> list[str]:
    keys = ["quant_input", stem, "quant_act_int32"]
    for stage, count in enumerate(units, start=1):
        for index in range(1, count + 1):
            shortcut = index == 1 and (stage > 1 or first_has_shortcut)
            names = [*unit, *(["quant_identity_convbn"] if shortcut else []), "quant_act_int32"]
            keys += [f"stage{stage}.unit{index}.{name}" for name in names]
    return [*keys, "quant_act_output", "quant_output"]


RESNET18 = resnet_keys([2, 2, 2, 2], BASIC, "quant_init_block_convbn", first_has_shortcut=False)
RESNET50 = resnet_keys([3, 4, 6, 3], BOTTLENECK, "quant_init_convbn", first_has_shortcut=True)
ENDS = {"quant_input", "quant_init_block_convbn", "quant_init_convbn", "quant_act_output", "quant_output"}


@pytest.mark.parametrize(
    ("name", "arch", "keys", "count"),
    [
        ("resnet18", "resnet18", RESNET18, 48),
        ("resnet50", "resnet50", RESNET50, 121),
        ("resnet50_v1.5", "resnet50b", RESNET50, 121),
    ],
)
def test_uniform4_and_uniform8(name: str, arch: str, keys: list[str], count: int) -> None:
    network = load_network(name, 8)
    assert len(keys) == count
    for narrow, bits in ((between(network), 4), (set(), 8)):
        ((key, ours),) = dictionary(network, narrow, f"uniform{bits}").items()
        assert key == f"bit_config_{arch}_uniform{bits}"
        assert list(ours) == keys
        wide = {k: 16 for k in keys if k.endswith("quant_act_int32")}
        assert ours == {**dict.fromkeys(keys, bits), **dict.fromkeys(ENDS & set(keys), 8), **wide}


def test_a_published_mixture() -> None:
    """HAWQ's latency_0.5 of ResNet18: the modules that it has in 4 bits."""
    published = {
        f"{unit}.{module}"
        for unit, modules in {
            "stage2.unit1": BASIC[2:],
            "stage2.unit2": BASIC[2:],
            "stage3.unit2": BASIC,
            "stage4.unit1": BASIC[2:],
            "stage4.unit2": BASIC,
        }.items()
        for module in modules
    }
    narrow = {"layer2.0.conv2", "layer2.1.conv2", "layer3.1.conv1", "layer3.1.conv2"}
    narrow |= {"layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"}
    (ours,) = dictionary(load_network("resnet18", 8), narrow).values()
    assert {key for key, bits in ours.items() if bits == 4} == published


def test_inceptionv3() -> None:
    """Facts of HAWQ's uniform4: 257 modules; four in 8 bits, beside the input of the first layer."""
    network = load_network("inceptionv3", 8)
    ((key, ours),) = dictionary(network, between(network), "uniform4").items()
    assert key == "bit_config_inceptionv3_uniform4"
    assert len(ours) == 257
    stem = "features.q_init_block"
    assert {key for key, bits in ours.items() if bits == 8} == {
        f"{stem}.q_input_activ",
        f"{stem}.q_conv1.q_convbn",
        "features.q_concat_activ",
        "output.q_fc",
    }
    assert sum(name.endswith("q_convbn") for name in ours) == len(network.weighted_layers) - 1
    assert [name for name in ours if "stage1.unit1.branches.branch4" in name] == [
        f"features.stage1.unit1.branches.branch4.{part}"
        for part in ("q_input_act", "q_conv.q_convbn", "q_pool_act", "q_conv.q_activ")
    ]
    assert {key.rsplit(".", 1)[1] for key, bits in ours.items() if bits == 16} == {
        "q_activ", "q_input_act", "q_rescaling_activ",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "key"),
    [
        ("Conv2d_3b_1x1", "features.q_init_block.q_conv3.q_activ"),
        ("Mixed_5b.branch_pool", "features.stage1.unit1.branches.branch4.q_pool_act"),
        ("Mixed_6a.branch3x3dbl_2", "features.stage2.unit1.branches.branch2.q_conv_list.q_conv1.q_activ"),
        ("Mixed_6c.branch7x7dbl_5", "features.stage2.unit3.branches.branch3.q_conv_list.q_conv4.q_activ"),
        ("Mixed_7a.branch3x3_2", "features.stage3.unit1.branches.branch1.q_conv_list.q_conv1.q_activ"),
        ("Mixed_7b.branch3x3dbl_1", "features.stage3.unit2.branches.branch3.q_input_act"),
    ],
)
def test_an_activation_has_the_bits_of_what_reads_it(layer: str, key: str) -> None:
    (ours,) = dictionary(load_network("inceptionv3", 1), {layer}).values()
    narrow = [name for name, bits in ours.items() if bits == 4]
    assert len(narrow) == 2
    assert key in narrow
    assert next(name for name in narrow if name != key).endswith("q_convbn")


def test_torchvisions_names_and_both_variants_of_an_unknown_bottleneck_network() -> None:
    network = load_network("resnet50", 1)
    layers = [
        replace(layer, name=layer.name + ".0" if layer.name.endswith("downsample") else layer.name)
        for layer in network.layers
    ]
    found = dictionary(replace(network, name="my_model", layers=tuple(layers)), set())
    assert list(found) == ["bit_config_resnet50_mine", "bit_config_resnet50b_mine"]
    assert list(found["bit_config_resnet50_mine"]) == RESNET50


def test_readers_that_differ_cannot_be_said() -> None:
    message = "once, but the bits have int4 and int8; allocate without conversions"
    with pytest.raises(UnsupportedModel, match=message):
        source_text(bits_of(load_network("resnet18", 1), {"layer2.0.conv1"}), "mine")


def test_other_networks_are_refused() -> None:
    network = load_network(str(Path(__file__).parents[1] / "data" / "tiny_qdq.onnx"), 1)
    with pytest.raises(UnsupportedModel, match="layers of 'tiny_qdq'; those that it shares") as caught:
        source_text(bits_of(network), "mine")
    assert all(name in str(caught.value) for name in KNOWN)


def test_a_scheme_cannot_end_its_comment() -> None:
    with pytest.raises(UnsupportedModel, match="cannot be printed"):
        source_text(bits_of(load_network("resnet18", 1)), "mine\nimport os")


def test_its_own_file_is_recognized(tmp_path: Path) -> None:
    path = tmp_path / "bits.py"
    path.write_text(source_text(bits_of(load_network("resnet18", 1)), "mine"))
    assert is_hawq(path)
    path.write_text("bit_config_dict = {}\n")
    assert not is_hawq(path)
