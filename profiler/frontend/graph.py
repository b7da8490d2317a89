"""A model as its frontend read it: a `Graph` of `Node`s, one per operator.

The vocabulary that the frontends share. What the nodes mean to a `Network` is worked out in ``lowering``. Values are
NCHW here, as in the files; the batch takes no part in the shapes, so any batch can be asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a node means to the network."""

    CONV2D = "conv2d"
    DENSE = "dense"
    ADD = "add"
    MAX_POOL = "max_pool"
    AVG_POOL = "avg_pool"
    CONCAT = "concat"
    RELU = "relu"  # clamp at zero, and at an upper end where it has one (ReLU6)
    CLAMP = "clamp"  # the same, but only a hint: a quantization to a type that holds nothing below zero
    FOLD = "fold"  # scale or shift per channel with constants, to be folded into the layer ahead
    RESHAPE = "reshape"
    PASS = "pass"  # moves no data and changes no shape
    UNSUPPORTED = "unsupported"


class Divisor(Enum):
    """How many of the elements under its window an average pool divides by."""

    IMAGE = "image"  # those of the input
    PADDED = "padded"  # those of the input and of its padding, but not of what ceil_mode adds behind that
    KERNEL = "kernel"  # all of them


@dataclass(frozen=True)
class Window:
    """Kernel extents of a convolution or pool, each (height, width).

    ``pads`` are top, left, bottom, right. ``same`` is "upper" or "lower" where the padding is to be derived from the
    input so that the output has ceil(input / stride) elements (ONNX auto_pad); ``ceil_mode`` rounds the output's
    extent up. ``divisor`` is that of an average pool.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    same: str = ""
    ceil_mode: bool = False
    divisor: Divisor = Divisor.IMAGE


@dataclass(frozen=True)
class Adaptive:
    """A pool that is told its output's extents (height, width); ``Adaptive((1, 1))`` is a global pool."""

    size: tuple[int, int]


@dataclass(frozen=True)
class Node:
    """An operator of the model.

    ``label`` becomes the layer's name (made unique), ``text`` is how messages call the node. ``inputs`` are
    activations only; constants are spent on the other fields. ``in_channels`` is what the weights ask for.
    ``constant_shape`` belongs to FOLD (or ``in_channels``, where the constants are one per channel by definition),
    ``target`` (batch left out, -1 for a free extent) to RESHAPE, ``reason`` to UNSUPPORTED. ``clamped``: the operator
    is a quantized one, and the type that it stores holds nothing below zero. ``stands_for`` is set where an operator
    became several nodes and this one's output has no name in the file: that of the operator's output. ``limit`` is the
    upper end of a RELU, None of a plain one.
    """

    label: str
    text: str
    kind: Kind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    window: Window | Adaptive | None = None
    in_channels: int = 0
    out_channels: int = 0
    groups: int = 1
    parameters: int = 0
    constant_shape: tuple[int, ...] = ()
    target: tuple[int, ...] = ()
    reason: str = ""
    clamped: bool = False
    stands_for: str = ""
    limit: float | None = None

    @property
    def operator_output(self) -> str:
        """The first output of the operator in the file."""
        return self.stands_for or self.outputs[0]


@dataclass(frozen=True)
class GraphInput:
    """An input of the model: (C, H, W) or (features,), batch left out, -1 for an open extent; None: not said."""

    name: str
    shape: tuple[int, ...] | None
    signed: bool = True


@dataclass(frozen=True)
class Graph:
    """A model as its frontend read it; nodes in any order.

    ``where`` begins each message: the file. ``shape_of`` tells what the file says of a name, (C, H, W) or
    (features,), or None; it is asked only about the outputs of skipped operators.
    """

    name: str
    where: str
    inputs: tuple[GraphInput, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    shape_of: Callable[[str], tuple[int, ...] | None] = lambda _: None
