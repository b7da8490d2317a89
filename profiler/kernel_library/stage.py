"""The stage as a function of files: model -> kernels that it can need -> configs of each -> artifacts in a folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from profiler.artifact import Artifact
from profiler.errors import ProfilerError
from profiler.frontend import load_network
from profiler.hardware import GpuSpec
from profiler.kernel_library.candidates import Candidates, Progress, build_candidates
from profiler.kernel_library.choice import Candidate
from profiler.kernel_library.result import BuiltKernel, KernelLibrary, LibraryRow
from profiler.kernels.cache import ArtifactCache
from profiler.lut.demand import demand
from profiler.output_folder import require_writable
from profiler.space.gpu_model import limit_s
from profiler.targets import GpuTarget, Target, default_batch, elsewhere
from profiler.workload import INT4, INT8, Precision

DEFAULT_CONFIGS = 8


@dataclass(frozen=True)
class KernelsRequest:
    """What a user asks of `build_kernels`.

    ``device`` is one of `targets.buildable`, no such device need be there. ``batch`` None is its default. ``configs``
    are built of each kernel, fewer where fewer are valid. ``cuda`` is "12" or "13" (NVRTC from PyPI), "nvcc" (from
    PATH) or the path of a CUDA root. ``out`` gets kernels/<device>/. ``workers`` compile at a time, None: one per
    CPU.
    """

    model: str = "resnet18"
    device: str = "t4"
    batch: int | None = None
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


def build_kernels(request: KernelsRequest, progress: Progress | None = None) -> KernelLibrary:
    """Compile every kernel that the network can need, unless the folder has it from an earlier run.

    Each artifact is stored as soon as it is there, so a run that was ended goes on where it stopped. A config that
    cannot be built is in the result. Raises `ProfilerError` for whatever the user can mend.
    """
    begin = time.monotonic()
    progress = progress or Progress()
    target = elsewhere(request.device.strip().lower(), request.cuda)
    batch = request.batch or default_batch(isinstance(target, GpuTarget))
    network = load_network(request.model, batch, skip_unsupported=request.skip_unsupported)
    demands = demand(network, request.precisions, mixed=request.mixed)
    compiler = target.backend.compiler
    folder = request.out / "kernels" / target.slug
    require_writable(folder)
    cache = ArtifactCache(folder)
    built = build_candidates(network, demands, target, request.configs, cache, _built, progress, request.workers)
    rows = tuple(_row(kernel, target) for kernel in built.kernels)
    return KernelLibrary(
        network=network.name,
        batch=network.batch,
        device=target.device,
        compiler=compiler,
        folder=folder,
        rows=rows,
        built_now=sum(row.built for row in rows) - built.cached,
        cached=built.cached,
        building_s=built.building_s,
        elapsed_s=time.monotonic() - begin,
        skipped=network.skipped,
    )


def _built(candidate: Candidate, artifact: Artifact, path: Path) -> BuiltKernel:
    """All but its code."""
    return BuiltKernel(artifact.config, candidate.modelled_s, artifact.native, artifact.resources, path)


def _row(kernel: Candidates[BuiltKernel], target: Target) -> LibraryRow:
    spec, device = kernel.demand.spec, target.device
    return LibraryRow(
        spec=spec,
        layers=kernel.demand.layers,
        valid=kernel.valid,
        built=len(kernel.built),
        failed=kernel.failed,
        default=min(kernel.built, key=lambda built: built.modelled_s, default=None),
        limit_s=limit_s(spec, device) if kernel.valid and isinstance(device, GpuSpec) else None,
        obstacle=kernel.obstacle,
    )
