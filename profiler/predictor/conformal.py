"""Intervals without assumptions on how errors are distributed.

Kernels of one workload resemble each other, so workloads, not kernels, are taken to be exchangeable: each has the same
weight, shared among its kernels, and one that was never seen may be anywhere. Source: Lee, Barber, Willett,
Distribution-free inference with hierarchical data, arXiv 2306.06342 (2023), the pooled quantile.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf

from scipy.stats import binomtest


def grouped_quantile(groups: Sequence[Sequence[float]], confidence: float) -> float:
    """The score that a kernel of a further workload exceeds with a probability of at most ``1 - confidence``.

    groups : scores, a sequence for each workload. Infinite where there are too few workloads for that confidence.
    """
    _require_confidence(confidence)
    weighted = sorted((score, 1 / len(scores)) for scores in groups for score in scores)
    wanted = confidence * (len(groups) + 1) * (1 - 1e-12)  # sums of fractions are not exact
    reached = 0.0
    for score, weight in weighted:
        reached += weight
        if reached >= wanted:
            return score
    return inf


def quantile(scores: Sequence[float], confidence: float) -> float:
    """The same for scores that each stand alone: the ceil((n + 1) * confidence)-th smallest, infinite beyond the n-th.

    Source: Vovk, Gammerman, Shafer, Algorithmic learning in a random world, 2005.
    """
    _require_confidence(confidence)
    rank = ceil((len(scores) + 1) * confidence * (1 - 1e-12))
    return sorted(scores)[rank - 1] if rank <= len(scores) else inf


def binomial_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson, Biometrika 26, 1934)."""
    interval = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")
