"""How far a latency moves from one run to the next: what no interval of a single run contains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, pi, sqrt

from profiler.lut.schema import LutRow, Source
from profiler.prediction_stages.logs import replicates
from profiler.predictor.validation.metrics import LEAST_REPLICATES, noise_floor
from profiler.record import KernelRecord

_MEASURED_SIGMA = 0.019
"""README.md: over 150 kernels of two runs the median difference was 1.8%, which is 0.6745 * sqrt(2) * sigma."""
_PUBLISHED_SIGMA = 0.073
"""lut/published/README.md: two tuning sessions of a kernel lie 8.2% apart on average, which is 2 / sqrt(pi) * sigma."""


@dataclass(frozen=True)
class RunNoise:
    """``sigma`` is the standard deviation of the logarithm of a latency. ``origin`` says where it comes from, for
    people; ``assumed``: not from these runs themselves."""

    sigma: float
    origin: str
    assumed: bool

    @property
    def percent(self) -> float:
        """How far two measurements of a kernel lie apart, on average."""
        return 100 * 2 * self.sigma / sqrt(pi)

    @property
    def tie(self) -> float:
        """The ratio of two latencies that this noise alone exceeds once in twenty times, e.g. 1.05."""
        return exp(1.96 * sqrt(2) * self.sigma)


def run_noise(rows: Sequence[LutRow], records: Iterable[KernelRecord] = ()) -> RunNoise:
    """By what two runs measured of one kernel, where the records hold such; else by what is known of such tables."""
    pairs = replicates(records)
    if len(pairs) >= LEAST_REPLICATES:
        origin = f"{len(pairs)} kernels that two runs measured"
        return RunNoise(noise_floor((), pairs).sigma, origin, assumed=False)
    sources = {row.source for row in rows}
    if Source.MEASURED in sources or Source.PUBLISHED not in sources:
        few = f"fewer than {LEAST_REPLICATES} kernels were" if pairs else "no kernel was"
        origin = f"assumed: that of two runs on the authors' machine, since {few} measured by two runs here"
        return RunNoise(_MEASURED_SIGMA, origin, assumed=True)
    origin = "that of kernels which the authors of the published table tuned twice"
    return RunNoise(_PUBLISHED_SIGMA, origin, assumed=True)
