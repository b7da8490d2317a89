"""The latency model on kernels of five precisions: features that are numbers, and a fit that finds what it is given."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import pytest

from profiler.frontend import load_network
from profiler.hardware import WIDE_PERMUTATION, WIDE_POPCOUNT, CpuSpec, DotIsa
from profiler.lut.demand import demand
from profiler.predictor.device_facts import facts_of
from profiler.predictor.kernel_features import feature_names, kernel_features
from profiler.predictor.latency_model import fit
from profiler.predictor.observation import Observation
from profiler.workload import Precision
from tests.predictor.invented import CPU, ORIGIN
from tests.predictor.invented_lut import lut_row

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


QUADS = "lookup(tile_h=1,tile_w=4,vectors=2,order=images,unroll=1,parallel=none,tables=quads)"
SEXTETS, INDEXED = QUADS.replace("quads", "sextets"), QUADS.replace("quads", "indexed")
COUNTS = "popcount(tile_h=1,tile_w=4,vectors=2,order=images,parallel=none)"


@pytest.mark.parametrize(
    ("configs", "features"),
    [
        (("invented", "", QUADS, "lookup(tile_h=0)", "sextets"), set()),
        ((QUADS, SEXTETS), {WIDE_PERMUTATION}),
        ((INDEXED,), {WIDE_PERMUTATION}),
        ((COUNTS, QUADS, INDEXED), {WIDE_PERMUTATION, WIDE_POPCOUNT}),
    ],
)
def test_the_rows_tell_what_the_cpu_has_beside_dot_products(configs: tuple[str, ...], features: set[str]) -> None:
    spec = demand(load_network("resnet18", 1), ALL[-1:], mixed=False)[2].spec
    row = replace(lut_row(Observation(spec, 1e-4, 0.01)), device="cpu", arch=DotIsa.AVX512_VNNI.value)
    facts = facts_of([replace(row, config=config) for config in configs])
    assert isinstance(facts, CpuSpec)
    assert facts.features == features


def test_the_prior_knows_the_instructions_that_the_rows_were_made_with() -> None:
    """A 3x3 layer of one bit: six products a byte instead of four, or 64 a word."""
    specs = [entry.spec for entry in demand(load_network("resnet18", 1), ALL[-1:], mixed=False)]
    (spec, *_) = [s for s in specs if s.workload.kernel_h == 3 and s.workload.in_channels == 128]
    plain = CpuSpec("x", DotIsa.AVX512_VNNI, frozenset(), "", 1, None, None, None)
    more = replace(plain, features=frozenset({WIDE_PERMUTATION, WIDE_POPCOUNT}))
    assert kernel_features(spec, more).modelled_s < 0.9 * kernel_features(spec, plain).modelled_s
