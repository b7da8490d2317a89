"""The regressions that a latency model is chosen from: what they learn is log(latency / modelled latency).

Each is settled by a few numbers, its hyperparameters, which `Family.tune` finds and a model file holds; `Family.fit` is
then deterministic. A fitted one says how far it may be off, in the units in which `conformal` corrects it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Kernel, Matern, WhiteKernel
from sklearn.linear_model import Ridge as RidgeRegression
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

Array = npt.NDArray[np.float64]

LEAST_NOISE = 0.005
"""Standard deviation of a logarithm below which no measurement is trusted."""
MOST_ROWS = 3000
"""Of an exact Gaussian process, whose cost grows with their cube."""
_TUNING_ROWS = 300
_TREES, _TREE_FEATURES = 200, 0.4
_RARE = 0.01  # share of corrections beyond which they count as the last usual one, on either side
LEAST_SPREAD = 0.01
"""Below which no regression is trusted."""


@dataclass(frozen=True)
class Rows:
    """What a regression learns from: ``x`` of shape (n, features), ``y`` and ``noise`` of shape (n,).

    ``core`` are the columns of ``x`` that matter most, for regressions on few rows.
    """

    x: Array
    y: Array
    noise: Array
    core: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.shape != self.noise.shape or self.y.shape != self.x.shape[:1]:
            raise ValueError(f"shapes of rows: {self.x.shape}, {self.y.shape}, {self.noise.shape}")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: npt.NDArray[np.intp]) -> Rows:
        return Rows(self.x[index], self.y[index], self.noise[index], self.core)


class Fitted(Protocol):
    """A regression that has learned."""

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Corrections of shape (n,), and their spread (positive): a standard deviation, or 1 where none is known."""
        ...


class Family(Protocol):
    """A kind of regression."""

    def tune(self, rows: Rows, seed: int, start: Sequence[float] = ()) -> tuple[float, ...]:
        """Hyperparameters for these rows; ``start`` are those of similar rows, from which the search may begin."""
        ...

    def fit(self, rows: Rows, hyperparameters: Sequence[float]) -> Fitted:
        """Raises `ValueError` for hyperparameters that are not of this family."""
        ...


class GaussianProcess:
    """A linear trend, a smooth correction (Matern 5/2, one length scale for standardized features), and noise.

    ``core`` : of the core columns alone (of all, where the rows name none).
    """

    def __init__(self, core: bool = False) -> None:
        self._core = core

    def tune(self, rows: Rows, seed: int, start: Sequence[float] = ()) -> tuple[float, ...]:
        """By the likelihood of at most 300 of the rows, spread over all."""
        few = rows if len(rows) <= _TUNING_ROWS else rows.take(_some(len(rows), _TUNING_ROWS, seed))
        z = StandardScaler().fit_transform(few.x[:, self._columns(few)])
        kernel = _kernel().clone_with_theta(np.array(start)) if len(start) else _kernel()
        process = GaussianProcessRegressor(kernel, alpha=_variance(few), random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a part that the rows do not need ends at its bound
            process.fit(z, few.y - few.y.mean())
        return tuple(float(theta) for theta in process.kernel_.theta)

    def fit(self, rows: Rows, hyperparameters: Sequence[float]) -> Fitted:
        kernel = _kernel()
        theta = np.array(_expected("a Gaussian process", len(kernel.theta), hyperparameters))
        columns = self._columns(rows)
        scaler, level = StandardScaler().fit(rows.x[:, columns]), float(rows.y.mean())
        process = GaussianProcessRegressor(kernel.clone_with_theta(theta), alpha=_variance(rows), optimizer=None)
        process.fit(scaler.transform(rows.x[:, columns]), rows.y - level)
        return _FittedProcess(columns, scaler, process, level)

    def _columns(self, rows: Rows) -> list[int]:
        return list(rows.core) if self._core and rows.core else list(range(rows.x.shape[1]))


@dataclass(frozen=True)
class _FittedProcess:
    columns: list[int]
    scaler: StandardScaler
    process: GaussianProcessRegressor
    level: float

    def predict(self, x: Array) -> tuple[Array, Array]:
        mean, spread = self.process.predict(self.scaler.transform(x[:, self.columns]), return_std=True)
        return mean + self.level, np.maximum(spread, LEAST_SPREAD)


class Ridge:
    """Linear in the standardized features: what is left when rows are few."""

    def tune(self, rows: Rows, seed: int, start: Sequence[float] = ()) -> tuple[float, ...]:
        """The penalty, by leave-one-out (in closed form)."""
        z = StandardScaler().fit_transform(rows.x)
        return (float(RidgeCV(alphas=np.logspace(-2, 3, 16)).fit(z, rows.y).alpha_),)

    def fit(self, rows: Rows, hyperparameters: Sequence[float]) -> Fitted:
        (penalty,) = _expected("ridge regression", 1, hyperparameters)
        scaler = StandardScaler().fit(rows.x)
        return _FittedRidge(scaler, RidgeRegression(penalty).fit(scaler.transform(rows.x), rows.y))


@dataclass(frozen=True)
class _FittedRidge:
    scaler: StandardScaler
    regression: RidgeRegression

    def predict(self, x: Array) -> tuple[Array, Array]:
        return self.regression.predict(self.scaler.transform(x)), np.ones(len(x))


class ExtraTrees:
    """Averaged random trees: for kinks, which processors have, and for more rows than a Gaussian process takes."""

    def tune(self, rows: Rows, seed: int, start: Sequence[float] = ()) -> tuple[float, ...]:
        """Nothing but the seed."""
        return (float(seed),)

    def fit(self, rows: Rows, hyperparameters: Sequence[float]) -> Fitted:
        (seed,) = _expected("random trees", 1, hyperparameters)
        trees = ExtraTreesRegressor(_TREES, max_features=_TREE_FEATURES, random_state=int(seed))
        low, high = np.quantile(rows.y, (_RARE, 1 - _RARE))  # so that no odd kernel bends its neighbours
        return _FittedTrees(trees.fit(rows.x, np.clip(rows.y, low, high)))


@dataclass(frozen=True)
class _FittedTrees:
    trees: ExtraTreesRegressor

    def predict(self, x: Array) -> tuple[Array, Array]:
        """The spread is how far the trees disagree."""
        votes = np.array([tree.predict(x) for tree in self.trees.estimators_])
        return votes.mean(axis=0), np.maximum(votes.std(axis=0), LEAST_SPREAD)


REGRESSORS: Mapping[str, Family] = {
    "gaussian_process": GaussianProcess(),
    "gaussian_process_core": GaussianProcess(core=True),
    "extra_trees": ExtraTrees(),
    "ridge": Ridge(),
}
LIMITLESS = ("extra_trees", "ridge")
"""Those that take more than `MOST_ROWS`."""


def _kernel() -> Kernel:
    smooth = ConstantKernel(0.1, (1e-4, 10)) * Matern(4.0, (0.5, 100), nu=2.5)
    linear = ConstantKernel(0.01, (1e-6, 1)) * DotProduct(1.0, "fixed")
    return smooth + linear + WhiteKernel(1e-3, (1e-6, 0.1))


def _variance(rows: Rows) -> Array:
    return np.maximum(rows.noise, LEAST_NOISE) ** 2


def _some(count: int, wanted: int, seed: int) -> npt.NDArray[np.intp]:
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def _expected(what: str, count: int, hyperparameters: Sequence[float]) -> Sequence[float]:
    if len(hyperparameters) != count:
        raise ValueError(f"{what}: {len(hyperparameters)} hyperparameters instead of {count}")
    return hyperparameters
