"""Numbers of a report, against hand and tables."""

from __future__ import annotations

import random
from dataclasses import replace
from math import exp, log, pi, sqrt

import pytest

from profiler.predictor.estimate import Basis, Estimate
from profiler.predictor.observation import Observation
from profiler.predictor.validation.metrics import (
    Answer,
    Coverage,
    NoiseFloor,
    NoiseOrigin,
    accuracy,
    coverage,
    halfwidth_percent,
    noise_floor,
    precision_pairs,
    ratio_errors,
)
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

CONV = Workload(Op.CONV2D, 1, 8, 8, 16, 16, 3, 3)
QUIET = NoiseFloor(0.0, NoiseOrigin.UNKNOWN, 0)


def kernel(
    bits: int, epilogue: Epilogue = Epilogue.REQUANT_RELU, signed: bool = False, out: int | None = None
) -> KernelSpec:
    activations = DType.integer(bits, signed)
    output = DType.integer(out or bits, signed=False) if epilogue.requantizes else DType.INT32
    second = DType.integer(bits, signed=False) if epilogue.adds else None
    return KernelSpec(CONV, activations, output, DType.integer(bits, signed=True), second, epilogue)


def answer(measured_s: float, predicted_s: float, spec: KernelSpec | None = None, half: float = 0.1) -> Answer:
    spec = spec or kernel(8)
    estimate = Estimate(spec, predicted_s, predicted_s / (1 + half), predicted_s * (1 + half), Basis.PREDICTED)
    return Answer(Observation(spec, measured_s), estimate)


def outside(inner: Answer) -> Answer:
    return replace(inner, estimate=replace(inner.estimate, basis=Basis.EXTRAPOLATED, warnings=("far",)))


def test_accuracy() -> None:
    found = accuracy([answer(100, 100), answer(100, 104), answer(100, 92), answer(100, 130)])
    assert found.rows == 4
    assert found.mape_percent == pytest.approx((0 + 4 + 8 + 30) / 4)
    assert found.median_percent == pytest.approx(6)
    assert (found.within_5_percent, found.within_10_percent, found.within_20_percent) == (50, 75, 75)
    with pytest.raises(ValueError, match="no answer"):
        accuracy([])


def test_errors_are_of_the_measured_latency() -> None:
    assert answer(50, 100).error_percent == pytest.approx(100)
    assert answer(100, 50).error_percent == pytest.approx(-50)


def test_coverage_with_its_interval() -> None:
    hits = [answer(100, 105)] * 9 + [answer(100, 120)]
    found = coverage(hits)
    assert found is not None
    assert (found.rows, found.covered, found.percent) == (10, 9, 90)
    # Table of Clopper and Pearson for 9 of 10.
    assert (found.low_percent, found.high_percent) == pytest.approx((55.50, 99.75), abs=0.005)
    none = coverage([answer(100, 120)] * 20)
    assert none is not None
    assert none.low_percent == 0
    assert none.high_percent == pytest.approx(100 * (1 - 0.025 ** (1 / 20)))
    assert coverage([]) is None


def test_the_ends_belong_to_the_interval() -> None:
    at_low, at_high = answer(100, 110, half=0.1), answer(110, 100, half=0.1)
    assert replace(at_low, observed=Observation(at_low.observed.spec, at_low.estimate.low_s)).covered
    assert replace(at_high, observed=Observation(at_high.observed.spec, at_high.estimate.high_s)).covered


@pytest.mark.parametrize(
    ("rows", "covered", "said"),
    [
        (599, 540, "too few rows to judge (600 are needed)"),
        (600, 540, "held (87 to 93%)"),
        (600, 521, "missed (87 to 93%)"),
        (1000, 931, "missed (87 to 93%)"),
        (1000, 870, "held (87 to 93%)"),
    ],
)
def test_coverage_is_judged_with_enough_rows_only(rows: int, covered: int, said: str) -> None:
    assert Coverage(rows, covered, 0.0, 100.0).verdict == said


def test_half_width() -> None:
    assert halfwidth_percent([answer(1, 2, half=h) for h in (0.1, 0.2, 0.9)]) == pytest.approx(20)


def test_which_kernels_differ_in_precision_only() -> None:
    adds = Epilogue.ADD_REQUANT_RELU
    specs = [
        kernel(8), kernel(4),
        kernel(8, signed=True), kernel(4, signed=True),
        kernel(8, adds), kernel(4, adds),
        kernel(8, Epilogue.BIAS),  # no partner
        kernel(8, out=4), kernel(4, out=8),  # of two widths
    ]  # fmt: skip
    random.Random(1).shuffle(specs)
    pairs = precision_pairs([answer(1, 1, spec) for spec in specs])
    found = {(pair.eight.observed.spec.key, pair.four.observed.spec.key) for pair in pairs}
    assert found == {
        (kernel(8).key, kernel(4).key),
        (kernel(8, signed=True).key, kernel(4, signed=True).key),
        (kernel(8, adds).key, kernel(4, adds).key),
    }


