"""Workloads as networks have them: what a device is sampled with, so that a model knows more than one network.

Extents, channels, windows, strides, groups and batch sizes follow those of published convolutional networks
(VGG to EfficientNet); a part of the channel counts is odd on purpose: pruned and searched networks have such, and
what padding to an instruction's width costs can only be learned from them. Points come from a scrambled Sobol sequence
(scipy), so that few workloads already spread over all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from scipy.stats import qmc

from profiler.errors import InvalidWorkload
from profiler.workload import DType, Epilogue, KernelSpec, Op, Precision, Workload

BATCHES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Draw:
    """A workload, and what is computed of it: one kernel for each precision."""

    workload: Workload
    specs: tuple[KernelSpec, ...]


class _Shared(Protocol):
    @property
    def share(self) -> float: ...


_S = TypeVar("_S", bound=_Shared)


@dataclass(frozen=True)
class _Kind:
    """Operators of one window, and the share of draws that they get."""

    share: float
    op: Op
    kernel: tuple[int, int] = (1, 1)
    depthwise: bool = False


_KINDS = (
    _Kind(0.26, Op.CONV2D, (1, 1)),
    _Kind(0.26, Op.CONV2D, (3, 3)),
    _Kind(0.06, Op.CONV2D, (5, 5)),
    _Kind(0.04, Op.CONV2D, (7, 7)),
    _Kind(0.03, Op.CONV2D, (1, 7)),
    _Kind(0.03, Op.CONV2D, (7, 1)),
    _Kind(0.02, Op.CONV2D, (1, 3)),
    _Kind(0.02, Op.CONV2D, (3, 1)),
    _Kind(0.04, Op.CONV2D, (3, 3), depthwise=True),
    _Kind(0.02, Op.CONV2D, (5, 5), depthwise=True),
    _Kind(0.08, Op.DENSE),
    _Kind(0.04, Op.ADD),
    _Kind(0.03, Op.MAX_POOL, (3, 3)),
    _Kind(0.01, Op.MAX_POOL, (2, 2)),
    _Kind(0.02, Op.AVG_POOL, (3, 3)),
    _Kind(0.01, Op.AVG_POOL, (7, 7)),
    _Kind(0.02, Op.CONCAT),
    _Kind(0.01, Op.CONVERT),
)

_EXTENTS = (4, 5, 7, 8, 10, 12, 14, 15, 16, 17, 20, 24, 28, 32, 35, 40, 48, 56, 64, 71, 80, 96, 112, 128, 147, 160, 224)
_STEM_CHANNELS = 3
_CHANNELS = (8, 2048)
_FEATURES = (64, 4096)
"""Of a dense layer."""
_CHANNELS_BY_EXTENT = 4000
"""Channels of a map times its extent, in the middle: networks have 56x56x64 and 7x7x512, each to 4 times as many."""
_WIDEST_MAP = 224 * 224 * 16
"""Elements of an image's activations: 224x224 maps have few channels, 7x7 ones have many."""
_MOST_WEIGHTS = 5_000_000


@dataclass(frozen=True)
class _Form:
    """What a layer with weights does to its sums, whether its input is signed, and the share of draws."""

    share: float
    epilogue: Epilogue
    signed: bool = False


_FORMS = (
    _Form(0.60, Epilogue.REQUANT_RELU),
    _Form(0.12, Epilogue.ADD_REQUANT_RELU),
    _Form(0.10, Epilogue.BIAS),
    _Form(0.08, Epilogue.REQUANT),
    _Form(0.10, Epilogue.REQUANT_RELU, signed=True),
)
_DIMENSIONS = 12


def draws(
    count: int, precisions: Sequence[Precision], seed: int = 0, batches: Sequence[int] = BATCHES
) -> tuple[Draw, ...]:
    """``count`` different workloads, the same ones for the same arguments; fewer where no more are found."""
    found: dict[Workload, Draw] = {}
    for point in _points(seed, 64 * count):
        workload = _workload(point, batches)
        if workload is not None and workload not in found:
            found[workload] = Draw(workload, _specs(workload, precisions, point[10], point[11]))
        if len(found) == count:
            break
    return tuple(found.values())


def _points(seed: int, most: int) -> Iterator[tuple[float, ...]]:
    sequence = qmc.Sobol(_DIMENSIONS, scramble=True, seed=seed)
    for _ in range(0, most, 256):
        yield from (tuple(float(x) for x in row) for row in sequence.random(256))


