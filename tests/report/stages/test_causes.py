"""Likely causes: for each a pair of kernels where it is named, and a neighbour where it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler.hardware import GPUS
from profiler.lut.demand import Implementation, Kernel, Variant
from profiler.lut.schema import LutRow
from profiler.predictor.device_facts import DeviceFacts, ObservedPeaks
from profiler.record import Fingerprint
from profiler.report_stages.causes import Pair, cause
from profiler.space.config import GpuConfig, MmaConfig, SimtDirectConfig, to_text
from profiler.space.gpu import config_space, usual_config
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.predictor.invented import CPU
from tests.report.stages.cases import CARD, DEVICE, row

LARGE = Workload(Op.CONV2D, 8, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
"""25,088 pixels: 392 tiles of 64x64, many for 40 SMs; 64 channels fill the instructions of both widths."""
SMALL = Workload(Op.CONV2D, 8, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1)
"""392 pixels and 512 channels: 7 x 8 tiles."""
POOL = Workload(Op.MAX_POOL, 8, 112, 112, 64, 64, 3, 3, 2, 2, 1, 1, 1, 1)
DEPTHWISE = Workload(Op.CONV2D, 8, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, groups=64)
HOPPER = Fingerprint("h200", "NVIDIA H200", "sm_90", "0", "1", "invented")
T4 = GPUS["t4"]
LONG_S = 1e-4


def kernel(workload: Workload, bits: int) -> KernelSpec:
    unsigned = DType.integer(bits, signed=False)
    if not workload.op.has_weights:
        return KernelSpec(workload, unsigned, unsigned)
    return KernelSpec(workload, unsigned, unsigned, DType.integer(bits, signed=True), epilogue=Epilogue.REQUANT_RELU)


def pair(
    workload: Workload, narrow_s: float = LONG_S, instrument: Fingerprint | None = CARD, **changes: object
) -> Pair:
    """Of 8 and 4 bits, with rows of the instrument; without rows (predicted prices) where that is None."""
    rows: dict[KernelSpec, LutRow] = {}
    ways = []
    for bits in (8, 4):
        spec = kernel(workload, bits)
        ways.append(Implementation(Variant.PLAIN, (Kernel(spec, "layer"),)))
        if instrument is not None:
            rows[spec] = row(spec, narrow_s, instrument, **(changes if bits == 4 else {}))
    return Pair(ways[0], ways[1], narrow_s, narrow_s, rows.get)


def named(found: Pair, facts: DeviceFacts = T4, memory_bound: bool = False) -> str:
    return cause(found, facts, memory_bound)


def test_nothing_is_named_where_nothing_applies() -> None:
    assert named(pair(LARGE)) == ""
    assert named(pair(LARGE, instrument=None)) == ""


def test_a_cpu_has_no_instruction_for_4_bits() -> None:
    assert named(pair(LARGE, instrument=DEVICE), CPU) == "INT4 emulated: unpacked for the 8-bit dot product"
    assert named(pair(POOL, instrument=DEVICE), CPU) == "INT4 is unpacked to bytes and packed again"


@pytest.mark.parametrize(
    ("config", "channels", "text"),
    [
        (
            "lookup(tile_h=1,tile_w=4,vectors=2,order=images,unroll=1,parallel=none,tables=quads)",
            64,
            "no dot product: 2 lookups for a few products, and tables of every pixel",
        ),
        ("invented", 64, "no dot product: 2 lookups for a few products, and tables of every pixel"),
        (
            "popcount(tile_h=1,tile_w=4,vectors=2,order=images,parallel=none)",
            64,
            "no dot product: bits are counted in words of 64",
        ),
        (
            "popcount(tile_h=1,tile_w=4,vectors=2,order=images,parallel=none)",
            84,
            "no dot product: bits are counted in words of 64, and 84 channels fill 20 of the last one",
        ),
        (
            "dot(tile_h=1,tile_w=4,vectors=2,order=images,unroll=1,parallel=none)",
            64,
            "INT2 emulated: unpacked for the 8-bit dot product",
        ),
    ],
)
def test_below_four_bits_a_cpu_has_three_kinds_of_kernels(config: str, channels: int, text: str) -> None:
    """Which of them it was says the row."""
    spec, wide = (kernel(replace(LARGE, in_channels=channels), bits) for bits in (2, 8))
    ways = [Implementation(Variant.PLAIN, (Kernel(each, "layer"),)) for each in (wide, spec)]
    rows = {spec: row(spec, LONG_S, DEVICE, config=config)}
    assert named(Pair(ways[0], ways[1], LONG_S, LONG_S, rows.get), CPU) == text


def test_more_bits_have_no_cause() -> None:
    """Of a report that names the narrower precision first: INT8 is not emulated on a CPU."""
    for workload in (LARGE, POOL):
        found = pair(workload, instrument=DEVICE)
        turned = Pair(found.narrow, found.wide, LONG_S, LONG_S, found.rows)
        assert named(turned, CPU, memory_bound=True) == ""


def test_a_row_that_is_not_native_is_emulated() -> None:
    hopper = GPUS["h200"]
    assert named(pair(LARGE, instrument=HOPPER, native=False), hopper) == "INT4 emulated: sm_90 has no such instruction"
    assert named(pair(LARGE, instrument=HOPPER), hopper) == ""
    assert "emulated" not in named(pair(POOL, instrument=HOPPER, native=False), hopper)


@pytest.mark.parametrize(
    ("channels", "text"),
    [
        (3, "too few channels: 3 of the instruction's 32"),
        (31, "too few channels: 31 of the instruction's 32"),
        (32, ""),
    ],
)
def test_too_few_channels(channels: int, text: str) -> None:
    """An instruction multiplies 32 channels of 4 bits at once (PTX: mma.m8n8k32)."""
    assert named(pair(replace(LARGE, in_channels=channels))) == text


@pytest.mark.parametrize(("channels", "text"), [(64, "too few channels: 64 of the instruction's 128"), (128, "")])
def test_too_few_channels_of_a_plane(channels: int, text: str) -> None:
    """The binary instruction multiplies 128 channels of one plane, however many planes there are (mma.m8n8k128)."""
    spec, wide = (kernel(replace(LARGE, in_channels=channels), bits) for bits in (2, 8))
    ways = [Implementation(Variant.PLAIN, (Kernel(each, "layer"),)) for each in (wide, spec)]
    rows = {each: row(each, LONG_S, CARD) for each in (spec, wide)}
    assert named(Pair(ways[0], ways[1], LONG_S, LONG_S, rows.get)) == text


def test_channels_count_within_a_group() -> None:
    grouped = replace(LARGE, groups=4)
    assert named(pair(grouped)) == "too few channels: 16 of the instruction's 32"
    assert named(pair(replace(LARGE, groups=2))) == ""


def test_no_tensor_cores() -> None:
    config = to_text(usual_config(kernel(DEPTHWISE, 4), T4))
    assert config.startswith("simt")
    assert named(pair(DEPTHWISE, config=config)) == "no tensor cores: depthwise, or few channels in a group"
    mma = to_text(usual_config(kernel(LARGE, 4), T4))
    assert mma.startswith("mma")
    assert named(pair(LARGE, config=mma)) == ""


@pytest.mark.parametrize(("narrow_us", "short"), [(2.5, True), (5.9, True), (6.1, False), (100, False)])
def test_too_short(narrow_us: float, short: bool) -> None:
    """A launch is taken to be 2 us (`GpuSpec.launch_s`); three of them are mostly launching."""
    text = "too short: launching takes some 2 us of it"
    for workload in (LARGE, POOL):
        found = named(pair(workload, 1e-6 * narrow_us))
        assert (found == text) == short
        assert ("too short" in found) == short


def test_too_few_blocks_by_usual_tiles() -> None:
    """7 x 8 tiles of 64x64 on 40 SMs; the same with four times the pixels are 25 x 8."""
    assert named(pair(SMALL, instrument=None)) == "too few blocks: 56 of 64x64 for 40 SMs"
    assert named(pair(SMALL)) == "too few blocks: 56 of 64x64 for 40 SMs"  # the config is of another program
    assert named(pair(replace(SMALL, in_height=14, in_width=14))) == ""


@pytest.mark.parametrize(
    ("tile", "split_k", "blocks"),
    [((32, 64), 1, 13 * 8), ((128, 64), 1, 4 * 8), ((64, 128), 1, 7 * 4), ((64, 128), 4, 112)],
)
def test_too_few_blocks_by_the_rows_own_config(tile: tuple[int, int], split_k: int, blocks: int) -> None:
    """392 pixels x 512 channels in tiles of its own; blocks that share a sum count each."""
    configs = (c for c in config_space(kernel(SMALL, 4), T4) if isinstance(c, MmaConfig))
    config = next(c for c in configs if (c.block_m, c.block_n) == tile and c.split_k == split_k)
    text = "" if blocks >= 2 * 40 else f"too few blocks: {blocks} for 40 SMs"
    assert named(pair(SMALL, config=to_text(config))) == text


def test_memory_bound_comes_last() -> None:
    """The network's bytes: 8x56x56x64 in and out, and 9x64x64 weights, of a half of a byte each."""
    mega = (2 * 8 * 56 * 56 * 64 + 9 * 64 * 64) / 2 / 1e6
    assert named(pair(LARGE), memory_bound=True) == f"memory-bound: moves {mega:.2g} MB, only 2.0x fewer bytes"
    assert named(pair(SMALL), memory_bound=True).startswith("too few blocks")
    assert named(pair(LARGE, 1e-6), memory_bound=True).startswith("too short")


