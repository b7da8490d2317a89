"""Geometry of a convolution or dense kernel on dot products: what the template and its model have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from profiler.hardware import DotIsa
from profiler.quantize.packed_weights import DOT_WIDTH, weights_in_nibbles
from profiler.quantize.packing import Packing
from profiler.space.config import DotConfig, LoopOrder, ParallelAxis
from profiler.workload import KernelSpec

NIBBLE_SCALE = 16
"""4-bit weights are unpacked without sign extension: the kernel sums 16 times the products."""
SLACK_BYTES = 64
"""Room behind what is staged: vectors and padded runs read beyond it, and what they read there has no effect."""


@dataclass(frozen=True)
class DotPlan:
    """Geometry of a kernel, all derived from the spec and the instruction set. Lengths are elements (bytes in a stage).

    ``images`` of ``height`` x ``width`` pixels are computed to ``out_height`` x ``out_width`` after flattening: a 1x1
    convolution is one row of pixels. ``staged`` says whether the input goes through the workspace, ``gathered`` that
    only those of its pixels do which a strided 1x1 kernel reads.
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
    staged: bool
    gathered: bool
    merged: bool
    activation_offset: int

    @staticmethod
    @lru_cache(maxsize=16)  # a search asks for every config of a spec
    def of(spec: KernelSpec, isa: DotIsa) -> DotPlan:
        w = spec.workload
        offset = _activation_offset(spec, isa)
        merged = w.groups == 1 and w.dilation_w == 1
        run = (w.kernel_w if merged else 1) * w.in_channels // w.groups
        step = DOT_WIDTH * (2 if weights_in_nibbles(spec.weight_dtype) else 1)
        staged = w.has_padding or spec.input_dtype.bits < 8 or offset != 0 or run % step != 0
        pointwise = w.kernel_h == w.kernel_w == 1 and not w.has_padding
        gathered = pointwise and staged  # the stage takes only the pixels that are read
        dense_pixels = pointwise and (gathered or (w.stride_h, w.stride_w) == (1, 1))
        if not dense_pixels:
            return DotPlan(
                spec, isa, w.batch, w.in_height, w.in_width, w.out_height, w.out_width, w.stride_h, w.stride_w,
                staged, False, merged, offset,
            )  # fmt: skip
        # Small images are computed together, so that a tile need not end with the image.
        together = not staged or w.out_height * w.out_width <= 64
        images, pixels = (1, w.batch) if together else (w.batch, 1)
        pixels *= w.out_height * w.out_width
        return DotPlan(spec, isa, images, 1, pixels, 1, pixels, 1, 1, staged, gathered, merged, offset)

    @cached_property  # asked for with every config, as `of` is
    def reason_inexact(self) -> str | None:
        """Why the sums could leave 32 bits; None if they cannot."""
        dtype, weight = self.spec.input_dtype, self.spec.weight_dtype
        assert weight is not None
        widest = max(abs(dtype.low + self.activation_offset), abs(dtype.high + self.activation_offset))
        scale = NIBBLE_SCALE if self.nibble_weights else 1
        if widest * -weight.low * self.spec.workload.reduction * scale < 1 << 31:
            return None
        return f"a sum of {self.spec.workload.reduction} products can leave 32 bits"

    @property
    def lanes(self) -> int:
        return self.isa.lanes

    @property
    def nibble_weights(self) -> bool:
        return weights_in_nibbles(self.spec.weight_dtype)

    @property
    def run_elements(self) -> int:
        """Elements of a run, padded to whole reduction steps (of two dot products where weights are nibbles)."""
        elements = (self.spec.workload.kernel_w if self.merged else 1) * self.spec.workload.group_inputs
        step = DOT_WIDTH * (2 if self.nibble_weights else 1)
        return -(-elements // step) * step

    @property
    def runs(self) -> int:
        """Runs of a kernel row."""
        return 1 if self.merged else self.spec.workload.kernel_w

    @property
    def run_steps(self) -> int:
        """Weight vectors of a run: one a dot product, one for two where weights are nibbles."""
        return self.run_elements // DOT_WIDTH // (2 if self.nibble_weights else 1)

    @property
    def row_pitch(self) -> int:
        """Elements from one row of an image to the next, as the tiles read it."""
        w = self.spec.workload
        return (self.width + w.pad_left + w.pad_right) * w.in_channels

    @property
    def image_pitch(self) -> int:
        w = self.spec.workload
        return (self.height + w.pad_top + w.pad_bottom) * self.row_pitch

    def staged_images(self, config: DotConfig) -> int:
        """Images that are in the workspace at once."""
        if not self.staged:
            return 0
        return self.images if self.stages_all_at_once(config) else 1

    def stages_all_at_once(self, config: DotConfig) -> bool:
        """Whether every image is staged before the first tile.

        So where one block of weights or a team of threads walks all images, or a tile may span several.
        """
        w = self.spec.workload
        one_walk = config.order is LoopOrder.CHANNELS or config.parallel is not ParallelAxis.NONE or w.groups > 1
        return one_walk or self.images != w.batch

    def workspace_bytes(self, config: DotConfig) -> int:
        return self.staged_images(config) * self.image_pitch + SLACK_BYTES if self.staged else 0

    def packing(self, config: DotConfig) -> Packing:
        return Packing("dot", config.vectors * self.lanes, self.lanes, self.merged, self.activation_offset)


def _activation_offset(spec: KernelSpec, isa: DotIsa) -> int:
    """What is added to the activations so that they have the sign that the instruction wants; 0 if they have it."""
    if isa.unsigned_activations is None or isa.unsigned_activations != spec.input_dtype.signed:
        return 0
    if spec.input_dtype.signed:
        return 1 << (spec.input_dtype.bits - 1)
    return 0 if spec.input_dtype.bits < 8 else -128  # nibbles are no larger than 15: their bytes are signed, too
