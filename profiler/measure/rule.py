"""When a kernel has been sampled enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiler.statistics import summarize


@dataclass(frozen=True)
class StoppingRule:
    """Ends when the median is known well enough, or when it has cost enough.

    sample_s : counted seconds that a sample fills with launches.
    min_samples, max_samples : the target is not looked at before the first; the second ends it.
    target : half the width of the 95% interval of the median, as a share of the median.
    budget_s : wall time of a kernel's warm-up and samples together, with all that lies between its launches; when it
    is spent, `least_samples` are enough. With fewer than six samples there is no 95% interval of a median.
    repeats : how often contaminated samples are taken once more.
    least_launches : of a sample, unless fewer fill it; whatever the budget says.
    """

    sample_s: float
    min_samples: int
    max_samples: int
    target: float
    budget_s: float
    least_samples: int = 1
    repeats: int = 0
    least_launches: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.least_samples <= self.min_samples <= self.max_samples:
            raise ValueError("sample counts must satisfy 1 <= least <= min <= max")
        if self.sample_s <= 0 or self.budget_s <= 0 or self.target < 0 or self.repeats < 0 or self.least_launches < 1:
            raise ValueError("times and launches must be positive, target and repeats not negative")

    def done(self, samples_s: Sequence[float], spent_s: float) -> bool:
        """Whether no further sample is needed, after ``spent_s`` seconds of wall time."""
        count = len(samples_s)
        if count >= self.max_samples:
            return True
        if count >= self.least_samples and spent_s >= self.budget_s:
            return True
        return count >= self.min_samples and summarize(samples_s).relative_halfwidth <= self.target

    def uncounted(self, launch_s: float) -> int:
        """Launches ahead of each sample that do not count: one, or none for a kernel that fills a sample by itself.

        The first launch behind another kernel finds caches, page tables and branch predictors as that one left them,
        which costs some 10 us.
        """
        return int(launch_s < self.sample_s)

    def launches(self, launch_s: float, wall_s: float, call_s: float = 0.0) -> int:
        """Launches of a sample, for a kernel that counts ``launch_s`` and costs ``wall_s`` seconds per launch, and
        ``call_s`` per sample besides.

        Enough to fill `sample_s`, but so few that `min_samples` of them, with their uncounted launches, fit the
        budget; at least `least_launches`, if that many are wanted.
        """
        wanted = -(-self.sample_s // launch_s)
        affordable = (self.budget_s / self.min_samples - call_s) // wall_s - self.uncounted(launch_s)
        return int(max(1, min(wanted, max(affordable, self.least_launches))))


SCREEN = StoppingRule(sample_s=0.002, min_samples=6, max_samples=8, target=0.02, budget_s=0.03)
"""For candidates of a search: tells a few percent apart in 20 to 40 ms."""

FINAL = StoppingRule(
    sample_s=0.006, min_samples=30, max_samples=60, target=0.005, budget_s=0.6, least_samples=7, repeats=1
)
"""For what enters the LUT."""

GPU_SCREEN = StoppingRule(
    sample_s=0.001, min_samples=6, max_samples=8, target=0.02, budget_s=0.1, least_samples=6, least_launches=16
)
GPU_FINAL = StoppingRule(
    sample_s=0.002,
    min_samples=30,
    max_samples=60,
    target=0.005,
    budget_s=0.8,
    least_samples=7,
    repeats=1,
    least_launches=16,
)
"""The same for a GPU. Asking costs milliseconds there (NVML, the clock, the pipe) and flushing L2 about 0.1 ms a
launch; its launches repeat better than a CPU's, so fewer of them make a sample."""


@dataclass(frozen=True)
class Rules:
    """How the candidates of a search are measured, and what enters the LUT."""

    screen: StoppingRule
    final: StoppingRule


CPU_RULES = Rules(SCREEN, FINAL)
GPU_RULES = Rules(GPU_SCREEN, GPU_FINAL)


def rules_of(gpu: bool) -> Rules:
    """Those of a GPU, or of a CPU."""
    return GPU_RULES if gpu else CPU_RULES
