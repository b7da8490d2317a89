"""The best artifacts of kernels, by the product's own tuner."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from profiler import __version__
from profiler.artifact import Artifact
from profiler.devices.host import HostDevice
from profiler.hardware import CpuSpec, host_cpu
from profiler.kernels.backend import CpuBackend
from profiler.kernels.cpu.build import compiler_version
from profiler.kernels.cpu.target import target_of
from profiler.kernels.pool_build import BuildPool
from profiler.measure import Run
from profiler.measure.turns import MachineTurns
from profiler.predictor.configs.learned import LearnedModel
from profiler.record import CacheMode, Conditions
from profiler.space.config import parse_config
from profiler.space.cpu import config_space
from profiler.tuning.database import TuningDatabase
from profiler.tuning.tuner import Budget, Tuner
from profiler.tuning.workbench import Workbench
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class Bench:
    """What a search needs, on this machine's CPU."""

    cpu: CpuSpec
    workbench: Workbench

    def tuner(self, folder: Path, trials: int) -> Tuner:
        conditions = self.workbench.conditions
        fingerprint = self.workbench.device.fingerprint(self.workbench.run.compiler)
        return Tuner(
            bench=self.workbench,
            space=lambda spec: config_space(spec, self.cpu.isa, conditions.threads, self.cpu.features),
            model=LearnedModel(self.cpu, conditions.threads),
            database=TuningDatabase(folder, fingerprint, conditions),
            budget=Budget(trials=trials),
        )


@contextmanager
def host_bench(threads: int, mode: CacheMode) -> Iterator[Bench]:
    """Compiler and device, for as long as the context lasts."""
    cpu = host_cpu()
    run = Run(f"bench-{int(time.time())}-{uuid.uuid4().hex[:8]}", __version__, compiler_version())
    backend = CpuBackend(target_of(cpu), threads)
    with HostDevice() as device, BuildPool(backend, len(os.sched_getaffinity(0))) as pool:
        yield Bench(cpu, Workbench(device, pool, Conditions(threads, mode), run, MachineTurns.of_cpu()))


def best_artifacts(
    specs: Sequence[KernelSpec], threads: int, trials: int, mode: CacheMode, folder: Path
) -> dict[KernelSpec, Artifact]:
    """Tune the kernels, or take what ``folder`` knows of them, and build the winners."""
    with host_bench(threads, mode) as bench:
        results = bench.tuner(folder, trials).tune(specs)
        winners = [(r.spec, parse_config(r.best.config)) for r in results if r.best is not None]
        built = bench.workbench.build(winners).artifacts
    if len(built) != len(specs):
        raise SystemExit("a kernel has no config that works; its journal says why")
    return {artifact.spec: artifact for artifact in built}
