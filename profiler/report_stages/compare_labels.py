"""Names of kernels that are short enough for a figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from profiler.lut.schema import LutRow
from profiler.workload import DType, KernelSpec, Op

_OPS = {Op.CONV2D: "conv", Op.MAX_POOL: "max pool", Op.AVG_POOL: "average pool"}
"""Operators with a window; names of the others are those of the LUT."""


def labels_of(rows: Iterable[LutRow]) -> tuple[str, ...]:
    """In the order of the rows; each is there once. Where short ones would be alike they are the keys of the kernels,
    and where the rows differ in their conditions these belong to the label."""
    rows = tuple(rows)
    several = len({row.conditions for row in rows}) > 1
    tails = [f", {row.conditions.describe()}" if several else "" for row in rows]
    short = [_short(row.spec) + tail for row, tail in zip(rows, tails, strict=True)]
    counts = Counter(short)
    return tuple(
        label if counts[label] == 1 else row.spec.key + tail
        for row, label, tail in zip(rows, short, tails, strict=True)
    )


def group_of(spec: KernelSpec) -> str:
    """Kernels of one operator, and of one type of weights."""
    return f"{_name(spec)}, {spec.weight_dtype.value} weights" if spec.weight_dtype else _name(spec)


def _name(spec: KernelSpec) -> str:
    depthwise = "depthwise " if spec.workload.is_depthwise else ""
    return depthwise + _OPS.get(spec.workload.op, spec.workload.op.value)


def _short(spec: KernelSpec) -> str:
    """``conv 3x3/2 56x56x64>128, u8 i8>u8, relu``; several images stand ahead of the extents."""
    work = spec.workload
    stride = f"{work.stride_h}" if work.stride_h == work.stride_w else f"{work.stride_h}x{work.stride_w}"
    window = f" {work.kernel_h}x{work.kernel_w}/{stride}" if work.op in _OPS else ""
    extents = [work.in_channels] if work.op is Op.DENSE else [work.in_height, work.in_width, work.in_channels]
    shape = "x".join(map(str, [work.batch, *extents] if work.batch > 1 else extents))
    outputs = f">{work.out_channels}" if work.op.has_weights or work.op is Op.CONCAT else ""
    read = " ".join(_type(t) for t in (spec.input_dtype, spec.input2_dtype, spec.weight_dtype) if t is not None)
    epilogue = [name for name, there in (("add", spec.epilogue.adds), ("relu", spec.epilogue.relu)) if there]
    ending = f", {' '.join(epilogue)}" if epilogue else ""
    return f"{_name(spec)}{window} {shape}{outputs}, {read}>{_type(spec.output_dtype)}{ending}"


def _type(dtype: DType) -> str:
    """``u8`` for ``uint8``, ``i4`` for ``int4``, ``f16`` for ``float16``."""
    return dtype.value.replace("uint", "u").replace("int", "i").replace("float", "f")
