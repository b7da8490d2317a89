"""Split K: blocks that share a tile leave their partial sums in the workspace, and the last to finish adds them up.

Which block is last differs from launch to launch, the result does not: it is a sum of integers.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm.tirx.script.builder import ir as T

from profiler.kernels.cuda.codegen import call
from profiler.kernels.cuda.mma_fragments import Sums
from profiler.kernels.cuda.template import Index
from profiler.kernels.tir import Buffer, Expr, barrier, const, load, store, value
from profiler.quantize.packed_weights import WORD_BYTES
from profiler.space.mma_plan import MmaPlan


def emit_reduction(
    plan: MmaPlan,
    buffers: Mapping[str, Buffer],
    shared: Buffer,
    sums: Sums,
    index: Index,
    group: Expr,
    part: Expr,
) -> Expr:
    """Add the other blocks' sums where this block is the last; the condition that it is (the same for all threads)."""
    config = plan.config
    workspace, counters = buffers["workspace"], buffers["counters"]
    tile = value((group * plan.n_tiles + index.block_y) * plan.m_tiles + index.block_x)[0]
    tile_words = config.block_m * config.block_n
    flag = plan.shared_bytes // WORD_BYTES - 1

    def place(of_part: Expr, i: Expr) -> Expr:
        """A thread's sum number ``i``: neighbouring threads lie side by side."""
        return (tile * config.split_k + of_part) * tile_words + i * config.threads + index.thread

    with T.unroll(sums.count) as i:
        store(workspace, place(part, i), load(sums.registers, i))
    barrier()
    with T.If(index.thread == 0), T.Then():
        before = call("lb_arrive", T.address_of(counters[tile]), const(config.split_k), returns="int32")
        store(shared, const(flag), before)
    barrier()
    last = value(shared[flag])[0] == config.split_k - 1
    with (
        T.If(last),
        T.Then(),
        T.serial(config.split_k) as other,
        T.If(other != part),
        T.Then(),
        T.unroll(sums.count) as i,
    ):
        store(sums.registers, i, load(sums.registers, i) + load(workspace, place(other, i)))
    return last
