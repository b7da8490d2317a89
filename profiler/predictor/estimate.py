"""What a latency model answers: a latency, an interval, and which kind of answer it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from profiler.workload import KernelSpec


class Basis(str, Enum):
    """What an estimate rests on.

    ``measured``, ``published``: the very kernel is among the rows that the model was fitted to, and its latency is
    given. ``stand_in``: that of the bare kernel of the same workload and widths, where the rows hold no others
    (`kernel_only`). ``predicted``: by the regression, within the range of what was seen. ``extrapolated``: by the
    regression, outside of it; the interval promises nothing there.
    """

    MEASURED = "measured"
    PUBLISHED = "published"
    STAND_IN = "stand_in"
    PREDICTED = "predicted"
    EXTRAPOLATED = "extrapolated"

    @property
    def known(self) -> bool:
        """Whether it is a row's latency rather than the regression's."""
        return self in (Basis.MEASURED, Basis.PUBLISHED)


@dataclass(frozen=True)
class Estimate:
    """A latency in seconds, and the interval that holds the truth with the confidence that was asked for.

    The interval of a known latency is that of its own measurement (a point where none is known): on another day, at
    another clock, the kernel may well lie outside of it. ``warnings`` say why an
    estimate is extrapolated, a line each.
    """

    spec: KernelSpec
    latency_s: float
    low_s: float
    high_s: float
    basis: Basis
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.low_s <= self.latency_s <= self.high_s < float("inf"):
            raise ValueError(f"not an interval: {self.low_s} <= {self.latency_s} <= {self.high_s}")
        if bool(self.warnings) != (self.basis is Basis.EXTRAPOLATED):
            raise ValueError("an estimate is extrapolated if and only if warnings say why")


@dataclass(frozen=True)
class TotalEstimate:
    """The sum over kernels (with their multiplicities), its interval by one conformal factor, and its parts.

    known_s : what of it was measured or published. predicted_s : all else, extrapolations and stand-ins included.
    extrapolated_s, stand_in_s : the parts of ``predicted_s`` outside of what was seen, and of stand-ins. ``factor`` is
    that of a whole network's sum: where at least as many kernels are predicted as it was calibrated with, they
    contribute predicted_s / factor to the lower and factor * predicted_s to the upper end; fewer ones, and those that
    are known, their own ends. ``warnings`` say why the interval promises less than was asked for.
    """

    latency_s: float
    low_s: float
    high_s: float
    known_s: float
    predicted_s: float
    extrapolated_s: float
    factor: float
    stand_in_s: float = 0.0
    warnings: tuple[str, ...] = ()
