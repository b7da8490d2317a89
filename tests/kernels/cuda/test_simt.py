"""The templates without tensor cores against the integer oracle, bit for bit, on the emulated GPU."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiler.hardware import GPUS
from profiler.kernels.cuda.lower import lower
from profiler.kernels.cuda.rows import Rows
from profiler.quantize.oracle import reference
from profiler.quantize.packed_arguments import pack_arguments
from profiler.quantize.samples import sample_arguments
from profiler.quantize.stored import pack_output
from profiler.space.config import (
    MmaConfig,
    ScheduleConfig,
    SimtDepthwiseConfig,
    SimtDirectConfig,
    SimtVectorConfig,
)
from profiler.space.gpu import config_space
from profiler.space.gpu_limits import reason_invalid, template_for
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.emulator import emulate, verify_all
from tests.kernels.specs import unweighted_specs, weighted_specs

pytestmark = pytest.mark.compile

T4 = GPUS["t4"]
S4, U4, S8, U8, S16, S32 = DType.INT4, DType.UINT4, DType.INT8, DType.UINT8, DType.INT16, DType.INT32
REQUANT, RELU = Epilogue.REQUANT, Epilogue.REQUANT_RELU
ADD, ADD_RELU = Epilogue.ADD_REQUANT, Epilogue.ADD_REQUANT_RELU


def assert_exact(*pairs: tuple[KernelSpec, ScheduleConfig]) -> None:
    for spec, config in pairs:
        assert reason_invalid(spec, config, T4) is None
    assert verify_all([(spec, config, T4) for spec, config in pairs]) == len(pairs)


def vector_pairs(spec: KernelSpec, *channels: int) -> list[tuple[KernelSpec, ScheduleConfig]]:
    return [(spec, SimtVectorConfig(threads, count)) for threads, count in zip((64, 32, 128), channels, strict=False)]


def elementwise(op: Op, channels: int, outputs: int | None = None) -> Workload:
    return Workload(op, 2, 3, 5, channels, outputs or channels)


@pytest.mark.parametrize(
    ("first", "second", "output"),
    [(S8, S8, S8), (U8, S8, U8), (S4, S4, S4), (U4, S8, S4), (S32, S4, U4), (S16, U8, S8), (S8, S32, S32)],
)
def test_add(first: DType, second: DType, output: DType) -> None:
    """Channels that fill vectors of 16 bytes, leave tails of words, and leave a lone nibble."""
    pairs = []
    for channels, counts in ((64, (16, 4, 8)), (24, (16, 8)), (17, (8, 2)), (1, (2,))):
        for epilogue in (REQUANT, RELU):
            workload = elementwise(Op.ADD, channels)
            pairs += vector_pairs(KernelSpec(workload, first, output, None, second, epilogue), *counts)
    assert_exact(*pairs)


@pytest.mark.parametrize("output", [S4, U4, S8])
def test_concat_keeps_what_lies_behind_its_slice(output: DType) -> None:
    """Also the neighbouring nibble, where the last channel of the slice shares its byte."""
    pairs = []
    for channels, total in ((16, 48), (16, 17), (17, 17), (17, 32), (3, 8), (1, 2), (5, 5), (15, 16), (8, 13)):
        pairs += vector_pairs(KernelSpec(elementwise(Op.CONCAT, channels, total), U8, output, epilogue=REQUANT), 8, 2)
    assert_exact(*pairs)


@pytest.mark.parametrize(("source", "output"), [(U8, DType.INT3), (DType.UINT2, DType.UINT1), (DType.INT2, S4)])
def test_concat_in_planes_clears_what_the_last_slice_has_to(source: DType, output: DType) -> None:
    """Of words, of bytes, and with a last byte that is shared: with what can follow, or with nothing."""
    pairs = []
    for channels, total in ((64, 128), (64, 288), (8, 40), (24, 40), (5, 29), (8, 29), (3, 8), (33, 97), (70, 70)):
        pairs += vector_pairs(KernelSpec(elementwise(Op.CONCAT, channels, total), source, output, epilogue=RELU), 8, 32)
    assert_exact(*pairs)


@pytest.mark.parametrize("types", [(S8, S4), (S4, S8), (U8, U4), (U4, U8), (S32, S4), (S16, U8), (S8, S32)])
def test_convert(types: tuple[DType, DType]) -> None:
    specs = [KernelSpec(elementwise(Op.CONVERT, c), *types, epilogue=e) for c in (32, 20, 7) for e in (REQUANT, RELU)]
    assert_exact(*(pair for spec in specs for pair in vector_pairs(spec, 8, 16)))


POOLS = [
    (7, 9, (3, 3, 2, 2, 1, 1, 1, 1)),  # ResNet's, with padding on every side
    (8, 8, (2, 2, 2, 2)),
    (6, 5, (6, 5)),  # of the whole image
    (5, 7, (2, 3, 1, 2, 0, 2, 1, 0, 2, 1)),
    (1, 1, (2, 2, 1, 1, 1, 1, 1, 1, 2, 2)),  # windows of nothing but padding
]


@pytest.mark.parametrize("window", POOLS, ids=str)
def test_pools(window: tuple[int, int, tuple[int, ...]]) -> None:
    height, width, attributes = window
    pairs = []
    for channels, dtype in ((32, S8), (12, U8), (5, S8), (32, U4), (9, S4), (3, S16)):
        counts = (8, 2) if channels < 32 else (16, 8)
        pool = Workload(Op.MAX_POOL, 2, height, width, channels, channels, *attributes)
        pairs += vector_pairs(KernelSpec(pool, dtype, dtype), *counts)
        average = replace(pool, op=Op.AVG_POOL)
        pairs += vector_pairs(KernelSpec(average, dtype, S4 if dtype is S8 else U8, epilogue=REQUANT), *counts)
    assert_exact(*pairs)


def depthwise(channels: int, *window: int, height: int = 5, width: int = 9) -> Workload:
    """window : kernel, stride, padding, dilation, as in `Workload`."""
    return Workload(Op.CONV2D, 2, height, width, channels, channels, *window, groups=channels)


SAME = (3, 3, 1, 1, 1, 1, 1, 1)


@pytest.mark.parametrize("pixels", [1, 2, 4, 8])
def test_depthwise_windows(pixels: int) -> None:
    """Rows that the pixels of a thread divide or not, and columns that lie in the padding."""
    windows = [
        depthwise(16, *SAME),
        depthwise(12, *SAME, width=8),
        depthwise(17, 3, 3, 2, 2, 1, 1, 1, 1),
        depthwise(8, 1, 7, 1, 1, 0, 3, 0, 3),
        depthwise(8, 7, 1, 1, 1, 3, 0, 3, 0, height=7),
        depthwise(6, 3, 2, 2, 3, 2, 0, 1, 2, 1, 2),
        depthwise(4, 1, 1, 2, 1),
        depthwise(4, 3, 3, 1, 1, 2, 4, 2, 4, 2, 2, height=2, width=1),  # more padding than image
    ]
    specs = [KernelSpec(w, U8 if i % 2 else S8, S8, S8, epilogue=REQUANT) for i, w in enumerate(windows)]
    assert_exact(*((spec, SimtDepthwiseConfig(64, 4, pixels)) for spec in specs))


@pytest.mark.parametrize("activation", [S4, U4, S8, U8])
@pytest.mark.parametrize("weight", [S4, S8])
def test_depthwise_types(activation: DType, weight: DType) -> None:
    """Operands of one width or two, every epilogue, channels that fill 16 bytes, words, bytes or half of one."""
    pairs: list[tuple[KernelSpec, ScheduleConfig]] = []
    epilogues = [(e, None) for e in (Epilogue.NONE, Epilogue.BIAS, REQUANT, RELU)] + [(ADD, S4), (ADD_RELU, S32)]
    for (epilogue, residual), (channels, count) in zip(
        epilogues, ((32, 16), (24, 8), (17, 4), (18, 2), (21, 4), (40, 8)), strict=True
    ):
        output = U4 if epilogue.requantizes else S32
        spec = KernelSpec(depthwise(channels, *SAME), activation, output, weight, residual, epilogue)
        pairs.append((spec, SimtDepthwiseConfig(96, count, 3)))
    assert_exact(*pairs)


def grouped(inputs: int, outputs: int, groups: int, *window: int) -> Workload:
    return Workload(Op.CONV2D, 2, 4, 5, inputs, outputs, *(window or SAME), groups=groups)


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_direct_groups(channels: int) -> None:
    """Groups that words fill or not, and groups that share bytes of the input, the output or the residual."""
    assert_exact(
        *(
            (spec, SimtDirectConfig(64, channels))
            for spec in (
                KernelSpec(grouped(32, 16, 4), U8, S8, S8, epilogue=REQUANT),
                KernelSpec(grouped(32, 16, 8, 3, 2, 2, 1, 1, 0, 0, 1), S8, S4, S8, epilogue=RELU),
                KernelSpec(grouped(64, 12, 4), S4, S4, S4, epilogue=REQUANT),
                KernelSpec(grouped(32, 12, 4), U4, S32, S4, epilogue=Epilogue.NONE),
                KernelSpec(grouped(64, 10, 2), U4, U4, S4, epilogue=REQUANT),
                KernelSpec(grouped(24, 9, 3), U8, S4, S8, S4, ADD),
                KernelSpec(grouped(12, 14, 2), U8, S8, S8, S4, ADD_RELU),
                KernelSpec(grouped(9, 15, 3), S4, S4, S4, epilogue=REQUANT),
                KernelSpec(grouped(6, 12, 6), S4, U4, S4, epilogue=REQUANT),  # a channel multiplier of 2
                KernelSpec(grouped(10, 6, 2, 1, 1), U4, S32, S4, epilogue=Epilogue.BIAS),
            )
        )
    )


def test_direct_types() -> None:
    """What no tensor core takes: operands of two widths, wide activations, unsigned weights."""
    dense = Workload(Op.DENSE, 3, 1, 1, 24, 21)
    assert_exact(
        *(
            (KernelSpec(workload, activation, output, weight, epilogue=epilogue), SimtDirectConfig(32, 4))
            for activation, weight in ((S8, S4), (U4, S8), (S16, S8), (S8, U4), (S4, U8), (S32, S4), (S4, S16))
            for workload, output, epilogue in (
                (dense, S4, RELU),
                (grouped(8, 11, 1), S8, REQUANT),
                (grouped(6, 6, 6), S32, Epilogue.BIAS),
            )
            if template_for(KernelSpec(workload, activation, output, weight, epilogue=epilogue)) is SimtDirectConfig
            and activation is not S32  # whose sums would not fit 32 bits
        )
    )


HALVES: list[tuple[KernelSpec, ScheduleConfig]] = [
    (KernelSpec(elementwise(Op.ADD, 8), S8, S8, None, S8, REQUANT), SimtVectorConfig(64, 4)),
    (KernelSpec(elementwise(Op.ADD, 8), S4, U8, None, S8, RELU), SimtVectorConfig(64, 4)),
    (KernelSpec(elementwise(Op.CONVERT, 8), S8, S4, epilogue=REQUANT), SimtVectorConfig(64, 4)),
    (KernelSpec(elementwise(Op.CONVERT, 8), S32, S16, epilogue=REQUANT), SimtVectorConfig(64, 4)),
    (KernelSpec(Workload(Op.AVG_POOL, 1, 6, 6, 8, 8, 2, 2), S8, S8, epilogue=REQUANT), SimtVectorConfig(64, 4)),
    (KernelSpec(depthwise(8, *SAME), S8, S16, S8, epilogue=REQUANT), SimtDepthwiseConfig(64, 4, 2)),
    (KernelSpec(depthwise(8, *SAME), S4, U8, S4, S8, ADD_RELU), SimtDepthwiseConfig(64, 4, 2)),
    (KernelSpec(grouped(8, 8, 2), S4, S16, S4, S4, ADD), SimtDirectConfig(64, 4)),
]


@pytest.mark.parametrize("shift", [31, 32, 33])
@pytest.mark.parametrize(("spec", "config"), HALVES, ids=lambda value: getattr(value, "key", ""))
def test_halves_round_away_from_zero(spec: KernelSpec, config: ScheduleConfig, shift: int) -> None:
    """Drawn multipliers hardly ever meet a half; a half, a quarter and an eighth do."""
    arguments = sample_arguments(spec, 0)
    for name, values in arguments.items():
        if "multiplier" in name or "shift" in name:
            values[...] = shift if "shift" in name else 1 << 30
    kernel = lower(spec, config, T4)
    written = emulate(kernel, pack_arguments(spec, kernel.packing, arguments))
    assert written["output"].tobytes() == pack_output(spec, reference(spec, arguments))


PICK = st.floats(0, 1, exclude_max=True)
FEW = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def batch(specs: st.SearchStrategy[KernelSpec]) -> st.SearchStrategy[list[tuple[KernelSpec, float]]]:
    """Some at a time, since a compiler run costs more than a kernel."""
    small = specs.filter(lambda s: template_for(s) is not MmaConfig and s.workload.macs < 1 << 20)
    return st.lists(st.tuples(small, PICK), min_size=12, max_size=12)


@st.composite
def depthwise_specs(draw: st.DrawFn) -> KernelSpec:
    channels = draw(st.sampled_from([2, 3, 4, 7, 8, 16, 17, 24, 32, 40]))
    kernel, strides, dilations = (
        draw(st.tuples(*[st.sampled_from(sizes)] * 2)) for sizes in ([1, 2, 3, 5], [1, 2, 3], [1, 2])
    )
    pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
    height, width = (draw(st.integers(d * (k - 1) + 1, 11)) for k, d in zip(kernel, dilations, strict=True))
    workload = Workload(
        Op.CONV2D,
        draw(st.integers(1, 2)),
        height,
        width,
        channels,
        channels,
        *kernel,
        *strides,
        *pads,
        *dilations,
        channels,
    )
    return replace(draw(weighted_specs()), workload=workload)


def assert_picked(batch: list[tuple[KernelSpec, float]]) -> None:
    spaces = [(spec, config_space(spec, T4), pick) for spec, pick in batch]
    assert all(space for _, space, _ in spaces)
    assert_exact(*((spec, space[int(pick * len(space))]) for spec, space, pick in spaces))


@FEW
@given(batch(unweighted_specs()))
def test_random_elementwise_and_pools(batch: list[tuple[KernelSpec, float]]) -> None:
    assert_picked(batch)


@FEW
@given(batch(depthwise_specs()))
def test_random_depthwise(batch: list[tuple[KernelSpec, float]]) -> None:
    assert_picked(batch)


@FEW
@given(batch(weighted_specs()))
def test_random_direct(batch: list[tuple[KernelSpec, float]]) -> None:
    assert_picked(batch)


@pytest.mark.parametrize(
    ("dtype", "channels", "block", "section", "unit_bytes"),
    [
        (S8, 64, 16, 64, 16),
        (S8, 64, 32, 64, 16),
        (S8, 24, 16, 24, 8),
        (S8, 17, 16, 17, 1),
        (S32, 6, 4, 6, 8),
        (S4, 64, 32, 64, 16),
        (S4, 63, 32, 63, 16),  # the spare nibble belongs to the pixel
        (S4, 63, 32, 31, 1),  # but a slice's last byte is shared
        (S4, 24, 8, 24, 4),
        (S4, 24, 8, 4, 2),
        (S16, 6, 2, 6, 4),
    ],
)
def test_loads_are_as_wide_as_alignment_allows(
    dtype: DType, channels: int, block: int, section: int, unit_bytes: int
) -> None:
    assert Rows(dtype, channels, block, section).unit_bytes == unit_bytes


def test_rows_refuse_half_bytes() -> None:
    with pytest.raises(ValueError, match="3 channels of int4"):
        Rows.of(S4, 6, 3)


WIDE = [
    (KernelSpec(elementwise(Op.ADD, 64), S8, S8, None, S8, RELU), SimtVectorConfig(64, 16)),
    (KernelSpec(depthwise(64, *SAME), U8, U8, S8, epilogue=RELU), SimtDepthwiseConfig(64, 16, 2)),
    (KernelSpec(grouped(64, 16, 4), U8, U8, S8, epilogue=RELU), SimtDirectConfig(64, 4)),
]


@pytest.mark.parametrize(("spec", "config"), WIDE, ids=lambda value: type(value).__name__)
def test_generated_code_has_wide_loads_and_divides_by_constants_alone(spec: KernelSpec, config: ScheduleConfig) -> None:
    source = lower(spec, config, T4).source
    body = source[source.index('extern "C"') :]
    assert "*(int4*)(input" in body
    assert re.search(r"\*\(int4?\*\)\(output|\boutput\[", body)
    assert not re.search(r"[/%] (?!\d)", body)
