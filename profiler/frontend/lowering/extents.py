"""Shapes and padding: from what a model says of a window to the numbers of a `Workload`."""

from __future__ import annotations

from profiler.frontend.graph import Adaptive, Divisor, Window
from profiler.frontend.refusal import RefusedError
from profiler.workload import Workload


def window_fields(window: Window, height: int, width: int) -> dict[str, int]:
    """The kernel's fields of a `Workload` over an input of that size, with the padding worked out."""
    top, bottom = _padding(window, 0, height)
    left, right = _padding(window, 1, width)
    return {
        "kernel_h": window.kernel[0],
        "kernel_w": window.kernel[1],
        "stride_h": window.stride[0],
        "stride_w": window.stride[1],
        "dilation_h": window.dilation[0],
        "dilation_w": window.dilation[1],
        "pad_top": top,
        "pad_left": left,
        "pad_bottom": bottom,
        "pad_right": right,
    }


def counted_pads(window: Window, workload: Workload) -> tuple[int, int, int, int]:
    """The padding that counts in the divisor of an average pool (`Layer.counted_pads`); ``workload`` is that of the
    window, with all of its padding."""
    there = (workload.pad_top, workload.pad_left, workload.pad_bottom, workload.pad_right)
    if window.divisor is Divisor.IMAGE:
        return (0, 0, 0, 0)
    if window.divisor is Divisor.KERNEL or window.same:
        return there
    # Behind the input the workload has more than the model asks for where ceil_mode adds a window that reaches further,
    # and less where it drops one that would start in the padding.
    top, left, bottom, right = (min(pads) for pads in zip(window.pads, there, strict=True))
    return (top, left, bottom, right)


def _padding(window: Window, axis: int, size: int) -> tuple[int, int]:
    """Padding before and behind ``size`` elements along an axis (0 height, 1 width)."""
    before, after = window.pads[axis], window.pads[axis + 2]
    stride = window.stride[axis]
    span = window.dilation[axis] * (window.kernel[axis] - 1) + 1
    if stride < 1 or window.kernel[axis] < 1 or window.dilation[axis] < 1 or before < 0 or after < 0:
        raise RefusedError("kernel, stride and dilation must be at least 1, and padding at least 0")
    if window.same:
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        half = total // 2
        return (half, total - half) if window.same == "upper" else (total - half, half)
    if window.ceil_mode:
        steps = -(-(size + before + after - span) // stride)
        # A last window that would start in the padding behind the input does not count (torch and ONNX alike).
        if steps * stride >= size + before:
            steps -= 1
        if steps != (size + before + after - span) // stride:
            after = max(0, steps * stride + span - size - before)
    return before, after


def adaptive_window(window: Adaptive, height: int, width: int) -> Window:
    out_h, out_w = window.size
    if out_h < 1 or out_w < 1 or height % out_h or width % out_w:
        raise RefusedError(f"it pools {height}x{width} to {out_h}x{out_w}, which takes windows of different sizes")
    extents = (height // out_h, width // out_w)
    # A single window has no stride: (1, 1) makes equal workloads equal, however the model was written.
    return Window(extents, stride=(1, 1) if window.size == (1, 1) else extents)


def without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    start = 0
    while start < len(shape) and shape[start] == 1:
        start += 1
    return shape[start:]


def shape_text(shape: tuple[int | str, ...]) -> str:
    return "x".join("?" if extent == -1 else str(extent) for extent in shape)
