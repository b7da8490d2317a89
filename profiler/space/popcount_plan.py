"""Geometry of a convolution or dense kernel that counts shared bits: what the template and its model have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from profiler.hardware import DotIsa
from profiler.quantize.packing import Packing
from profiler.quantize.planes import plane_bytes
from profiler.space.config import PopcountConfig
from profiler.space.dot_plan import SLACK_BYTES
from profiler.space.lookup_plan import LookupPlan
from profiler.workload import KernelSpec

PLANE_PAIRS_MAX = 2
"""Each pair of planes is counted by itself; beyond these, lookups are faster."""


@dataclass(frozen=True)
class PlanePair:
    """A plane of the activations and one of the weights; shared bits count ``1 << shift``, negative or not."""

    activation: int
    weight: int
    shift: int
    negative: bool


@dataclass(frozen=True)
class PopcountPlan:
    """``geometry`` has the images, pixels and tiles; a staged pixel is its bit planes as they lie in the input."""

    geometry: LookupPlan

    @staticmethod
    @lru_cache(maxsize=16)
    def of(spec: KernelSpec, isa: DotIsa) -> PopcountPlan:
        return PopcountPlan(LookupPlan.of(spec, isa))

    @property
    def spec(self) -> KernelSpec:
        return self.geometry.spec

    @cached_property
    def reason_unsupported(self) -> str | None:
        """Why no config can compute the spec; None if some can."""
        if self.geometry.reason_unsupported is not None:
            return self.geometry.reason_unsupported
        if self.geometry.isa is not DotIsa.AVX512_VNNI:
            return f"{self.geometry.isa.value} has no instruction that counts bits of wide words; lookups are faster"
        if self.spec.input_dtype.signed:
            return f"signed activations ({self.spec.input_dtype.value}) are looked up"
        if len(self.pairs) > PLANE_PAIRS_MAX:
            return f"{len(self.pairs)} pairs of planes are looked up faster"
        return None

    @property
    def lanes(self) -> int:
        """Output channels of a vector: one 64-bit word each."""
        return self.geometry.isa.lanes // 2

    @property
    def pairs(self) -> tuple[PlanePair, ...]:
        weights = self.geometry.planes
        more = 1 if self.geometry.bipolar else 0  # -1 and +1: twice what the set bits give
        return tuple(
            PlanePair(a, w, a + w + more, negative=not more and weights > 1 and w == weights - 1)
            for a in range(self.spec.input_dtype.bits)
            for w in range(weights)
        )

    @property
    def plane_bytes(self) -> int:
        return plane_bytes(self.spec.workload.in_channels)

    @property
    def words(self) -> int:
        """Of a plane of a pixel."""
        return self.plane_bytes // 8

    @property
    def pixel_bytes(self) -> int:
        return self.spec.input_dtype.bits * self.plane_bytes

    def sums_at(self, config: PopcountConfig) -> int:
        """Where in the workspace the sums of pixels begin (int32); before them lie the planes."""
        return self.geometry.slots(config) * self.geometry.image_pixels * self.pixel_bytes

    def workspace_bytes(self, config: PopcountConfig) -> int:
        sums = 4 * self.geometry.slots(config) * self.geometry.image_pixels if self.geometry.bipolar else 0
        return self.sums_at(config) + sums + SLACK_BYTES

    def packing(self, config: PopcountConfig) -> Packing:
        return Packing("popcount", config.vectors * self.lanes, self.lanes)