def test_signs_may_differ_where_no_kernel_has_the_same() -> None:
    eight, four, same = kernel(8, signed=True), kernel(4), kernel(4, signed=True)
    (pair,) = precision_pairs([answer(1, 1, eight), answer(1, 1, four)])
    assert (pair.eight.observed.spec, pair.four.observed.spec) == (eight, four)
    (pair,) = precision_pairs([answer(1, 1, eight), answer(1, 1, four), answer(1, 1, same)])
    assert pair.four.observed.spec == same


def test_pools_have_a_precision_too_and_conversions_have_two() -> None:
    pool = Workload(Op.MAX_POOL, 1, 8, 8, 16, 16)
    convert = Workload(Op.CONVERT, 1, 8, 8, 16, 16)
    specs = [
        KernelSpec(pool, DType.UINT8, DType.UINT8),
        KernelSpec(pool, DType.UINT4, DType.UINT4),
        KernelSpec(convert, DType.UINT8, DType.UINT4, epilogue=Epilogue.REQUANT),
        KernelSpec(convert, DType.UINT4, DType.UINT8, epilogue=Epilogue.REQUANT),
    ]
    (pair,) = precision_pairs([answer(1, 1, spec) for spec in specs])
    assert pair.four.observed.spec == specs[1]
    floats = KernelSpec(pool, DType.FLOAT32, DType.FLOAT32)
    assert precision_pairs([answer(1, 1, floats)]) == ()


def ratios(*quadruples: tuple[float, float, float, float], sigma: float = 0.0) -> tuple[float, float, int, int]:
    """Of pairs in workloads of their own; each is measured and predicted with 8 bits, then with 4."""
    answers = []
    for number, (m8, p8, m4, p4) in enumerate(quadruples):
        workload = replace(CONV, out_channels=number + 1)
        answers += [
            answer(m8, p8, replace(kernel(8), workload=workload)),
            answer(m4, p4, replace(kernel(4), workload=workload)),
        ]
    found = ratio_errors(precision_pairs(answers), replace(QUIET, sigma=sigma))
    assert found is not None
    assert found.pairs == len(quadruples)
    return found.median_percent, found.mean_percent, found.decided, found.right


def test_ratio_errors() -> None:
    # Measured ratios 2, 2, 0.5; predicted 2, 2.2, 2.
    found = ratios((2, 2, 1, 1), (2, 2.2, 1, 1), (1, 4, 2, 2))
    assert found == pytest.approx((10, (0 + 10 + 300) / 3, 3, 2))
    assert ratio_errors([], QUIET) is None


def test_pairs_that_noise_explains_are_not_decided() -> None:
    tie = exp(1.96 * sqrt(2) * 0.02)
    just_over, just_under = (tie * 1.001, 1, 1, 2), (tie * 0.999, 1, 1, 2)
    assert ratios(just_over, just_under, sigma=0.02)[2:] == (1, 0)


def test_noise_from_replicates() -> None:
    draw = random.Random(0)
    pairs = [(exp(draw.gauss(0, 0.05)), exp(draw.gauss(0, 0.05))) for _ in range(4000)]
    found = noise_floor([], pairs)
    assert found.sigma == pytest.approx(0.05, rel=0.03)
    assert (found.origin, found.samples) == (NoiseOrigin.REPLICATES, 4000)
    assert found.percent == pytest.approx(100 * sum(abs(log(a / b)) for a, b in pairs) / 4000)
    beyond = sum(abs(log(a / b)) > found.tie for a, b in pairs) / 4000
    assert beyond == pytest.approx(0.05, abs=0.012)


def test_noise_from_the_rows_where_little_was_measured_twice() -> None:
    rows = [Observation(kernel(8), 1.0, noise) for noise in (0.01, 0.03, 0.0)]
    found = noise_floor(rows, [(1.0, 2.0)] * 7)
    assert (found.sigma, found.origin, found.samples) == (pytest.approx(0.02), NoiseOrigin.INTERVALS, 2)
    assert found.percent == pytest.approx(100 * 2 * 0.02 / sqrt(pi))
    unknown = noise_floor([Observation(kernel(8), 1.0)])
    assert (unknown.percent, unknown.origin) == (0, NoiseOrigin.UNKNOWN)
