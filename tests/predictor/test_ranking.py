"""The order of configs, and latencies that were measured elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from profiler.errors import InvalidConfig
from profiler.predictor.configs.analytic import AnalyticModel
from profiler.predictor.configs.learned import MAX_ROWS, LearnedModel
from profiler.predictor.configs.ranking import rank
from profiler.predictor.model_state import ConfigLatency
from profiler.record import Measurement
from profiler.space.config import ScheduleConfig, to_text
from profiler.space.cpu import config_space
from profiler.space.model import analytic_latency_s
from profiler.workload import KernelSpec, Op, Workload
from tests.tuning.simulation import CONDITIONS, CONV, CPU, conv, hash_share, skewed

SPEC = conv()
SPACE = config_space(SPEC, CPU.isa, 1)
OTHER = conv(4, workload=Workload(Op.CONV2D, 1, 28, 28, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1))


def some(spec: KernelSpec, count: int) -> list[ScheduleConfig]:
    return sorted(config_space(spec, CPU.isa, 1), key=lambda c: hash_share(to_text(c)))[:count]


def measured(spec: KernelSpec, configs: list[ScheduleConfig], factor: float = 1.0) -> list[Measurement]:
    """On the simulated machine; made up as everything in this file."""
    return [
        Measurement(spec, to_text(c), CONDITIONS, "f", "ab" * 32, (factor * skewed(spec, c),) * 6, 1, 0, "screen",
                    "r", 0.0, "0")
        for c in configs
    ]  # fmt: skip


def elsewhere(spec: KernelSpec, configs: list[ScheduleConfig], factor: float) -> list[ConfigLatency]:
    return [ConfigLatency(spec, to_text(c), factor * skewed(spec, c)) for c in configs]


def test_rank_is_the_order_of_the_predictions() -> None:
    ranked = rank(AnalyticModel(CPU), SPEC, SPACE)
    assert {r.config for r in ranked} == set(SPACE)
    assert len(ranked) == len(SPACE)
    assert [r.latency_s for r in ranked] == sorted(r.latency_s for r in ranked)
    assert all(r.latency_s == pytest.approx(analytic_latency_s(SPEC, r.config, CPU)) for r in ranked[:20])
    assert all(r.spread > 0 for r in ranked)


def test_rank_does_not_depend_on_the_order_of_the_space() -> None:
    model = LearnedModel(CPU, known=elsewhere(OTHER, some(OTHER, 30), 1.0))
    assert [r.config for r in rank(model, SPEC, SPACE)] == [r.config for r in rank(model, SPEC, SPACE[::-1])]


def test_rank_of_nothing() -> None:
    assert rank(LearnedModel(CPU), SPEC, ()) == ()


def test_what_is_known_from_elsewhere_orders_configs() -> None:
    """Of other kernels, on a machine that is twice as slow: the first five have one near the best."""
    known = elsewhere(OTHER, some(OTHER, 80), 2.0) + elsewhere(conv(workload=CONV.with_batch(4)), some(SPEC, 80), 2.0)
    best_s = min(skewed(SPEC, c) for c in SPACE)

    def first_five(model: LearnedModel) -> float:
        return min(skewed(SPEC, r.config) for r in rank(model, SPEC, SPACE)[:5]) / best_s

    assert first_five(LearnedModel(CPU, known=known)) < 1.05
    assert first_five(LearnedModel(CPU)) > 1.05


def test_elsewhere_never_hides_what_was_measured_here() -> None:
    configs = some(SPEC, 20)
    wrong = elsewhere(SPEC, configs, 10.0)
    here = measured(SPEC, configs)
    predictions = []
    for model in (LearnedModel(CPU, known=wrong), LearnedModel(CPU)):
        model.fit(here)
        predictions.append(model.predict(SPEC, SPACE).median_s)
    assert np.array_equal(*predictions)


def test_more_is_known_from_elsewhere_than_a_regression_takes() -> None:
    here = some(SPEC, 10)
    others = [c for c in some(SPEC, len(SPACE)) if c not in here]
    known = elsewhere(SPEC, others, 1.0) + elsewhere(OTHER, some(OTHER, 200), 1.0)
    assert len(known) > MAX_ROWS
    model = LearnedModel(CPU, known=known)
    model.fit(measured(SPEC, here, factor=1.5))
    ratio = model.predict(SPEC, here).median_s / [1.5 * skewed(SPEC, c) for c in here]
    assert np.abs(np.log(ratio)).max() < 0.15


def test_levels_differ_between_machines() -> None:
    """The schedules are learned elsewhere, the level here: four records suffice although 60 say otherwise."""
    model = LearnedModel(CPU, known=elsewhere(SPEC, some(SPEC, 60), 1.0))
    model.fit(measured(SPEC, some(SPEC, 64)[60:], factor=1.4))
    asked = some(SPEC, 200)[100:]
    ratio = np.log(model.predict(SPEC, asked).median_s / [skewed(SPEC, c) for c in asked])
    assert np.exp(np.median(ratio)) == pytest.approx(1.4, rel=0.12)


def test_fitting_forgets_measurements_but_not_what_was_known() -> None:
    known = elsewhere(OTHER, some(OTHER, 30), 2.0)
    model, fresh = LearnedModel(CPU, known=known), LearnedModel(CPU, known=known)
    model.fit(measured(SPEC, some(SPEC, 10), factor=3.0))
    model.fit([])
    assert np.array_equal(model.predict(SPEC, SPACE).median_s, fresh.predict(SPEC, SPACE).median_s)


def test_configs_of_another_kind_of_device_are_refused() -> None:
    with pytest.raises(InvalidConfig, match="not a config of a CPU kernel"):
        LearnedModel(CPU, known=[ConfigLatency(SPEC, "simt_direct(threads=32,channels=1)", 1e-5)])
