"""The kernels of a network for a target, and their best modelled candidates as artifacts: cached, or compiled now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def stage(
    headline: str, demands: Sequence[Demand], target: Target, configs: int, cache: ArtifactCache, progress: Progress
) -> tuple[Staged, ...]:
    """One for each demand. What is compiled is in the cache as soon as it is there.

    Raises `ToolchainError` without a compiler and `OutputError` for a cache that cannot be written.
    """
    backend = target.backend
    chosen = {demand.spec: _choose(demand.spec, target, configs) for demand in demands}
    requests = [_Request(s, c, backend.key(s, c.config)) for s, candidates in chosen.items() for c in candidates]
    artifacts = {request: cache.get(request.spec, request.key) for request in requests}
    missing = [request for request, artifact in artifacts.items() if artifact is None]
    progress.planned(BuildPlan(headline, len(demands), len(requests), len(requests) - len(missing)))
    failures: dict[_Request, BuildFailure] = {}
    for request, answer in _build(missing, target, cache):
        if isinstance(answer, BuildFailure):
            failures[request] = answer
        else:
            artifacts[request] = answer
        failed = failures.get(request)
        progress.tried(request.spec, f"{failed.config}: {failed.message.splitlines()[0]}" if failed else "")
    return tuple(_staged(demand, target, artifacts, failures) for demand in demands)


def _choose(spec: KernelSpec, target: Target, configs: int) -> tuple[Candidate, ...]:
    return choose(target.space(spec), lambda config: target.modelled_s(spec, config), configs)


def _build(
    missing: Sequence[_Request], target: Target, cache: ArtifactCache
) -> Iterator[tuple[_Request, Artifact | BuildFailure]]:
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


def _staged(
    demand: Demand,
    target: Target,
    artifacts: Mapping[_Request, Artifact | None],
    failures: Mapping[_Request, BuildFailure],
) -> Staged:
    own = [(request.candidate, artifact) for request, artifact in artifacts.items() if request.spec == demand.spec]
    built = tuple((candidate, artifact) for candidate, artifact in own if artifact is not None)
    failed = [failure for request, failure in failures.items() if request.spec == demand.spec]
    obstacle = ""
    if not built:
        first = f"none of {len(failed)} configs could be built: {failed[0].message.splitlines()[0]}" if failed else ""
        obstacle = target.obstacle(demand.spec) or first or "no valid config"
    return Staged(demand, built, len(failed), obstacle)
