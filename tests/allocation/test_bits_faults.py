"""What a hand-made bits.json says that its network cannot do, a line each; what allocations say passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler.allocation import bits_faults
from profiler.allocation.bits_file import Bits, LayerBits, TensorBits, TensorConversion
from profiler.allocation.deployment import Deployment
from profiler.allocation.launches import launches
from profiler.errors import InvalidFile
from profiler.lut.narrow_tensors import Misfits, misfits
from profiler.workload import Network
from tests.allocation.bits_examples import made_by_hand
from tests.allocation.networks import own_shortcut

NETWORK = own_shortcut()
"""stem; b and sum, which add what b reads; c, which reads the same; a concatenation, an average pool, fc."""
STEM, SUM, CAT, POOL = "stem:out", "sum:out", "cat", "avgpool:out"

SOUND = made_by_hand(
    "own_shortcut",
    (LayerBits("stem", "int8"), LayerBits("b", "int8"), LayerBits("c", "int4"), LayerBits("fc", "int8")),
    (
        TensorBits("input", "int8"), TensorBits(STEM, "int8"), TensorBits(SUM, "int4"), TensorBits("c:out", "int8"),
        TensorBits(CAT, "int8"), TensorBits(POOL, "int8"),
    ),
    conversions=(TensorConversion(STEM, "int8", "int4", ("c",)),),
    separate=("sum",),
)  # fmt: skip


def with_layer(name: str, precision: str) -> Bits:
    layers = tuple(replace(layer, precision=precision) if layer.name == name else layer for layer in SOUND.layers)
    return replace(SOUND, layers=layers)


def with_tensor(name: str, precision: str) -> Bits:
    kept = tuple(tensor for tensor in SOUND.tensors if tensor.name != name)
    return replace(SOUND, tensors=(*kept, TensorBits(name, precision)))


def converting(*copies: TensorConversion, of: Bits = SOUND) -> Bits:
    return replace(of, conversions=copies)


COPY = SOUND.conversions[0]


def test_sound_bits_pass() -> None:
    SOUND.require_network(NETWORK)
    assert len(launches(NETWORK, Deployment.of(SOUND))) == 9
    some = replace(SOUND, tensors=SOUND.tensors[:2])  # of others nothing is said
    some.require_network(NETWORK)


@pytest.mark.parametrize(
    ("bits", "fault"),
    [
        (replace(SOUND, separate=("stem",)), "'stem' is no addition that could be fused"),
        (replace(SOUND, separate=("b",)), "'b' is no addition that could be fused"),
        (with_tensor("b:out", "int8"), "tensor 'b:out' is never stored in int8: it stays in accumulators"),
        (with_tensor("fc:out", "int8"), "tensor 'fc:out' is never stored in int8: it stays in accumulators"),
        (with_layer("fc", "int4"), "layer 'fc' is int4, but reads 'avgpool:out' in int8"),
        (with_layer("b", "int4"), "layer 'b' is int4, but reads 'stem:out' in int8"),
        (with_layer("c", "int8"), "layer 'c' is int8, but reads 'stem:out' in int4"),
        (converting(), "layer 'c' is int4, but reads 'stem:out' in int8"),
        (
            converting(COPY, TensorConversion(STEM, "int8", "int4", ("b",))),
            "tensor 'stem:out' is converted from int8 into int4, in which it is there",
        ),
        (
            converting(TensorConversion(STEM, "int8", "int4", ("c", "b")), of=with_layer("b", "int4")),
            "layer 'b' convolves and adds 'stem:out', in one type: it cannot read a copy",
        ),
        (
            converting(TensorConversion(STEM, "int8", "int8", ("c",))),
            "tensor 'stem:out' is converted from int8 into int8, in which it is there",
        ),
        (
            converting(TensorConversion(STEM, "int4", "int8", ("c",))),
            "tensor 'stem:out' is int8, but converted from int4",
        ),
        (
            converting(TensorConversion(STEM, "int8", "int4", ())),
            "tensor 'stem:out' is converted into int4 for nobody",
        ),
        (
            converting(TensorConversion(STEM, "int8", "int4", ("c", "c"))),
            "layer 'c' has two copies of 'stem:out' to read",
        ),
        (
            converting(TensorConversion(STEM, "int8", "int4", ("c", "fc"))),
            "'fc' is no layer with weights that reads 'stem:out'",
        ),
        (
            converting(TensorConversion(STEM, "int8", "int4", ("c", "sum"))),
            "'sum' is no layer with weights that reads 'stem:out'",
        ),
        (
            converting(COPY, TensorConversion(SUM, "int4", "int8", ("cat.0",))),
            "'cat.0' is no layer with weights that reads 'sum:out'",
        ),
        (
            converting(COPY, TensorConversion("b:out", "int8", "int4", ("fc",))),
            "tensor 'b:out' is converted, but has no precision",
        ),
    ],
)
def test_what_the_network_cannot_do(bits: Bits, fault: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        bits.require_network(NETWORK)
    assert str(caught.value) == f"the bits cannot be deployed to network 'own_shortcut': {fault}"


def test_fields_that_contradict_themselves() -> None:
    with pytest.raises(ValueError, match="a separate addition is listed twice"):
        replace(SOUND, separate=("sum", "sum"))
    with pytest.raises(ValueError, match="the batch is none of 1 to 4096 images"):
        replace(SOUND, batch=0)


def test_both_ends_of_a_max_pool_are_one_type() -> None:
    from tests.allocation.networks import residual

    network = residual(batch=1)
    layers = tuple(LayerBits(layer.name, "int8") for layer in network.weighted_layers)
    bits = replace(SOUND, network="residual", layers=layers, conversions=())
    ends = (TensorBits("stem:out", "int4"), TensorBits("maxpool:out", "int8"))
    with pytest.raises(InvalidFile, match="tensor 'maxpool:out' is int8, but a max pool of 'stem:out', which is int4"):
        replace(bits, tensors=ends, separate=()).require_network(network)
    # Of the pool nothing is said, but of what it reads.
    with pytest.raises(InvalidFile, match="layer 'shortcut' is int8, but reads 'maxpool:out' in int4"):
        replace(bits, tensors=ends[:1], separate=()).require_network(network)


def test_a_network_is_walked_once_for_each_width(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[int] = []

    def counting(network: Network, bits: int) -> Misfits:
        walked.append(bits)
        return misfits(network, bits)

    monkeypatch.setattr(bits_faults, "misfits", counting)
    SOUND.require_network(NETWORK)
    assert sorted(walked) == [4, 8]
