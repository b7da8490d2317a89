"""The model on real rows: what the project promises of it, held to on the LUT that it ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.frontend import load_network
from profiler.lut.store import read
from profiler.predictor.device_facts import facts_of
from profiler.predictor.latency_model import LatencyModel, fit
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import observations, usual_conditions
from profiler.predictor.validation.metrics import HELD_PERCENT, JUDGED_ROWS, Answer, accuracy, coverage
from profiler.predictor.validation.splits import Fold, held_network, leave_one_network_out, random_folds

LUTS = Path(__file__).parents[2] / "lut"
ROWS = read(LUTS / "recorded" / "cpu-8cfd341f-shapes.csv")
OBSERVED = observations(ROWS, usual_conditions(ROWS))
ORIGIN = Origin(ROWS[0].device, ROWS[0].device_name, ROWS[0].arch, ROWS[0].fingerprint, usual_conditions(ROWS))


def learned(fold: Fold) -> LatencyModel:
    return fit([OBSERVED[index] for index in fold.train], ORIGIN, facts_of(ROWS))


def answers(model: LatencyModel, fold: Fold) -> list[Answer]:
    held_out = [OBSERVED[index] for index in fold.test]
    estimates = model.estimate([o.spec for o in held_out], 0.9, look_up=False)
    return [Answer(o, estimate) for o, estimate in zip(held_out, estimates, strict=True)]


def test_there_are_as_many_rows_as_a_judgement_of_intervals_takes() -> None:
    assert len(OBSERVED) >= JUDGED_ROWS
    assert {o.spec.workload.batch for o in OBSERVED} >= {1, 2, 4, 8, 16}
    assert sum(o.spec.workload.in_channels % 16 != 0 for o in OBSERVED) > 100


def test_90_percent_intervals_hold_90_percent_of_unseen_workloads() -> None:
    folds = random_folds(OBSERVED, seed=0).folds[:3]  # of five: enough rows, in fewer seconds
    held_out = [answer for fold in folds for answer in answers(learned(fold), fold)]
    assert len(held_out) >= JUDGED_ROWS
    found = coverage(held_out)
    assert found is not None
    assert HELD_PERCENT[0] <= found.percent <= HELD_PERCENT[1]
    assert accuracy(held_out).median_percent < 4
    layers = [a for a in held_out if a.observed.spec.workload.op.has_weights]
    assert accuracy(layers).mape_percent < 5.5


@pytest.mark.parametrize("name", ["inceptionv3"])
def test_a_network_that_was_not_seen(name: str) -> None:
    (fold,) = leave_one_network_out(OBSERVED, [held_network(load_network(name, 1))]).folds
    model = learned(fold)
    found = answers(model, fold)
    assert accuracy(found).mape_percent < 7
    counts = {a.observed.spec: 1 for a in found}
    total = model.total(counts)
    assert total.low_s <= sum(a.observed.latency_s for a in found) <= total.high_s
