"""Several configurations of a network timed in turn, so that a drift of the clock meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from profiler.measure.rule import StoppingRule
from profiler.network.execute.timed import NetworkLatency

ROUNDS = 5
"""Each configuration is timed once a round."""
_RULE = StoppingRule(sample_s=0.02, min_samples=30, max_samples=60, target=0.002, budget_s=2.0, least_samples=7)


class Timed(Protocol):
    """What can be timed: `run.Prepared`."""

    def latency(self, rule: StoppingRule) -> NetworkLatency: ...


def timed_in_turn(networks: Sequence[Timed], told: Callable[[str], None]) -> list[list[tuple[float, ...]]]:
    """Of each network the samples of each round, in seconds. ``told`` hears of each round."""
    samples: list[list[tuple[float, ...]]] = [[] for _ in networks]
    for number in range(ROUNDS):
        told(f"timing, round {number + 1} of {ROUNDS}")
        for network, taken in zip(networks, samples, strict=True):
            taken.append(network.latency(_RULE).times.samples_s)
    return samples