def test_a_kernel_without_weights_only_moves() -> None:
    """Whatever the roofline says of its products, of which it has none."""
    kilo = (8 * 112 * 112 * 64 + 8 * 56 * 56 * 64) / 2 / 1e6
    assert named(pair(POOL)) == f"memory-bound: moves {kilo:.2g} MB, only 2.0x fewer bytes"


def test_of_an_unknown_device_only_its_rows_tell() -> None:
    unknown = ObservedPeaks(((4, 1e12), (8, 1e12)), 1e11)
    other = replace(CARD, device="rtx9999")
    assert named(pair(SMALL, 1e-6, other), unknown) == ""
    assert named(pair(SMALL, 1e-6, other), unknown, memory_bound=True).startswith("memory-bound")
    assert named(pair(SMALL, instrument=other, native=False), unknown).startswith("INT4 emulated")


@pytest.mark.parametrize(
    "config",
    [MmaConfig(64, 64, 16, 128, 128, 2, 16), MmaConfig(1, 1, 1, 1, 1, 1, 1), SimtDirectConfig(7, 3)],
)
def test_a_config_that_cannot_be_is_not_counted_on(config: GpuConfig) -> None:
    """In a table that was edited: then the usual tiles count."""
    assert named(pair(SMALL, config=to_text(config))) == "too few blocks: 56 of 64x64 for 40 SMs"
