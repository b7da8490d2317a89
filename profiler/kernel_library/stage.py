"""The stage as a function of files: model -> kernels that it can need -> configs of each -> artifacts in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from profiler.artifact import Artifact
from profiler.errors import DeviceError, ProfilerError
from profiler.frontend import load_network
from profiler.hardware import GPUS, GpuSpec
from profiler.kernel_library.choice import Candidate, choose
from profiler.kernel_library.result import BuiltKernel, FailedConfig, KernelLibrary, LibraryRow
from profiler.kernels.backend import Backend
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.pool_build import BuildFailure, BuildPool
from profiler.lut.demand import Demand, demand
from profiler.output_folder import require_writable
from profiler.space.config import ScheduleConfig
from profiler.space.gpu_model import limit_s
from profiler.targets import GpuTarget
from profiler.workload import INT4, INT8, KernelSpec, Network, Precision

DEFAULT_CONFIGS = 8


@dataclass(frozen=True)
class KernelsRequest:
    """What a user asks of `build_kernels`.

    ``device`` is the slug of a GPU model, no such card need be there. ``configs`` are built of each kernel, fewer
    where fewer are valid. ``cuda`` is "12" or "13" (NVRTC from PyPI), "nvcc" (from PATH) or the path of a CUDA root.
    ``out`` gets kernels/<device>/. ``workers`` compile at a time, None: one per CPU.
    """

    model: str = "resnet18"
    device: str = "t4"
    batch: int = 8
    precisions: tuple[Precision, ...] = (INT8, INT4)
    configs: int = DEFAULT_CONFIGS
    cuda: str = "12"
    out: Path = field(default_factory=Path)
    mixed: bool = False
    skip_unsupported: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.configs < 1:
            raise ProfilerError(f"{self.configs} configs of each kernel: at least one must be built")


@dataclass(frozen=True)
class BuildPlan:
    """What a run is about to do, for whoever shows its progress; ``cached`` of the ``candidates`` were built before."""

    network: Network
    gpu: GpuSpec
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
class _Work:
    """A kernel spec and its candidates, the best modelled first."""

    demand: Demand
    valid: int
    candidates: tuple[Candidate, ...]
    obstacle: str

    @property
    def spec(self) -> KernelSpec:
        return self.demand.spec


_Result = BuiltKernel | FailedConfig
_Results = dict[tuple[KernelSpec, ScheduleConfig], _Result]


def build_kernels(request: KernelsRequest, progress: Progress | None = None) -> KernelLibrary:
    """Compile every kernel that the network can need, unless the folder has it from an earlier run.

    Each artifact is stored as soon as it is there, so a run that was ended goes on where it stopped. A config that
    cannot be built is in the result. Raises `ProfilerError` for whatever the user can mend.
    """
    begin = time.monotonic()
    progress = progress or Progress()
    gpu = _gpu(request.device)
    network = load_network(request.model, request.batch, skip_unsupported=request.skip_unsupported)
    demands = demand(network, request.precisions, mixed=request.mixed)
    target = GpuTarget(gpu, request.cuda)
    backend = target.backend
    compiler = backend.compiler
    folder = request.out / "kernels" / gpu.slug
    require_writable(folder)
    works = [_work(wanted, target, request.configs) for wanted in demands]
    cache = ArtifactCache(folder)
    results, missing = _look_up(works, backend, cache)
    cached = len(results)
    candidates = sum(len(work.candidates) for work in works)
    progress.planned(BuildPlan(network, gpu, compiler, len(works), candidates, cached))
    building = time.monotonic()
    workers = request.workers or len(os.sched_getaffinity(0))
    results |= _build(missing, backend, cache, min(workers, len(missing)), progress)
    end = time.monotonic()
    return KernelLibrary(
        network=network.name,
        batch=network.batch,
        gpu=gpu,
        compiler=compiler,
        folder=folder,
        rows=tuple(_row(work, results, gpu) for work in works),
        built_now=sum(isinstance(result, BuiltKernel) for result in results.values()) - cached,
        cached=cached,
        building_s=end - building,
        elapsed_s=end - begin,
        skipped=network.skipped,
    )


def _gpu(slug: str) -> GpuSpec:
    gpu = GPUS.get(slug.strip().lower())
    if gpu is None:
        raise DeviceError(f"kernels cannot be built for '{slug}'; the GPUs known are: {', '.join(GPUS)} (make: GPU=)")
    return gpu


def _work(wanted: Demand, target: GpuTarget, count: int) -> _Work:
    spec = wanted.spec
    space = target.space(spec)
    candidates = choose(space, lambda config: target.modelled_s(spec, config), count)
    obstacle = "" if space else target.obstacle(spec) or "no valid config"
    return _Work(wanted, len(space), candidates, obstacle)


@dataclass(frozen=True)
class _Missing:
    """A candidate that the cache does not have, and its key there."""

    spec: KernelSpec
    candidate: Candidate
    key: str


def _look_up(works: Sequence[_Work], backend: Backend, cache: ArtifactCache) -> tuple[_Results, list[_Missing]]:
    found: _Results = {}
    missing: list[_Missing] = []
    for work in works:
        for candidate in work.candidates:
            key = backend.key(work.spec, candidate.config)
            artifact = cache.get(work.spec, key)
            if artifact is None:
                missing.append(_Missing(work.spec, candidate, key))
            else:
                found[work.spec, candidate.config] = _built(artifact, candidate, cache.path(work.spec, key))
    return found, missing


def _build(
    missing: Sequence[_Missing], backend: Backend, cache: ArtifactCache, workers: int, progress: Progress
) -> _Results:
    results: _Results = {}
    if not missing:
        return results
    cache.remove_leftovers()
    with BuildPool(backend, workers) as pool:
        for index, answer in pool.stream([(wanted.spec, wanted.candidate.config) for wanted in missing]):
            wanted = missing[index]
            result: _Result
            if isinstance(answer, BuildFailure):
                result = FailedConfig(answer.config, answer.kind, (answer.message.splitlines() or [""])[0])
            else:
                cache.put(wanted.key, answer)
                result = _built(answer, wanted.candidate, cache.path(wanted.spec, wanted.key))
            results[wanted.spec, wanted.candidate.config] = result
            progress.tried(Tried(wanted.spec, result if isinstance(result, FailedConfig) else None))
    return results


def _built(artifact: Artifact, candidate: Candidate, path: Path) -> BuiltKernel:
    """What is kept of an artifact: not its code, of which a network has hundreds."""
    assert artifact.resources is not None, "a GPU's artifact says what it takes"
    return BuiltKernel(artifact.config, candidate.modelled_s, artifact.native, artifact.resources, path)


def _row(work: _Work, results: Mapping[tuple[KernelSpec, ScheduleConfig], _Result], gpu: GpuSpec) -> LibraryRow:
    own = [results[work.spec, candidate.config] for candidate in work.candidates]
    built = [result for result in own if isinstance(result, BuiltKernel)]
    row = LibraryRow(
        spec=work.spec,
        layers=work.demand.layers,
        valid=work.valid,
        built=len(built),
        failed=tuple(result for result in own if isinstance(result, FailedConfig)),
        default=min(built, key=lambda kernel: kernel.modelled_s, default=None),
        limit_s=limit_s(work.spec, gpu) if work.valid else None,
        obstacle=work.obstacle,
    )
    if row.default is None and row.failed:
        return replace(row, obstacle=f"none of {len(row.failed)} configs could be built: {row.failed[0].message}")
    return row
