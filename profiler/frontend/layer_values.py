"""What a file says of one layer, in numbers: its operator's operands as they are, and what is folded into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """``scale * x + shift`` per output channel: arrays of shape (output channels,), or () for all of them."""

    scale: Doubles
    shift: Doubles


@dataclass(frozen=True)
class LayerValues:
    """weight : ndarray of shape (output channels, input channels of a group, height, width), or (outputs, features) of
    a dense layer. bias : ndarray of shape (output channels,) or (), None where there is none. ``folds`` run behind it,
    the first one first.
    """

    weight: Doubles
    bias: Doubles | None
    folds: tuple[Affine, ...] = ()


def row(constant: Doubles) -> Doubles:
    """A constant operand of any shape as one value per channel, or one for all."""
    return constant.reshape(() if constant.size == 1 else (-1,))


def normalization(
    mean: Doubles, variance: Doubles, epsilon: float, gain: Doubles | None, shift: Doubles | None
) -> Affine:
    """Batch normalization with running statistics, each of shape (channels,)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # whoever folds looks at what comes of it
        scale = 1 / np.sqrt(variance + epsilon)
    scale = scale if gain is None else scale * gain
    return Affine(scale, -mean * scale if shift is None else shift - mean * scale)
