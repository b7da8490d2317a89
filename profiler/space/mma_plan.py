"""Geometry of a convolution or dense kernel on tensor cores: what the template, its checks and its model share."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from profiler.hardware import GpuSpec
from profiler.quantize.packing import WORD_BYTES, Packing
from profiler.space.config import MmaConfig, SharedLayout, WeightLayout
from profiler.workload import DType, KernelSpec

CHUNK_WORDS = 4
"""Words of 16 bytes: the unit of ldmatrix, of the swizzle and of the weights' global loads."""
PAD_WORDS = 4


@dataclass(frozen=True)
class MmaShape:
    """A tensor-core instruction: ``m`` pixels x ``n`` channels x ``k_words`` words of K.

    Fragments are built of 8 x 4-word matrices, as `ldmatrix` delivers them (lane: row lane / 4, word lane % 4); the
    sm_80 shapes take two of them along M and two along K.
    """

    m: int
    n: int
    k_words: int


TURING_MMA = MmaShape(8, 8, 4)  # m8n8k16 of 8 bits, m8n8k32 of 4 bits
AMPERE_MMA = MmaShape(16, 8, 8)  # m16n8k32 of 8 bits, m16n8k64 of 4 bits


def mma_shape(gpu: GpuSpec) -> MmaShape:
    """The largest integer shape that the GPU's tensor cores take from a warp."""
    return TURING_MMA if gpu.capability < (8, 0) else AMPERE_MMA


@dataclass(frozen=True)
class LoadShare:
    """What a thread loads of a tile of ``rows`` x ``block_k`` words in a step, ``words`` at once.

    It always loads the same column, in ``passes`` rows.
    """

    rows: int
    words: int
    threads: int
    block_k: int

    @property
    def columns(self) -> int:
        """Loads of one row."""
        return self.block_k // self.words

    @property
    def rows_at_once(self) -> int:
        return self.threads // self.columns

    @property
    def passes(self) -> int:
        return ceil(self.rows / self.rows_at_once)

    def reaches_beyond(self, index: int) -> bool:
        """Whether rows of that pass lie behind the tile."""
        return (index + 1) * self.rows_at_once > self.rows


