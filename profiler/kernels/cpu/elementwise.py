"""Templates on the elements of tensors: residual addition, concatenation (the copy of a slice), conversion of types."""

from __future__ import annotations

from profiler.kernels.cpu.emit import Activation, Requantization, clamp, loop
from profiler.kernels.cpu.planes import PLANE_LANES
from profiler.kernels.tir import Buffer, Expr, const, load
from profiler.quantize.whole_bytes import begins_on_byte, cleared_behind
from profiler.space.config import ParallelAxis, VectorConfig
from profiler.workload import KernelSpec, Op, any_in_planes


def emit_elementwise(spec: KernelSpec, config: VectorConfig, lanes: int, buffers: dict[str, Buffer]) -> None:
    """Rescale one input, or two and add them, clamp, store; ``concat`` stores into the first channels of a pixel."""
    w = spec.workload
    if any_in_planes(spec.input_dtype, spec.input2_dtype, spec.output_dtype):
        lanes = max(lanes, PLANE_LANES)
    block = config.vectors * lanes
    full, tail = divmod(w.in_channels, block)
    cleared = cleared_behind(w.in_channels, w.out_channels, spec.output_dtype)
    with loop(w.batch * w.in_height * w.in_width, config.parallel is ParallelAxis.PIXELS) as pixel:
        if full:
            with loop(full) as b:
                for v in range(config.vectors):
                    _vector(spec, lanes, buffers, pixel, b * block + v * lanes, lanes)
        for start in range(0, tail, lanes):
            _vector(spec, lanes, buffers, pixel, const(full * block + start), min(lanes, tail - start))
        Activation(buffers["output"], spec.output_dtype, w.out_channels).clear(pixel, w.in_channels, cleared)


def _vector(spec: KernelSpec, lanes: int, buffers: dict[str, Buffer], pixel: Expr, channel: Expr, used: int) -> None:
    if used < lanes:  # the vectors of this template are not padded: one channel at a time
        for i in range(used):
            _channel(spec, buffers, pixel, channel + i)
        return
    w, (low, high) = spec.workload, spec.output_range
    adds = w.op is Op.ADD
    value = Activation(buffers["input"], spec.input_dtype, w.in_channels).load(pixel, channel, lanes)
    total = _rescale(buffers, "", channel, lanes).apply(value, negative=spec.input_dtype.signed and (low < 0 or adds))
    if adds:
        second = _second(spec, buffers)
        rescaled = _rescale(buffers, "2", channel, lanes).apply(
            second.load(pixel, channel, lanes), negative=second.dtype.signed
        )
        total = total + rescaled
    output = Activation(buffers["output"], spec.output_dtype, w.out_channels)
    output.store(pixel, channel, lanes, clamp(total, low, high, lanes))


def _channel(spec: KernelSpec, buffers: dict[str, Buffer], pixel: Expr, channel: Expr) -> None:
    w, (low, high) = spec.workload, spec.output_range
    value = Activation(buffers["input"], spec.input_dtype, w.in_channels).load_one(pixel, channel)
    total = _rescale(buffers, "", channel, 1).apply(value, negative=True)
    if w.op is Op.ADD:
        second = _second(spec, buffers).load_one(pixel, channel)
        total = total + _rescale(buffers, "2", channel, 1).apply(second, negative=True)
    output = Activation(buffers["output"], spec.output_dtype, w.out_channels)
    # A slice leaves what shares its last byte. Of bit planes that is nothing where it can be the pixel's last one.
    behind = w.out_channels - w.in_channels
    keep = behind > 0 and not (spec.output_dtype.in_planes and begins_on_byte(behind, spec.output_dtype))
    output.store_one(pixel, channel, clamp(total, low, high, 1), keep)


def _second(spec: KernelSpec, buffers: dict[str, Buffer]) -> Activation:
    assert spec.input2_dtype is not None
    return Activation(buffers["input2"], spec.input2_dtype, spec.workload.in_channels)


def _rescale(buffers: dict[str, Buffer], suffix: str, channel: Expr, lanes: int) -> Requantization:
    values = [load(buffers[f"{name}{suffix}"], channel, lanes) for name in ("multiplier", "shift")]
    return Requantization.of(values[0], values[1], lanes)
