"""Kernels for the GPU templates, small and awkward: workloads by subject, with types, epilogues and configs in turn.

Everything is chosen by seeds made of text, so that a case means the same on every machine and in every process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product

from profiler.hardware import GPUS, GpuSpec
from profiler.space.config import GpuConfig, MmaConfig, SharedLayout, Unroll, WeightLayout
from profiler.space.gpu import config_space
from profiler.space.gpu_limits import reason_invalid
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

Case = tuple[KernelSpec, GpuConfig, GpuSpec]

NARROW = (DType.INT8, DType.UINT8, DType.INT4, DType.UINT4)
WIDTHS = list(product(NARROW, (DType.INT8, DType.INT4)))
PLANES = (DType.UINT1, DType.UINT2, DType.INT2, DType.UINT3, DType.INT3)
"""Activations in bit planes."""
BELOW = (DType.INT1, DType.INT2, DType.INT3, DType.INT4)
"""Weights that are multiplied with them."""
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
    return Workload(Op.CONV2D, batch, *extent, channels, outputs, *kernel, *stride, *pads, *dilation, groups)


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
EPILOGUES = [TENSOR_CORES[3], TENSOR_CORES[11]]
"""Aligned, and odd."""
GROUPED = [
    conv(1, (6, 6), 64, 64, (3, 3), pads=same(1), groups=2),
    conv(1, (5, 5), 64, 96, (1, 1), groups=4),
    conv(2, (5, 4), 48, 40, (3, 3), pads=(1, 1, 0, 0), groups=2),
    conv(1, (7, 7), 24, 48, (3, 3), stride=(2, 2), pads=same(1), groups=3),
]
BITS = [
    conv(1, (6, 6), 64, 40, (3, 3), pads=same(1)),
    conv(2, (5, 5), 128, 72, (1, 1), stride=(2, 2)),
    conv(1, (7, 6), 3, 24, (5, 5), stride=(2, 2), pads=same(2)),
    conv(1, (5, 7), 100, 9, (1, 3), pads=(0, 1, 0, 1), dilation=(1, 2)),
    conv(1, (3, 3), 256, 136, (3, 3), pads=same(1)),
    conv(1, (6, 5), 33, 65, (2, 2), pads=(1, 0, 0, 1)),
    conv(1, (4, 4), 192, 128, (1, 1)),
    dense(9, 520, 33),
    dense(1, 64, 8),
]
"""Channels that fill words and such that leave bits over; planes of outputs that end in zeros."""
BITS_GROUPED = [
    conv(1, (5, 5), 128, 48, (3, 3), pads=same(1), groups=2),
    conv(2, (4, 4), 192, 72, (1, 1), groups=3),
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
    conv(1, (5, 4), 6, 6, (3, 2), pads=(0, 0, 2, 1), groups=3),
    conv(1, (9, 8), 6, 9, (3, 3), stride=(1, 2), dilation=(3, 1), groups=3),
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


def weighted(
    workload: Workload,
    input_dtype: DType,
    weight_dtype: DType,
    epilogue: Epilogue,
    stored: Sequence[DType] = NARROW,
) -> KernelSpec:
    """The spec with an output and a residual type chosen by its text."""
    turn = turns(workload.text, input_dtype, epilogue)
    return KernelSpec(
        workload,
        input_dtype,
        turn.choice(stored) if epilogue.requantizes else DType.INT32,
        weight_dtype,
        turn.choice((*stored, DType.INT32)) if epilogue.adds else None,
        epilogue,
    )


def bit_specs() -> list[KernelSpec]:
    """Every pair of activations in planes and weights, each on two workloads in turn."""
    found = []
    for number, (planes, weight) in enumerate(product(PLANES, BELOW)):
        for i in range(2):
            workload = (*BITS, *BITS_GROUPED)[(number + 3 * i) % (len(BITS) + len(BITS_GROUPED))]
            turn = turns(workload.text, planes.value, weight.value)
            found.append(weighted(workload, planes, weight, turn.choice(list(Epilogue)), (*PLANES, *NARROW)))
    return found


def binary_specs() -> list[KernelSpec]:
    """One bit each, on every workload, between tensors of bits."""
    pairs = product((*BITS, *BITS_GROUPED), (Epilogue.ADD_REQUANT_RELU, Epilogue.NONE))
    return [weighted(workload, DType.UINT1, DType.INT1, epilogue, PLANES[:2]) for workload, epilogue in pairs]


def entry_specs() -> list[KernelSpec]:
    """Kernels of 8 and 4 bits that write planes, and 4-bit activations with weights of fewer bits."""
    epilogues = [epilogue for epilogue in Epilogue if epilogue.requantizes]
    into = [
        weighted(w, d, DType.integer(d.bits, signed=True), turns(w.text, d.value, "planes").choice(epilogues), PLANES)
        for w, d in product((TENSOR_CORES[1], TENSOR_CORES[4], TENSOR_CORES[10], TENSOR_CORES[14]), NARROW)
    ]
    widened = [
        weighted(workload, dtype, weight, turns(workload.text, weight.value).choice(epilogues), (*PLANES, *NARROW))
        for workload, dtype, weight in product(TENSOR_CORES[9:12], (DType.UINT4, DType.INT4), BELOW[:3])
    ]
    return into + widened


def mma_specs(workloads: Sequence[Workload], dtypes: Sequence[DType], epilogues: int) -> list[KernelSpec]:
    """Weights as wide as the activations; that many epilogues for each workload and type."""
    return [
        weighted(workload, dtype, DType.integer(dtype.bits, signed=True), epilogue)
        for workload, dtype in product(workloads, dtypes)
        for epilogue in turns(workload.text, dtype.value).sample(list(Epilogue), epilogues)
    ]


def direct_specs() -> list[KernelSpec]:
    mixed = [(i, w) for i, w in WIDTHS if i.bits != w.bits]
    return [
        weighted(workload, *widths, turns(workload.text, *widths).choice(list(Epilogue)))
        for workload, widths in (*product(NARROW_GROUPS, WIDTHS), *product(MIXED_WIDTHS, mixed))
    ]


def depthwise_specs() -> list[KernelSpec]:
    return [
        weighted(workload, *widths, turns(workload.text, *widths).choice(list(Epilogue)))
        for workload, widths in product(DEPTHWISE, WIDTHS)
    ]


def plane_specs_without_tensor_cores() -> list[KernelSpec]:
    """Planes in and out of every template that has none: narrow groups, depthwise, pools, additions, conversions."""
    found = []
    for dtype in PLANES:
        for workload, weight in product((NARROW_GROUPS[0], NARROW_GROUPS[3], MIXED_WIDTHS[2]), (BELOW[0], DType.INT8)):
            turn = turns(workload.text, dtype.value, weight.value)
            found.append(weighted(workload, dtype, weight, turn.choice(list(Epilogue)), (*PLANES, *NARROW)))
        for workload in DEPTHWISE[:4]:
            turn = turns(workload.text, dtype.value)
            epilogue = turn.choice(list(Epilogue))
            found.append(weighted(workload, dtype, turn.choice(BELOW), epilogue, (*PLANES, *NARROW)))
        found += [*_pools(dtype)][:8]
        found += _elementwise(dtype)
    found += [weighted(workload, DType.UINT8, DType.INT8, Epilogue.ADD_REQUANT, PLANES) for workload in DEPTHWISE[:3]]
    return found


def unweighted_specs() -> list[KernelSpec]:
    return [spec for dtype in NARROW for spec in (*_pools(dtype), *_elementwise(dtype))]


def _pools(dtype: DType) -> Iterator[KernelSpec]:
    for window in WINDOWS:
        turn = turns(window, dtype.value)
        extent, channels, kernel, stride, pads, dilation = window
        shape = (turn.choice((1, 2)), *extent, channels, channels, *kernel, *stride, *pads, *dilation)
        yield KernelSpec(Workload(Op.MAX_POOL, *shape), dtype, dtype)
        stored = turn.choice(PLANES if dtype.in_planes else NARROW)
        yield KernelSpec(Workload(Op.AVG_POOL, *shape), dtype, stored, epilogue=turn.choice(REQUANT))


def _elementwise(dtype: DType) -> Iterator[KernelSpec]:
    for channels in (1, 7, 16, 33):
        turn = turns(channels, dtype.value)
        shape = (turn.choice((1, 3)), turn.choice((1, 4)), 5, channels)
        total = channels + turn.choice((0, 1, 16))
        wide, second = turn.choice((dtype, DType.INT32)), turn.choice((dtype, DType.INT32))
        narrow, epilogue = turn.choice(NARROW), turn.choice(REQUANT)
        yield KernelSpec(Workload(Op.CONVERT, *shape, channels), wide, dtype, epilogue=epilogue)
        yield KernelSpec(Workload(Op.CONCAT, *shape, total), narrow, dtype, epilogue=epilogue)
        stored = turn.choice(PLANES) if dtype.in_planes else narrow
        yield KernelSpec(Workload(Op.ADD, *shape, channels), wide, stored, None, second, epilogue)


_CHOICES: dict[str, tuple[object, ...]] = {
    "split_k": (1, 1, 2, 4, 8),
    "stages": (1, 2),
    "load_bytes": (16, 8, 4),
    "weight_layout": tuple(WeightLayout),
    "shared_layout": tuple(SharedLayout),
    "unroll": tuple(Unroll),
}


def varied(spec: KernelSpec, config: GpuConfig, gpu: GpuSpec, turn: random.Random) -> GpuConfig:
    """The config with other choices where they are valid, among them such as the space leaves out for a small layer."""
    if isinstance(config, MmaConfig):
        for name, values in _CHOICES.items():
            other = replace(config, **{name: turn.choice(values)})
            if reason_invalid(spec, other, gpu) is None:
                config = other
    return config


def with_configs(specs: Iterable[KernelSpec], configs: int, gpus: Sequence[str]) -> Iterator[Case]:
    """That many configs of each spec on each GPU, chosen by the spec's key."""
    for spec, slug in product(specs, gpus):
        turn, gpu = turns(spec.key, slug), GPUS[slug]
        space = config_space(spec, gpu)
        for config in turn.sample(space, min(configs, len(space))):
            yield spec, varied(spec, config, gpu, turn), gpu


