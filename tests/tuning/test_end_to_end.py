"""A small convolution in both precisions: built, run and timed on this machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from profiler.devices.host import HostDevice
from profiler.hardware import host_cpu
from profiler.measure import Run
from profiler.measure.turns import MachineTurns
from profiler.predictor.configs.learned import LearnedModel
from profiler.record import Conditions
from profiler.space.cpu import config_space
from profiler.tuning.database import TuningDatabase
from profiler.tuning.search import StopReason
from profiler.tuning.tuner import Budget, Tuner
from profiler.tuning.workbench import Workbench
from profiler.workload import Op, Workload
from tests.tuning.simulation import conv

TINY = Workload(Op.CONV2D, 1, 6, 6, 16, 32, 3, 3, 1, 1, 1, 1, 1, 1)


@pytest.mark.compile
@pytest.mark.skipif(platform.system() != "Linux", reason="the host device is Linux only")
def test_tune_on_this_machine(tmp_path: Path) -> None:
    from profiler.kernels.backend import CpuBackend
    from profiler.kernels.cpu.build import compiler_version
    from profiler.kernels.cpu.target import target_of
    from profiler.kernels.pool_build import BuildPool

    cpu, conditions = host_cpu(), Conditions()
    run = Run("test", "0", compiler_version())
    specs = [conv(8, workload=TINY), conv(4, workload=TINY)]
    backend = CpuBackend(target_of(cpu), conditions.threads)
    with BuildPool(backend, workers=1) as pool, HostDevice(cpu) as device:
        tuner = Tuner(
            Workbench(device, pool, conditions, run, MachineTurns(tmp_path / "lock")),
            lambda spec: config_space(spec, cpu.isa, conditions.threads, cpu.features),
            LearnedModel(cpu, conditions.threads),
            TuningDatabase(tmp_path / "logs", device.fingerprint(run.compiler), conditions),
            Budget(trials=3, finalists=1),
        )
        results = tuner.tune(specs)
        again = tuner.tune(specs)
    assert [(r.spec, r.tried, r.reason) for r in results] == [(spec, 3, StopReason.TRIALS) for spec in specs]
    assert all(r.best is not None and r.best.stage == "final" and not r.failures for r in results)
    assert [(r.best, r.reason) for r in again] == [(r.best, StopReason.KNOWN) for r in results]
