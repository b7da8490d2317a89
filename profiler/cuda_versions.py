"""Which drivers load which cubins.

Within a major release of CUDA cubins load on all of its drivers: 525 and newer for CUDA 12.x, 580 and newer for 13.x
(NVIDIA, CUDA Compatibility, section "Minor Version Compatibility", table 1; the drivers are those of the CUDA 12.0 and
13.0 release notes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LeastDriver:
    """``cuda`` is the version that a driver must support, ``linux`` the oldest Linux driver that does."""

    cuda: tuple[int, int]
    linux: str


LEAST_DRIVERS: Mapping[int, LeastDriver] = {
    7: LeastDriver((12, 0), "525.60.13"),
    8: LeastDriver((13, 0), "580.65.06"),
}
"""By the ABI in a cubin's ELF header: CUDA 12's compilers write 7 for sm_75 to sm_90, CUDA 13's 8."""

OLDEST = LEAST_DRIVERS[min(LEAST_DRIVERS)]
"""What any kernel of ours needs."""
