"""Template ``simt_depthwise``: each channel convolved with its own kernel; a thread has a block of channels of some
neighbouring pixels of an output row.

A dot product of four bytes takes one product if only one of the four weights is not zero: this saves taking the inputs
apart. Weights are brought into that form once per thread and row of the kernel, and serve all of the thread's pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.hardware import GpuSpec
from profiler.kernels.cuda.codegen import call
from profiler.kernels.cuda.plane_rows import tensor_rows
from profiler.kernels.cuda.rows import Bytes, Place, Rows
from profiler.kernels.cuda.simt_epilogue import SumEpilogue, epilogue_rows
from profiler.kernels.cuda.template import Index, KernelPlan
from profiler.kernels.cuda.work_items import in_image, items_launch, unravel, when, work_item
from profiler.kernels.tir import Buffer, Expr, const, local, store
from profiler.quantize.packed_weights import weights_in_nibbles
from profiler.quantize.packing import Packing
from profiler.space.config import SimtDepthwiseConfig
from profiler.space.simt_plan import reached_channels
from profiler.workload import DType, KernelSpec


def plan_depthwise(spec: KernelSpec, config: SimtDepthwiseConfig, gpu: GpuSpec) -> KernelPlan:
    """The kernel of a depthwise convolution with as many output as input channels."""
    w = spec.workload
    template = _Depthwise(spec, config, _rows(spec, config.channels))
    extents = (w.batch, w.out_height, ceil(w.out_width / config.pixels), template.rows["output"].blocks)
    items = extents[0] * extents[1] * extents[2] * extents[3]

    def emit(buffers: Mapping[str, Buffer], index: Index) -> None:
        with work_item(index, items, config.threads) as item:
            template.emit(buffers, *unravel(item, extents))

    return KernelPlan(
        items_launch(items, config.threads),
        Packing("depthwise", config.channels),
        emit,
        headers=("integer.h", "simt.h", "bits.h") if spec.input_dtype.in_planes else ("integer.h", "simt.h"),
        dtypes={name: r.element for name, r in template.rows.items()},
    )


def _rows(spec: KernelSpec, block: int) -> dict[str, Rows]:
    channels, reach = spec.workload.in_channels, reached_channels(spec)
    padded = ceil(channels / block) * block
    assert spec.weight_dtype is not None
    stored = DType.INT4 if weights_in_nibbles(spec.weight_dtype) else spec.weight_dtype
    return {
        "input": tensor_rows(spec.input_dtype, channels, block, reach=reach),
        "weight": Rows.of(stored, padded, block, reach=reach),
        **epilogue_rows(spec, block, section=channels, padded=padded),
    }


@dataclass(frozen=True)
class _Depthwise:
    spec: KernelSpec
    config: SimtDepthwiseConfig
    rows: Mapping[str, Rows]

    def emit(self, buffers: Mapping[str, Buffer], image: Expr, y: Expr, tile: Expr, block: Expr) -> None:
        w, pixels, channels = self.spec.workload, self.config.pixels, self.config.channels
        x0 = tile * pixels
        sums = local(pixels * channels)
        for i in range(pixels * channels):
            store(sums, i, const(0))
        with T.serial(w.kernel_h) as kh:
            row = T.bind(y * w.stride_h + kh * w.dilation_h - w.pad_top)
            with when(in_image(row, w.in_height, w.pad_top, w.pad_bottom)):
                self._kernel_row(buffers, sums, Place((image * w.in_height + row) * w.in_width, block), x0, kh)
        epilogue = SumEpilogue.load(self.spec, self.rows, buffers, Place(0, block))
        first = (image * w.out_height + y) * w.out_width + x0
        inside = [x0 + dx < w.out_width for dx in range(pixels)] if w.out_width % pixels else None
        epilogue.store([Place(first + dx, block) for dx in range(pixels)], sums, inside)

    def _kernel_row(self, buffers: Mapping[str, Buffer], sums: Buffer, start: Place, x0: Expr, kh: Expr) -> None:
        """Add the products of one row of the kernel; ``start`` is the first pixel of the row of the image."""
        w, pixels, channels = self.spec.workload, self.config.pixels, self.config.channels
        dot = "lb_dp4a_s" if self.spec.input_dtype.signed else "lb_dp4a_u"
        loaded: dict[int, Bytes] = {}
        for kw in range(w.kernel_w):
            tap = Place(kh * w.kernel_w + kw, start.block)
            weights = self.rows["weight"].load(buffers["weight"], tap).as_bytes()
            offsets = [dx * w.stride_w + kw * w.dilation_w for dx in range(pixels)]
            for offset in offsets:
                if offset not in loaded:
                    loaded[offset] = self._input(buffers, start, x0, offset)
            for i in range(channels):
                word, bit = loaded[offsets[0]].position(i)
                weight = T.bind(_alone(weights, i, bit))
                for dx, offset in enumerate(offsets):
                    total = call(dot, loaded[offset].words[word], weight, sums[dx * channels + i], returns="int32")
                    store(sums, dx * channels + i, total)

    def _input(self, buffers: Mapping[str, Buffer], start: Place, x0: Expr, offset: int) -> Bytes:
        """The block of the input pixel ``offset`` behind the thread's first one; zero in the padding."""
        w, pixels = self.spec.workload, self.config.pixels
        last = ((ceil(w.out_width / pixels) - 1) * pixels) * w.stride_w + offset - w.pad_left
        column = T.bind(x0 * w.stride_w + (offset - w.pad_left))
        inside = in_image(column, w.in_width, w.pad_left - offset, last - w.in_width + 1)
        place = Place(start.row + column, start.block)
        return self.rows["input"].load(buffers["input"], place, inside).as_bytes()


def _alone(weights: Bytes, channel: int, bit: int) -> Expr:
    """A word with the weight of a channel in the byte that starts at ``bit``, and zeros."""
    word, at = weights.position(channel)
    value = weights.words[word]
    if at > bit:
        value = value >> (at - bit)
    elif at < bit:
        value = value << (bit - at)
    mask = 0xFF << bit if bit < 24 else -1 << bit
    return tirx.bitwise_and(value, const(mask))
