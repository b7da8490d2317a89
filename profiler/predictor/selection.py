"""Which regression to take, by how it does on workloads that it has not seen."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.predictor.regressors import LIMITLESS, MOST_ROWS, REGRESSORS, Array, Family, Rows

_FEW_GROUPS, _MANY_FOLDS, _FOLDS = 100, 10, 5


@dataclass(frozen=True)
class OutOfFold:
    """What a family says of each row when it has not seen its workload; ``fold`` is the row's."""

    mean: Array
    spread: Array
    fold: npt.NDArray[np.intp]

    def mean_error(self, y: Array) -> float:
        """Mean absolute error of the logarithm."""
        return float(np.abs(y - self.mean).mean())


@dataclass(frozen=True)
class Selection:
    """The family with the least error, and its hyperparameters for all rows; ``errors`` are those of all families."""

    family: str
    hyperparameters: tuple[float, ...]
    out_of_fold: OutOfFold
    errors: Mapping[str, float]


def select(rows: Rows, groups: Sequence[Hashable], seed: int, among: Sequence[str] = tuple(REGRESSORS)) -> Selection:
    """By grouped cross-validation: hyperparameters are settled anew in each fold, on its training rows alone (the
    search begins at those of all rows). ``among`` names the families to try."""
    fold = folds(groups, seed)
    families = {name: family for name, family in _families(len(rows)).items() if name in among}
    tuned = {name: family.tune(rows, seed) for name, family in families.items()}
    tried = {name: _cross_validated(family, rows, fold, seed, tuned[name]) for name, family in families.items()}
    errors = {name: out.mean_error(rows.y) for name, out in tried.items()}
    best = min(errors, key=lambda name: (errors[name], name))
    return Selection(best, tuned[best], tried[best], errors)


def folds(groups: Sequence[Hashable], seed: int) -> npt.NDArray[np.intp]:
    """The fold of each row, of shape (n,): 5 of them (10 where groups are few), with whole groups in one, evenly."""
    distinct = list(dict.fromkeys(groups))
    count = min(_MANY_FOLDS if len(distinct) < _FEW_GROUPS else _FOLDS, len(distinct))
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold_of = {distinct[index]: place % count for place, index in enumerate(order)}
    return np.array([fold_of[group] for group in groups], dtype=np.intp)


def _families(rows: int) -> Mapping[str, Family]:
    return {name: family for name, family in REGRESSORS.items() if rows <= MOST_ROWS or name in LIMITLESS}


def _cross_validated(
    family: Family, rows: Rows, fold: npt.NDArray[np.intp], seed: int, start: Sequence[float]
) -> OutOfFold:
    mean, spread = np.zeros(len(rows)), np.zeros(len(rows))
    for number in np.unique(fold):
        held_out, kept = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        training = rows.take(kept)
        fitted = family.fit(training, family.tune(training, seed, start))
        mean[held_out], spread[held_out] = fitted.predict(rows.x[held_out])
    return OutOfFold(mean, spread, fold)
