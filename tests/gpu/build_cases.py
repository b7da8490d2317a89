"""Kernels of every template as artifacts for one GPU, to be run where that GPU is (`tests.gpu.check_artifacts`).

python -m tests.gpu.build_cases FOLDER DEVICE
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from pathlib import Path

from profiler.artifact import Artifact
from profiler.hardware import GPUS, GpuSpec
from profiler.kernels.backend import CudaBackend
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.pool_build import BuildPool
from profiler.space.config import GpuConfig, parse_config
from profiler.workload import Epilogue, KernelSpec
from tests.gpu.network_layers import layer_requests
from tests.kernels.cuda.cases import (
    DENSE,
    EPILOGUES,
    GROUPED,
    NARROW,
    TENSOR_CORES,
    binary_specs,
    bit_specs,
    depthwise_specs,
    direct_specs,
    entry_specs,
    mma_specs,
    plane_specs_without_tensor_cores,
    unweighted_specs,
    with_configs,
)

Request = tuple[KernelSpec, GpuConfig]


def build(gpu: GpuSpec, wanted: Iterable[Request]) -> Generator[Artifact, None, None]:
    """The artifacts of the requests, as they come. All must build. Close it to leave early."""
    with BuildPool(CudaBackend(gpu), workers=len(os.sched_getaffinity(0))) as pool:
        for _, result in pool.stream(list(wanted)):
            assert isinstance(result, Artifact), f"{result.spec.key} {result.config}: {result.message}"
            yield result


def requests(gpu: GpuSpec) -> Iterator[Request]:
    """The emulator's specs, each with configs for this GPU, and the layers of real size; none twice."""
    given: set[Request] = set()
    for request in chain(_small_requests(gpu), layer_requests(gpu)):
        if request not in given:
            given.add(request)
            yield request


def _small_requests(gpu: GpuSpec) -> Iterator[Request]:
    for specs, configs in (
        (mma_specs(TENSOR_CORES, NARROW, 1), 4),
        (mma_specs([*GROUPED, *DENSE], NARROW, 1), 2),
        (mma_specs(EPILOGUES, NARROW, len(Epilogue)), 1),
        ([*direct_specs(), *depthwise_specs(), *unweighted_specs()], 1),
        ([*binary_specs(), *bit_specs(), *entry_specs()], 1),
        (plane_specs_without_tensor_cores(), 1),
    ):
        for spec, config, _ in with_configs(specs, configs, [gpu.slug]):
            yield spec, config


def main(folder: Path, device: str) -> None:
    gpu, backend = GPUS[device], CudaBackend(GPUS[device])
    cache, count = ArtifactCache(folder), 0
    for artifact in build(gpu, requests(gpu)):
        cache.put(backend.key(artifact.spec, parse_config(artifact.config)), artifact)
        count += 1
    print(f"{count} kernels for {gpu.name} in {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build kernels of every template for one GPU.")
    parser.add_argument("folder", type=Path, help="for the .lbk files")
    parser.add_argument("device", choices=GPUS)
    arguments = parser.parse_args()
    main(arguments.folder, arguments.device)
