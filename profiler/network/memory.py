"""Where blocks of memory lie that are needed at different times: those that are never needed together share it.

Blocks are placed one after the other, each into the smallest gap that holds it. The order decides how well they fit,
and none is the best for all networks: several are tried, among them those by size and by breadth of Pisarchyk and Lee,
Efficient Memory Management for Deep Neural Net Inference, 2020 (arXiv 2001.03288), algorithms 2 and 3, of which the
first is TensorFlow Lite's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

ALIGNMENT = 64
"""Of every block, in bytes: a cache line, which is all that a kernel expects of its arguments."""
STAGGER_BYTES = 5 * ALIGNMENT
"""Left free behind each block. Activations often fill whole pages: without it, what a kernel reads and what it writes
would agree in the low 12 bits of their addresses, and loads would wait for stores that they have nothing to do with."""


@dataclass(frozen=True)
class Block:
    """``nbytes`` that are needed from step ``first`` to step ``last``, both included. Raises `ValueError`."""

    nbytes: int
    first: int
    last: int

    def __post_init__(self) -> None:
        if self.nbytes < 0 or self.last < self.first:
            raise ValueError(f"not a block: {self.nbytes} bytes from step {self.first} to step {self.last}")

    def meets(self, other: Block) -> bool:
        """Whether both are needed during one step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Arena:
    """``offsets`` are those of the blocks, in their order, in ``nbytes`` of memory."""

    offsets: tuple[int, ...]
    nbytes: int


def arranged(blocks: Sequence[Block]) -> Arena:
    """A place for every block; the same blocks get the same places. A block of no bytes lies at 0."""
    return min((_placed(blocks, order) for order in _orders(blocks)), key=lambda arena: arena.nbytes)


def _orders(blocks: Sequence[Block]) -> Iterator[list[int]]:
    """Of the blocks that have bytes: by size, by the most that is needed while they are, by size times duration, and by
    their beginning."""
    breadths = {step: _needed(blocks, step) for block in blocks for step in (block.first, block.last)}

    def breadth(block: Block) -> int:
        return max(nbytes for step, nbytes in breadths.items() if block.first <= step <= block.last)

    keys: tuple[Callable[[Block], tuple[int, ...]], ...] = (
        lambda block: (-block.nbytes, block.first),
        lambda block: (-breadth(block), -block.nbytes),
        lambda block: (-block.nbytes * (block.last - block.first + 1),),
        lambda block: (block.first, -block.nbytes),
    )
    for key in keys:
        yield [i for _, i in sorted((key(block), i) for i, block in enumerate(blocks) if block.nbytes)]


def _placed(blocks: Sequence[Block], order: Sequence[int]) -> Arena:
    offsets = [0] * len(blocks)
    placed: list[int] = []
    for index in order:
        others = sorted((offsets[i], _room(blocks[i])) for i in placed if blocks[i].meets(blocks[index]))
        offsets[index] = _best_gap(others, _room(blocks[index]))
        placed.append(index)
    return Arena(tuple(offsets), max((offsets[i] + _room(blocks[i]) for i in placed), default=0))


def most_needed(blocks: Sequence[Block]) -> int:
    """The most bytes that are needed during one step: no arrangement takes less."""
    return max((_needed(blocks, step) for step in {block.first for block in blocks}), default=0)


def _needed(blocks: Sequence[Block], step: int) -> int:
    return sum(block.nbytes for block in blocks if block.first <= step <= block.last)


def _room(block: Block) -> int:
    return -(-block.nbytes // ALIGNMENT) * ALIGNMENT + STAGGER_BYTES


def _best_gap(taken: Sequence[tuple[int, int]], room: int) -> int:
    """Offset of the smallest gap between (offset, bytes) that holds ``room`` bytes; behind all where none does."""
    best, best_bytes, end = None, 0, 0
    for offset, nbytes in taken:
        gap = offset - end
        if gap >= room and (best is None or gap < best_bytes):
            best, best_bytes = end, gap
        end = max(end, offset + nbytes)
    return end if best is None else best
