"""Kernels that are compiled once for many runs of a test file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from profiler.artifact import Artifact
from profiler.network_stages.kernels_of import Builder, Chosen, kernels_of
from profiler.space.config import to_text
from profiler.workload import KernelSpec


class Compiled:
    """In the place of `kernels_of`: what was compiled once is there. ``asked`` are the kernels that were wanted."""

    def __init__(self) -> None:
        self.asked: list[KernelSpec] = []
        self._kernels: dict[tuple[KernelSpec, str], Artifact] = {}

    def kernels_of(self, chosen: Sequence[Chosen], builds: Builder, compiler: str) -> Mapping[KernelSpec, Artifact]:
        self.asked += [kernel.spec for kernel in chosen]
        keys = {kernel.spec: (kernel.spec, to_text(kernel.config)) for kernel in chosen}
        new = [kernel for kernel in chosen if keys[kernel.spec] not in self._kernels]
        self._kernels |= {keys[spec]: made for spec, made in kernels_of(new, builds, compiler).items()}
        return {spec: self._kernels[key] for spec, key in keys.items()}
