"""Ratios and verdicts against the statistics that they claim: error rates of simulated runs, symmetry, scale."""

from __future__ import annotations

import random
from collections import Counter
from math import exp, inf, log, nan, sqrt
from statistics import NormalDist

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from profiler.verdict import MARGIN, Ratio, Span, Verdict, judge, ratio

MIRRORED = {
    Verdict.FASTER: Verdict.SLOWER,
    Verdict.SLOWER: Verdict.FASTER,
    Verdict.SAME: Verdict.SAME,
    Verdict.AMBIGUOUS: Verdict.AMBIGUOUS,
}
spans = st.tuples(st.floats(1e-9, 1e3), st.floats(0, 0.5), st.floats(0, 0.5)).map(
    lambda drawn: Span(drawn[0], drawn[0] * exp(-drawn[1]), drawn[0] * exp(drawn[2]))
)
noises = st.floats(0, 0.3)


def simulated(truth: float, noise: float, within: float, pairs: int = 20_000) -> list[Ratio]:
    """Of two runs of a kernel that takes ``truth`` times as long in the second one. A run as a whole is off by
    ``noise``, its median by ``within`` besides, and its interval tells of the latter alone; logarithms are normal."""
    rng, found = random.Random(20261130), []

    def run(latency_s: float) -> Span:
        median_s = latency_s * exp(rng.gauss(0, noise) + rng.gauss(0, within))
        return Span(median_s, median_s * exp(-1.96 * within), median_s * exp(1.96 * within))

    for _ in range(pairs):
        first, second = run(1e-5), run(1e-5 * truth)
        found.append(ratio(second, first, noise))
    return found


def shares(ratios: list[Ratio], margin: float = MARGIN) -> dict[Verdict, float]:
    counts = Counter(judge(found, margin) for found in ratios)
    return {verdict: counts[verdict] / len(ratios) for verdict in Verdict}


@pytest.mark.parametrize(("noise", "within"), [(0.019, 0.0), (0.019, 0.01), (0.0, 0.02), (0.073, 0.003)])
def test_one_unchanged_kernel_in_twenty_is_called_faster_or_slower(noise: float, within: float) -> None:
    found = shares(simulated(1.0, noise, within))
    assert found[Verdict.FASTER] == pytest.approx(0.025, abs=0.004)
    assert found[Verdict.SLOWER] == pytest.approx(0.025, abs=0.004)


@pytest.mark.parametrize("truth", [0.8, 1.0, 1.3])
def test_an_interval_holds_the_truth_in_95_percent(truth: float) -> None:
    ratios = simulated(truth, 0.02, 0.015)
    assert sum(r.low <= truth <= r.high for r in ratios) / len(ratios) == pytest.approx(0.95, abs=0.006)


def test_a_change_is_found_as_often_as_the_normal_distribution_says() -> None:
    noise, within, truth = 0.02, 0.01, 1.1
    deviation = sqrt(2 * (noise**2 + within**2))
    power = 1 - NormalDist(log(truth), deviation).cdf(1.96 * deviation)
    assert shares(simulated(truth, noise, within))[Verdict.SLOWER] == pytest.approx(power, abs=0.01)
    assert 0.8 < power < 0.95, "neither certain nor hopeless, so that this can fail"


def test_a_change_as_large_as_the_margin_is_rarely_called_the_same() -> None:
    # The worst case: an interval as wide as the margin to one side. Wider ones never fit, narrower ones exclude one.
    noise = log(1 + MARGIN) / (2 * 1.96 * sqrt(2))
    assert 0.01 < shares(simulated(1 + MARGIN, noise, 0.0))[Verdict.SAME] <= 0.028


def test_without_the_noise_between_runs_changes_would_be_invented() -> None:
    rng, changed, pairs = random.Random(7), 0, 2_000
    for _ in range(pairs):
        runs = [exp(rng.gauss(0, 0.02)) for _ in range(2)]
        b, a = (Span(s, s * 0.999, s * 1.001) for s in runs)
        changed += judge(ratio(b, a)) in (Verdict.FASTER, Verdict.SLOWER)
    assert changed / pairs > 0.8


