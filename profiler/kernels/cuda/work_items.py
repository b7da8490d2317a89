"""How the threads of a SIMT template share its work: numbered items, one per thread, in order over all blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from profiler.artifact import Launch
from profiler.kernels.cuda.template import Index
from profiler.kernels.tir import Expr, const

Condition = Expr | None
"""A TIR expression of type bool; `None` is what always holds, and costs nothing."""


def items_launch(items: int, threads: int) -> Launch:
    """As many blocks as the items take."""
    return Launch((ceil(items / threads), 1, 1), threads, 0)


@contextmanager
def work_item(index: Index, items: int, threads: int) -> Iterator[Expr]:
    """The item of this thread; the threads of the last block that have none do nothing."""
    item = T.bind(index.block_x * threads + index.thread)
    with when(item < items if items % threads else None):
        yield item


def unravel(item: Expr, extents: tuple[int, ...]) -> list[Expr]:
    """Coordinates of an item number in the extents, the last of which runs fastest. The divisors are constants."""
    coordinates: list[Expr] = []
    for extent in reversed(extents[1:]):
        coordinates.insert(0, T.bind(tirx.truncmod(item, extent)) if extent > 1 else const(0))
        item = T.bind(tirx.truncdiv(item, extent)) if extent > 1 else item
    return [item, *coordinates]


@contextmanager
def when(condition: Condition) -> Iterator[None]:
    """What is emitted inside happens if the condition holds."""
    if condition is None:
        yield
        return
    with T.If(condition), T.Then():
        yield


def both(*conditions: Condition) -> Condition:
    """Whether all of the conditions hold."""
    found = [condition for condition in conditions if condition is not None]
    return tirx.all(*found) if found else None


def in_image(position: Expr, extent: int, before: int, after: int) -> Condition:
    """Whether a row or column is one of the image's, if it can lie ``before`` or ``after`` elements outside of it."""
    return both(position >= 0 if before > 0 else None, position < extent if after > 0 else None)
