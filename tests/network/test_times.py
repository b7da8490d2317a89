"""The loop that times a network, on a device whose clock is a script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiler.measure.rule import StoppingRule
from profiler.network.execute.times import NetworkTimes, measured_times

Times = npt.NDArray[Any]

RULE = StoppingRule(
    sample_s=0.01, min_samples=20, max_samples=40, target=0.01, budget_s=100.0, least_samples=7, repeats=1
)
STEPS_S = (0.001, 0.0005, 0.0005, 0.002)


class Pretended:
    """Runs of four steps. ``stretch`` gives the factor by which a run takes longer: by the number of the request since
    the warm-up, and of the run in it. Its first run of a request is slow, as on a machine whose caches were disturbed.
    """

    def __init__(self, stretch: Callable[[int, int], float] = lambda request, run: 1.0, mark_s: float = 0.0) -> None:
        self._stretch, self._mark_s = stretch, mark_s
        self.now_s = 0.0
        self.asked: list[tuple[int, bool]] = []
        self.marked_before = False

    def timed(self, runs: int, marked: bool) -> tuple[Times, Times]:
        self.asked.append((runs, marked))
        factors = np.array([self._stretch(len(self.asked) - 1, run) for run in range(runs)])
        factors[0] *= 5
        steps_s = np.outer(factors, STEPS_S) + (self._mark_s if marked else 0.0)
        totals_s = steps_s.sum(axis=1)
        self.now_s += totals_s.sum() + 0.0001
        return totals_s, steps_s if marked else np.empty((0, len(STEPS_S)))

    def clock(self) -> float:
        return self.now_s

    def measured(self, rule: StoppingRule = RULE) -> NetworkTimes:
        return measured_times(self.timed, rule, self.clock)


def test_a_steady_network() -> None:
    device = Pretended(mark_s=0.00001)
    times = device.measured()
    assert times.samples_s == pytest.approx([0.004] * len(times.samples_s))  # the slow first runs do not count
    assert times.step_medians_s == pytest.approx([0.00101, 0.00051, 0.00051, 0.00201])
    assert times.marked_s == pytest.approx([0.00404] * len(times.marked_s)), "what the marks cost is in these alone"
    assert (times.discarded, times.contaminated) == (0, False)
    assert len(times.samples_s) == 21  # seven requests of three runs that count and one that does not
    assert [len(samples) for samples in times.steps_s] == [21] * 4
    assert len(times.marked_s) == 21
    sampled = device.asked[-14:]
    assert {runs for runs, _ in sampled} == {4}
    assert [marked for _, marked in sampled] == [False, True, True, False] * 3 + [False, True]
    assert not any(marked for _, marked in device.asked[:-14])  # warm-up


def test_the_warm_up_goes_on_until_it_is_steady() -> None:
    device = Pretended(lambda request, run: 2.0 if request < 4 else 1.0)
    times = device.measured()
    assert times.summary.median_s == pytest.approx(0.004)
    unsteady = Pretended(lambda request, run: 1.0 + request % 2)
    unsteady.measured(RULE)
    first_marked = [marked for _, marked in unsteady.asked].index(True)
    spent_s = sum(runs * 0.004 for runs, _ in unsteady.asked[: first_marked - 1])
    assert 0.2 * RULE.budget_s * 0.5 < spent_s < 0.2 * RULE.budget_s * 2


def test_noise_is_sampled_until_the_rule_ends_it() -> None:
    rng = np.random.default_rng(0)
    device = Pretended(lambda request, run: float(rng.uniform(1, 1.2)))
    times = device.measured()
    assert len(times.samples_s) == 42  # past max_samples, with the request that is under way
    assert len(set(times.samples_s)) == 42


def test_a_budget_ends_it() -> None:
    rng = np.random.default_rng(0)
    rule = StoppingRule(sample_s=0.01, min_samples=20, max_samples=10_000, target=0.0, budget_s=1.0, least_samples=7)
    device = Pretended(lambda request, run: float(rng.uniform(1, 1.2)))
    times = device.measured(rule)
    assert 1.0 <= device.now_s < 1.1
    assert len(times.samples_s) >= 7


def busy(until: int) -> Callable[[int, int], float]:
    """Three runs out of four take half as long again, up to that request."""
    rng = np.random.default_rng(0)
    return lambda request, run: 1.0 + 0.5 * (2 < request < until and rng.random() < 0.75)


def test_a_machine_that_was_busy_for_a_while() -> None:
    device = Pretended(busy(until=30))
    times = device.measured()
    assert times.discarded >= 20
    assert times.summary.median_s == pytest.approx(0.004)
    assert not times.contaminated


def test_a_machine_that_is_busy_all_the_time() -> None:
    times = Pretended(busy(until=10_000)).measured()
    assert times.discarded >= 20
    assert times.contaminated


def test_an_interruption_of_every_run_is_seen_in_the_sum_of_the_steps() -> None:
    """Each run is interrupted once, in one step or another: no run is short, but the median of no step is long."""

    class Interrupted(Pretended):
        def timed(self, runs: int, marked: bool) -> tuple[Times, Times]:
            totals_s, steps_s = super().timed(runs, marked)
            for run in range(len(steps_s)):
                steps_s[run, (len(self.asked) + run) % len(STEPS_S)] += 0.004
            return totals_s + 0.004, steps_s

    times = Interrupted().measured()
    assert not times.summary.contaminated
    assert times.contaminated


def test_short_networks_are_sampled_in_many_requests() -> None:
    rng = np.random.default_rng(0)
    device = Pretended(lambda request, run: 0.001 * float(rng.uniform(1, 1.2)))
    device.measured()
    assert {runs for runs, marked in device.asked if marked} == {11}
