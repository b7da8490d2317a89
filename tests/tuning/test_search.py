"""Proposals, as functions of what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.predictor.configs.analytic import AnalyticModel
from profiler.predictor.configs.prediction import Prediction
from profiler.record import Measurement
from profiler.space.config import DotConfig, LoopOrder, ScheduleConfig, to_text
from profiler.space.cpu import config_space
from profiler.tuning.search import StopReason, Strategy, family, promised_gain, propose
from profiler.workload import KernelSpec
from tests.tuning.simulation import CPU, conv, hash_share

SPEC = conv()
SPACE = config_space(SPEC, CPU.isa, 1)
TEXTS = [to_text(config) for config in SPACE]


class Oracle:
    """A cost model that knows: 1 s for the first config of ``SPACE``, more for each that follows."""

    def __init__(self, spread: float = 0.0) -> None:
        self.spread = spread

    def fit(self, measurements: Iterable[Measurement]) -> None:
        raise AssertionError("whoever proposes does not fit")

    def predict(self, spec: KernelSpec, configs: Sequence[ScheduleConfig]) -> Prediction:
        median_s = np.array([1 + TEXTS.index(to_text(c)) / len(TEXTS) for c in configs])
        return Prediction(median_s, np.full(len(configs), self.spread))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20), st.floats(0, 1), st.floats(0, 0.5))
def test_proposals_are_new_distinct_and_valid(seed: int, count: int, measured: float, failed: float) -> None:
    measured_s = {t: 1 + hash_share(t) for t in TEXTS if hash_share(seed, t) < measured}
    failures = {t for t in TEXTS if hash_share(t, seed) < failed}
    favourites = [*sorted(failures)[:2], *sorted(measured_s)[:2], "dot(unknown)", *TEXTS[5:8]]
    arguments = (SPEC, SPACE, measured_s, failures, favourites, AnalyticModel(CPU), count, seed)
    proposal = propose(*arguments)
    texts = [to_text(config) for config in proposal.configs]
    left = set(TEXTS) - set(measured_s) - failures
    assert len(set(texts)) == len(texts) == (min(count, len(left)) if proposal.stop is None else 0)
    assert set(texts) <= left
    assert propose(*arguments) == proposal


def test_favourites_come_first_and_the_rest_is_varied() -> None:
    favourites = [TEXTS[700], "dot(unknown)", TEXTS[300]]
    proposal = propose(SPEC, SPACE, {}, (), favourites, AnalyticModel(CPU), 8)
    texts = [to_text(config) for config in proposal.configs]
    assert {TEXTS[700], TEXTS[300]} <= set(texts)
    assert len({family(config) for config in proposal.configs}) >= 7
    few = propose(SPEC, SPACE, {}, (), favourites, AnalyticModel(CPU), 1)
    assert [to_text(config) for config in few.configs] == [TEXTS[700]]


def test_what_the_model_promises_is_proposed_best_first() -> None:
    strategy = Strategy(alike=len(SPACE))
    proposal = propose(SPEC, SPACE, {TEXTS[0]: 1.0}, (), (), Oracle(), 6, 0, strategy)
    order = [TEXTS.index(to_text(config)) for config in proposal.configs]
    assert order == sorted(order)
    assert set(range(1, 6)) <= set(order), "five that are promised most of, one against the advice"


def test_against_the_advice_is_near_the_best_and_depends_on_the_seed() -> None:
    seen = set()
    for seed in range(20):
        proposal = propose(SPEC, SPACE, {TEXTS[0]: 1.0}, (), (), Oracle(), 4, seed, Strategy(alike=len(SPACE)))
        seen |= {TEXTS.index(to_text(config)) for config in proposal.configs} - {1, 2, 3, 4}
    assert len(seen) > 5
    assert max(seen) / len(TEXTS) <= 0.3


def test_all_of_one_family_are_proposed_where_there_is_no_other() -> None:
    space = [DotConfig(1, 2, 1, order, unroll) for order in LoopOrder for unroll in (1, 2, 4)]
    proposal = propose(SPEC, space, {}, (), (), AnalyticModel(CPU), 9)
    assert set(proposal.configs) == set(space)


def test_a_search_converges_when_nothing_is_promised() -> None:
    measured_s = dict.fromkeys(TEXTS[:16], 1.0)
    known = dict(measured_s)
    assert propose(SPEC, SPACE, known, (), (), Oracle(), 4).stop is StopReason.CONVERGED
    doubtful = propose(SPEC, SPACE, known, (), (), Oracle(spread=0.2), 4)
    assert doubtful.stop is None
    assert doubtful.gain is not None
    assert doubtful.gain > 0.015
    slow = dict.fromkeys(TEXTS[:16], 1.2)
    assert propose(SPEC, SPACE, slow, (), (), Oracle(), 4).stop is None
    assert propose(SPEC, SPACE, known, (), [TEXTS[99]], Oracle(), 4).stop is None, "favourites are tried in any case"


def test_an_empty_or_used_up_space_is_exhausted() -> None:
    assert propose(SPEC, (), {}, (), (), Oracle(), 4).stop is StopReason.EXHAUSTED
    assert propose(SPEC, SPACE[:2], {TEXTS[0]: 1.0}, {TEXTS[1]}, (), Oracle(), 4).stop is StopReason.EXHAUSTED


def test_promised_gain() -> None:
    sure = Prediction(np.array([2.0, 0.9]), np.array([0.0, 0.0]))
    assert promised_gain(sure, 1.0, 0.5) == pytest.approx(0.1)
    assert promised_gain(sure, 0.5, 0.5) < 0
    unsure = Prediction(np.array([2.0, 0.9]), np.array([4.0, 0.0]))
    assert promised_gain(unsure, 1.0, 0.5) == pytest.approx(1 - 2 * np.exp(-2))


@pytest.mark.parametrize(("spread", "least"), [(0.0, 8), (0.02, 8), (0.3, 16)])
def test_a_model_that_knows_such_kernels_may_stop_after_the_first_batch(spread: float, least: int) -> None:
    """What is measured is as good as promised, so that the number of trials alone decides."""

    def stop(tried: int, failed: int = 0) -> StopReason | None:
        best_s = float(np.exp(-0.5 * spread))
        measured_s = dict.fromkeys(TEXTS[: tried - failed], best_s)
        failures = TEXTS[100 : 100 + failed]
        return propose(SPEC, SPACE, measured_s, failures, (), Oracle(spread), 4).stop

    assert stop(least) is StopReason.CONVERGED
    assert stop(least, failed=1) is StopReason.CONVERGED, "failures are trials"
    assert stop(least - 1) is None


def test_only_the_contenders_must_be_known() -> None:
    class Partial(Oracle):
        """Knows those that are at most 40% slower than the best."""

        def predict(self, spec: KernelSpec, configs: Sequence[ScheduleConfig]) -> Prediction:
            median_s = 3 * super().predict(spec, configs).median_s - 2
            return Prediction(median_s, np.where(median_s < 1.4, 0.0, 0.5))

    assert propose(SPEC, SPACE, dict.fromkeys(TEXTS[:8], 1.0), (), (), Partial(), 4).stop is StopReason.CONVERGED


def test_favourites_that_are_surely_slow_are_passed_over() -> None:
    fast, slow = TEXTS[50], TEXTS[-1]

    def proposed(spread: float, measured_s: dict[str, float]) -> set[str]:
        configs = propose(SPEC, SPACE, measured_s, (), [slow, fast], Oracle(spread), 6).configs
        return {to_text(config) for config in configs}

    for measured_s in ({}, {TEXTS[0]: 1.0}):
        assert fast in proposed(0.05, measured_s)
        assert slow not in proposed(0.05, measured_s), "twice the best, give or take 10%"
        assert slow in proposed(0.5, measured_s), "who knows"
    known = dict.fromkeys(TEXTS[:8], 1.0)
    assert propose(SPEC, SPACE, known, (), [slow], Oracle(), 6).stop is StopReason.CONVERGED
    assert propose(SPEC, SPACE, known, (), [fast], Oracle(), 6).stop is None
