"""Rows as a model answers for them that has not seen their workload: nothing of a row is in its own prediction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import exp, log
from statistics import median

import numpy as np
import pytest

from profiler.errors import ProfilerError
from profiler.predictor import selection
from profiler.predictor.envelope import Envelope
from profiler.predictor.observation import Observation
from profiler.predictor.regressors import REGRESSORS
from profiler.predictor.selection import folds
from profiler.predictor.validation.cross_validated import cross_validated
from profiler.predictor.validation.metrics import Answer
from tests.predictor.invented import CPU, observed

CONFIDENCE = 0.9
ROWS = observed(40)


def answered(rows: Iterable[Observation]) -> tuple[str, tuple[Answer, ...]]:
    return cross_validated(tuple(rows), CPU, 1, CONFIDENCE)


@pytest.fixture(scope="module")
def found() -> tuple[str, tuple[Answer, ...]]:
    return answered(ROWS)


@pytest.fixture
def one_family(monkeypatch: pytest.MonkeyPatch) -> str:
    """Which family is taken is a choice by all rows; with one there is none."""
    name = "gaussian_process_core"
    monkeypatch.setattr(selection, "REGRESSORS", {name: REGRESSORS[name]})
    return name


def test_answers_stand_in_the_order_of_the_rows(found: tuple[str, tuple[Answer, ...]]) -> None:
    family, answers = found
    assert family in REGRESSORS
    assert [answer.observed for answer in answers] == list(ROWS)
    assert [answer.estimate.spec for answer in answers] == [row.spec for row in ROWS]


def test_the_same_rows_give_the_same_answers(one_family: str) -> None:
    assert answered(ROWS) == answered(ROWS)
    assert answered(ROWS)[0] == one_family


def test_intervals_hold_about_as_many_as_they_say(found: tuple[str, tuple[Answer, ...]]) -> None:
    """80 rows: with 90% of confidence 95 of 100 such samples have 66 to 77 in their intervals (binomial)."""
    _, answers = found
    assert 64 <= sum(answer.covered for answer in answers) <= 78
    for answer in answers:
        estimate = answer.estimate
        assert estimate.low_s < estimate.latency_s < estimate.high_s
        assert log(estimate.high_s / estimate.latency_s) == pytest.approx(log(estimate.latency_s / estimate.low_s))


def test_the_errors_are_those_of_a_model_that_knows_something(found: tuple[str, tuple[Answer, ...]]) -> None:
    """The invented latency has 2% of noise and a smooth part that the analytic model does not know."""
    _, answers = found
    assert 2 < median(abs(answer.error_percent) for answer in answers) < 15


@pytest.mark.parametrize("factor", [7.0, 1 / 7])
@pytest.mark.parametrize("place", [0, 11, 23])
def test_a_row_says_nothing_of_itself(one_family: str, factor: float, place: int) -> None:
    """The latencies of a workload are changed: what is predicted for it stays, what is predicted from it moves."""
    group = ROWS[place].group
    changed = [replace(row, latency_s=factor * row.latency_s) if row.group == group else row for row in ROWS]
    before, after = answered(ROWS)[1], answered(changed)[1]
    fold = folds([row.group for row in ROWS], 0)
    held = {int(fold[index]) for index, row in enumerate(ROWS) if row.group == group}
    assert len(held) == 1
    moved = 0
    for index, (a, b) in enumerate(zip(before, after, strict=True)):
        ratio = b.estimate.latency_s / a.estimate.latency_s
        if fold[index] in held:
            assert ratio == pytest.approx(1, rel=0.02)  # hyperparameters are looked for from those of all rows on
        moved += abs(log(ratio)) > 0.02
    assert moved > 10


def test_nor_does_it_with_all_families(found: tuple[str, tuple[Answer, ...]]) -> None:
    """The choice of the family sees all rows, so figures may move; not towards a row that is 7 times as slow."""
    group = ROWS[0].group
    changed = [replace(row, latency_s=7 * row.latency_s) if row.group == group else row for row in ROWS]
    for before, after in zip(found[1], answered(changed)[1], strict=True):
        if before.observed.group == group:
            assert abs(log(after.estimate.latency_s / before.estimate.latency_s)) < log(7) / 5


def test_batches_and_precisions_of_a_workload_are_held_out_together(one_family: str) -> None:
    """A row whose workload is there in another batch is predicted as if it were not."""
    first = ROWS[0].spec
    batch = replace(first, workload=first.workload.with_batch(7))
    rows = (*ROWS, Observation(batch, 7 * ROWS[0].latency_s))
    wild = (*ROWS, Observation(batch, 70 * ROWS[0].latency_s))
    places = [index for index, row in enumerate(rows) if row.group == ROWS[0].group]
    assert len(places) == 3
    before, after = answered(rows)[1], answered(wild)[1]
    for index in places:
        assert after[index].estimate.latency_s == pytest.approx(before[index].estimate.latency_s, rel=0.02)


def test_what_lies_outside_of_the_other_rows_is_called_so(one_family: str) -> None:
    """By the rows of the other folds: in the envelope of all rows nothing would lie outside."""
    fold = folds([row.group for row in ROWS], 0)
    for index, answer in enumerate(answered(ROWS)[1]):
        seen = Envelope(ROWS[other].spec for other in np.flatnonzero(fold != fold[index]))
        assert answer.inside == (not seen.warnings(ROWS[index].spec))
        assert answer.estimate.warnings == seen.warnings(ROWS[index].spec)


def test_an_interval_is_never_infinite(one_family: str) -> None:
    """Of ten workloads a fold leaves nine: too few to calibrate 95% with, so the widest interval stands."""
    rows = observed(10)
    for answer in cross_validated(rows, CPU, 1, 0.95)[1]:
        assert answer.estimate.high_s / answer.estimate.latency_s == pytest.approx(exp(5.0))


@pytest.mark.parametrize("rows", [(), ROWS[:15], observed(7)])
def test_too_few_rows_are_refused(rows: tuple[Observation, ...]) -> None:
    with pytest.raises(ProfilerError, match="too few to learn from: 16 of 8 are needed"):
        answered(rows)
