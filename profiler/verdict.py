"""Two latencies beside each other: their ratio with its interval, and what can be said of it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import exp, hypot, isfinite, log, sqrt

MARGIN = 0.1
"""What two latencies may differ by and still be called the same: a tenth either way."""
_WIDE = 1.96
"""Standard deviations to either side of a normal variable's 95% interval."""


class Verdict(str, Enum):
    """Of one latency against another. ``same``: they cannot differ by more than a margin. ``ambiguous``: the interval
    holds both no difference and one that would matter."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True)
class Span:
    """A latency in seconds and the 95% interval of its median. Both ends are the latency where no interval is known:
    then ``known`` is false. Raises `ValueError` for what is no positive, finite interval around it."""

    latency_s: float
    low_s: float
    high_s: float
    known: bool = True

    def __post_init__(self) -> None:
        if not (0 < self.low_s <= self.latency_s <= self.high_s and isfinite(self.high_s)):
            raise ValueError(f"not an interval: {self.low_s} <= {self.latency_s} <= {self.high_s}")

    @staticmethod
    def total(spans: tuple[Span, ...]) -> Span:
        """Of kernels that run one after the other: their ends are added up as if all erred alike."""
        return Span(
            latency_s=sum(span.latency_s for span in spans),
            low_s=sum(span.low_s for span in spans),
            high_s=sum(span.high_s for span in spans),
            known=all(span.known for span in spans),
        )


@dataclass(frozen=True)
class Ratio:
    """A quotient of two latencies with its 95% interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.value <= self.high and isfinite(self.high)):
            raise ValueError(f"not an interval: {self.low} <= {self.value} <= {self.high}")

    @property
    def excludes_one(self) -> bool:
        return self.low > 1 or self.high < 1


def ratio(numerator: Span, denominator: Span, noise: float = 0.0) -> Ratio:
    """``numerator`` / ``denominator`` of independent measurements.

    ``noise`` is the standard deviation of the logarithm of a latency from one run to the next, which no interval of one
    run contains; 0.02 is about 2%. Half widths of logarithms are added in quadrature.
    """
    value = numerator.latency_s / denominator.latency_s
    between = _WIDE * sqrt(2) * noise
    up = hypot(log(numerator.high_s / numerator.latency_s), log(denominator.latency_s / denominator.low_s), between)
    down = hypot(log(numerator.latency_s / numerator.low_s), log(denominator.high_s / denominator.latency_s), between)
    return Ratio(value, value * exp(-down), value * exp(up))


def judge(time_ratio: Ratio, margin: float = MARGIN) -> Verdict:
    """Of the numerator against the denominator. A difference that the interval shows is named however small it is;
    ``same`` takes an interval that lies whole within 1 / (1 + margin) to 1 + margin. Raises `ValueError` for a margin
    that is not positive."""
    if not margin > 0:
        raise ValueError(f"a margin is positive, not {margin}")
    if time_ratio.excludes_one:
        return Verdict.FASTER if time_ratio.value < 1 else Verdict.SLOWER
    within = 1 / (1 + margin) <= time_ratio.low and time_ratio.high <= 1 + margin
    return Verdict.SAME if within else Verdict.AMBIGUOUS
