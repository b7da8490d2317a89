"""The latency model on kernels of five precisions: features that are numbers, and a fit that finds what it is given."""

from __future__ import annotations

from math import isfinite

import pytest

from profiler.frontend import load_network
from profiler.lut.demand import demand
from profiler.predictor.kernel_features import feature_names, kernel_features
from profiler.predictor.latency_model import fit
from profiler.predictor.observation import Observation
from profiler.workload import Precision
from tests.predictor.invented import CPU, ORIGIN

ALL = tuple(map(Precision.parse, ("int8", "int4", "a2w2", "a2w1", "a1w1")))


def test_a_model_of_five_precisions() -> None:
    """Latencies are 1.3 times what the analytic model says, but for weights of one bit, which take twice as long."""
    specs = [entry.spec for entry in demand(load_network("resnet18", 1), ALL, mixed=False)]
    features = [kernel_features(spec, CPU) for spec in specs]
    assert all(len(found.values) == len(feature_names(CPU)) for found in features)
    assert all(isfinite(value) for found in features for value in (*found.values, found.modelled_s))
    one_bit = [spec.weight_dtype is not None and spec.weight_dtype.bits == 1 for spec in specs]
    real = [f.modelled_s * (2.6 if one else 1.3) for f, one in zip(features, one_bit, strict=True)]
    seen = [Observation(spec, s, 0.01) for spec, s in zip(specs, real, strict=True)]
    estimates = fit([o for index, o in enumerate(seen) if index % 5], ORIGIN, CPU).estimate(specs[::5], look_up=False)
    errors = [e.latency_s / s - 1 for e, s in zip(estimates, real[::5], strict=True)]
    assert sorted(map(abs, errors))[len(errors) // 2] == pytest.approx(0, abs=0.1)