@cache
def cases(subject: str) -> tuple[Case, ...]:
    """Distinct cases of a subject: a key of `SUBJECTS`."""
    return tuple(dict.fromkeys(SUBJECTS[subject]()))


SUBJECTS: dict[str, Callable[[], Iterator[Case]]] = {
    **{
        f"tensor_cores-{dtype.value}": partial(with_configs, mma_specs(TENSOR_CORES, [dtype], 1), 3, ("t4", "a100"))
        for dtype in NARROW
    },
    "grouped": partial(with_configs, mma_specs(GROUPED, NARROW, 1), 1, ("t4", "a100")),
    "dense": partial(with_configs, mma_specs(DENSE, NARROW, 1), 1, ("t4", "h200")),
    "epilogues": partial(with_configs, mma_specs(EPILOGUES, NARROW, len(Epilogue)), 1, ("t4",)),
    "bits": partial(with_configs, bit_specs(), 1, ("t4", "a100")),
    "binary": partial(with_configs, binary_specs(), 1, ("t4", "a100", "h200")),
    "into_bits": partial(with_configs, entry_specs(), 1, ("t4",)),
    "simt_planes": partial(with_configs, plane_specs_without_tensor_cores(), 1, ("t4",)),
    "simt_direct": partial(with_configs, direct_specs(), 1, ("t4",)),
    "simt_depthwise": partial(with_configs, depthwise_specs(), 1, ("t4",)),
    "simt_vector": partial(with_configs, unweighted_specs(), 1, ("t4",)),
}
