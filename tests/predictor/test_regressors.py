"""Conformance suite of the regressions that a latency model is chosen from."""

from __future__ import annotations

import numpy as np
import pytest

from profiler.predictor.regressors import REGRESSORS, GaussianProcess, Rows
from profiler.predictor.selection import folds, select


def rows(count: int, seed: int = 0, noise: float = 0.01) -> Rows:
    """A plane and a wave over five features, of which two say nothing."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 5))
    y = 0.3 * x[:, 0] - 0.2 * x[:, 1] + 0.2 * np.sin(2 * x[:, 2]) + generator.normal(scale=noise, size=count)
    return Rows(x, y, np.full(count, noise))


@pytest.mark.parametrize("name", list(REGRESSORS))
class TestFamily:
    def test_learns_what_is_there(self, name: str) -> None:
        family, training, test = REGRESSORS[name], rows(200), rows(100, seed=1)
        mean, spread = family.fit(training, family.tune(training, 0)).predict(test.x)
        assert mean.shape == spread.shape == (100,)
        assert (spread > 0).all()
        assert np.abs(mean - test.y).mean() < 0.5 * np.abs(test.y - training.y.mean()).mean()

    def test_is_settled_by_its_hyperparameters(self, name: str) -> None:
        family, training = REGRESSORS[name], rows(60)
        hyperparameters = family.tune(training, 3)
        assert hyperparameters == family.tune(training, 3)
        first, second = (family.fit(training, hyperparameters).predict(training.x) for _ in range(2))
        assert (first[0] == second[0]).all()
        assert (first[1] == second[1]).all()

    def test_takes_features_that_never_change(self, name: str) -> None:
        family, few = REGRESSORS[name], rows(20)
        constant = Rows(np.hstack([few.x, np.ones((20, 2))]), few.y, few.noise)
        mean, _ = family.fit(constant, family.tune(constant, 0)).predict(constant.x)
        assert np.isfinite(mean).all()

    def test_foreign_hyperparameters(self, name: str) -> None:
        with pytest.raises(ValueError, match="hyperparameters instead of"):
            REGRESSORS[name].fit(rows(20), (0.1,) * 9)


def test_a_process_is_less_sure_where_it_has_not_been() -> None:
    training = rows(100)
    _, spread = (
        GaussianProcess()
        .fit(training, GaussianProcess().tune(training, 0))
        .predict(np.array([training.x[0], np.full(5, 40.0)]))
    )
    assert spread[1] > 2 * spread[0]


def test_a_process_is_tuned_on_few_rows_and_fitted_to_all() -> None:
    many = rows(900)
    mean, _ = GaussianProcess().fit(many, GaussianProcess().tune(many, 0)).predict(many.x)
    assert np.abs(mean - many.y).mean() < 0.03


def test_rows_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="shapes"):
        Rows(np.zeros((3, 2)), np.zeros(3), np.zeros(2))


def test_folds_hold_out_whole_groups_evenly() -> None:
    groups = [number // 3 for number in range(900)]
    fold = folds(groups, seed=0)
    assert {len({fold[i] for i in range(900) if groups[i] == g}) for g in range(300)} == {1}
    assert np.bincount(fold).tolist() == [180] * 5
    assert (fold != folds(groups, seed=1)).any()
    assert len(np.unique(folds(groups[:90], seed=0))) == 10
    assert len(np.unique(folds([1, 1, 2, 2], seed=0))) == 2


def test_selection_takes_the_family_that_errs_least() -> None:
    waves, planes = rows(80), rows(80)
    planes = Rows(planes.x, planes.x @ np.array([0.3, -0.2, 0.1, 0, 0]), planes.noise)
    groups = list(range(80))
    assert select(waves, groups, 0).family != "ridge"
    chosen = select(planes, groups, 0)
    assert chosen.errors[chosen.family] == min(chosen.errors.values())
    assert chosen.errors["extra_trees"] > chosen.errors["ridge"]


def test_nothing_of_a_held_out_group_is_learned() -> None:
    """Rows of a group have a level of their own; out of fold it cannot be known."""
    generator = np.random.default_rng(0)
    x = np.repeat(generator.normal(size=(20, 2)), 3, axis=0)
    levels = np.repeat(generator.normal(size=20), 3)
    data = Rows(x, levels, np.full(60, 0.01))
    groups = [number // 3 for number in range(60)]
    out = select(data, groups, 0).out_of_fold
    assert np.abs(out.mean - levels).mean() > 0.5
