"""Templates of the pools: windows clipped to the image, vectors across channels."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cpu.emit import Activation, Requantization, clamp, loop, vector
from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.space.config import ParallelAxis, VectorConfig
from profiler.workload import DType, KernelSpec, Workload


def emit_avg_pool(spec: KernelSpec, config: VectorConfig, lanes: int, buffers: dict[str, Buffer]) -> None:
    """Integer sums over the window, then the dyadic factor of the output pixel, which carries one over its area."""
    w, (low, high) = spec.workload, spec.output_range
    source = Activation(buffers["input"], spec.input_dtype, w.in_channels)
    output = Activation(buffers["output"], spec.output_dtype, w.out_channels)

    def pixel(image: Expr, y: Expr, x: Expr) -> None:
        place = (image * w.out_height + y) * w.out_width + x
        factor = (buffers["multiplier"][y * w.out_width + x], buffers["shift"][y * w.out_width + x])

        def block(channel: Expr, vectors: int, width: int) -> None:
            rescale = Requantization.of(_spread(factor[0], width), _spread(factor[1], width), width)
            sums = T.alloc_buffer((vectors * width,), "int32", scope="local")
            for v in range(vectors):
                store(sums, v * width, const(0, lanes=width), width)

            def tap(position: Expr) -> None:
                for v in range(vectors):
                    at = channel + v * width
                    value = source.load(position, at, width) if width > 1 else source.load_one(position, at)
                    store(sums, v * width, load(sums, v * width, width) + value, width)

            _window(w, image, y, x, tap)
            for v in range(vectors):
                total = rescale.apply(load(sums, v * width, width), negative=low < 0)
                value = clamp(total, low, high, width)
                if width > 1:
                    output.store(place, channel + v * width, width, value)
                else:
                    output.store_one(place, channel + v, value)

        _blocks(w.in_channels, config.vectors, lanes, block)

    _pixels(w, config, pixel)


def emit_max_pool(spec: KernelSpec, config: VectorConfig, lanes: int, buffers: dict[str, Buffer]) -> None:
    """Maxima of bytes; nibbles are compared where they lie, as the high and the low half of a byte."""
    w, dtype = spec.workload, spec.input_dtype
    row = Activation(buffers["input"], dtype, w.in_channels).pitch
    wide = 4 * lanes
    # Signed values are compared as unsigned ones with the sign turned; 0 is then the lowest.
    turn = 0 if not dtype.signed else 0x80 if dtype.bits == 8 else 0x88

    def pixel(image: Expr, y: Expr, x: Expr) -> None:
        place = (image * w.out_height + y) * w.out_width + x

        def block(element: Expr, vectors: int, width: int) -> None:
            best = T.alloc_buffer((vectors * width,), "uint8", scope="local")
            for v in range(vectors):
                store(best, v * width, const(0, "uint8", width), width)

            def tap(position: Expr) -> None:
                for v in range(vectors):
                    stored = load(buffers["input"], position * row + element + v * width, width)
                    value = tirx.bitwise_xor(
                        tirx.reinterpret(vector("uint8", width), stored), const(turn, "uint8", width)
                    )
                    store(best, v * width, _maximum(dtype, load(best, v * width, width), value, width), width)

            _window(w, image, y, x, tap)
            for v in range(vectors):
                value = tirx.bitwise_xor(load(best, v * width, width), const(turn, "uint8", width))
                target = vector("int8" if dtype is DType.INT8 else "uint8", width)
                store(buffers["output"], place * row + element + v * width, tirx.reinterpret(target, value), width)

        _blocks(row, config.vectors, wide, block)
        if dtype is DType.INT4 and w.in_channels % 2 and _has_empty_windows(w):
            # Nothing was compared there: the lowest value stands in the channels, and in the spare nibble, too.
            last = place * row + row - 1
            kept = tirx.bitwise_and(buffers["output"][last], const(15, "uint8"))
            T.buffer_store(buffers["output"], kept, [last])

    _pixels(w, config, pixel)


def _has_empty_windows(w: Workload) -> bool:
    """Whether some window lies in the padding altogether."""

    def empty(outputs: int, stride: int, pad: int, kernel: int, dilation: int, size: int) -> bool:
        starts = (o * stride - pad for o in range(outputs))
        return any(all(not 0 <= s + k * dilation < size for k in range(kernel)) for s in starts)

    rows = empty(w.out_height, w.stride_h, w.pad_top, w.kernel_h, w.dilation_h, w.in_height)
    return rows or empty(w.out_width, w.stride_w, w.pad_left, w.kernel_w, w.dilation_w, w.in_width)


def _maximum(dtype: DType, a: Expr, b: Expr, lanes: int) -> Expr:
    if dtype.bits == 8:
        return tirx.max(a, b)
    halves = [const(mask, "uint8", lanes) for mask in (0x0F, 0xF0)]
    low, high = (tirx.max(tirx.bitwise_and(a, half), tirx.bitwise_and(b, half)) for half in halves)
    return tirx.bitwise_or(low, high)


def _pixels(w: Workload, config: VectorConfig, body: Callable[[Expr, Expr, Expr], None]) -> None:
    parallel = config.parallel is ParallelAxis.PIXELS
    with (
        loop(w.batch, parallel and w.batch > 1) as image,
        loop(w.out_height, parallel and w.batch == 1) as y,
        loop(w.out_width) as x,
    ):
        body(image, y, x)


def _blocks(elements: int, vectors: int, lanes: int, body: Callable[[Expr, int, int], None]) -> None:
    """``elements`` in blocks of ``vectors`` vectors, then single vectors, then single elements."""
    done = 0
    for count, width in ((vectors, lanes), (1, lanes), (1, 1)):
        blocks = (elements - done) // (count * width)
        if blocks:
            with loop(blocks) as b:
                body(done + b * (count * width), count, width)
            done += blocks * count * width


def _window(w: Workload, image: Expr, y: Expr, x: Expr, tap: Callable[[Expr], None]) -> None:
    """The input pixels of a window that lie in the image."""
    with loop(w.kernel_h) as kh, loop(w.kernel_w) as kw:
        iy = y * w.stride_h + kh * w.dilation_h - w.pad_top
        ix = x * w.stride_w + kw * w.dilation_w - w.pad_left
        position = (image * w.in_height + iy) * w.in_width + ix
        if not w.has_padding:
            tap(position)
            return
        with T.If(tirx.all(iy >= 0, iy < w.in_height, ix >= 0, ix < w.in_width)), T.Then():
            tap(position)


def _spread(value: Expr, lanes: int) -> Expr:
    return value if lanes == 1 else tirx.Broadcast(value, lanes)
