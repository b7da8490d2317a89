"""Bits as HAWQ's `bit_config_dict`, for its quantization-aware training.

HAWQ (https://github.com/Zhen-Dong/HAWQ) names the modules of its own networks: one entry for the weights of each
convolution with its batch normalization, one for each quantization of an activation. An activation has the precision of
the layers that read it; sums of residuals and what goes into a concatenation stay at 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.allocation.bits_file import Bits
from profiler.errors import UnsupportedModel
from profiler.workload import Precision

KNOWN = ("resnet18", "resnet50", "resnet50_v1.5", "inceptionv3")
"""The networks that HAWQ and we have in common, by our names."""

_HEADER = "# HAWQ bit configuration of lowbit-profiler"
_WIDE = 16
_WIDTHS = (4, 8)


@dataclass(frozen=True)
class _Entry:
    """Of one module of HAWQ's: the bits of that layer's weights, or of an activation that those layers read (that no
    layer reads narrower: 16)."""

    key: str
    layers: tuple[str, ...]
    weights: bool = False

    def bits(self, precisions: Mapping[str, Precision]) -> int:
        if not self.layers:
            return _WIDE
        first = precisions[self.layers[0]]
        for other in self.layers[1:]:
            if precisions[other].activation_bits != first.activation_bits:
                raise UnsupportedModel(
                    f"HAWQ quantizes the activation that '{self.layers[0]}' and '{other}' read once, but the bits have"
                    f" {first.name} and {precisions[other].name}; allocate without conversions"
                )
        bits = first.weight_bits if self.weights else first.activation_bits
        if bits not in _WIDTHS:
            raise UnsupportedModel(f"layer '{self.layers[0]}' is {first.name}; HAWQ knows 4 and 8 bits")
        return bits


def source_text(bits: Bits, scheme: str) -> str:
    """Python source that defines ``bit_config_dict``, for HAWQ's ``--quant-scheme scheme``.

    Networks are told by the names of their layers, which are torchvision's. The bottleneck ResNet50 of an unknown model
    is written for both of HAWQ's variants, which differ in a stride only. Raises `UnsupportedModel` for a network that
    HAWQ does not have, and for bits that it cannot express.
    """
    if not scheme.isprintable():
        raise UnsupportedModel(f"the scheme's name {scheme!r} cannot be printed; name the file otherwise")
    precisions = {_plain(layer.name): bits.precision_of(layer.name) for layer in bits.layers}
    archs, entries = _network_of(bits.network, set(precisions))
    lines = [
        f"{_HEADER}: in the place of HAWQ's bit_config.py, or to update its dictionary with.",
        f"# quant_train.py --arch {archs[0]} --quant-scheme {scheme}",
        "bit_config_dict = {",
    ]
    for arch in archs:
        lines.append(f"    {f'bit_config_{arch}_{scheme}'!r}: {{")
        lines += [f"        {entry.key!r}: {entry.bits(precisions)}," for entry in entries]
        lines.append("    },")
    return "\n".join([*lines, "}", ""])


def _network_of(name: str, layers: set[str]) -> tuple[Sequence[str], tuple[_Entry, ...]]:
    """What HAWQ calls the network with these layers, and its modules."""
    for archs, entries in _NETWORKS:
        if {layer for entry in entries for layer in entry.layers} == layers:
            return [arch for arch in archs if arch == _ARCHS.get(name)] or archs, entries
    raise UnsupportedModel(
        f"HAWQ has no network with the layers of '{name}'; those that it shares with the profiler are "
        f"{', '.join(KNOWN)}"
    )


def is_hawq(path: Path) -> bool:
    """Whether the file begins like one that holds `source_text`."""
    with path.open("rb") as file:
        return file.read(len(_HEADER)) == _HEADER.encode()


def _plain(layer: str) -> str:
    """Our name for a layer of torchvision's: shortcuts and Inception's convolutions are parts of a module there."""
    return layer.removesuffix(".conv").replace(".downsample.0", ".downsample")


def _resnet(stem: str, units: Sequence[int], convolutions: int) -> tuple[_Entry, ...]:
    """``units`` of each stage, each of so many convolutions."""
    bottleneck = convolutions == 3  # its first unit changes the channels too
    entries = [
        _Entry("quant_input", ("conv1",)),
        _Entry(stem, ("conv1",), weights=True),
        _Entry("quant_act_int32", ()),
    ]
    for stage, count in enumerate(units, start=1):
        for unit in range(count):
            ours, theirs = f"layer{stage}.{unit}", f"stage{stage}.unit{unit + 1}"
            shortcut = (f"{ours}.downsample",) if unit == 0 and (stage > 1 or bottleneck) else ()
            for index in range(1, convolutions + 1):
                readers = (f"{ours}.conv{index}", *(shortcut if index == 1 else ()))
                entries.append(_Entry(f"{theirs}.quant_act{index - 1 or ''}", readers))
                entries.append(_Entry(f"{theirs}.quant_convbn{index}", readers[:1], weights=True))
            if shortcut:
                entries.append(_Entry(f"{theirs}.quant_identity_convbn", shortcut, weights=True))
            entries.append(_Entry(f"{theirs}.quant_act_int32", ()))
    entries += [_Entry("quant_act_output", ("fc",)), _Entry("quant_output", ("fc",), weights=True)]
    return tuple(entries)


# The branches of InceptionV3's units by HAWQ's stage: our unit, and for each branch the names of its convolutions one
# after the other. A name alone is a branch of one convolution (HAWQ has them apart from sequences of one), "pool" one
# of none.
_A = (
    "branch1x1",
    ("branch5x5_1", "branch5x5_2"),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    "branch_pool",
)
_B = (
    "branch1x1",
    ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
    tuple(f"branch7x7dbl_{index}" for index in range(1, 6)),
    "branch_pool",
)
_C = (
    "branch1x1",
    ("branch3x3_1", "branch3x3_2a", "branch3x3_2b"),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b"),
    "branch_pool",
)
_REDUCTION_A = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"), "pool")
_REDUCTION_B = (("branch3x3_1", "branch3x3_2"), tuple(f"branch7x7x3_{index}" for index in range(1, 5)), "pool")
_UNITS: Sequence[Sequence[tuple[str, Sequence[str | tuple[str, ...]]]]] = (
    (("Mixed_5b", _A), ("Mixed_5c", _A), ("Mixed_5d", _A)),
    (("Mixed_6a", _REDUCTION_A), ("Mixed_6b", _B), ("Mixed_6c", _B), ("Mixed_6d", _B), ("Mixed_6e", _B)),
    (("Mixed_7a", _REDUCTION_B), ("Mixed_7b", _C), ("Mixed_7c", _C)),
)
_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")


def _inceptionv3() -> Iterator[_Entry]:
    yield _Entry("features.q_init_block.q_input_activ", _STEM[:1])
    yield from _sequence("features.q_init_block", _STEM)
    for stage, units in enumerate(_UNITS, start=1):
        for index, (unit, branches) in enumerate(units, start=1):
            theirs = f"features.stage{stage}.unit{index}"
            for number, branch in enumerate(branches, start=1):
                yield from _branch(f"{theirs}.branches.branch{number}", unit, branch)
            yield _Entry(f"{theirs}.q_rescaling_activ", ())
    yield _Entry("features.q_concat_activ", ("fc",))
    yield _Entry("output.q_fc", ("fc",), weights=True)


def _branch(theirs: str, unit: str, branch: str | tuple[str, ...]) -> Iterator[_Entry]:
    if branch == "pool":
        yield _Entry(f"{theirs}.q_input_act", ())
        return
    if isinstance(branch, str):
        only = (f"{unit}.{branch}",)
        pooled = branch == "branch_pool"
        yield _Entry(f"{theirs}.q_input_act", () if pooled else only)
        yield _Entry(f"{theirs}.q_conv.q_convbn", only, weights=True)
        if pooled:
            yield _Entry(f"{theirs}.q_pool_act", only)
        yield _Entry(f"{theirs}.q_conv.q_activ", ())
        return
    layers = tuple(f"{unit}.{name}" for name in branch)
    yield _Entry(f"{theirs}.q_input_act", layers[:1])
    if not layers[-1].endswith("b"):
        yield from _sequence(f"{theirs}.q_conv_list", layers)
        return
    # The last two read one tensor side by side, and are concatenated.
    yield from _sequence(f"{theirs}.q_conv_list", layers[:-2], then=layers[-2:])
    for side, layer in zip(("1x3", "3x1"), layers[-2:], strict=True):
        yield _Entry(f"{theirs}.q_conv{side}.q_convbn", (layer,), weights=True)
        yield _Entry(f"{theirs}.q_conv{side}.q_activ", ())
    yield _Entry(f"{theirs}.q_rescaling_activ", ())


def _sequence(theirs: str, layers: Sequence[str], then: tuple[str, ...] = ()) -> Iterator[_Entry]:
    """Convolutions one after the other; ``then`` are those that read the last one's output."""
    for index, layer in enumerate(layers, start=1):
        yield _Entry(f"{theirs}.q_conv{index}.q_convbn", (layer,), weights=True)
        yield _Entry(f"{theirs}.q_conv{index}.q_activ", tuple(layers[index : index + 1]) or then)


_ARCHS = {"resnet18": "resnet18", "resnet50": "resnet50", "resnet50_v1.5": "resnet50b", "inceptionv3": "inceptionv3"}
_NETWORKS: Sequence[tuple[Sequence[str], tuple[_Entry, ...]]] = (
    (("resnet18",), _resnet("quant_init_block_convbn", (2, 2, 2, 2), 2)),
    (("resnet50", "resnet50b"), _resnet("quant_init_convbn", (3, 4, 6, 3), 3)),
    (("inceptionv3",), tuple(_inceptionv3())),
)