@dataclass(frozen=True)
class MmaPlan:
    """All that follows from a spec, a config and the instruction. Valid configs only (see `space.gpu`).

    Rows of the GEMM are output pixels in memory order (batch, row, column); columns are output channels of one group;
    K runs over kernel row, kernel column, and the words of a pixel's channels (``tap_words``), innermost last.
    """

    spec: KernelSpec
    config: MmaConfig
    mma: MmaShape

    @staticmethod
    def of(spec: KernelSpec, config: MmaConfig, gpu: GpuSpec) -> MmaPlan:
        return MmaPlan(spec, config, mma_shape(gpu))

    @property
    def bits(self) -> int:
        """Width of the operands: activations and weights have the same."""
        return self.spec.input_dtype.bits

    @property
    def instruction(self) -> str:
        """Name of the device function, e.g. ``lb_mma_m8n8k32_u4``: shape and type of the activations."""
        k = self.mma.k_words * 32 // self.bits
        sign = "s" if self.spec.input_dtype.signed else "u"
        return f"lb_mma_m{self.mma.m}n{self.mma.n}k{k}_{sign}{self.bits}"

    @property
    def pixel_bytes(self) -> int:
        """From one input pixel to the next."""
        return ceil(self.spec.workload.in_channels * self.bits / 8)

    @property
    def group_bytes(self) -> int:
        """Of one pixel's channels of a group; whole where there are several groups (checked by `space.gpu`)."""
        return ceil(self.spec.workload.group_inputs * self.bits / 8)

    @property
    def tap_words(self) -> int:
        """Words of K per kernel position; the last one is padded with zeros where channels do not fill it."""
        return ceil(self.group_bytes / WORD_BYTES)

    @property
    def k_words(self) -> int:
        return self.spec.workload.kernel_h * self.spec.workload.kernel_w * self.tap_words

    @property
    def steps(self) -> int:
        """Steps of ``block_k`` words over all of K."""
        return ceil(self.k_words / self.config.block_k)

    @property
    def split_steps(self) -> int:
        """Steps of each of the ``split_k`` blocks; the last one may have fewer, never none."""
        return ceil(self.steps / self.config.split_k)

    @property
    def m(self) -> int:
        """Output pixels."""
        w = self.spec.workload
        return w.batch * w.out_height * w.out_width

    @property
    def m_tiles(self) -> int:
        return ceil(self.m / self.config.block_m)

    @property
    def n_tiles(self) -> int:
        """Of one group."""
        return ceil(self.spec.workload.group_outputs / self.config.block_n)

    @property
    def tiles(self) -> int:
        """Of all groups."""
        return self.m_tiles * self.n_tiles * self.spec.workload.groups

    @property
    def grid(self) -> tuple[int, int, int]:
        """M tiles, N tiles, groups x splits (the split varies fastest)."""
        return (self.m_tiles, self.n_tiles, self.spec.workload.groups * self.config.split_k)

    @property
    def activation_loads(self) -> LoadShare:
        """Of ``load_bytes``; gathered bytes are put together to one word."""
        words = max(self.config.load_bytes, WORD_BYTES) // WORD_BYTES
        return LoadShare(self.config.block_m, words, self.config.threads, self.config.block_k)

    @property
    def weight_loads(self) -> LoadShare:
        """Of 16 bytes."""
        return LoadShare(self.config.block_n, CHUNK_WORDS, self.config.threads, self.config.block_k)

    @property
    def row_words(self) -> int:
        """From one row of a tile in shared memory to the next."""
        pad = PAD_WORDS if self.config.shared_layout is SharedLayout.PAD else 0
        return self.config.block_k + pad

    @property
    def stage_bytes(self) -> int:
        return (self.config.block_m + self.config.block_n) * self.row_words * WORD_BYTES

    @property
    def output_row_bytes(self) -> int:
        """From one row of the output tile in shared memory to the next; 0 where it is stored from registers (int32)."""
        dtype = self.spec.output_dtype
        return 0 if dtype.bits == 32 else self.config.block_n * dtype.bits // 8 + 16

    @property
    def residual_row_bytes(self) -> int:
        """The same for the residual; 0 where there is none, or where it is 32 bits wide."""
        dtype = self.spec.input2_dtype
        return 0 if dtype is None or dtype.bits == 32 else self.config.block_n * dtype.bits // 8 + 16

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block: the stages, and after them, in the same place, the tiles of the epilogue.

        One more word tells the block whether it is the last of a split tile.
        """
        epilogue = self.config.block_m * (self.output_row_bytes + self.residual_row_bytes)
        flag = 16 if self.config.split_k > 1 else 0
        return max(self.config.stages * self.stage_bytes, epilogue) + flag

    @property
    def workspace_bytes(self) -> int:
        """Partial sums of split tiles."""
        split = self.config.split_k
        return self.tiles * split * self.config.block_m * self.config.block_n * WORD_BYTES if split > 1 else 0

    @property
    def counter_bytes(self) -> int:
        """A counter per split tile: zero ahead of the first launch, and left zero by every launch."""
        return self.tiles * WORD_BYTES if self.config.split_k > 1 else 0

    @property
    def packing(self) -> Packing:
        return Packing(
            "mma",
            channel_block=self.config.block_n,
            step_words=self.config.block_k,
            tiled=self.config.weight_layout is WeightLayout.TILES,
        )


def reason_inexact(spec: KernelSpec) -> str | None:
    """Why the sums could leave 32 bits; None if they cannot."""
    dtype, weight = spec.input_dtype, spec.weight_dtype
    assert weight is not None
    if max(-dtype.low, dtype.high) * -weight.low * spec.workload.reduction < 1 << 31:
        return None
    return f"a sum of {spec.workload.reduction} products can leave 32 bits"


def mma_types(spec: KernelSpec) -> bool:
    """Whether a tensor-core instruction takes the operands: activations and weights of one width, 4 or 8 bits."""
    return spec.weight_dtype in (DType.INT4, DType.INT8) and spec.weight_dtype.bits == spec.input_dtype.bits
