"""Conformance suite of cost models: what the tuner relies on, whichever model it was given."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest

from profiler.hardware import DotIsa, parse_cpuinfo
from profiler.predictor.configs.analytic import AnalyticModel
from profiler.predictor.configs.learned import MAX_ROWS, LearnedModel
from profiler.predictor.configs.prediction import Prediction, one_each
from profiler.record import Measurement
from profiler.space.config import DotConfig, LookupConfig, PopcountConfig, ScheduleConfig, parse_config, to_text
from profiler.space.cpu import config_space
from profiler.space.model import analytic_latency_s
from profiler.tuning.cost_model import CostModel
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.tuning.simulation import CONDITIONS, CONV, CPU, DENSE, conv, hash_share, pool, skewed

DEPTHWISE = Workload(Op.CONV2D, 1, 14, 14, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, groups=64)
SPECS = [conv(8), conv(4), conv(8, Epilogue.BIAS, DENSE), conv(8, workload=DEPTHWISE), pool()]
MODELS = [AnalyticModel, LearnedModel]

pytestmark = pytest.mark.parametrize("make", [lambda cls=cls: cls(CPU) for cls in MODELS], ids=["analytic", "learned"])
Make = Callable[[], CostModel]


@lru_cache
def space_of(spec: KernelSpec) -> tuple[ScheduleConfig, ...]:
    return config_space(spec, CPU.isa, 1)


def measured(spec: KernelSpec, config: ScheduleConfig, factor: float = 1.0, stage: str = "screen") -> Measurement:
    latency_s = factor * skewed(spec, config)
    samples = tuple(latency_s * (1 + 0.01 * (hash_share(to_text(config), i) - 0.5)) for i in range(6))
    return Measurement(spec, to_text(config), CONDITIONS, "f", "ab" * 32, samples, 1, 0, stage, "r", 0.0, "0")


def some(spec: KernelSpec, count: int, factor: float = 1.0) -> list[Measurement]:
    space = sorted(space_of(spec), key=lambda c: hash_share(to_text(c)))
    return [measured(spec, config, factor) for config in space[:count]]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.key)
@pytest.mark.parametrize("rows", [0, 1, 5, 50, 2000])
def test_predictions_are_sane(make: Make, spec: KernelSpec, rows: int) -> None:
    """Positive and finite, within a factor of the analytic model that the records justify, for any number of them."""
    model = make()
    model.fit([m for s in SPECS for m in some(s, -(-rows // len(SPECS)))])
    configs = space_of(spec)
    prediction = model.predict(spec, configs)
    assert prediction.median_s.shape == prediction.spread.shape == (len(configs),)
    assert np.isfinite(prediction.median_s).all()
    assert (prediction.spread >= 0).all()
    assert (prediction.spread < 1).all()
    modelled_s = np.array([analytic_latency_s(spec, c, CPU, 1) for c in configs])
    ratio = prediction.median_s / modelled_s
    assert (ratio > 0.5).all()
    assert (ratio < 8).all()


def test_without_records_it_is_the_analytic_model(make: Make) -> None:
    model = make()
    for fit in (False, True):
        if fit:
            model.fit([])
        prediction = model.predict(conv(), space_of(conv()))
        assert prediction.median_s == pytest.approx([analytic_latency_s(conv(), c, CPU, 1) for c in space_of(conv())])


def test_no_configs(make: Make) -> None:
    model = make()
    model.fit(some(conv(), 5))
    assert model.predict(conv(), ()).median_s.shape == (0,)


def test_the_level_is_learned(make: Make) -> None:
    """A machine that is three times as slow as modelled: ten records are enough to say so."""
    model = make()
    model.fit(some(conv(), 10, factor=3.0))
    configs = space_of(conv())
    ratio = model.predict(conv(), configs).median_s / [3 * skewed(conv(), c) for c in configs]
    assert math.exp(np.median(np.log(ratio))) == pytest.approx(1, abs=0.3)


def test_each_of_a_kernels_templates_learns_from_its_own(make: Make) -> None:
    """Of few bits: what is known of INT4's dot products moves the candidates that are unpacked alone, what is known of
    counted bits those, and the lookups that are like them."""
    if isinstance(make(), AnalyticModel):
        return
    few = KernelSpec(CONV, DType.UINT1, DType.UINT8, DType.INT1, epilogue=Epilogue.REQUANT)
    space = config_space(few, DotIsa.AVX512_VNNI, 1)
    cpu = parse_cpuinfo("processor : 0\nflags : avx2 avx512f avx512bw avx512vl avx512dq avx512_vnni\n", "x86_64")

    def moved(*known: Measurement) -> dict[type, set[bool]]:
        model = LearnedModel(cpu)
        model.fit(known)
        modelled_s = np.array([analytic_latency_s(few, config, cpu) for config in space])
        found: dict[type, set[bool]] = {}
        for config, ratio in zip(space, model.predict(few, space).median_s / modelled_s, strict=True):
            found.setdefault(type(config), set()).add(bool(ratio > 1.5))
        return found

    def slow(spec: KernelSpec, kind: type) -> list[Measurement]:
        configs = [config for config in config_space(spec, cpu.isa, 1) if isinstance(config, kind)]
        step = len(configs) // 24
        return [
            Measurement(
                spec, to_text(config), CONDITIONS, "f", "ab" * 32, (3 * analytic_latency_s(spec, config, cpu),) * 6,
                1, 0, "screen", "r", 0.0, "0",
            )
            for config in configs[::step]
        ]  # fmt: skip

    assert moved() == {LookupConfig: {False}, PopcountConfig: {False}, DotConfig: {False}}
    assert moved(*slow(conv(4), DotConfig)) == {LookupConfig: {False}, PopcountConfig: {False}, DotConfig: {True}}
    counted = moved(*slow(few, PopcountConfig))
    assert counted[PopcountConfig] == {True}
    assert counted[DotConfig] == {False}


def test_fitting_forgets(make: Make) -> None:
    model, fresh = make(), make()
    model.fit(some(conv(), 20, factor=10.0))
    model.predict(conv(), space_of(conv()))
    for m in (model, fresh):
        m.fit(some(conv(), 20))
    configs = space_of(conv())
    assert model.predict(conv(), configs).median_s == pytest.approx(fresh.predict(conv(), configs).median_s)


def test_the_same_records_give_the_same_prediction(make: Make) -> None:
    predictions = []
    for _ in range(2):
        model = make()
        model.fit(some(conv(), 30) + some(pool(), 3))
        model.predict(pool(), space_of(pool()))
        predictions.append(model.predict(conv(), space_of(conv())).median_s)
    assert np.array_equal(*predictions)


def test_kernels_in_turn(make: Make) -> None:
    """Asking for one kernel does not change what is said of another."""
    model = make()
    model.fit([m for s in SPECS for m in some(s, 8)])
    first = {s: model.predict(s, space_of(s)).median_s for s in SPECS}
    assert all(np.array_equal(model.predict(s, space_of(s)).median_s, first[s]) for s in reversed(SPECS))


def test_a_final_measurement_counts_more_than_a_screening(make: Make) -> None:
    config = space_of(conv())[100]
    screen, final = measured(conv(), config, 1.0), measured(conv(), config, 2.0, "final")
    assert one_each([final, screen]) == one_each([screen, final]) == (final,)
    late, early = measured(conv(), config, 1.5), screen
    assert one_each([early, late]) == (late,)
    medians = []
    for records in ([final, screen], [screen, final], [final]):
        model = make()
        model.fit(records)
        medians.append(float(model.predict(conv(), [config]).median_s[0]))
    assert len(set(medians)) == 1


def test_learned_corrections_beat_the_analytic_model(make: Make) -> None:
    """With 40 records of a kernel, what is said of its other configs is better than without, in order and in value."""
    spec, configs = conv(), space_of(conv())
    truth = np.array([skewed(spec, c) for c in configs])
    model = make()
    before = np.log(model.predict(spec, configs).median_s / truth)
    model.fit(some(spec, 40))
    after = np.log(model.predict(spec, configs).median_s / truth)
    assert np.abs(after).mean() < np.abs(before).mean()
    if isinstance(model, LearnedModel):
        assert np.abs(after).mean() < 0.3 * np.abs(before).mean()
        inside = np.abs(after) <= 2 * model.predict(spec, configs).spread + 0.03
        assert inside.mean() > 0.85, "the spread covers the errors"


def test_what_was_learned_carries_over(make: Make) -> None:
    """Records of one convolution order the configs of another, in another precision."""
    other = conv(4, workload=Workload(Op.CONV2D, 1, 28, 28, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1))
    configs = space_of(other)
    truth = np.array([skewed(other, c) for c in configs])
    model = make()
    model.fit(some(conv(8), 60) + some(conv(8, workload=CONV.with_batch(2)), 60))
    best = truth[np.argsort(model.predict(other, configs).median_s, kind="stable")[:5]].min()
    if isinstance(model, LearnedModel):
        assert best <= 1.05 * truth.min()


def test_many_records_of_many_kernels(make: Make) -> None:
    """Thousands of records are thinned, and those of the kernel itself are kept."""
    others = [conv(8, workload=CONV.with_batch(n)) for n in range(2, 8)]
    model = make()
    records = [m for s in others for m in some(s, 300)] + some(conv(), 40)
    assert len(records) > 4 * MAX_ROWS
    model.fit(records)
    known = [parse_config(m.config) for m in some(conv(), 40)]
    truth = np.array([skewed(conv(), config) for config in known])
    prediction = model.predict(conv(), known)
    if isinstance(model, LearnedModel):
        assert np.abs(np.log(prediction.median_s / truth)).max() < 0.1


def test_prediction_checks_itself(make: Make) -> None:
    with pytest.raises(ValueError, match="shapes"):
        Prediction(np.ones(3), np.ones(2))
