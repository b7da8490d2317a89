"""Kernel specs at random: every operator, type, epilogue and attribute that has a CPU kernel, small and awkward."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from profiler.errors import InvalidWorkload
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 24, 32, 33, 40, 64, 80])
EXTENTS = st.sampled_from([1, 3, 5, 7, 8, 14, 17])
NARROW = st.sampled_from([DType.INT4, DType.UINT4, DType.INT8, DType.UINT8])
WIDE = st.one_of(NARROW, st.just(DType.INT32))
REQUANT = st.sampled_from([Epilogue.REQUANT, Epilogue.REQUANT_RELU])


@st.composite
def convolutions(draw: st.DrawFn) -> Workload:
    channels, outputs, groups = draw(CHANNELS), draw(st.sampled_from([1, 2, 3, 5, 8, 16, 17, 24, 33, 48, 64, 100])), 1
    kind = draw(st.sampled_from(["plain", "plain", "pointwise", "grouped", "depthwise"]))
    if kind == "depthwise":
        groups = outputs = channels
    elif kind == "grouped":
        groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
        outputs = groups * draw(st.sampled_from([1, 2, 3, 5, 16]))
    kernel = (1, 1) if kind == "pointwise" else draw(st.tuples(*[st.sampled_from([1, 2, 3, 5, 7])] * 2))
    pads = draw(st.tuples(*[st.sampled_from([0, 0, 1, 2, 3])] * 4)) if kernel != (1, 1) else (0, 0, 0, 0)
    strides = draw(st.tuples(*[st.sampled_from([1, 1, 2, 3])] * 2))
    dilations = draw(st.tuples(*[st.sampled_from([1, 1, 2])] * 2))
    try:
        shape = (draw(st.integers(1, 3)), draw(EXTENTS), draw(EXTENTS), channels, outputs)
        return Workload(Op.CONV2D, *shape, *kernel, *strides, *pads, *dilations, groups)
    except InvalidWorkload:  # the kernel is larger than the padded image
        assume(False)
        raise


@st.composite
def weighted_specs(draw: st.DrawFn) -> KernelSpec:
    dense = st.builds(lambda n, c, o: Workload(Op.DENSE, n, 1, 1, c, o), st.integers(1, 9), CHANNELS, CHANNELS)
    workload = draw(st.one_of(convolutions(), convolutions(), dense))
    epilogue = draw(st.sampled_from(list(Epilogue)))
    return KernelSpec(
        workload,
        input_dtype=draw(NARROW),
        output_dtype=draw(NARROW) if epilogue.requantizes else DType.INT32,
        weight_dtype=draw(st.sampled_from([DType.INT8, DType.INT4])),
        input2_dtype=draw(NARROW) if epilogue.adds else None,
        epilogue=epilogue,
    )


@st.composite
def unweighted_specs(draw: st.DrawFn) -> KernelSpec:
    op = draw(st.sampled_from([Op.ADD, Op.MAX_POOL, Op.AVG_POOL, Op.CONCAT, Op.CONVERT]))
    batch, height, width, channels = draw(st.integers(1, 3)), draw(EXTENTS), draw(EXTENTS), draw(CHANNELS)
    shape = (op, batch, height, width, channels)
    if op is Op.ADD:
        return KernelSpec(
            Workload(*shape, channels), draw(WIDE), draw(NARROW), input2_dtype=draw(NARROW), epilogue=draw(REQUANT)
        )
    if op is Op.CONCAT:
        total = channels + draw(st.sampled_from([0, 1, 3, 16]))
        return KernelSpec(Workload(*shape, total), draw(NARROW), draw(NARROW), epilogue=draw(REQUANT))
    if op is Op.CONVERT:
        return KernelSpec(Workload(*shape, channels), draw(WIDE), draw(NARROW), epilogue=draw(REQUANT))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * 2))
    pads = [draw(st.integers(0, k)) for k in (*kernel, *kernel)]
    strides, dilations = (draw(st.tuples(*[st.integers(1, 2)] * 2)) for _ in range(2))
    try:
        workload = Workload(*shape, channels, *kernel, *strides, *pads, *dilations)
    except InvalidWorkload:
        assume(False)
        raise
    dtype = draw(NARROW)
    if op is Op.MAX_POOL:
        return KernelSpec(workload, dtype, dtype)
    return KernelSpec(workload, dtype, draw(NARROW), epilogue=draw(REQUANT))
