"""Geometry of a convolution or dense kernel on tensor cores: what the template, its checks and its model share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import ceil

from profiler.hardware import GpuSpec
from profiler.quantize.bit_mma import place_values
from profiler.quantize.packed_weights import WORD_BYTES, weights_in_nibbles
from profiler.quantize.packing import Packing
from profiler.quantize.planes import plane_bytes
from profiler.quantize.whole_bytes import activation_nbytes
from profiler.space.config import MmaConfig, SharedLayout, WeightLayout
from profiler.workload import DType, KernelSpec

CHUNK_WORDS = 4
"""Words of 16 bytes: the unit of ldmatrix, of the swizzle and of the weights' global loads."""
PAD_WORDS = 4


@dataclass(frozen=True)
class MmaShape:
    """A tensor-core instruction: ``m`` rows x ``n`` columns x ``k_words`` words of K.

    Fragments are built of 8 x 4-word matrices, as `ldmatrix` delivers them (lane: row lane / 4, word lane % 4); the
    sm_80 shapes take two of them along M and two along K.
    """

    m: int
    n: int
    k_words: int


TURING_MMA = MmaShape(8, 8, 4)  # m8n8k16 of 8 bits, m8n8k32 of 4 bits, m8n8k128 of planes
AMPERE_MMA = MmaShape(16, 8, 8)  # m16n8k32 of 8 bits, m16n8k64 of 4 bits, m16n8k256 of planes


def mma_shape(gpu: GpuSpec) -> MmaShape:
    """The largest integer shape that the GPU's tensor cores take from a warp."""
    return TURING_MMA if gpu.capability < (8, 0) else AMPERE_MMA


class Counted(str, Enum):
    """Which bits of two words the binary instruction counts: those that both have, or those in which they differ."""

    SHARED = "and"
    DIFFERING = "xor"


