"""Pools of the template ``simt_vector``: windows clipped to the image, a block of channels in registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.rows import Block, Place, Rows
from profiler.kernels.cuda.simt_epilogue import clamped, rescaled
from profiler.kernels.cuda.work_items import in_image, when
from profiler.kernels.tir import Buffer, Expr, const, local, store
from profiler.workload import KernelSpec, Op


def emit_pool(
    spec: KernelSpec, rows: Mapping[str, Rows], buffers: Mapping[str, Buffer], pixel: Sequence[Expr], block: Expr
) -> None:
    """One output pixel (image, row, column): maxima, or sums with the factor that the pixel has for its window."""
    w = spec.workload
    image, y, x = pixel
    place = Place((image * w.out_height + y) * w.out_width + x, block)
    average = w.op is Op.AVG_POOL
    totals = local(rows["output"].block)
    for channel in range(rows["output"].block):
        store(totals, channel, const(0 if average else spec.input_dtype.low))
    with T.serial(w.kernel_h) as kh:
        row = T.bind(y * w.stride_h + kh * w.dilation_h - w.pad_top)
        with when(in_image(row, w.in_height, w.pad_top, w.pad_bottom)), T.serial(w.kernel_w) as kw:
            column = T.bind(x * w.stride_w + kw * w.dilation_w - w.pad_left)
            with when(in_image(column, w.in_width, w.pad_left, w.pad_right)):
                tap = Place((image * w.in_height + row) * w.in_width + column, block)
                _take(rows["input"].load(buffers["input"], tap), totals, average)
    if average:
        factor = [T.bind(buffers[name][y * w.out_width + x]) for name in ("multiplier", "shift")]
        negative = spec.input_dtype.signed and spec.output_range[0] < 0

    def value(_: int, channel: int) -> Expr:
        return clamped(spec, rescaled(totals[channel], *factor, negative=negative)) if average else totals[channel]

    rows["output"].store(buffers["output"], [place], value)


def _take(taken: Block, totals: Buffer, average: bool) -> None:
    for channel in range(taken.rows.block):
        value, total = taken.value(channel), totals[channel]
        store(totals, channel, total + value if average else tirx.max(total, value))
