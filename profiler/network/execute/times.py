"""How long a network takes from its input to its output, and each of its steps.

One request to the device runs the network a few times in a row; the first of these runs does not count, since it finds
the caches as the conversation with the device left them. What counts finds them as the run before it left them:

    | run, not counted | run | run | run |      undisturbed: the clock is read at both ends of a run
    | run, not counted | r.u.n | r.u.n | r.u.n |      marked: it is read behind each step too

Requests of the two kinds alternate, in reverse order each time, so that drift favours none. Every counted run is a
sample: one is long beside the clock, and a mean over several would hide that another process was let in between.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Tuple

import numpy as np
import numpy.typing as npt

from profiler.measure.rule import StoppingRule
from profiler.statistics import Summary, summarize

NETWORK_RULE = StoppingRule(
    sample_s=0.02, min_samples=60, max_samples=600, target=0.002, budget_s=20.0, least_samples=7, repeats=1
)
"""For a network: ``sample_s`` is what a request fills with runs, the budget is for runs of both kinds."""

_MOST_RUNS = 10
"""That count, of a request: the samples shall come from many."""
_UNCOUNTED = 1
_DISTURBED = 1.1
_STEADY = 0.05  # two warm-up bursts that differ by less are steady
_BURST_SHARE = 0.01  # of the budget: one burst
_WARM_UP_SHARE = 0.2  # of the budget: all bursts

Times = npt.NDArray[Any]
Timed = Callable[[int, bool], Tuple[Times, Times]]
"""So many runs, marked or not: seconds of each run, and of each step of each run (of no step where not marked)."""


@dataclass(frozen=True)
class NetworkTimes:
    """Raw samples in seconds, each of one run.

    ``samples_s`` are of undisturbed runs, ``marked_s`` of marked ones, and ``steps_s`` holds for each step as many as
    ``marked_s``, in the order of the steps. ``discarded`` undisturbed samples were taken again, because something else
    had run on the machine.
    """

    samples_s: tuple[float, ...]
    marked_s: tuple[float, ...]
    steps_s: tuple[tuple[float, ...], ...]
    discarded: int

    @property
    def summary(self) -> Summary:
        """Of the undisturbed runs."""
        return summarize(self.samples_s)

    @property
    def step_medians_s(self) -> tuple[float, ...]:
        """In the order of the steps."""
        return tuple(statistics.median(samples) for samples in self.steps_s)

    @property
    def contaminated(self) -> bool:
        """Whether something else ran on the machine meanwhile: runs take far longer than the shortest of them, or than
        their steps together. The second holds where another process was let in during each run, though seldom during
        one and the same step."""
        return self.summary.contaminated or self.summary.median_s > _DISTURBED * sum(self.step_medians_s)


@dataclass
class _Samples:
    """So far. ``spent_s`` is wall time."""

    plain_s: list[float] = field(default_factory=list)
    marked_s: list[float] = field(default_factory=list)
    steps_s: list[Times] = field(default_factory=list)
    spent_s: float = 0.0


def measured_times(
    timed: Timed, rule: StoppingRule = NETWORK_RULE, clock: Callable[[], float] = time.perf_counter
) -> NetworkTimes:
    """Run until the rule is content with the undisturbed samples. ``clock`` is seconds of wall time, for the budget."""
    samples = _Samples()
    runs = _warm_up(timed, rule, clock, samples)
    discarded = 0
    for _ in range(rule.repeats):
        times = _round(timed, runs, rule, clock, samples, discarded)
        if not times.contaminated:
            return times
        discarded += len(times.samples_s)
        samples = _Samples()
    return _round(timed, runs, rule, clock, samples, discarded)


def _round(
    timed: Timed, runs: int, rule: StoppingRule, clock: Callable[[], float], samples: _Samples, discarded: int
) -> NetworkTimes:
    turn = [False, True]
    while not samples.marked_s or not rule.done(samples.plain_s, samples.spent_s):
        for marked in turn:
            _take(timed, runs, marked, clock, samples)
        turn.reverse()
    steps = tuple(tuple(column) for column in np.concatenate(samples.steps_s).T.tolist())
    return NetworkTimes(tuple(samples.plain_s), tuple(samples.marked_s), steps, discarded)


def _warm_up(timed: Timed, rule: StoppingRule, clock: Callable[[], float], samples: _Samples) -> int:
    """Bursts of runs until two in a row take the same time, or a share of the budget is spent; then how many runs of a
    request count."""
    runs, before_s = 1, math.inf
    while True:
        start = clock()
        totals_s, _ = timed(runs, False)
        wall_s = clock() - start
        samples.spent_s += wall_s
        run_s = float(np.median(totals_s))
        if abs(run_s - before_s) <= _STEADY * run_s or samples.spent_s >= _WARM_UP_SHARE * rule.budget_s:
            break
        before_s = run_s
        runs = max(2, int(_BURST_SHARE * rule.budget_s / run_s))
    both = 2 * (1 + _UNCOUNTED)  # a budget is for the two kinds, and for what does not count
    return min(_MOST_RUNS, rule.launches(run_s, both * max(run_s, wall_s / runs)))


def _take(timed: Timed, runs: int, marked: bool, clock: Callable[[], float], samples: _Samples) -> None:
    start = clock()
    totals_s, steps_s = timed(_UNCOUNTED + runs, marked)
    samples.spent_s += clock() - start
    counted = totals_s[_UNCOUNTED:].tolist()
    if marked:
        samples.marked_s += counted
        samples.steps_s.append(steps_s[_UNCOUNTED:])
    else:
        samples.plain_s += counted
