"""Statistics of raw latency samples, without assumptions on their distribution; standard library only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Summary:
    """What a row of the LUT says of its samples; all in seconds but for the counts."""

    median_s: float
    q1_s: float
    q3_s: float
    ci95_low_s: float
    ci95_high_s: float
    minimum_s: float
    samples: int

    @property
    def relative_halfwidth(self) -> float:
        """Half the width of the 95% interval of the median, as a share of the median."""
        return (self.ci95_high_s - self.ci95_low_s) / 2 / self.median_s

    @property
    def contaminated(self) -> bool:
        """Whether the median lies so far above the minimum that something else ran on the machine."""
        return self.median_s > 1.3 * self.minimum_s


def summarize(samples_s: Sequence[float]) -> Summary:
    """Median, quartiles and 95% interval of the median.

    Raises `ValueError` if there is no sample or one is not a positive finite number.
    """
    if not samples_s or not all(math.isfinite(s) and s > 0 for s in samples_s):
        raise ValueError("samples must be positive, finite and at least one")
    ordered = sorted(samples_s)
    quartiles = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    low, high = median_interval_ranks(len(ordered))
    return Summary(
        median_s=statistics.median(ordered),
        q1_s=quartiles[0],
        q3_s=quartiles[2],
        ci95_low_s=ordered[low],
        ci95_high_s=ordered[high],
        minimum_s=ordered[0],
        samples=len(ordered),
    )


@lru_cache(maxsize=1024)
def median_interval_ranks(count: int, confidence: float = 0.95) -> tuple[int, int]:
    """Zero-based ranks of the order statistics that enclose the median with at least that confidence.

    Distribution-free (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2): the number of samples below
    the median is binomial(count, 1/2). With fewer than six samples no pair reaches 95%, and the whole range is given.
    """
    tail = (1 - confidence) / 2
    cumulative, rank = 0.0, 0
    while rank < count // 2:
        cumulative += math.comb(count, rank) / 2**count
        if cumulative > tail:
            break
        rank += 1
    rank = max(rank - 1, 0)
    return rank, count - 1 - rank