def counted_bits(spec: KernelSpec, gpu: GpuSpec) -> Counted:
    """What the kernel counts where it reads bit planes: what the tensor cores have and needs no sum of activations.

    Up to sm_75 they only know XOR; from sm_90 on only AND (XOR becomes two of them). Between, weights of -1 and +1
    take XOR and two's complement takes AND; the other way round would need the sum of the activations (see
    `quantize.bit_mma`).
    """
    if gpu.capability < (8, 0):
        return Counted.DIFFERING
    if gpu.capability < (9, 0) and spec.weight_dtype is DType.INT1:
        return Counted.DIFFERING
    return Counted.SHARED


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

    Of activations in bit planes a pixel has a row for each plane, and a channel a column for each plane of the weights:
    by 8 pixels (channels), then planes, then the pixels of the 8. So a lane has the sums of all pairs of planes of its
    pixels and channels, and adds them up in registers. All other types have one plane.
    """

    spec: KernelSpec
    config: MmaConfig
    mma: MmaShape
    counted: Counted

    @staticmethod
    def of(spec: KernelSpec, config: MmaConfig, gpu: GpuSpec) -> MmaPlan:
        return MmaPlan(spec, config, mma_shape(gpu), counted_bits(spec, gpu))

    @property
    def in_planes(self) -> bool:
        """Whether the kernel multiplies bit planes."""
        return self.spec.input_dtype.in_planes

    @property
    def bits(self) -> int:
        """Width of what the instruction multiplies: that of activations and stored weights, or 1 of bit planes."""
        return mma_bits(self.spec)

    @property
    def pixel_planes(self) -> int:
        """Rows of a pixel."""
        return mma_planes(self.spec)[0]

    @property
    def channel_planes(self) -> int:
        """Columns of an output channel."""
        return mma_planes(self.spec)[1]

    @property
    def block_rows(self) -> int:
        """Of a block's tile of activations."""
        return self.config.block_m * self.pixel_planes

    @property
    def block_columns(self) -> int:
        """Rows of a block's tile of weights."""
        return self.config.block_n * self.channel_planes

    @property
    def warp_rows(self) -> int:
        return self.config.warp_m * self.pixel_planes

    @property
    def warp_columns(self) -> int:
        return self.config.warp_n * self.channel_planes

    @property
    def halves(self) -> bool:
        """Whether the sums are twice what is wanted: differing bits of two's complement weights."""
        return self.in_planes and self.counted is Counted.DIFFERING and self.spec.weight_dtype is not DType.INT1

    @property
    def sums_activations(self) -> bool:
        """Whether the kernel needs the sum of all activations that a pixel's window covers."""
        shared = self.counted is Counted.SHARED
        return self.in_planes and shared == (self.spec.weight_dtype is DType.INT1)

    @property
    def activation_weight(self) -> int:
        """Of the packing: the sum of the activations' place values, where differing bits are counted."""
        differing = self.in_planes and self.counted is Counted.DIFFERING
        return sum(place_values(self.spec.input_dtype)) if differing else 0

    @property
    def warp_sums(self) -> int:
        """Registers of a thread for what the instruction adds up."""
        activations = 2 * self.warp_rows // 8 if self.sums_activations else 0
        return self.warp_rows * self.warp_columns // 32 + activations

    @property
    def warp_mmas(self) -> int:
        """Instructions of a warp for ``mma.k_words`` words of K."""
        columns = self.warp_columns // self.mma.n + (1 if self.sums_activations else 0)
        return self.warp_rows // self.mma.m * columns

    @property
    def instruction(self) -> str:
        """Name of the device function, e.g. ``lb_mma_m8n8k32_u4``: shape, and type of the activations or operation."""
        k = self.mma.k_words * 32 // self.bits
        if self.in_planes:
            return f"lb_mma_m{self.mma.m}n{self.mma.n}k{k}_{self.counted.value}"
        sign = "s" if self.spec.input_dtype.signed else "u"
        return f"lb_mma_m{self.mma.m}n{self.mma.n}k{k}_{sign}{self.bits}"

    @property
    def pixel_bytes(self) -> int:
        """From one input pixel to the next."""
        return activation_nbytes((self.spec.workload.in_channels,), self.spec.input_dtype)

    @property
    def plane_bytes(self) -> int:
        """From one plane of an input pixel to the next."""
        return self.pixel_bytes // self.pixel_planes

    @property
    def group_bytes(self) -> int:
        """Of a plane of a pixel's channels of a group; whole if there are several groups (checked by `space.gpu`)."""
        if self.in_planes:
            return plane_bytes(self.spec.workload.group_inputs)
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
        return LoadShare(self.block_rows, words, self.config.threads, self.config.block_k)

    @property
    def weight_loads(self) -> LoadShare:
        """Of 16 bytes."""
        return LoadShare(self.block_columns, CHUNK_WORDS, self.config.threads, self.config.block_k)

    @property
    def row_words(self) -> int:
        """From one row of a tile in shared memory to the next."""
        pad = PAD_WORDS if self.config.shared_layout is SharedLayout.PAD else 0
        return self.config.block_k + pad

    @property
    def stage_bytes(self) -> int:
        return (self.block_rows + self.block_columns) * self.row_words * WORD_BYTES

    @property
    def output_row_bytes(self) -> int:
        """From one row of the output tile in shared memory to the next; 0 where it is stored from registers (int32)."""
        dtype = self.spec.output_dtype
        return 0 if dtype.bits == 32 else self.config.block_n * shared_bits(dtype) // 8 + 16

    @property
    def residual_row_bytes(self) -> int:
        """The same for the residual; 0 where there is none, or where it is 32 bits wide."""
        dtype = self.spec.input2_dtype
        return 0 if dtype is None or dtype.bits == 32 else self.config.block_n * shared_bits(dtype) // 8 + 16

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
            activation_weight=self.activation_weight,
        )


def shared_bits(dtype: DType) -> int:
    """Width of a narrow output or residual in the epilogue's tile: its own, or a byte if it is stored in bit planes."""
    return 8 if dtype.in_planes else dtype.bits


def reason_inexact(spec: KernelSpec) -> str | None:
    """Why the sums could leave 32 bits; None if they cannot."""
    dtype, weight = spec.input_dtype, spec.weight_dtype
    assert weight is not None
    if max(-dtype.low, dtype.high) * -weight.low * spec.workload.reduction < 1 << 31:
        return None
    return f"a sum of {spec.workload.reduction} products can leave 32 bits"


def mma_types(spec: KernelSpec) -> bool:
    """Whether a tensor-core instruction takes the operands: both of 8 bits; 4-bit activations and weights of up to 4
    bits, which are stored in 4; activations in bit planes and weights of up to 4 bits, whose planes are multiplied."""
    weight = spec.weight_dtype
    if weight is None or not weight.signed:
        return False
    if spec.input_dtype.bits == 8:
        return weight is DType.INT8
    return spec.input_dtype.bits <= 4 and weights_in_nibbles(weight)


def mma_bits(spec: KernelSpec) -> int:
    """Width of what tensor cores multiply for a spec that `mma_types` admits."""
    return 1 if spec.input_dtype.in_planes else spec.input_dtype.bits


def mma_planes(spec: KernelSpec) -> tuple[int, int]:
    """Rows of a pixel and columns of an output channel, of the same: of bit planes there are several."""
    assert spec.weight_dtype is not None
    return (spec.input_dtype.bits, spec.weight_dtype.bits) if spec.input_dtype.in_planes else (1, 1)
