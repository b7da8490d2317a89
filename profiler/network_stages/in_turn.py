"""Several configurations of a network timed in turn, so that a drift of the clock meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from profiler.measure.rule import StoppingRule
from profiler.network.execute.timed import NetworkLatency

ROUNDS = 5
"""Each configuration is timed once a round."""
_RULE = StoppingRule(sample_s=0.02, min_samples=30, max_samples=60, target=0.002, budget_s=2.0, least_samples=7)


class Timed(Protocol):
    """What can be timed: `run.Prepared`."""

    def latency(self, rule: StoppingRule) -> NetworkLatency: ...


@dataclass(frozen=True)
class InTurn:
    """``samples_s`` of each network, of each round, in seconds. In so many of these timings the samples stayed
    ``contaminated``, though they were taken again."""

    samples_s: tuple[tuple[tuple[float, ...], ...], ...]
    contaminated: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the latencies."""
        if not self.contaminated:
            return ()
        timings = sum(map(len, self.samples_s))
        return (
            f"something else ran on the machine during {self.contaminated} of {timings} timings: these latencies are "
            "not those of an idle machine",
        )


def timed_in_turn(networks: Sequence[Timed], told: Callable[[str], None]) -> InTurn:
    """``told`` hears of each round."""
    samples: list[list[tuple[float, ...]]] = [[] for _ in networks]
    contaminated = 0
    for number in range(ROUNDS):
        told(f"timing, round {number + 1} of {ROUNDS}")
        for network, taken in zip(networks, samples, strict=True):
            times = network.latency(_RULE).times
            taken.append(times.samples_s)
            contaminated += times.contaminated
    return InTurn(tuple(map(tuple, samples)), contaminated)
