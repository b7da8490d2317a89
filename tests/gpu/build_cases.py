"""The emulator's cases as artifacts for one GPU, to be run where that GPU is (`tests.gpu.check_artifacts`).

python -m tests.gpu.build_cases FOLDER DEVICE
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from profiler.artifact import Artifact
from profiler.hardware import GPUS, GpuSpec
from profiler.kernels.backend import CudaBackend
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.pool_build import BuildPool
from profiler.space.config import ScheduleConfig, parse_config
from profiler.space.gpu import config_space
from profiler.workload import KernelSpec
from tests.kernels.cuda.cases import SUBJECTS, cases, turns


def build_cases(gpu: GpuSpec) -> Iterator[Artifact]:
    """Every spec of the emulator's cases with as many configs as it has there, chosen for this GPU. All must build."""
    with BuildPool(CudaBackend(gpu), workers=len(os.sched_getaffinity(0))) as pool:
        for _, result in pool.stream(requests(gpu)):
            assert isinstance(result, Artifact), f"{result.spec.key} {result.config}: {result.message}"
            yield result


def requests(gpu: GpuSpec) -> list[tuple[KernelSpec, ScheduleConfig]]:
    chosen: dict[tuple[KernelSpec, ScheduleConfig], None] = {}
    for number, (spec, _, _) in enumerate(case for subject in SUBJECTS for case in cases(subject)):
        space = config_space(spec, gpu)
        chosen[spec, turns(spec.key, gpu.slug, number).choice(space)] = None
    return list(chosen)


def main(folder: Path, device: str) -> None:
    gpu, backend = GPUS[device], CudaBackend(GPUS[device])
    cache, count = ArtifactCache(folder), 0
    for artifact in build_cases(gpu):
        cache.put(backend.key(artifact.spec, parse_config(artifact.config)), artifact)
        count += 1
    print(f"{count} kernels for {gpu.name} in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
