"""A device that does not exist: its latencies follow from a formula. For tests of models alone, never measured."""

from __future__ import annotations

from functools import lru_cache
from math import exp, log2, sin

from profiler.hardware import CpuSpec, DotIsa
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import Observation
from profiler.predictor.population import draws
from profiler.record import CacheMode, Conditions
from profiler.space.cpu_default import default_config
from profiler.space.model import analytic_latency_s
from profiler.workload import INT4, INT8, KernelSpec
from tests.tuning.simulation import hash_share

CPU = CpuSpec("invented", DotIsa.AVX512_VNNI, frozenset(), "", 1, None, None, None)
ORIGIN = Origin("cpu", "invented", "avx512_vnni", "0123abcd", Conditions(1, CacheMode.NETWORK))
NOISE = 0.02


@lru_cache(maxsize=2000)
def latency_s(spec: KernelSpec) -> float:
    """The analytic model, a smooth function of the shape that it does not know of, and noise of 2%."""
    w = spec.workload
    smooth = 0.2 * sin(log2(w.batch * w.out_height * w.out_width) / 2) - 0.1 * log2(w.out_channels) / 4
    noise = NOISE * sum(hash_share(spec.key, i) - 0.5 for i in range(12))  # nearly normal
    return analytic_latency_s(spec, default_config(spec, CPU), CPU) * exp(smooth + noise)


def observed(count: int, seed: int = 0) -> tuple[Observation, ...]:
    """Of ``count`` workloads in two precisions."""
    return tuple(
        Observation(spec, latency_s(spec), NOISE) for d in draws(count, (INT8, INT4), seed) for spec in d.specs
    )
