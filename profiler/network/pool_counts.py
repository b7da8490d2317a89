"""Divisors of average pools."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from profiler.workload import Layer


def counted(layer: Layer) -> npt.NDArray[np.int64]:
    """Elements that count in the average of each output pixel, [OH, OW]: those of the image, and of the padding that
    counts (`Layer.counted_pads`)."""
    work, (top, left, bottom, right) = layer.workload, layer.counted_pads
    rows = counts(
        work.in_height, work.out_height, work.kernel_h, work.stride_h, work.dilation_h, work.pad_top, top, bottom
    )
    columns = counts(
        work.in_width, work.out_width, work.kernel_w, work.stride_w, work.dilation_w, work.pad_left, left, right
    )
    return np.outer(rows, columns)


def counts(
    size: int, outputs: int, kernel: int, stride: int, dilation: int, pad: int, before: int, behind: int
) -> npt.NDArray[np.int64]:
    """Along an axis: taps of each window that lie between ``before`` elements ahead of the input and ``behind`` ones
    after it. ``pad`` elements lie ahead of the first input element."""
    taps = np.arange(outputs)[:, None] * stride - pad + np.arange(kernel)[None, :] * dilation
    return np.asarray(((taps >= -before) & (taps < size + behind)).sum(axis=1), np.int64)
