"""The kernels of a network for a target, and the best modelled configs of each: found in the cache, or compiled now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from profiler.artifact import Artifact
from profiler.kernel_library.choice import Candidate, choose
from profiler.kernel_library.result import FailedConfig
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.cached_build import CachedBuilds
from profiler.kernels.pool_build import BuildFailure
from profiler.lut.demand import Demand
from profiler.space.config import ScheduleConfig
from profiler.targets import Target
from profiler.workload import KernelSpec, Network

KeptT = TypeVar("KeptT")
Keep = Callable[[Candidate, Artifact, Path], KeptT]
"""What is kept of an artifact, which lies in that file: a network has hundreds."""


@dataclass(frozen=True)
class BuildPlan:
    """What is about to be done, for whoever shows its progress; ``cached`` of the ``candidates`` were built before."""

    network: Network
    target_name: str
    compiler: str
    kernels: int
    candidates: int
    cached: int


@dataclass(frozen=True)
class Tried:
    """A candidate that was compiled, or could not be."""

    spec: KernelSpec
    failure: FailedConfig | None


@dataclass(frozen=True)
class Progress:
    """Where a run reports to: once its plan, then every candidate that was not in the cache."""

    planned: Callable[[BuildPlan], None] = lambda plan: None
    tried: Callable[[Tried], None] = lambda tried: None


@dataclass(frozen=True)
class Candidates(Generic[KeptT]):
    """Of one kernel: what was kept of each config that could be built, the best modelled first.

    ``valid`` counts the configs that the target admits. ``obstacle`` says why none was built.
    """

    demand: Demand
    valid: int
    built: tuple[KeptT, ...]
    failed: tuple[FailedConfig, ...]
    obstacle: str


@dataclass(frozen=True)
class Built(Generic[KeptT]):
    """``kernels`` in the order of the demands; ``cached`` of the artifacts were there before, ``building_s`` seconds
    went into the others."""

    kernels: tuple[Candidates[KeptT], ...]
    cached: int
    building_s: float


def build_candidates(
    network: Network,
    demands: Sequence[Demand],
    target: Target,
    count: int,
    cache: ArtifactCache,
    keep: Keep[KeptT],
    progress: Progress,
    workers: int | None = None,
) -> Built[KeptT]:
    """The ``count`` best modelled configs of each kernel. What is compiled is in the cache as soon as it is there, so
    a run that was ended goes on where it stopped.

    workers : compile at a time; None: one per CPU. Raises `ToolchainError` without a compiler and `OutputError` for a
    cache that cannot be written.
    """
    spaces = [target.space(demand.spec) for demand in demands]
    chosen = [_choose(demand.spec, target, space, count) for demand, space in zip(demands, spaces, strict=True)]
    wanted = [(d.spec, c) for d, candidates in zip(demands, chosen, strict=True) for c in candidates]
    requests = [(spec, candidate.config) for spec, candidate in wanted]
    with CachedBuilds(target.backend, cache, workers) as builds:

        def kept(index: int, artifact: Artifact) -> KeptT:
            spec, candidate = wanted[index]
            return keep(candidate, artifact, cache.path(spec, builds.key(requests[index])))

        results: dict[int, KeptT | FailedConfig] = {i: kept(i, a) for i, a in builds.find(requests).items()}
        cached = len(results)
        compiler = target.backend.compiler
        progress.planned(BuildPlan(network, target.name, compiler, len(demands), len(requests), cached))
        begin = time.monotonic()
        missing = [index for index in range(len(requests)) if index not in results]
        for position, answer in builds.compile([requests[index] for index in missing]):
            index = missing[position]
            result = kept(index, answer) if isinstance(answer, Artifact) else _failed(answer)
            results[index] = result
            progress.tried(Tried(wanted[index][0], result if isinstance(result, FailedConfig) else None))
        building_s = time.monotonic() - begin
    in_order = iter(results[index] for index in range(len(requests)))
    kernels = tuple(
        _candidates(demand, target, len(space), [next(in_order) for _ in own])
        for demand, space, own in zip(demands, spaces, chosen, strict=True)
    )
    return Built(kernels, cached, building_s)


def _choose(spec: KernelSpec, target: Target, space: Sequence[ScheduleConfig], count: int) -> tuple[Candidate, ...]:
    return choose(space, lambda config: target.modelled_s(spec, config), count)


def _failed(failure: BuildFailure) -> FailedConfig:
    return FailedConfig(failure.config, failure.kind, (failure.message.splitlines() or [""])[0])


def _candidates(
    demand: Demand, target: Target, valid: int, results: Sequence[KeptT | FailedConfig]
) -> Candidates[KeptT]:
    built = tuple(result for result in results if not isinstance(result, FailedConfig))
    failed = tuple(result for result in results if isinstance(result, FailedConfig))
    obstacle = ""
    if not valid:
        obstacle = target.obstacle(demand.spec) or "no valid config"
    elif not built:
        obstacle = f"none of {len(failed)} configs could be built: {failed[0].message}"
    return Candidates(demand, valid, built, failed, obstacle)
