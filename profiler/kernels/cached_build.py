"""Builds that look first whether a kernel was built before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from types import TracebackType

from profiler.artifact import Artifact
from profiler.kernels.backend import Backend
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.pool_build import BuildFailure, BuildPool
from profiler.space.config import ScheduleConfig
from profiler.workload import KernelSpec

Request = tuple[KernelSpec, ScheduleConfig]


class CachedBuilds:
    """What ``backend`` compiles goes into the cache, and what is there is not compiled again.

    workers : compile at a time; None: one per CPU. Use as a context manager: it ends them.
    """

    def __init__(self, backend: Backend, cache: ArtifactCache, workers: int | None = None) -> None:
        self._backend = backend
        self._cache = cache
        self._workers = workers or len(os.sched_getaffinity(0))
        self._pool: BuildPool | None = None  # made when something must be compiled
        self._keys: dict[Request, str] = {}

    def find(self, requests: Sequence[Request]) -> dict[int, Artifact]:
        """Those that the cache has, by their index in ``requests``."""
        found = ((index, self._cache.get(request[0], self.key(request))) for index, request in enumerate(requests))
        return {index: artifact for index, artifact in found if artifact is not None}

    def compile(self, requests: Sequence[Request]) -> Iterator[tuple[int, Artifact | BuildFailure]]:
        """Compile all; results as they come, each with the index of its request, and in the cache by then.

        Raises `ToolchainError` without a compiler and `OutputError` for a folder that cannot be written.
        """
        if not requests:
            return
        if self._pool is None:
            self._cache.remove_leftovers()
            self._pool = BuildPool(self._backend, self._workers)
        for index, result in self._pool.stream(requests):
            if isinstance(result, Artifact):
                self._cache.put(self.key(requests[index]), result)
            yield index, result

    def build(self, requests: Sequence[Request]) -> list[Artifact | BuildFailure]:
        """Find or compile all; the results are in the order of the requests. Errors as those of `compile`."""
        results: dict[int, Artifact | BuildFailure] = {**self.find(requests)}
        missing = [index for index in range(len(requests)) if index not in results]
        for position, result in self.compile([requests[index] for index in missing]):
            results[missing[position]] = result
        return [results[index] for index in range(len(requests))]

    def key(self, request: Request) -> str:
        """In the cache."""
        if request not in self._keys:
            self._keys[request] = self._backend.key(*request)
        return self._keys[request]

    def __enter__(self) -> CachedBuilds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()
