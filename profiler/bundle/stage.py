"""The kernels of a network for a target, and their best modelled candidates as artifacts: cached, or compiled now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from profiler.artifact import Artifact
from profiler.kernel_library.choice import Candidate, choose
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.pool_build import BuildFailure, BuildPool
from profiler.lut.demand import Demand
from profiler.targets import Target
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class BuildPlan:
    """What is about to be done, for whoever shows its progress; ``cached`` of the ``candidates`` were built before."""

    headline: str
    kernels: int
    candidates: int
    cached: int


@dataclass(frozen=True)
class Progress:
    """Where a run reports to: once its plan, then every kernel that was compiled or could not be (and why)."""

    planned: Callable[[BuildPlan], None] = lambda plan: None
    tried: Callable[[KernelSpec, str], None] = lambda spec, failure: None


@dataclass(frozen=True)
class Staged:
    """A kernel with the candidates that could be built, the best modelled first. ``obstacle`` says why there is none;
    ``failed`` counts those that could not."""

    demand: Demand
    built: tuple[tuple[Candidate, Artifact], ...]
    failed: int = 0
    obstacle: str = ""


@dataclass(frozen=True)
class _Request:
    spec: KernelSpec
    candidate: Candidate
    key: str


_Result = Artifact | BuildFailure


def stage(
    headline: str, demands: Sequence[Demand], target: Target, configs: int, cache: ArtifactCache, progress: Progress
) -> tuple[Staged, ...]:
    """One for each demand. What is compiled is in the cache as soon as it is there.

    Raises `ToolchainError` without a compiler and `OutputError` for a cache that cannot be written.
    """
    backend = target.backend
    requests = {
        demand.spec: [_Request(demand.spec, c, backend.key(demand.spec, c.config)) for c in chosen]
        for demand in demands
        for chosen in [_choose(demand.spec, target, configs)]
    }
    everything = [request for own in requests.values() for request in own]
    results: dict[_Request, _Result] = {}
    for request in everything:
        artifact = cache.get(request.spec, request.key)
        if artifact is not None:
            results[request] = artifact
    progress.planned(BuildPlan(headline, len(demands), len(everything), len(results)))
    for request, result in _build([request for request in everything if request not in results], target, cache):
        results[request] = result
        progress.tried(request.spec, _text(result) if isinstance(result, BuildFailure) else "")
    return tuple(
        _staged(demand, target, [(request.candidate, results[request]) for request in requests[demand.spec]])
        for demand in demands
    )


def _choose(spec: KernelSpec, target: Target, configs: int) -> tuple[Candidate, ...]:
    return choose(target.space(spec), lambda config: target.modelled_s(spec, config), configs)


def _build(missing: Sequence[_Request], target: Target, cache: ArtifactCache) -> Iterator[tuple[_Request, _Result]]:
    """What comes of each, as it comes."""
    if not missing:
        return
    cache.remove_leftovers()
    workers = min(len(os.sched_getaffinity(0)), len(missing))
    with BuildPool(target.backend, workers) as pool:
        for index, answer in pool.stream([(request.spec, request.candidate.config) for request in missing]):
            if isinstance(answer, Artifact):
                cache.put(missing[index].key, answer)
            yield missing[index], answer


def _staged(demand: Demand, target: Target, results: Sequence[tuple[Candidate, _Result]]) -> Staged:
    built = tuple((candidate, result) for candidate, result in results if isinstance(result, Artifact))
    failed = [result for _, result in results if isinstance(result, BuildFailure)]
    if built:
        return Staged(demand, built, len(failed))
    first = f"none of {len(failed)} configs could be built: {_text(failed[0])}" if failed else "no valid config"
    return Staged(demand, (), len(failed), target.obstacle(demand.spec) or first)


def _text(failure: BuildFailure) -> str:
    """In one line."""
    return f"{failure.config}: {(failure.message.splitlines() or [''])[0]}"
