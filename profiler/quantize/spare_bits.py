"""Bits at the end of a pixel that belong to no channel, where the slices of a concatenation leave them as they were.

Other kernels clear them. A slice writes its own channels and leaves the rest of the pixel: of an odd number of 4-bit
channels the upper half of the last byte for ever, of bit planes the end of the last words until the last slice clears
it (`whole_bytes.cleared_behind`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.quantize.whole_bytes import plane_bytes
from profiler.workload import DType

if TYPE_CHECKING:
    import numpy as np  # a bundle's description is read before NumPy is there
    import numpy.typing as npt


@dataclass(frozen=True)
class SpareBits:
    """The last ``bits`` bits of every ``every`` bytes say nothing, the upper ones of a byte being its last; where there
    are none both are 0."""

    every: int = 0
    bits: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.bits < max(1, 8 * self.every):
            raise ValueError(f"{self.bits} of every {self.every} bytes cannot be spare bits")

    def cleared(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The bytes of a value with those bits cleared. What is given stays as it is."""
        if not self.bits:
            return raw
        rows = raw.reshape(-1, self.every).copy()
        nbytes, rest = divmod(self.bits, 8)
        rows[:, self.every - nbytes :] = 0
        rows[:, self.every - nbytes - 1] &= 0xFF >> rest
        return rows.reshape(-1)


def spare_bits(channels: int, dtype: DType, filled: int | None) -> SpareBits:
    """Those of a value. filled : the first ones of its channels, which the slices of a concatenation have written so
    far; None of a value that one kernel writes, all bits of which count."""
    if filled is None:
        return SpareBits()
    if dtype.bits == 4 and channels % 2 == 1:
        return SpareBits((channels + 1) // 2, 4)
    every = plane_bytes(channels)
    if dtype.in_planes and filled < channels < 8 * every:
        return SpareBits(every, 8 * every - channels)
    return SpareBits()
