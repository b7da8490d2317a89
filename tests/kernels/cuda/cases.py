"""Kernels for the GPU templates, small and awkward: workloads by subject, with types, epilogues and configs in turn.

Everything is chosen by seeds made of text, so that a case means the same on every machine and in every process.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

from profiler.hardware import GPUS, GpuSpec
from profiler.space.config import GpuConfig
from profiler.space.gpu import config_space
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

Case = tuple[KernelSpec, GpuConfig, GpuSpec]

NARROW = (DType.INT8, DType.UINT8, DType.INT4, DType.UINT4)
REQUANT = (Epilogue.REQUANT, Epilogue.REQUANT_RELU)


def conv(
    batch: int,
    extent: tuple[int, int],
    channels: int,
    outputs: int,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Workload:
    return Workload(
        Op.CONV2D, batch, *extent, channels, outputs, *kernel, *stride, *pads, *dilation, groups
    )  # fmt: skip


def dense(batch: int, channels: int, outputs: int) -> Workload:
    return Workload(Op.DENSE, batch, 1, 1, channels, outputs)


def same(pad: int) -> tuple[int, int, int, int]:
    return (pad, pad, pad, pad)


TENSOR_CORES = [
    conv(1, (8, 8), 32, 32, (3, 3), pads=same(1)),
    conv(2, (7, 7), 64, 48, (1, 1)),
    conv(1, (14, 14), 64, 136, (1, 1)),
    conv(1, (12, 12), 16, 72, (3, 3), pads=same(1)),
    conv(1, (13, 13), 3, 24, (7, 7), stride=(2, 2), pads=same(3)),
    conv(1, (15, 15), 3, 32, (3, 3), stride=(2, 2)),
    conv(1, (7, 7), 24, 40, (1, 7), pads=(0, 3, 0, 3)),
    conv(1, (7, 7), 40, 24, (7, 1), pads=(3, 0, 3, 0)),
    conv(1, (9, 7), 16, 20, (3, 3), stride=(1, 2), pads=(1, 0, 1, 2)),
    conv(1, (11, 11), 16, 16, (3, 3), pads=same(2), dilation=(2, 2)),
    conv(1, (10, 10), 12, 33, (3, 3), dilation=(1, 3)),
    conv(3, (5, 5), 7, 9, (3, 3), pads=same(1)),
    conv(1, (6, 6), 1, 1, (3, 3)),
    conv(1, (9, 9), 5, 16, (2, 2), stride=(3, 2), pads=(0, 1, 1, 0)),
    conv(1, (4, 4), 512, 16, (1, 1)),
    conv(1, (3, 3), 128, 24, (3, 3), pads=same(1)),
    conv(1, (5, 5), 33, 17, (5, 5), pads=same(2)),
    conv(2, (14, 14), 32, 64, (1, 1), stride=(2, 2)),
    conv(1, (1, 1), 64, 64, (1, 1)),
]
GROUPED = [
    conv(1, (6, 6), 64, 64, (3, 3), pads=same(1), groups=2),
    conv(1, (5, 5), 64, 96, (1, 1), groups=4),
    conv(2, (5, 4), 48, 40, (3, 3), pads=(1, 1, 0, 0), groups=2),
    conv(1, (7, 7), 24, 48, (3, 3), stride=(2, 2), pads=same(1), groups=3),
]
DENSE = [
    dense(batch, channels, outputs)
    for batch, channels, outputs in (
        (1, 512, 40),
        (2, 100, 33),
        (3, 64, 10),
        (4, 31, 16),
        (5, 256, 65),
        (6, 8, 8),
        (7, 40, 100),
        (8, 512, 72),
        (9, 129, 24),
        (1, 1, 1),
    )
]
NARROW_GROUPS = [
    conv(1, (6, 6), 9, 15, (3, 3), pads=same(1), groups=3),
    conv(1, (5, 5), 16, 24, (3, 3), stride=(2, 1), groups=8),
    conv(2, (4, 4), 8, 8, (1, 1), groups=2),
    conv(1, (5, 7), 12, 12, (1, 3), pads=(0, 1, 0, 1), dilation=(1, 2), groups=4),
    conv(1, (4, 4), 6, 18, (2, 2), groups=6),
]
MIXED_WIDTHS = [
    conv(1, (5, 5), 17, 11, (3, 3), pads=same(1)),
    conv(1, (6, 6), 16, 24, (1, 1), stride=(2, 2)),
    dense(3, 50, 17),
]
DEPTHWISE = [
    conv(1, (8, 8), 32, 32, (3, 3), pads=same(1), groups=32),
    conv(1, (9, 11), 24, 24, (3, 3), stride=(2, 2), pads=(0, 0, 1, 1), groups=24),
    conv(2, (7, 7), 7, 7, (5, 5), pads=same(2), groups=7),
    conv(1, (8, 8), 16, 16, (3, 3), pads=same(2), dilation=(2, 2), groups=16),
    conv(1, (5, 9), 33, 33, (1, 7), pads=(0, 3, 0, 3), groups=33),
    conv(1, (6, 5), 48, 48, (2, 3), stride=(1, 3), groups=48),
]
WINDOWS = [
    ((9, 9), 16, (3, 3), (2, 2), same(1), (1, 1)),
    ((8, 6), 7, (2, 2), (2, 2), same(0), (1, 1)),
    ((7, 7), 33, (7, 7), (1, 1), same(0), (1, 1)),
    ((5, 6), 24, (3, 2), (1, 1), (1, 0, 2, 1), (1, 2)),
    ((1, 1), 5, (2, 2), (1, 1), same(1), (2, 2)),
]


def turns(*of: object) -> random.Random:
    return random.Random(" ".join(map(str, of)))


def weighted(workload: Workload, input_dtype: DType, weight_dtype: DType, epilogue: Epilogue) -> KernelSpec:
    """The spec with an output and a residual type chosen by its text."""
    turn = turns(workload.text, input_dtype, epilogue)
    return KernelSpec(
        workload,
        input_dtype,
        turn.choice(NARROW) if epilogue.requantizes else DType.INT32,
        weight_dtype,
        turn.choice((*NARROW, DType.INT32)) if epilogue.adds else None,
        epilogue,
    )


def mma_specs(workloads: Sequence[Workload], input_dtype: DType, epilogues: int) -> Iterator[KernelSpec]:
    """Weights as wide as the activations; that many epilogues for each workload."""
    weight = DType.integer(input_dtype.bits, signed=True)
    for workload in workloads:
        for epilogue in turns(workload.text, input_dtype.value).sample(list(Epilogue), epilogues):
            yield weighted(workload, input_dtype, weight, epilogue)


def direct_specs() -> Iterator[KernelSpec]:
    pairs = list(product(NARROW, (DType.INT8, DType.INT4)))
    for workload in (*NARROW_GROUPS, *MIXED_WIDTHS):
        for input_dtype, weight in pairs:
            if workload in NARROW_GROUPS or input_dtype.bits != weight.bits:
                epilogue = turns(workload.text, input_dtype.value, weight.value).choice(list(Epilogue))
                yield weighted(workload, input_dtype, weight, epilogue)


def depthwise_specs() -> Iterator[KernelSpec]:
    for workload, input_dtype, weight in product(DEPTHWISE, NARROW, (DType.INT8, DType.INT4)):
        epilogue = turns(workload.text, input_dtype.value, weight.value).choice(list(Epilogue))
        yield weighted(workload, input_dtype, weight, epilogue)


def unweighted_specs() -> Iterator[KernelSpec]:
    for dtype in NARROW:
        for window in WINDOWS:
            (extent, channels, kernel, stride, pads, dilation), turn = window, turns(window, dtype.value)
            shape = (turn.choice((1, 2)), *extent, channels, channels, *kernel, *stride, *pads, *dilation)
            yield KernelSpec(Workload(Op.MAX_POOL, *shape), dtype, dtype)
            yield KernelSpec(Workload(Op.AVG_POOL, *shape), dtype, turn.choice(NARROW), epilogue=turn.choice(REQUANT))
        for channels in (1, 7, 16, 33):
            turn = turns(channels, dtype.value)
            shape = (turn.choice((1, 3)), turn.choice((1, 4)), 5, channels)
            wide = turn.choice((dtype, DType.INT32))
            yield KernelSpec(Workload(Op.CONVERT, *shape, channels), wide, dtype, epilogue=turn.choice(REQUANT))
            yield KernelSpec(
                Workload(Op.CONCAT, *shape, channels + turn.choice((0, 1, 16))),
                turn.choice(NARROW),
                dtype,
                epilogue=turn.choice(REQUANT),
            )
            yield KernelSpec(
                Workload(Op.ADD, *shape, channels),
                wide,
                turn.choice(NARROW),
                input2_dtype=turn.choice((dtype, DType.INT32)),
                epilogue=turn.choice(REQUANT),
            )


def with_configs(specs: Iterator[KernelSpec], configs: int, gpus: Sequence[str]) -> Iterator[Case]:
    """That many configs of each spec on each GPU, chosen by the spec's key."""
    for spec, slug in product(specs, gpus):
        space = config_space(spec, GPUS[slug])
        for config in turns(spec.key, slug).sample(space, min(configs, len(space))):
            yield spec, config, GPUS[slug]


@cache
def cases(subject: str) -> tuple[Case, ...]:
    """Distinct cases of a subject: a key of `SUBJECTS`."""
    return tuple(dict.fromkeys(SUBJECTS[subject]()))


SUBJECTS = {
    **{
        f"tensor_cores-{dtype.value}": lambda dtype=dtype: with_configs(
            mma_specs(TENSOR_CORES, dtype, 1), 2, ("t4", "a100")
        )
        for dtype in NARROW
    },
    "grouped": lambda: with_configs((s for d in NARROW for s in mma_specs(GROUPED, d, 1)), 1, ("t4", "a100")),
    "dense": lambda: with_configs((s for d in NARROW for s in mma_specs(DENSE, d, 1)), 1, ("t4", "h200")),
    "epilogues": lambda: with_configs(
        (s for d in NARROW for s in mma_specs([TENSOR_CORES[3], TENSOR_CORES[11]], d, len(Epilogue))), 1, ("t4",)
    ),
    "simt_direct": lambda: with_configs(direct_specs(), 1, ("t4",)),
    "simt_depthwise": lambda: with_configs(depthwise_specs(), 1, ("t4",)),
    "simt_vector": lambda: with_configs(unweighted_specs(), 1, ("t4",)),
}
