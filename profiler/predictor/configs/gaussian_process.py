"""A Gaussian process over kernels and their schedule configs, with given hyperparameters (scikit-learn's regression).

The covariance of two rows is the sum of these parts, each with a standard deviation of its own:

- ``level`` of all rows, and ``machine_level`` of all rows of one machine
- ``kernel_level``: what like kernels have in common
- ``schedule``: what like configs have in common, in whatever kernel
- ``interaction``: what like configs of like kernels have in common

The last three fall with the squared distance of the features, in units of the scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel

Array = npt.NDArray[np.float64]

_NO_EFFECT, _APART = 1e5, 1e-3
"""Distances over which a part changes with features that are not its own, and from one machine to the next."""


@dataclass(frozen=True)
class ConfigRows:
    """``schedule`` : features of shape (n_rows, n_schedule). ``shape`` : (n_rows, n_shape). ``machine`` : numbers of
    machines, (n_rows,)."""

    schedule: Array
    shape: Array
    machine: npt.NDArray[np.int64]

    @property
    def matrix(self) -> Array:
        return np.hstack([self.schedule, self.shape, self.machine[:, np.newaxis].astype(np.float64)])


@dataclass(frozen=True)
class Covariance:
    """Standard deviations of the parts, and the distances over which they change."""

    level: float
    machine_level: float
    kernel_level: float
    schedule: float
    interaction: float
    shape_scale: float
    schedule_scale: float

    @property
    def deviation(self) -> float:
        """Of a row of which nothing is known."""
        parts = (self.level, self.machine_level, self.kernel_level, self.schedule, self.interaction)
        return sqrt(sum(part**2 for part in parts))

    def kernel(self, n_schedule: int, n_shape: int) -> Kernel:
        """For the columns of `ConfigRows.matrix`."""

        def part(deviation: float, schedule: float, shape: float, machine: float) -> Kernel:
            return _constant(deviation) * RBF([schedule] * n_schedule + [shape] * n_shape + [machine], "fixed")

        return (
            _constant(self.level)
            + part(self.machine_level, _NO_EFFECT, _NO_EFFECT, _APART)
            + part(self.kernel_level, _NO_EFFECT, self.shape_scale, _NO_EFFECT)
            + part(self.schedule, self.schedule_scale, _NO_EFFECT, _NO_EFFECT)
            + part(self.interaction, self.schedule_scale, self.shape_scale, _NO_EFFECT)
        )


class ConfigProcess:
    """The posterior of a function with mean zero, given what it was at some rows, up to noise."""

    def __init__(self, covariance: Covariance, rows: ConfigRows, values: Array, noise: Array) -> None:
        """``values`` and ``noise`` (standard deviations, positive) are of shape (n_rows,)."""
        kernel = covariance.kernel(rows.schedule.shape[1], rows.shape.shape[1])
        self._regression = GaussianProcessRegressor(kernel, alpha=noise**2, optimizer=None).fit(rows.matrix, values)

    def predict(self, asked: ConfigRows) -> tuple[Array, Array]:
        """Mean and standard deviation at each of the rows, both of shape (n_rows,)."""
        mean, deviation = self._regression.predict(asked.matrix, return_std=True)
        return mean, deviation


def _constant(deviation: float) -> Kernel:
    return ConstantKernel(deviation**2, "fixed")
