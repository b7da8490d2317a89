"""Layers in float32, by NumPy and its BLAS: [N, H, W, C] to [N, OH, OW, O], ahead of the ReLU.

Each image is computed by itself, in steps that do not depend on how many there are: the same image gives the same
bits in any batch. Values are new arrays, never views of what is read. Sums that leave float32 become infinite, without
a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.network.pool_counts import counted
from profiler.workload import Layer, Workload

Floats = npt.NDArray[np.float32]

_CHUNK_BYTES = 1 << 20
"""The unfolded input of one step: what stays in a core's cache until it is multiplied."""


def added(first: Floats, second: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.add(first, second)


def max_pooled(work: Workload, x: Floats) -> Floats:
    """Padding never wins; a window of nothing else is -inf."""
    return _pooled(work, x, np.maximum, -np.inf)


def avg_pooled(layer: Layer, x: Floats) -> Floats:
    """Sums over the elements that count (`pool_counts`)."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        sums = _pooled(layer.workload, x, np.add, 0.0)
        sums /= counted(layer)[:, :, None].astype(np.float32)
    return sums


def dense(work: Workload, x: Floats, weight: Floats, bias: Floats) -> Floats:
    """``weight`` is of shape `Workload.weight_shape`, its features in the order in which ``x`` is stored."""
    matrix = weight.reshape(work.out_channels, -1)
    out = np.empty((len(x), 1, 1, work.out_channels), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for image, result in zip(x, out, strict=True):
            np.matmul(matrix, image.reshape(-1), out=result[0, 0])
        out += bias
    return out


def conv2d(work: Workload, x: Floats, weight: Floats, bias: Floats) -> Floats:
    """``weight`` is of shape `Workload.weight_shape`."""
    out = np.empty((len(x), work.out_height, work.out_width, work.out_channels), np.float32)
    add_products = _add_scaled if work.groups > 1 and work.group_inputs == 1 else _add_multiplied
    with np.errstate(over="ignore", invalid="ignore"):
        add_products(work, x, weight, out)
        out += bias
    return out


def _add_multiplied(work: Workload, x: Floats, weight: Floats, out: Floats) -> None:
    """Matrix products of the unfolded input, a few rows of output pixels at a time."""
    groups, width = work.groups, work.out_width
    matrix = weight.reshape(groups, work.group_outputs, work.reduction).transpose(0, 2, 1)
    rows = max(1, min(work.out_height, _CHUNK_BYTES // (4 * width * work.reduction * groups)))
    unfolded = np.empty((groups, rows, width, work.kernel_h, work.kernel_w, work.group_inputs), np.float32)
    for image, result in zip(x, out, strict=True):
        windows = _windows(work, _padded(work, image[None], 0.0)[0])
        for row in range(0, work.out_height, rows):
            part = windows[:, row : row + rows]
            step = unfolded[:, : part.shape[1]]
            np.copyto(step, part)
            target = result[row : row + rows].reshape(-1, groups, work.group_outputs).transpose(1, 0, 2)
            np.matmul(step.reshape(groups, -1, work.reduction), matrix, out=target)


def _add_scaled(work: Workload, x: Floats, weight: Floats, out: Floats) -> None:
    """One input channel a group: sums of scaled images, tap by tap."""
    scaled = np.empty(out.shape[1:], np.float32)
    for image, result in zip(x, out, strict=True):
        padded = _padded(work, np.repeat(image, work.group_outputs, axis=2)[None], 0.0)[0]
        result[...] = 0
        for i in range(work.kernel_h):
            for j in range(work.kernel_w):
                np.multiply(padded[_rows(work, i), _columns(work, j)], weight[:, i, j, 0], out=scaled)
                result += scaled


def _pooled(work: Workload, x: Floats, joined: Callable[..., Any], padding: float) -> Floats:
    """Along the height, then along the width."""
    padded = _padded(work, x, padding)
    high = padded[:, _rows(work, 0)].copy()
    for i in range(1, work.kernel_h):
        joined(high, padded[:, _rows(work, i)], out=high)
    wide = high[:, :, _columns(work, 0)].copy()
    for j in range(1, work.kernel_w):
        joined(wide, high[:, :, _columns(work, j)], out=wide)
    return wide


def _padded(work: Workload, x: Floats, value: float) -> Floats:
    if not work.has_padding:
        return np.ascontiguousarray(x)
    margins = ((work.pad_top, work.pad_bottom), (work.pad_left, work.pad_right))
    return np.pad(x, ((0, 0), *margins, (0, 0)), constant_values=value)


def _windows(work: Workload, padded: Floats) -> Floats:
    """A view [groups, OH, OW, KH, KW, C / groups] of a padded image [H, W, C]."""
    row, column, channel = padded.strides
    return np.lib.stride_tricks.as_strided(
        padded,
        (work.groups, work.out_height, work.out_width, work.kernel_h, work.kernel_w, work.group_inputs),
        (
            channel * work.group_inputs,
            row * work.stride_h,
            column * work.stride_w,
            row * work.dilation_h,
            column * work.dilation_w,
            channel,
        ),
        writeable=False,
    )


def _rows(work: Workload, tap: int) -> slice:
    """What row ``tap`` of the kernel sees."""
    return _seen(tap * work.dilation_h, work.out_height, work.stride_h)


def _columns(work: Workload, tap: int) -> slice:
    return _seen(tap * work.dilation_w, work.out_width, work.stride_w)


def _seen(first: int, outputs: int, stride: int) -> slice:
    return slice(first, first + (outputs - 1) * stride + 1, stride)
