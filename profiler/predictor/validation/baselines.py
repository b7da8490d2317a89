"""What a prediction has to beat: four plain models, fitted to the same rows. They give points, no intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.ensemble import RandomForestRegressor

from profiler.predictor.estimate import Basis, Estimate, TotalEstimate
from profiler.predictor.observation import Observation
from profiler.predictor.regressors import Array
from profiler.space.traffic import moved_bytes
from profiler.workload import KernelSpec, Op

Index = npt.NDArray[np.intp]

_NO_WEIGHTS = 0
_TREES = 300
_FAR = 100.0
"""In logarithms: no kernel of another operator is nearer than one of the same."""


class Model(Protocol):
    """What was fitted; `LatencyModel` is one."""

    def estimate(
        self, specs: Sequence[KernelSpec], confidence: float = 0.9, look_up: bool = True
    ) -> tuple[Estimate, ...]:
        """An answer for each kernel."""
        ...

    def total(self, counts: Mapping[KernelSpec, int], confidence: float = 0.9) -> TotalEstimate:
        """The sum over kernels, each as often as told."""
        ...


@dataclass(frozen=True)
class Learner:
    """How a model comes from rows; ``intervals`` is false where its intervals are points."""

    name: str
    fit: Callable[[Sequence[Observation]], Model]
    intervals: bool = False


def baselines(seed: int) -> tuple[Learner, ...]:
    """Multiply-accumulates times a constant, a fitted roofline, the nearest neighbour, a random forest on the shape."""
    return (
        Learner("MACs x constant", macs_times_constant),
        Learner("roofline", roofline),
        Learner("nearest neighbour", nearest_neighbour),
        Learner("random forest", lambda observed: random_forest(observed, seed)),
    )


class Points:
    """A model that says latencies and nothing else. ``latencies_s`` gives those of kernels, of shape (n,)."""

    def __init__(self, latencies_s: Callable[[Sequence[KernelSpec]], Array]) -> None:
        self._latencies_s = latencies_s

    def estimate(
        self, specs: Sequence[KernelSpec], confidence: float = 0.9, look_up: bool = True
    ) -> tuple[Estimate, ...]:
        """Intervals are points, whatever the confidence; nothing is looked up."""
        latencies = self._latencies_s(specs).tolist() if specs else []
        return tuple(Estimate(spec, s, s, s, Basis.PREDICTED) for spec, s in zip(specs, latencies, strict=True))

    def total(self, counts: Mapping[KernelSpec, int], confidence: float = 0.9) -> TotalEstimate:
        """The plain sum."""
        total_s = sum(e.latency_s * counts[e.spec] for e in self.estimate(list(counts)))
        return TotalEstimate(total_s, total_s, total_s, 0.0, total_s, 0.0, 1.0)


def macs_times_constant(observed: Sequence[Observation]) -> Points:
    """The median of seconds per multiply-accumulate, for each width of weights; per byte where there are no weights."""
    rates: dict[int, list[float]] = {}
    for o in observed:
        rates.setdefault(_bits(o.spec), []).append(o.latency_s / _amount(o.spec))
    median = {bits: float(np.median(found)) for bits, found in rates.items()}

    def rate(bits: int) -> float:
        alike = [known for known in median if (known == _NO_WEIGHTS) == (bits == _NO_WEIGHTS)] or list(median)
        return median[min(alike, key=lambda known: (abs(known - bits), known))]

    return Points(lambda specs: np.array([_amount(spec) * rate(_bits(spec)) for spec in specs]))


def roofline(observed: Sequence[Observation]) -> Points:
    """The longer of what products and bytes take, at the rates (of products for each width of weights) for which the
    mean absolute error of the logarithm is least."""
    widths = sorted({_bits(o.spec) for o in observed} - {_NO_WEIGHTS})
    latency_s = np.array([o.latency_s for o in observed])
    macs, moved, width = _work([o.spec for o in observed], widths)

    def seconds(rates: Array, macs: Array, moved: Array, width: Index) -> Array:
        """rates : logarithms of seconds per product, for each width, and of seconds per byte."""
        found: Array = np.maximum(macs * np.exp(rates)[width], moved * np.exp(rates[-1]))
        return found

    def error(rates: Array) -> float:
        return float(np.abs(np.log(seconds(rates, macs, moved, width) / latency_s)).mean())

    # From where either alone would explain the fastest tenth of the rows.
    per_product = [_fast(latency_s[width == i] / macs[width == i]) for i in range(len(widths))]
    start = np.log([*per_product, _fast(latency_s / moved)])
    best: Array = minimize(error, start, method="Nelder-Mead", options={"maxiter": 400 * len(start)}).x
    return Points(lambda specs: seconds(best, *_work(specs, widths)))


def nearest_neighbour(observed: Sequence[Observation]) -> Points:
    """The latency of the kernel whose shape is nearest in logarithms, of the same operator if there is one."""
    known = np.array([_place(o.spec) for o in observed])
    latency_s = np.array([o.latency_s for o in observed])

    def latencies_s(specs: Sequence[KernelSpec]) -> Array:
        nearest = [int(np.argmin(np.square(known - _place(spec)).sum(axis=1))) for spec in specs]
        found: Array = latency_s[nearest]
        return found

    return Points(latencies_s)


def random_forest(observed: Sequence[Observation], seed: int) -> Points:
    """On the raw shape, its products and its parameters. Source: Zhang et al., nn-Meter, MobiSys 2021."""
    forest = RandomForestRegressor(_TREES, random_state=seed)
    forest.fit(np.array([_raw(o.spec) for o in observed]), np.array([o.latency_s for o in observed]))
    return Points(lambda specs: np.asarray(forest.predict(np.array([_raw(spec) for spec in specs]))))


def _bits(spec: KernelSpec) -> int:
    return spec.weight_dtype.bits if spec.weight_dtype else _NO_WEIGHTS


def _amount(spec: KernelSpec) -> float:
    return spec.workload.macs or moved_bytes(spec)


def _work(specs: Sequence[KernelSpec], widths: Sequence[int]) -> tuple[Array, Array, Index]:
    """Products, bytes, and the index of the nearest of the widths (of the bytes' rate where nothing is multiplied)."""
    nearest = [
        min(range(len(widths)), key=lambda i: abs(widths[i] - _bits(spec))) if spec.workload.macs and widths
        else len(widths)
        for spec in specs
    ]  # fmt: skip
    macs = np.array([spec.workload.macs for spec in specs], dtype=np.float64)
    return macs, np.array([moved_bytes(spec) for spec in specs]), np.array(nearest, dtype=np.intp)


def _fast(seconds_each: Array) -> float:
    return float(np.quantile(seconds_each, 0.1))


def _raw(spec: KernelSpec) -> list[float]:
    """Operator, extents, window, types' widths, products and parameters."""
    w = spec.workload
    extents = (w.batch, w.in_height, w.in_width, w.in_channels, w.out_height, w.out_width, w.out_channels)
    window = (w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.groups)
    widths = (_bits(spec), spec.input_dtype.bits, spec.output_dtype.bits, spec.epilogue.adds)
    return [float(w.op is op) for op in Op] + [float(x) for x in (*extents, *window, *widths, w.macs, w.weights)]


def _place(spec: KernelSpec) -> Array:
    raw = _raw(spec)
    return np.array([_FAR * x for x in raw[: len(Op)]] + [log1p(x) for x in raw[len(Op) :]])
