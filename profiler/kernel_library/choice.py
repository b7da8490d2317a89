"""Which of the valid configs of a kernel are built where not all of them are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from profiler.space.config import ScheduleConfig

DISTINCT_KNOBS = 3
"""Knobs in which a config must differ from every better one that was taken. The model is coarse: eight configs that
differ in one knob each would stand or fall together."""


@dataclass(frozen=True)
class Candidate:
    """A config and the latency in seconds that the performance model gives it."""

    config: ScheduleConfig
    modelled_s: float


def choose(
    configs: Iterable[ScheduleConfig], modelled_s: Callable[[ScheduleConfig], float], count: int
) -> tuple[Candidate, ...]:
    """The ``count`` configs to build (all, if there are fewer); the best modelled one is first
    (`space.gpu.default_config`).

    From the best modelled to the worst, a config is passed over while one that was taken differs from it in fewer than
    `DISTINCT_KNOBS` knobs; places that are left go to the best of those passed over. The choice of a smaller ``count``
    is the beginning of the choice of a larger one.
    """
    ranked = sorted((Candidate(c, modelled_s(c)) for c in configs), key=lambda c: c.modelled_s)
    taken: list[Candidate] = []
    passed_over: list[Candidate] = []
    for candidate in ranked:
        if len(taken) == count:
            break
        near = any(_too_near(candidate.config, other.config) for other in taken)
        (passed_over if near else taken).append(candidate)
    return tuple(taken + passed_over[: count - len(taken)])


def _too_near(config: ScheduleConfig, other: ScheduleConfig) -> bool:
    """Templates with few knobs ask for a difference in all but one of them."""
    if type(config) is not type(other):
        return False
    names = [field.name for field in fields(config)]
    different = [name for name in names if getattr(config, name) != getattr(other, name)]
    return len(different) < min(DISTINCT_KNOBS, len(names) - 1)
