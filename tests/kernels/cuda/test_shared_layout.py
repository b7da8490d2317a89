"""No two of the 16-byte chunks that shared memory serves at once fall on the same banks, in either layout."""

from __future__ import annotations

from itertools import product

import pytest

from profiler.hardware import GPUS
from profiler.kernels.cuda.mma_tile import Tile
from profiler.space.config import MmaConfig, SharedLayout
from profiler.space.mma_plan import MmaPlan
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

pytestmark = pytest.mark.compile  # the room imports TVM

SPEC = KernelSpec(
    Workload(Op.CONV2D, 1, 16, 16, 256, 64), DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU
)
LAYOUTS = [(k, layout) for k, layout in product((4, 8, 16, 32), SharedLayout) if (k, layout) != (4, SharedLayout.PAD)]
"""A row of one chunk needs neither, and padding would do harm: the space leaves that out."""
LINE_CHUNKS = 8
"""16-byte chunks of the 32 banks."""


def tile(block_k: int, layout: SharedLayout) -> Tile:
    config = MmaConfig(64, 64, block_k, 32, 32, 2, 16, shared_layout=layout)
    return Tile(MmaPlan.of(SPEC, config, GPUS["t4"]), None, 0)


def place(of: Tile, row: int, chunk: int) -> int:
    word = of.word(row, chunk, Tile.permutation(of.plan, row))
    assert word % 4 == 0
    return word // 4


@pytest.mark.parametrize(("block_k", "layout"), LAYOUTS)
def test_every_chunk_has_a_place_of_its_own(block_k: int, layout: SharedLayout) -> None:
    of = tile(block_k, layout)
    places = [place(of, row, chunk) for row in range(64) for chunk in range(block_k // 4)]
    assert len(set(places)) == len(places)
    assert max(places) * 4 + 4 <= 64 * of.plan.row_words


@pytest.mark.parametrize(("block_k", "layout"), LAYOUTS)
def test_ldmatrix_reads_eight_rows_without_conflict(block_k: int, layout: SharedLayout) -> None:
    of = tile(block_k, layout)
    for first, chunk in product(range(0, 64, 8), range(block_k // 4)):
        banks = {place(of, first + row, chunk) % LINE_CHUNKS for row in range(8)}
        assert len(banks) == LINE_CHUNKS


@pytest.mark.parametrize("block_k", [4, 8, 16, 32])
def test_eight_threads_store_without_conflict(block_k: int) -> None:
    """A quarter of a warp stores 16 bytes a thread at once; threads go along a row first."""
    of, chunks = tile(block_k, SharedLayout.SWIZZLE), block_k // 4
    for first in range(0, 64, 8):
        banks = {place(of, thread // chunks, thread % chunks) % LINE_CHUNKS for thread in range(first, first + 8)}
        assert len(banks) == LINE_CHUNKS
