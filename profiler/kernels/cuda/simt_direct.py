"""Template ``simt_direct``: convolution and dense layers of any groups and integer types, without tensor cores.

A thread has a block of output channels of one pixel, so that an input that it loads serves all of them. Where words of
both operands hold the same channels, they are multiplied by dot products of four bytes; otherwise channel by channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.hardware import GpuSpec
from profiler.kernels.cuda.codegen import call
from profiler.kernels.cuda.plane_rows import code_value
from profiler.kernels.cuda.rows import WIDEST_BYTES, Place, Rows
from profiler.kernels.cuda.simt_epilogue import SumEpilogue, epilogue_rows
from profiler.kernels.cuda.template import Index, KernelPlan
from profiler.kernels.cuda.work_items import in_image, items_launch, unravel, when, work_item
from profiler.kernels.tir import Buffer, Expr, const, local, store
from profiler.quantize.packing import Packing
from profiler.quantize.planes import plane_bytes
from profiler.space.config import SimtDirectConfig
from profiler.space.simt_plan import groups_share_bytes, reached_channels
from profiler.workload import DType, KernelSpec


def plan_direct(spec: KernelSpec, config: SimtDirectConfig, gpu: GpuSpec) -> KernelPlan:
    """The kernel of a convolution or dense layer."""
    w = spec.workload
    template = _Direct(spec, config.channels)
    rows = template.rows
    extents = (w.batch, w.out_height, w.out_width, template.sections, rows["output"].blocks)
    items = w.batch * w.out_height * w.out_width * template.sections * rows["output"].blocks

    def emit(buffers: Mapping[str, Buffer], index: Index) -> None:
        with work_item(index, items, config.threads) as item:
            template.emit(buffers, *unravel(item, extents))

    return KernelPlan(
        items_launch(items, config.threads),
        Packing("plain"),
        emit,
        headers=("integer.h", "simt.h"),
        dtypes={name: r.element for name, r in rows.items()},
    )


@dataclass(frozen=True)
class _Direct:
    spec: KernelSpec
    channels: int

    @property
    def grouped(self) -> bool:
        """Whether the blocks of a thread end with their group; they do unless groups share bytes of a tensor."""
        types = (self.spec.output_dtype, self.spec.input2_dtype)
        if groups_share_bytes(self.spec):
            return False
        return all(dtype is None or self.spec.workload.group_outputs * dtype.bits % 8 == 0 for dtype in types)

    @property
    def shares_inputs(self) -> bool:
        """Whether all output channels of a thread are of one group."""
        return self.grouped or self.spec.workload.groups == 1

    @property
    def sections(self) -> int:
        """Parts of the output's channels that are cut into blocks."""
        return self.spec.workload.groups if self.grouped else 1

    @property
    def step(self) -> int:
        """Input channels that are loaded at once."""
        spec = self.spec
        assert spec.weight_dtype is not None
        if spec.weight_dtype not in (DType.INT8, DType.INT4) or spec.weight_dtype.bits != spec.input_dtype.bits:
            return 1
        channels = gcd(self.spec.workload.group_inputs, 8 * WIDEST_BYTES // spec.input_dtype.bits)
        return channels if channels * spec.input_dtype.bits >= 32 else 1

    @property
    def rows(self) -> dict[str, Rows]:
        w = self.spec.workload
        assert self.spec.weight_dtype is not None
        section = w.group_outputs if self.grouped else w.out_channels
        found = epilogue_rows(self.spec, self.channels, section, padded=w.out_channels)
        if self.step > 1:
            found["input"] = Rows.of(self.spec.input_dtype, w.in_channels, self.step, w.group_inputs)
            found["weight"] = Rows.of(self.spec.weight_dtype, w.group_inputs, self.step)
        return found

    def emit(self, buffers: Mapping[str, Buffer], image: Expr, y: Expr, x: Expr, section: Expr, block: Expr) -> None:
        w = self.spec.workload
        sums = local(self.channels)
        for i in range(self.channels):
            store(sums, i, const(0))
        with T.serial(w.kernel_h) as kh:
            row = T.bind(y * w.stride_h + kh * w.dilation_h - w.pad_top)
            with when(in_image(row, w.in_height, w.pad_top, w.pad_bottom)), T.serial(w.kernel_w) as kw:
                column = T.bind(x * w.stride_w + kw * w.dilation_w - w.pad_left)
                with when(in_image(column, w.in_width, w.pad_left, w.pad_right)):
                    pixel = T.bind((image * w.in_height + row) * w.in_width + column)
                    outputs = self._outputs(section, block)
                    tap = kh * w.kernel_w + kw
                    if self.step > 1:
                        self._add_words(buffers, sums, pixel, tap, outputs)
                    else:
                        self._add_channels(buffers, sums, pixel, tap, outputs)
        epilogue = SumEpilogue.load(self.spec, self.rows, buffers, Place(0, block, section))
        place = Place((image * w.out_height + y) * w.out_width + x, block, section)
        epilogue.store([place], sums)

    def _outputs(self, section: Expr, block: Expr) -> list[Expr]:
        """Output channels of the thread; those behind the last one stand for it, so that weights can be read."""
        w = self.spec.workload
        last = w.out_channels - 1
        first = section * w.group_outputs + block * self.channels
        cut = (w.group_outputs if self.grouped else w.out_channels) % self.channels
        beyond = reached_channels(self.spec) > w.out_channels  # so that a thread may have none of them
        return [T.bind(tirx.min(first + i, last) if beyond or (cut and i) else first + i) for i in range(self.channels)]

    def _group(self, output: Expr) -> Expr:
        return tirx.truncdiv(output, self.spec.workload.group_outputs) if self.spec.workload.groups > 1 else 0

    def _add_words(
        self, buffers: Mapping[str, Buffer], sums: Buffer, pixel: Expr, tap: Expr, outputs: list[Expr]
    ) -> None:
        """Add the products of a tap by dot products."""
        w, rows = self.spec.workload, self.rows
        dot = "lb_dp4a_s" if self.spec.input_dtype.signed else "lb_dp4a_u"
        with T.serial(rows["input"].blocks) as step:
            taken = None
            for i, output in enumerate(outputs):
                if taken is None or not self.shares_inputs:
                    taken = rows["input"].load(buffers["input"], Place(pixel, step, self._group(output))).as_bytes()
                filter_row = Place(output * (w.kernel_h * w.kernel_w) + tap, step)
                weights = rows["weight"].load(buffers["weight"], filter_row).as_bytes()
                for word in range(weights.count):
                    total = call(dot, taken.words[word], weights.words[word], sums[i], returns="int32")
                    store(sums, i, total)

    def _add_channels(
        self, buffers: Mapping[str, Buffer], sums: Buffer, pixel: Expr, tap: Expr, outputs: list[Expr]
    ) -> None:
        """Add the products of a tap one by one."""
        w, weight_dtype = self.spec.workload, self.spec.weight_dtype
        assert weight_dtype is not None
        with T.serial(w.group_inputs) as channel:
            taken = None
            for i, output in enumerate(outputs):
                if taken is None or not self.shares_inputs:
                    at = self._group(output) * w.group_inputs + channel
                    taken = T.bind(_channel(buffers["input"], self.spec.input_dtype, w.in_channels, pixel, at))
                filter_row = output * (w.kernel_h * w.kernel_w) + tap
                weight = _channel(buffers["weight"], weight_dtype, w.group_inputs, filter_row, channel)
                store(sums, i, sums[i] + taken * weight)


def _channel(buffer: Buffer, dtype: DType, channels: int, row: Expr, channel: Expr) -> Expr:
    """A channel of a row of ``channels``, as int32, from a buffer of the type's own elements (up to 4-bit: bytes)."""
    if dtype.in_planes:
        pitch = plane_bytes(channels)
        start = row * (dtype.bits * pitch) + tirx.truncdiv(channel, 8)
        within = tirx.truncmod(channel, 8)
        planes = [tirx.Cast("int32", buffer[start + p * pitch]) >> within for p in range(dtype.bits)]
        return code_value(planes, dtype)
    if dtype.bits != 4:
        return tirx.Cast("int32", buffer[row * channels + channel])
    byte = tirx.Cast("int32", buffer[row * ((channels + 1) // 2) + tirx.truncdiv(channel, 2)])
    return call("lb_nibble_s4" if dtype.signed else "lb_nibble_u4", byte, channel, returns="int32")
