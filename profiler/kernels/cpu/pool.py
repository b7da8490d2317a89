"""Templates of the pools: windows clipped to the image, vectors across channels."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.kernels.cpu.emit import Activation, Requantization, clamp, loop, vector
from profiler.kernels.cpu.planes import PLANE_LANES, PlanePixels
from profiler.kernels.tir import Buffer, Expr, const, load, store
from profiler.quantize.planes import WORD_BITS
from profiler.space.config import ParallelAxis, VectorConfig
from profiler.workload import DType, KernelSpec, Workload


def emit_avg_pool(spec: KernelSpec, config: VectorConfig, lanes: int, buffers: dict[str, Buffer]) -> None:
    """Integer sums over the window, then the dyadic factor of the output pixel, which carries one over its area."""
    w, (low, high) = spec.workload, spec.output_range
    source = Activation(buffers["input"], spec.input_dtype, w.in_channels)
    output = Activation(buffers["output"], spec.output_dtype, w.out_channels)
    if source.planes is not None or output.planes is not None:
        lanes = max(lanes, PLANE_LANES)

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
        output.clear_behind(place, w.out_channels)

    _pixels(w, config, pixel)


def emit_max_pool(spec: KernelSpec, config: VectorConfig, lanes: int, buffers: dict[str, Buffer]) -> None:
    """Maxima of bytes; nibbles are compared where they lie, as the high and the low half of a byte."""
    w, dtype = spec.workload, spec.input_dtype
    if dtype.in_planes:
        _emit_max_pool_of_planes(spec, config, buffers)
        return
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


def _emit_max_pool_of_planes(spec: KernelSpec, config: VectorConfig, buffers: dict[str, Buffer]) -> None:
    """Maxima of 64 channels at once, from the highest plane down: where two values differ first decides.

    Signed values are compared as unsigned ones with the sign turned. 0 is then the lowest.
    """
    w, dtype = spec.workload, spec.input_dtype
    source, output = (PlanePixels(buffers[name], dtype, w.in_channels) for name in ("input", "output"))
    top = dtype.bits - 1

    def read(position: Expr, plane: int, word: Expr) -> Expr:
        value = tirx.reinterpret("uint64", load(source.buffer, source.byte(position, plane, word * WORD_BITS), 8))
        return tirx.bitwise_not(value) if dtype.signed and plane == top else value

    def pixel(image: Expr, y: Expr, x: Expr) -> None:
        place = (image * w.out_height + y) * w.out_width + x
        with loop(source.plane_bytes * 8 // WORD_BITS) as word:
            best = T.alloc_buffer((dtype.bits,), "uint64", scope="local")
            for plane in range(dtype.bits):
                store(best, plane, const(0, "uint64"))

            def tap(position: Expr) -> None:
                values = [read(position, plane, word) for plane in range(dtype.bits)]
                greater, equal = const(0, "uint64"), tirx.bitwise_not(const(0, "uint64"))
                for plane in range(top, -1, -1):
                    differs = tirx.bitwise_and(tirx.bitwise_xor(values[plane], best[plane]), equal)
                    greater = tirx.bitwise_or(greater, tirx.bitwise_and(differs, values[plane]))
                    equal = tirx.bitwise_and(equal, tirx.bitwise_not(differs))
                chosen = T.alloc_buffer((1,), "uint64", scope="local")
                store(chosen, 0, greater)
                for plane in range(dtype.bits):
                    differs = tirx.bitwise_xor(values[plane], best[plane])
                    store(best, plane, tirx.bitwise_xor(best[plane], tirx.bitwise_and(differs, chosen[0])))

            _window(w, image, y, x, tap)
            for plane in range(dtype.bits):
                value = best[plane]
                if dtype.signed and plane == top:
                    value = tirx.bitwise_and(tirx.bitwise_not(value), _valid_bits(w.in_channels, word))
                at = output.byte(place, plane, word * WORD_BITS)
                store(output.buffer, at, tirx.reinterpret("uint8x8", value), 8)

    _pixels(w, config, pixel)


def _valid_bits(channels: int, word: Expr) -> Expr:
    """Those of a word that are channels."""
    full, rest = divmod(channels, WORD_BITS)
    everything = tirx.bitwise_not(const(0, "uint64"))
    if not rest:
        return everything
    return tirx.Select(word < full, everything, tirx.shift_right(everything, const(WORD_BITS - rest, "uint64")))


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
