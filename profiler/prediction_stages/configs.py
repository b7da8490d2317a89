"""What a saved model says of the schedule configs of a kernel: the best ones, by prediction or as measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from statistics import NormalDist

from profiler.errors import ProfilerError
from profiler.hardware import CpuSpec, GpuSpec
from profiler.predictor.configs.learned import LearnedModel
from profiler.predictor.configs.ranking import rank
from profiler.predictor.estimate import Basis
from profiler.predictor.model_state import ModelState
from profiler.space import cpu, gpu
from profiler.space.config import ScheduleConfig, to_text
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class ConfigEstimate:
    """A config (its text) and its latency in seconds. The interval is that of a normal distribution of the logarithm,
    and was not calibrated: a search needs the order."""

    config: str
    latency_s: float
    low_s: float
    high_s: float
    basis: Basis


@dataclass(frozen=True)
class KernelConfigs:
    """The best configs of a kernel, of ``space`` valid ones; none where no template computes the kernel."""

    spec: KernelSpec
    space: int
    best: tuple[ConfigEstimate, ...]


def best_configs(
    state: ModelState, specs: Sequence[KernelSpec], count: int, confidence: float
) -> tuple[KernelConfigs, ...]:
    """Up to ``count`` for each kernel, fastest first. Raises `ProfilerError` for a model of a device whose configs are
    not known here, or that was fitted without logs."""
    facts, threads = state.facts, state.origin.conditions.threads
    if not isinstance(facts, (CpuSpec, GpuSpec)):
        raise ProfilerError(f"schedule configs of {state.origin.device} are not known here; leave out --configs")
    if not state.configs:
        raise ProfilerError(
            "the model holds no latencies of schedule configs to predict others from; fit it with --logs"
        )
    learned = LearnedModel(facts, threads, state.configs)
    measured = {(c.spec, c.config): c.latency_s for c in state.configs}
    width = NormalDist().inv_cdf((1 + confidence) / 2)

    def estimate(spec: KernelSpec, config: str, latency_s: float, spread: float) -> ConfigEstimate:
        known_s = measured.get((spec, config))
        if known_s is not None:
            return ConfigEstimate(config, known_s, known_s, known_s, Basis.MEASURED)
        half = exp(width * spread)
        return ConfigEstimate(config, latency_s, latency_s / half, latency_s * half, Basis.PREDICTED)

    found = []
    for spec in specs:
        space = _space(spec, facts, threads)
        ranked = rank(learned, spec, space) if space else ()
        best = [estimate(spec, to_text(r.config), r.latency_s, r.spread) for r in ranked]
        best.sort(key=lambda e: (e.latency_s, e.config))
        found.append(KernelConfigs(spec, len(space), tuple(best[:count])))
    return tuple(found)


def _space(spec: KernelSpec, facts: CpuSpec | GpuSpec, threads: int) -> Sequence[ScheduleConfig]:
    if not spec.input_dtype.is_integer:
        return ()
    if isinstance(facts, GpuSpec):
        return gpu.config_space(spec, facts)
    return cpu.config_space(spec, facts.isa, threads, facts.features)