def _workload(point: tuple[float, ...], batches: Sequence[int]) -> Workload | None:
    """The workload at a point of the unit cube; None where networks have none."""
    kind = _of_shares(_KINDS, point[0])
    batch = batches[min(int(point[1] ** 2 * len(batches)), len(batches) - 1)]  # small ones more often
    if kind.op is Op.DENSE:
        least, most = _FEATURES
        inputs, outputs = (_rounded(least * (most / least) ** point[i], point[i + 1]) for i in (2, 4))
        return Workload(Op.DENSE, batch, 1, 1, inputs, outputs) if inputs * outputs <= _MOST_WEIGHTS else None
    height = width = _EXTENTS[int(point[6] * len(_EXTENTS))]
    if point[7] < 0.1:  # images that are not square
        width = max(4, round(height * (0.5 + 10 * point[7])))
    inputs, outputs = (_channels(height, *point[i : i + 2]) for i in (2, 4))
    if kind.depthwise or kind.op not in (Op.CONV2D, Op.CONCAT):
        outputs = inputs
    elif kind.op is Op.CONCAT and outputs < inputs:
        inputs, outputs = outputs, inputs
    elif kind.op is Op.CONV2D and height >= 96 and point[2] < 0.4:
        inputs = _STEM_CHANNELS
    groups = inputs if kind.depthwise else 1
    if kind.op is Op.CONV2D and not kind.depthwise and point[8] < 0.03 and inputs % 8 == 0 and outputs % 8 == 0:
        groups = 4
    stride = 2 if kind.op in (Op.CONV2D, Op.MAX_POOL) and point[9] < 0.25 else 1
    kernel_h, kernel_w = kind.kernel
    pads = ((kernel_h - 1) // 2, (kernel_w - 1) // 2)
    if kind.op is Op.AVG_POOL and kernel_h == 7:
        height = width = 7
        pads = (0, 0)
    try:
        workload = Workload(
            kind.op, batch, height, width, inputs, outputs, kernel_h, kernel_w, stride, stride, *pads, *pads,
            groups=groups,
        )  # fmt: skip
    except InvalidWorkload:  # an image smaller than the kernel
        return None
    images = (height * width * inputs, workload.out_height * workload.out_width * outputs)
    return workload if max(images) <= _WIDEST_MAP and workload.weights <= _MOST_WEIGHTS else None


def _channels(extent: int, size: float, kind: float) -> int:
    value = _CHANNELS_BY_EXTENT / extent * 2.0 ** (-3.5 + 5.5 * size)
    return _rounded(min(max(value, _CHANNELS[0]), _CHANNELS[1]), kind)


def _rounded(channels: float, kind: float) -> int:
    """Mostly a multiple of 16, sometimes of 8, sometimes any number."""
    step = 16 if kind < 0.6 and channels >= 16 else 8 if kind < 0.8 else 1
    return max(1, round(channels / step)) * step


def _specs(workload: Workload, precisions: Sequence[Precision], form: float, signed: float) -> tuple[KernelSpec, ...]:
    return tuple(dict.fromkeys(_spec(workload, precision, form, signed < 0.2) for precision in precisions))


def _spec(workload: Workload, precision: Precision, form: float, signed: bool) -> KernelSpec:
    op, unsigned = workload.op, precision.activation_dtype(signed=False)
    if op.has_weights:
        chosen = _of_shares(_FORMS, form)
        epilogue = chosen.epilogue
        output = precision.activation_dtype(signed=not epilogue.relu)
        return KernelSpec(
            workload,
            precision.activation_dtype(chosen.signed),
            output if epilogue.requantizes else DType.INT32,
            precision.weight_dtype,
            input2_dtype=unsigned if epilogue.adds else None,
            epilogue=epilogue,
        )
    kept = precision.activation_dtype(signed)
    if op is Op.ADD:
        return KernelSpec(workload, DType.INT32, unsigned, input2_dtype=kept, epilogue=Epilogue.REQUANT_RELU)
    if op is Op.MAX_POOL:
        return KernelSpec(workload, kept, kept)
    if op is Op.CONVERT:  # from the other width
        other = DType.integer(4 if precision.activation_bits > 4 else 8, signed)
        return KernelSpec(workload, other, kept, epilogue=Epilogue.REQUANT)
    return KernelSpec(workload, kept, kept, epilogue=Epilogue.REQUANT)


def _of_shares(entries: Sequence[_S], point: float) -> _S:
    """The entry in whose part of [0, 1) the point lies."""
    reached = 0.0
    for entry in entries:
        reached += entry.share
        if point < reached:
            return entry
    return entries[-1]