def test_a_ratio_by_hand() -> None:
    # Upwards: 4.2 / 4 and 2 / 1.9; downwards: 4 / 3.6 and 2.2 / 2; between runs 1.96 * sqrt(2) * 0.03 both ways.
    found = ratio(Span(4.0, 3.6, 4.2), Span(2.0, 1.9, 2.2), noise=0.03)
    between = 1.96 * 1.41421356 * 0.03
    assert found.value == 2.0
    assert log(found.high / 2) ** 2 == pytest.approx(log(1.05) ** 2 + log(2 / 1.9) ** 2 + between**2)
    assert log(2 / found.low) ** 2 == pytest.approx(log(4 / 3.6) ** 2 + log(1.1) ** 2 + between**2)


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (1.001, 1.005, 1.01, Verdict.SLOWER),
        (0.95, 0.97, 0.999, Verdict.FASTER),
        (0.92, 1.0, 1.09, Verdict.SAME),
        (1.0, 1.0, 1.0, Verdict.SAME),
        (1.0, 1.05, 1.1, Verdict.SAME),
        (0.92, 1.02, 1.11, Verdict.AMBIGUOUS),
        (0.90, 0.99, 1.05, Verdict.AMBIGUOUS),
        (0.5, 1.0, 2.0, Verdict.AMBIGUOUS),
    ],
)
def test_verdicts(low: float, value: float, high: float, verdict: Verdict) -> None:
    assert judge(Ratio(value, low, high), 0.1) is verdict


def test_a_wider_margin_calls_more_the_same_and_changes_nothing_else() -> None:
    ratios = simulated(1.02, 0.019, 0.005, 2_000)
    narrow, wide = shares(ratios, 0.05), shares(ratios, 0.2)
    assert narrow[Verdict.SAME] < 0.1 < 0.8 < wide[Verdict.SAME]
    assert [narrow[v] for v in (Verdict.FASTER, Verdict.SLOWER)] == [wide[v] for v in (Verdict.FASTER, Verdict.SLOWER)]


@given(spans, spans, noises)
def test_the_other_way_round_it_is_mirrored(a: Span, b: Span, noise: float) -> None:
    there, back = ratio(b, a, noise), ratio(a, b, noise)
    assert back.value == pytest.approx(1 / there.value)
    assert (back.low, back.high) == pytest.approx((1 / there.high, 1 / there.low))
    assume(_clear(there))
    assert judge(back) is MIRRORED[judge(there)]


@given(spans, spans, noises, st.floats(1e-3, 1e3))
def test_the_unit_of_time_does_not_matter(a: Span, b: Span, noise: float, factor: float) -> None:
    there = ratio(b, a, noise)
    scaled = ratio(*(Span(s.latency_s * factor, s.low_s * factor, s.high_s * factor) for s in (b, a)), noise)
    assert (scaled.low, scaled.value, scaled.high) == pytest.approx((there.low, there.value, there.high))
    assume(_clear(there))
    assert judge(scaled) is judge(there)


@given(spans, spans, noises, noises)
def test_more_noise_never_makes_an_interval_narrower(a: Span, b: Span, noise: float, more: float) -> None:
    quiet, loud = ratio(b, a, noise), ratio(b, a, noise + more)
    assert loud.low <= quiet.low * (1 + 1e-12)
    assert loud.high >= quiet.high * (1 - 1e-12)
    assert loud.value == quiet.value


@given(spans, noises)
def test_against_itself_nothing_is_faster_or_slower(span: Span, noise: float) -> None:
    assert judge(ratio(span, span, noise)) in (Verdict.SAME, Verdict.AMBIGUOUS)


def test_a_total_adds_its_parts() -> None:
    total = Span.total((Span(1.0, 0.9, 1.2), Span(2.0, 2.0, 2.0, known=False)))
    assert (total.latency_s, total.low_s, total.high_s, total.known) == pytest.approx((3.0, 2.9, 3.2, False))


@pytest.mark.parametrize("values", [(1, 1.1, 1.2), (1, 0.5, 0.9), (0, 0, 0), (1, -1, 2), (1, 0.5, inf), (nan, 1, 1)])
def test_what_is_no_interval_is_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="not an interval"):
        Span(*values)
    with pytest.raises(ValueError, match="not an interval"):
        Ratio(*values)


@pytest.mark.parametrize("margin", [0.0, -0.1, nan])
def test_a_margin_is_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="a margin is positive"):
        judge(Ratio(1, 1, 1), margin)


def _clear(found: Ratio) -> bool:
    """Whether no end lies so close to where a verdict changes that rounding decides."""
    borders = (1.0, 1 + MARGIN, 1 / (1 + MARGIN))
    return all(abs(end / border - 1) > 1e-9 for end in (found.low, found.high) for border in borders)
