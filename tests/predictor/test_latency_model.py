"""The latency model: what it promises whatever it was fitted to, and how it does on a device that is a formula."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import ProfilerError
from profiler.lut.schema import Source
from profiler.predictor.conformal import binomial_interval
from profiler.predictor.estimate import Basis
from profiler.predictor.latency_model import LatencyModel, fit
from profiler.predictor.observation import Observation
from profiler.predictor.population import draws
from profiler.predictor.sums import KERNELS_OF_A_SUM
from profiler.workload import INT4, INT8, DType, Epilogue, KernelSpec, Op, Workload
from tests.predictor.invented import CPU, ORIGIN, latency_s, observed

WORKLOADS = 70


@lru_cache
def model() -> LatencyModel:
    return fit(observed(WORKLOADS), ORIGIN, CPU)


def unseen(count: int) -> list[KernelSpec]:
    seen = {o.group for o in observed(WORKLOADS)}
    fresh = [d for d in draws(count + WORKLOADS, (INT8, INT4), seed=99) if d.workload.with_batch(1) not in seen]
    return [spec for d in fresh[:count] for spec in d.specs]


def test_unseen_kernels_are_predicted_well_and_intervals_hold() -> None:
    specs = unseen(60)
    estimates = model().estimate(specs)
    errors = [abs(e.latency_s / latency_s(spec) - 1) for e, spec in zip(estimates, specs, strict=True)]
    assert np.median(errors) < 0.08
    inside = [
        e.low_s <= latency_s(s) <= e.high_s for e, s in zip(estimates, specs, strict=True) if e.basis is Basis.PREDICTED
    ]
    assert len(inside) > 60
    low, high = binomial_interval(sum(inside), len(inside), 0.999)
    assert low < 0.95
    assert high > 0.85
    assert sum(inside) / len(inside) > 0.8


extents = st.sampled_from([7, 8, 14, 17, 28, 35, 56, 112])
channels = st.integers(1, 1024)
kernels = st.sampled_from([1, 3, 5, 7])


@st.composite
def convolutions(draw: st.DrawFn) -> KernelSpec:
    extent, kernel, precision = draw(extents), draw(kernels), draw(st.sampled_from([INT8, INT4]))
    pads = (kernel // 2,) * 4
    strides = (draw(st.sampled_from([1, 2])),) * 2
    shape = (draw(st.sampled_from([1, 2, 8])), extent, extent, draw(channels), draw(channels))
    workload = Workload(Op.CONV2D, *shape, kernel, kernel, *strides, *pads)
    unsigned = precision.activation_dtype(signed=False)
    return KernelSpec(workload, unsigned, unsigned, precision.weight_dtype, epilogue=Epilogue.REQUANT_RELU)


@given(convolutions(), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_answers_are_positive_finite_and_inside_of_their_interval(spec: KernelSpec, confidence: float) -> None:
    (estimate,) = model().estimate([spec], confidence)
    assert 0 < estimate.low_s <= estimate.latency_s <= estimate.high_s
    assert isfinite(estimate.high_s)
    assert estimate.basis in (Basis.PREDICTED, Basis.EXTRAPOLATED, Basis.MEASURED)
    (wider,) = model().estimate([spec], (1 + confidence) / 2)
    assert wider.high_s >= estimate.high_s


@given(convolutions(), st.integers(2, 4), st.sampled_from(["in_channels", "out_channels", "batch"]))
@settings(max_examples=60, deadline=None)
def test_more_of_the_same_is_not_faster_beyond_the_interval(spec: KernelSpec, times: int, extent: str) -> None:
    grown = replace(spec, workload=replace(spec.workload, **{extent: times * getattr(spec.workload, extent)}))
    less, more = model().estimate([spec, grown], look_up=False)
    assert more.latency_s >= less.low_s


def test_what_was_measured_is_looked_up() -> None:
    observation = observed(WORKLOADS)[5]
    (known,) = model().estimate([observation.spec])
    assert (known.basis, known.latency_s) == (Basis.MEASURED, observation.latency_s)
    assert known.low_s < known.latency_s < known.high_s
    (predicted,) = model().estimate([observation.spec], look_up=False)
    assert predicted.basis is Basis.PREDICTED


def test_a_measured_latency_goes_ahead_of_a_published_one() -> None:
    rows = observed(20)
    faster = Observation(rows[0].spec, rows[0].latency_s / 2, source=Source.PUBLISHED)
    (known,) = fit((faster, *rows), ORIGIN, CPU).estimate([rows[0].spec])
    assert (known.basis, known.latency_s) == (Basis.MEASURED, rows[0].latency_s)
    (published,) = fit((faster, *rows[1:]), ORIGIN, CPU).estimate([rows[0].spec])
    assert (published.basis, published.latency_s) == (Basis.PUBLISHED, faster.latency_s)
    assert published.low_s == published.latency_s == published.high_s  # no interval was published


def test_outside_of_what_was_seen() -> None:
    workload = Workload(Op.CONV2D, 1, 14, 14, 256, 40_000, 3, 3, 1, 1, 1, 1, 1, 1)
    spec = KernelSpec(workload, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)
    (estimate,) = model().estimate([spec])
    assert estimate.basis is Basis.EXTRAPOLATED
    assert any("output channels 4e+04" in line for line in estimate.warnings)
    relayout = KernelSpec(Workload(Op.RELAYOUT, 1, 28, 28, 64, 64), DType.UINT8, DType.UINT8)
    assert model().estimate([relayout])[0].warnings == ("no relayout was measured",)


def test_built_again_from_its_state_it_answers_the_same() -> None:
    specs = unseen(20)
    again = LatencyModel(model().state)
    assert again.estimate(specs) == model().estimate(specs)
    assert fit(observed(WORKLOADS), ORIGIN, CPU).state == model().state


def test_a_total_is_a_sum_with_one_factor() -> None:
    known, fresh = observed(WORKLOADS)[0], unseen(8)
    counts = {known.spec: 3, **dict.fromkeys(fresh, 2)}
    assert sum(2 for _ in fresh) >= KERNELS_OF_A_SUM
    total = model().total(counts)
    parts = model().estimate(fresh)
    assert total.known_s == pytest.approx(3 * known.latency_s)
    assert total.predicted_s == pytest.approx(2 * sum(e.latency_s for e in parts))
    assert total.extrapolated_s == pytest.approx(2 * sum(e.latency_s for e in parts if e.basis is Basis.EXTRAPOLATED))
    assert total.latency_s == pytest.approx(total.known_s + total.predicted_s)
    assert total.factor == model().factor(0.9)
    (row,) = model().estimate([known.spec])
    assert total.high_s == pytest.approx(3 * row.high_s + total.factor * total.predicted_s)
    assert total.low_s == pytest.approx(3 * row.low_s + total.predicted_s / total.factor)
    assert 1 < model().factor(0.5) < model().factor(0.95)
    halves = [e.high_s / e.latency_s for e in parts]
    assert total.factor < max(halves)  # errors cancel
    few = dict.fromkeys(fresh[:3], 1)  # too few for errors to cancel as they do in a network
    assert model().total(few).high_s == pytest.approx(sum(e.high_s for e in parts[:3]))
    empty = model().total({})
    assert (empty.latency_s, empty.low_s, empty.high_s) == (0, 0, 0)


def test_sums_that_were_not_seen_lie_within_the_factor() -> None:
    specs = unseen(60)
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(50):
        chosen = generator.permutation(len(specs))[:20]
        counts = {specs[i]: 1 for i in chosen}
        total = model().total(counts)
        inside.append(total.low_s <= sum(latency_s(spec) for spec in counts) <= total.high_s)
    assert sum(inside) >= 40


def test_few_rows_give_wide_intervals_and_say_so() -> None:
    few = fit(observed(16)[:30], ORIGIN, CPU)
    spec = unseen(30)[0]
    assert few.estimate([spec], 0.99)[0].basis is Basis.EXTRAPOLATED
    assert "15 workloads are too few" in few.estimate([spec], 0.99)[0].warnings[-1]
    widths = [np.median([e.high_s / e.low_s for e in m.estimate(unseen(30))]) for m in (few, model())]
    assert widths[0] > widths[1]


def test_too_few_rows() -> None:
    with pytest.raises(ProfilerError, match="10 latencies of 5 workloads are too few"):
        fit(observed(5), ORIGIN, CPU)
    with pytest.raises(ProfilerError, match="measure more"):
        fit([], ORIGIN, CPU)


def bare(spec: KernelSpec) -> KernelSpec:
    return replace(spec, output_dtype=DType.INT32, epilogue=Epilogue.NONE, input2_dtype=None, output_layout="blocks")


def test_a_table_of_bare_kernels_answers_for_fused_ones() -> None:
    rows = [o for o in observed(60) if o.spec.epilogue is Epilogue.REQUANT_RELU and not o.spec.input_dtype.signed]
    kernels = fit([replace(o, spec=bare(o.spec)) for o in rows], ORIGIN, CPU)
    assert kernels.kernel_only
    assert not model().kernel_only
    (answer,) = kernels.estimate([rows[0].spec])
    assert (answer.spec, answer.latency_s, answer.basis) == (rows[0].spec, rows[0].latency_s, Basis.STAND_IN)
    assert kernels.estimate([bare(rows[0].spec)])[0].basis is Basis.MEASURED
    assert kernels.total({rows[0].spec: 2}).predicted_s == 2 * rows[0].latency_s
    fused = replace(rows[0].spec, input2_dtype=DType.UINT8, epilogue=Epilogue.ADD_REQUANT_RELU)
    assert kernels.estimate([fused])[0].latency_s == rows[0].latency_s
    pool = KernelSpec(Workload(Op.MAX_POOL, 1, 28, 28, 64, 64, 3, 3), DType.UINT8, DType.UINT8)
    assert kernels.estimate([pool])[0].basis is Basis.EXTRAPOLATED


def test_a_sum_says_that_its_interval_promises_less() -> None:
    counts = dict.fromkeys(unseen(12), 1)
    assert model().total(counts, 0.9).warnings == ()
    (warning,) = model().total(counts, 0.999).warnings
    assert "held-out sums are too few" in warning
