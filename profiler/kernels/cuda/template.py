"""What a CUDA template gives: the launch, the layout of its parameters, and a function that emits its body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from profiler.artifact import ArgSpec, Launch
from profiler.kernels.tir import Buffer, Expr
from profiler.quantize.packing import Packing


@dataclass(frozen=True)
class Index:
    """Block and thread indices of the kernel, as TIR variables (int32)."""

    block_x: Expr
    block_y: Expr
    block_z: Expr
    thread: Expr


@dataclass(frozen=True)
class KernelPlan:
    """A template applied to a spec and a config.

    ``scratch`` are arguments behind the output (workspace, counters); ``dtypes`` is the element type of the flat buffer
    that stands for an argument, where it is not the type itself (4-bit types: ``uint8``); ``headers`` names the headers
    of this folder with the device functions that the body calls, in order; ``emit`` emits the body, given a flat buffer
    per argument.
    """

    launch: Launch
    packing: Packing
    emit: Callable[[Mapping[str, Buffer], Index], None]
    headers: tuple[str, ...]
    dtypes: Mapping[str, str]
    scratch: tuple[ArgSpec, ...] = ()
