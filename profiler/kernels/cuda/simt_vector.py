"""Template ``simt_vector``: a thread has a block of channels of a pixel. Elementwise here; pools in `simt_pool`."""

from __future__ import annotations

from collections.abc import Mapping

from profiler.hardware import GpuSpec
from profiler.kernels.cuda.plane_rows import tensor_rows
from profiler.kernels.cuda.rows import Place, Rows
from profiler.kernels.cuda.simt_epilogue import Rescale, clamped
from profiler.kernels.cuda.simt_pool import emit_pool
from profiler.kernels.cuda.template import Index, KernelPlan
from profiler.kernels.cuda.work_items import items_launch, unravel, work_item
from profiler.kernels.tir import Buffer, Expr
from profiler.quantize.operands import operands
from profiler.quantize.packing import Packing
from profiler.space.config import SimtVectorConfig
from profiler.space.simt_plan import reached_channels
from profiler.workload import DType, KernelSpec, Op


def plan_vector(spec: KernelSpec, config: SimtVectorConfig, gpu: GpuSpec) -> KernelPlan:
    """The kernel of an addition, pool, concatenation or conversion."""
    w = spec.workload
    rows = _rows(spec, config.channels)
    pools = w.op in (Op.MAX_POOL, Op.AVG_POOL)
    extents = (w.batch, w.out_height, w.out_width) if pools else (w.batch * w.out_height * w.out_width,)
    extents = (*extents, rows["output"].blocks)
    items = w.batch * w.out_height * w.out_width * rows["output"].blocks

    def emit(buffers: Mapping[str, Buffer], index: Index) -> None:
        with work_item(index, items, config.threads) as item:
            *pixel, block = unravel(item, extents)
            if pools:
                emit_pool(spec, rows, buffers, pixel, block)
            else:
                _emit_elementwise(spec, rows, buffers, Place(pixel[0], block))

    return KernelPlan(
        items_launch(items, config.threads),
        Packing("plain"),
        emit,
        headers=("integer.h",),
        dtypes={name: r.element for name, r in rows.items()},
    )


def _rows(spec: KernelSpec, block: int) -> dict[str, Rows]:
    """All arguments; the multipliers and shifts of an average pool, one per pixel, are none."""
    channels, rows, reach = spec.workload.in_channels, {}, reached_channels(spec)
    for operand in operands(spec):
        if operand.name in ("input", "input2"):
            rows[operand.name] = tensor_rows(operand.dtype, channels, block, reach=reach)
        elif operand.name == "output":
            rows["output"] = tensor_rows(operand.dtype, spec.workload.out_channels, block, channels, reach)
        elif spec.workload.op is not Op.AVG_POOL:
            rows[operand.name] = Rows.of(DType.INT32, channels, block, reach=reach)
    return rows


def _emit_elementwise(spec: KernelSpec, rows: Mapping[str, Rows], buffers: Mapping[str, Buffer], place: Place) -> None:
    """Rescale one input, or two and add them, clamp, store; ``concat`` stores into the first channels of a pixel."""
    vector, output = Place(0, place.block), rows["output"]
    inputs = [name for name in ("input", "input2") if name in rows]
    blocks = [rows[name].load(buffers[name], place) for name in inputs]
    rescales = [Rescale.load(rows, buffers, vector, suffix=name.removeprefix("input")) for name in inputs]
    adds, (low, _) = len(inputs) > 1, spec.output_range

    def value(_: int, channel: int) -> Expr:
        terms = [
            rescale.apply(block.value(channel), channel, negative=block.rows.dtype.signed and (adds or low < 0))
            for block, rescale in zip(blocks, rescales, strict=True)
        ]
        return clamped(spec, terms[0] + terms[1] if adds else terms[0])

    output.store(buffers["output"], [place], value)
