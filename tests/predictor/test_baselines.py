"""The plain models, on latencies that each of them can say exactly."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from profiler.predictor.estimate import Basis
from profiler.predictor.observation import Observation
from profiler.predictor.validation.baselines import (
    Points,
    baselines,
    macs_times_constant,
    nearest_neighbour,
    random_forest,
    roofline,
)
from profiler.space.traffic import moved_bytes
from profiler.workload import DType, KernelSpec, Op, Workload
from tests.predictor.invented import observed

POOL = KernelSpec(Workload(Op.MAX_POOL, 1, 8, 8, 16, 16, 2, 2, 2, 2), DType.INT8, DType.INT8)


def dense(inputs: int, outputs: int, weights: DType = DType.INT8, batch: int = 1) -> KernelSpec:
    sums = DType.INT32 if weights.is_integer else weights
    return KernelSpec(Workload(Op.DENSE, batch, 1, 1, inputs, outputs), weights, sums, weights)


def said(points: Points, *specs: KernelSpec) -> list[float]:
    return [estimate.latency_s for estimate in points.estimate(specs)]


def test_macs_times_a_constant_of_each_width() -> None:
    rates = {DType.INT8: 3e-12, DType.INT4: 2e-12}
    rows = [
        Observation(dense(64, n, weights), 64 * n * rate) for weights, rate in rates.items() for n in (10, 20, 30, 40)
    ]
    outlier = Observation(dense(64, 50), 1.0)
    model = macs_times_constant([*rows, outlier, Observation(POOL, 7e-9 * moved_bytes(POOL))])
    larger = KernelSpec(Workload(Op.MAX_POOL, 1, 16, 16, 16, 16, 2, 2, 2, 2), DType.INT8, DType.INT8)
    wide = dense(64, 100, DType.FLOAT32)
    assert said(model, dense(128, 100), dense(128, 100, DType.INT4), larger, wide) == pytest.approx(
        [3e-12 * 12800, 2e-12 * 12800, 7e-9 * (16 * 16 * 16 + 8 * 8 * 16), 3e-12 * 6400]
    )


def test_roofline_finds_its_rates() -> None:
    per_product, per_byte = {8: 2e-12, 4: 1e-12}, 5e-11

    def truth_s(spec: KernelSpec) -> float:
        bits = spec.weight_dtype.bits if spec.weight_dtype else 8
        return max(spec.workload.macs * per_product[bits], moved_bytes(spec) * per_byte)

    rows = [Observation(o.spec, truth_s(o.spec)) for o in observed(60)]
    outliers = [Observation(o.spec, 30 * o.latency_s) for o in rows[:3]]
    model = roofline(outliers + rows[3:])
    others = [o.spec for o in observed(40, seed=5)]
    errors = [abs(log(s / truth_s(spec))) for s, spec in zip(said(model, *others), others, strict=True)]
    assert max(errors) < 0.05


def test_roofline_of_kernels_without_weights() -> None:
    pools = [KernelSpec(Workload(Op.MAX_POOL, 1, n, n, 16, 16), DType.INT8, DType.INT8) for n in range(2, 12)]
    model = roofline([Observation(spec, 1e-9 * moved_bytes(spec)) for spec in pools])
    assert said(model, POOL) == pytest.approx([1e-9 * moved_bytes(POOL)], rel=0.02)
    (unknown,) = said(model, dense(8, 8))
    assert unknown > 0


def test_nearest_neighbour() -> None:
    rows = [Observation(dense(64, n), float(n)) for n in (10, 100, 1000)]
    pool = Observation(POOL, 5.0)
    model = nearest_neighbour([*rows, pool])
    assert said(model, dense(64, 12), dense(64, 90), dense(60, 5000), POOL) == [10, 100, 1000, 5]
    tiny = KernelSpec(Workload(Op.MAX_POOL, 1, 2, 2, 4, 4), DType.INT8, DType.INT8)
    assert said(model, tiny) == [5], "another operator is never nearer"


def test_random_forest_averages_what_it_has_seen() -> None:
    rows = observed(40)
    seen = [o.latency_s for o in rows]
    specs = [o.spec for o in observed(30, seed=3)]
    once, again, other = (said(random_forest(rows, seed), *specs) for seed in (0, 0, 1))
    assert once == again != other
    assert min(seen) <= min(once)
    assert max(once) <= max(seen)


def test_all_have_the_interface_of_the_model() -> None:
    rows = observed(20)
    for learner in baselines(seed=0):
        model = learner.fit(rows)
        assert not learner.intervals
        assert model.estimate([]) == ()
        estimates = model.estimate([rows[0].spec, rows[1].spec], 0.5, look_up=False)
        assert all(e.low_s == e.latency_s == e.high_s and e.basis is Basis.PREDICTED for e in estimates)
        total = model.total({rows[0].spec: 3, rows[1].spec: 1})
        assert total.latency_s == pytest.approx(float(np.dot([3, 1], [e.latency_s for e in estimates])))
