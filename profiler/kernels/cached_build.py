"""A build pool that first looks whether a kernel was built before."""

from __future__ import annotations

from collections.abc import Sequence

from profiler.artifact import Artifact
from profiler.kernels.backend import Backend
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.pool_build import BuildFailure, BuildPool
from profiler.space.config import ScheduleConfig
from profiler.workload import KernelSpec


class CachedBuilds:
    """What ``pool`` builds with ``backend`` goes into the cache, and what is there is not built again."""

    def __init__(self, pool: BuildPool, backend: Backend, cache: ArtifactCache) -> None:
        self._pool = pool
        self._backend = backend
        self._cache = cache
        cache.remove_leftovers()

    def build(self, requests: Sequence[tuple[KernelSpec, ScheduleConfig]]) -> list[Artifact | BuildFailure]:
        """The results are in the order of the requests. Raises `OutputError` if the folder cannot be written."""
        keys = [self._backend.key(spec, config) for spec, config in requests]
        results: dict[int, Artifact | BuildFailure] = {}
        for index, (spec, _) in enumerate(requests):
            artifact = self._cache.get(spec, keys[index])
            if artifact is not None:
                results[index] = artifact
        missing = [index for index in range(len(requests)) if index not in results]
        if missing:
            for position, result in self._pool.stream([requests[index] for index in missing]):
                index = missing[position]
                if isinstance(result, Artifact):
                    self._cache.put(keys[index], result)
                results[index] = result
        return [results[index] for index in range(len(requests))]
