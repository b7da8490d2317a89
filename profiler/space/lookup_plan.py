"""Geometry of a convolution or dense kernel that looks sums up: what the template and its model have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from profiler.hardware import DotIsa
from profiler.quantize.lookup import (
    GROUP,
    WEIGHT_BITS_MAX,
    WIDE_GROUP,
    activation_high,
    by_thresholds,
    groups_of,
    raw_bits,
    raw_range,
    table_bytes,
)
from profiler.quantize.packing import Packing
from profiler.quantize.planes import WORD_BITS, plane_bytes
from profiler.space.config import LookupConfig, LoopOrder, ParallelAxis, PopcountConfig, Tables
from profiler.space.dot_plan import SLACK_BYTES
from profiler.workload import DType, KernelSpec

WIDE_INDICES = 16
"""Indices that are split off a word at once, of which a word has 11."""
_BYTE_MAX = 255
_BAND_BYTES = 512 << 10


@dataclass(frozen=True)
class LookupPlan:
    """Geometry of a kernel, all derived from the spec, the instruction set and the kind of tables.

    ``images`` of ``height`` x ``width`` pixels (padding left out) are computed to ``out_height`` x ``out_width`` after
    flattening: a kernel of one tap is one row of those pixels that it reads. The stage makes tables of all of them.
    """

    spec: KernelSpec
    isa: DotIsa
    images: int
    height: int
    width: int
    out_height: int
    out_width: int
    stride_h: int
    stride_w: int
    pointwise: bool
    tables: Tables

    @staticmethod
    @lru_cache(maxsize=16)  # a search asks for every config of a spec
    def of(spec: KernelSpec, isa: DotIsa, tables: Tables = Tables.QUADS) -> LookupPlan:
        w = spec.workload
        if w.kernel_h != 1 or w.kernel_w != 1 or w.has_padding:
            extents = (w.batch, w.in_height, w.in_width, w.out_height, w.out_width, w.stride_h, w.stride_w)
            return LookupPlan(spec, isa, *extents, False, tables)
        pixels = w.out_height * w.out_width
        # Small images are computed together, so that a tile need not end with the image.
        images, width = (1, w.batch * pixels) if pixels <= 64 else (w.batch, pixels)
        return LookupPlan(spec, isa, images, 1, width, 1, width, 1, 1, True, tables)

    @staticmethod
    def of_config(spec: KernelSpec, isa: DotIsa, config: LookupConfig | PopcountConfig) -> LookupPlan:
        """That of a config; counting bits, which has no tables, takes the geometry of the narrow ones."""
        return LookupPlan.of(spec, isa, config.tables) if isinstance(config, LookupConfig) else LookupPlan.of(spec, isa)

    @cached_property  # asked for with every config, as `of` is
    def reason_unsupported(self) -> str | None:
        """Why no config can compute the spec; None if some can."""
        spec = self.spec
        weight = spec.weight_dtype
        assert weight is not None
        if spec.workload.groups > 1:
            return f"weights of {weight.bits} bits have kernels without groups only"
        if weight.bits > WEIGHT_BITS_MAX or spec.input_dtype.bits > 4:
            return f"weights of {weight.bits} bits take activations of up to 4 bits, not {spec.input_dtype.value}"
        low, high = raw_range(spec)
        if max(-low, high) * 2 >= 1 << 31:
            return f"a sum of {spec.workload.reduction} products can leave 32 bits"
        if self.tables.wide and self.isa is not DotIsa.AVX512_VNNI:
            return f"{self.isa.value} looks nothing up in 64 bytes"
        if self.tables.wide and (spec.input_dtype.signed or not spec.input_dtype.in_planes):
            return f"sums of six are those of unsigned bit planes, not of {spec.input_dtype.value}"
        return None

    @property
    def lanes(self) -> int:
        """Output channels of a vector: one byte each."""
        return 4 * self.isa.lanes

    @property
    def planes(self) -> int:
        """Of the weights."""
        assert self.spec.weight_dtype is not None
        return self.spec.weight_dtype.bits

    @property
    def bipolar(self) -> bool:
        """Whether weights are -1 and +1, so that the sum of all activations goes into each accumulator."""
        return self.spec.weight_dtype is DType.INT1

    @property
    def groups(self) -> int:
        """Tables of a pixel."""
        return groups_of(self.spec.workload.in_channels, self.group)

    @property
    def group(self) -> int:
        """Channels of a table."""
        return WIDE_GROUP if self.tables.wide else GROUP

    @property
    def table_bytes(self) -> int:
        return table_bytes(self.group)

    @property
    def staged(self) -> bool:
        """Whether tables lie in the workspace, ahead of all tiles."""
        return self.tables is not Tables.INDEXED

    @property
    def taps(self) -> int:
        return self.spec.workload.kernel_h * self.spec.workload.kernel_w

    @property
    def activation_offset(self) -> int:
        """What is added to signed activations."""
        dtype = self.spec.input_dtype
        return 1 << (dtype.bits - 1) if dtype.signed else 0

    @property
    def lookups_at_most(self) -> int:
        """Sums that a byte can take in before it may overflow."""
        return _BYTE_MAX // (self.group * activation_high(self.spec))

    @property
    def raw_bits(self) -> int:
        return raw_bits(self.spec)

    @property
    def by_thresholds(self) -> bool:
        return by_thresholds(self.spec)

    @property
    def stage_height(self) -> int:
        w = self.spec.workload
        return self.height + w.pad_top + w.pad_bottom

    @property
    def stage_width(self) -> int:
        w = self.spec.workload
        return self.width + w.pad_left + w.pad_right

    @property
    def image_pixels(self) -> int:
        """Staged pixels of an image, padding included."""
        return self.stage_height * self.stage_width

    @property
    def from_planes(self) -> bool:
        """Whether tables are copied out of the table of tables; those of 4-bit activations are worked out."""
        return self.spec.input_dtype.in_planes

    @property
    def index_planes(self) -> int:
        """Indices of a group into the table of tables: one for two planes, or for each where tables are wide."""
        return self.spec.input_dtype.bits if self.tables.wide else -(-self.spec.input_dtype.bits // 2)

    @property
    def index_bytes(self) -> int:
        """Of one pixel and one of the `index_planes`: a byte for each group of whole words; or two where tables are
        wide, and behind the last of them what a whole vector of indices overwrites."""
        if not self.tables.wide:
            return plane_bytes(self.spec.workload.in_channels) * 8 // GROUP
        of_word = groups_of(WORD_BITS, WIDE_GROUP)
        return 2 * (plane_bytes(self.spec.workload.in_channels) // 8 * of_word + WIDE_INDICES - of_word)

    @property
    def master_bytes(self) -> int:
        """Of the table of tables: a row for each pair of 4-bit pieces of two planes, or for each 6-bit piece of every
        plane."""
        if not self.from_planes:
            return 0
        rows = self.index_planes << WIDE_GROUP if self.tables.wide else 1 << (2 * GROUP)
        return rows * self.table_bytes

    def stages_all_at_once(self, config: LookupConfig | PopcountConfig) -> bool:
        """Whether every image is staged before the first tile: where one walk or a team of threads takes them all."""
        one_walk = config.order is LoopOrder.CHANNELS or config.parallel is not ParallelAxis.NONE
        return one_walk or self.images != self.spec.workload.batch

    def slots(self, config: LookupConfig | PopcountConfig) -> int:
        """Images whose tables are there at once."""
        return self.images if self.stages_all_at_once(config) else 1

    def band_rows(self, config: LookupConfig | PopcountConfig) -> int:
        """Output rows of a band, or all of them. Wide tables of a large image would not stay in a second-level cache:
        they are made band by band."""
        if not self.tables.wide or not self.staged or self.pointwise or self.stages_all_at_once(config):
            return self.out_height
        row = self.stage_width * self.groups * self.table_bytes
        most = max(config.tile_h, (_BAND_BYTES // row - self._window_rows) // self.stride_h + 1)
        even = -(-self.out_height // -(-self.out_height // most))
        return min(self.out_height, -(-even // config.tile_h) * config.tile_h)

    def banded(self, config: LookupConfig | PopcountConfig) -> bool:
        return self.band_rows(config) < self.out_height

    def staged_rows(self, config: LookupConfig | PopcountConfig) -> int:
        """Of an image, or of a band of it."""
        if not self.banded(config):
            return self.stage_height
        return (self.band_rows(config) - 1) * self.stride_h + self._window_rows

    @property
    def _window_rows(self) -> int:
        """Staged rows under one output row."""
        w = self.spec.workload
        return 1 if self.pointwise else (w.kernel_h - 1) * w.dilation_h + 1

    def _staged_pixels(self, config: LookupConfig) -> int:
        """At once, padding included."""
        return self.slots(config) * self.staged_rows(config) * self.stage_width

    def sums_at(self, config: LookupConfig) -> int:
        """Where in the workspace the sums of pixels begin (int32); before them lie the tables."""
        return self._staged_pixels(config) * self.groups * self.table_bytes if self.staged else 0

    def indices_at(self, config: LookupConfig) -> int:
        """Where the indices of the pixels begin."""
        return self.sums_at(config) + (4 * self._staged_pixels(config) if self.bipolar else 0)

    def master_at(self, config: LookupConfig) -> int:
        """Where the table of tables begins, at a whole vector."""
        if not self.from_planes:
            return self.indices_at(config)
        pixels = self._staged_pixels(config) if self.tables.wide else self.slots(config) * self.height * self.width
        indices = pixels * self.index_planes * self.index_bytes
        return -(-(self.indices_at(config) + indices) // 64) * 64

    def workspace_bytes(self, config: LookupConfig) -> int:
        return self.master_at(config) + self.master_bytes + SLACK_BYTES

    def packing(self, config: LookupConfig) -> Packing:
        return Packing(
            "lookup",
            config.vectors * self.lanes,
            self.lanes,
            activation_offset=self.activation_offset,
            group=self.group,
        )
