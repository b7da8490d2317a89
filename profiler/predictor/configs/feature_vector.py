"""What a regression sees of a kernel and a config."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log


@dataclass(frozen=True)
class Features:
    """``schedule`` tells configs of one kernel apart, ``shape`` kernels. The lengths depend on the template alone."""

    schedule: tuple[float, ...]
    shape: tuple[float, ...]


def log_waste(extent: int, tile: int) -> float:
    """Logarithm of computed over needed."""
    return log(ceil(extent / tile) * tile / extent)


def waste(extent: int, tile: int) -> float:
    """The same times 4: 25% in vain is about 1."""
    return 4 * log_waste(extent, tile)
