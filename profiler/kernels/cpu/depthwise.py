"""Template ``depthwise``: each channel convolved with its own kernel, vectors across channels, no dot product."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.errors import CompilerError
from profiler.kernels.cpu.emit import Activation, Requantization, clamp, clipped_start, loop, vector
from profiler.kernels.cpu.stage import Stage
from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.quantize.packed_weights import weights_in_nibbles
from profiler.quantize.packing import Packing
from profiler.space.config import DepthwiseConfig, ParallelAxis
from profiler.space.dot_plan import SLACK_BYTES
from profiler.workload import DType, KernelSpec


def depthwise_packing(config: DepthwiseConfig, lanes: int) -> Packing:
    return Packing("depthwise", config.vectors * lanes)


def depthwise_workspace_bytes(spec: KernelSpec, lanes: int) -> int:
    """Every image is staged: vectors of channels may read beyond the last pixel, which the input does not allow."""
    stage = Stage(spec, lanes, gathered=False, offset=0)
    return spec.workload.batch * stage.image_bytes + SLACK_BYTES


def emit_depthwise(spec: KernelSpec, config: DepthwiseConfig, lanes: int, buffers: dict[str, Buffer]) -> None:
    """Emit the body of the kernel: sums of at most ``kernel_h * kernel_w`` products, then the epilogue."""
    w = spec.workload
    if w.kernel_h * w.kernel_w * 256 * 128 >= 1 << 31:
        raise CompilerError(f"{spec.key}: a sum of {w.reduction} products can leave 32 bits in this template")
    stage = Stage(spec, lanes, gathered=False, offset=0)
    parallel = config.parallel is ParallelAxis.PIXELS
    with loop(w.batch) as image:
        stage.emit(buffers["input"], buffers["workspace"], image, image, parallel)
    kernel = _DepthwiseKernel(spec, config, lanes, buffers, stage)
    with loop(w.batch) as image, loop(w.out_height, parallel) as y, loop(-(-w.out_width // config.tile_w)) as tx:
        x0 = clipped_start(tx, config.tile_w, w.out_width)
        kernel.pixels(image, y, x0)


@dataclass(frozen=True)
class _DepthwiseKernel:
    spec: KernelSpec
    config: DepthwiseConfig
    lanes: int
    buffers: dict[str, Buffer]
    stage: Stage

    def pixels(self, image: Expr, y: Expr, x0: Expr) -> None:
        block = self.config.vectors * self.lanes
        full, tail = divmod(self.spec.workload.out_channels, block)
        if full:
            with loop(full) as b:
                self._block(image, y, x0, b * block, block)
        if tail:
            self._block(image, y, x0, const(full * block), tail)

    def _block(self, image: Expr, y: Expr, x0: Expr, channel: Expr, channels: int) -> None:
        w, lanes, tile_w = self.spec.workload, self.lanes, self.config.tile_w
        vectors = -(-channels // lanes)
        sums = T.alloc_buffer((tile_w * vectors * lanes,), "int32", scope="local")
        for i in range(tile_w * vectors):
            store(sums, i * lanes, const(0, lanes=lanes), lanes)
        with loop(w.kernel_h) as kh, loop(w.kernel_w) as kw:
            row = image * self.stage.image_bytes + (y * w.stride_h + kh * w.dilation_h) * self.stage.row_pitch
            for v in range(vectors):
                weight = self._weight(kh * w.kernel_w + kw, channel + v * lanes)
                for dx in range(tile_w):
                    pixel = (x0 + dx) * w.stride_w + kw * w.dilation_w
                    value = load(self.buffers["workspace"], row + pixel * w.in_channels + channel + v * lanes, lanes)
                    if self.spec.input_dtype.signed:
                        value = tirx.reinterpret(vector("int8", lanes), value)
                    place = (dx * vectors + v) * lanes
                    product = tirx.Cast(vector("int32", lanes), value) * weight
                    store(sums, place, load(sums, place, lanes) + product, lanes)
        places = [(image * w.out_height + y) * w.out_width + x0 + dx for dx in range(tile_w)]
        for v in range(vectors):
            totals = [load(sums, (dx * vectors + v) * lanes, lanes) for dx in range(tile_w)]
            self._finish(channel + v * lanes, min(lanes, channels - v * lanes), places, totals)
        output = Activation(self.buffers["output"], self.spec.output_dtype, w.out_channels)
        for place in places:
            output.clear_behind(place, -(-w.out_channels // lanes) * lanes)

    def _weight(self, tap: Expr, channel: Expr) -> Expr:
        block = self.config.vectors * self.lanes
        padded = -(-self.spec.workload.out_channels // block) * block
        dtype = DType.INT4 if weights_in_nibbles(self.spec.weight_dtype) else DType.INT8
        return Activation(self.buffers["weight"], dtype, padded).load(tap, channel, self.lanes)

    def _finish(self, channel: Expr, used: int, places: list[Expr], totals: list[Expr]) -> None:
        spec, lanes, buffers = self.spec, self.lanes, self.buffers
        output = Activation(buffers["output"], spec.output_dtype, spec.workload.out_channels)
        low, high = spec.output_range
        requantization = self._requantization("multiplier", "shift", channel)
        rescale = self._requantization("residual_multiplier", "residual_shift", channel)
        for place, total in zip(places, totals, strict=True):
            value = total + load(buffers["bias"], channel, lanes) if "bias" in buffers else total
            if requantization is not None:
                wide = requantization.apply(value, negative=low < 0 or rescale is not None)
                if rescale is not None:
                    assert spec.input2_dtype is not None
                    residual = Activation(buffers["residual"], spec.input2_dtype, output.channels)
                    wide = wide + rescale.apply(
                        residual.load_some(place, channel, lanes, used), negative=spec.input2_dtype.signed
                    )
                value = clamp(wide, low, high, lanes)
            output.store_used(place, channel, lanes, used, value)

    def _requantization(self, multiplier: str, shift: str, channel: Expr) -> Requantization | None:
        if multiplier not in self.buffers:
            return None
        values = [load(self.buffers[name], channel, self.lanes) for name in (multiplier, shift)]
        return Requantization.of(values[0], values[1], self.lanes)
