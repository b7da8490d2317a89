"""Compilation in worker processes: order, failures as values, and workers that die."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from dataclasses import replace

import pytest

from profiler.artifact import Artifact
from profiler.errors import CompilerError
from profiler.hardware import DotIsa
from profiler.kernels.backend import CpuBackend
from profiler.kernels.cpu.target import CpuTarget
from profiler.kernels.pool_build import BuildFailure, BuildPool, BuildRequest, _take
from profiler.record import FailureKind
from profiler.space.config import DotConfig, LoopOrder, VectorConfig, to_text
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

pytestmark = pytest.mark.compile

DENSE = KernelSpec(
    Workload(Op.DENSE, 4, 1, 1, 32, 48), DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU
)
BACKEND = CpuBackend(CpuTarget(DotIsa.GENERIC, "x86_64"))


def test_results_are_in_the_order_of_the_requests() -> None:
    configs = [DotConfig(1, width, 1, LoopOrder.IMAGES) for width in (4, 1, 3, 2)]
    wrong = VectorConfig(1)
    with BuildPool(BACKEND) as pool:
        results = pool.build([(DENSE, c) for c in (*configs, wrong)])
        again = pool.build([(DENSE, configs[0])])
    assert [r.config for r in results] == [to_text(c) for c in (*configs, wrong)]
    assert all(isinstance(r, Artifact) for r in results[:4])
    failure = results[4]
    assert isinstance(failure, BuildFailure)
    assert failure.kind is FailureKind.COMPILE
    assert "DotConfig" in failure.message
    assert isinstance(again[0], Artifact)
    assert again[0].sha256 == results[0].sha256, "the same request gives the same bytes"  # type: ignore[union-attr]


def test_results_come_as_they_are_ready() -> None:
    """A worker is stopped over the first request: the others are answered before it."""
    configs = [DotConfig(1, width, 1, LoopOrder.IMAGES) for width in (1, 2, 3)]
    with BuildPool(BACKEND, workers=2) as pool:
        pool.build([(DENSE, configs[0])])
        first = pool._workers[0]._process.pid
        os.kill(first, signal.SIGSTOP)
        order = []
        for index, result in pool.stream([(DENSE, c) for c in configs]):
            assert isinstance(result, Artifact)
            assert result.config == to_text(configs[index])
            order.append(index)
            if len(order) == 2:
                os.kill(first, signal.SIGCONT)
    assert order == [1, 2, 0]


def test_a_worker_stays_with_its_kernel() -> None:
    """So that each kernel's reference output is computed by one worker."""
    other, config = replace(DENSE, output_dtype=DType.INT8), DotConfig(1, 1, 1, LoopOrder.IMAGES)
    waiting = deque(enumerate(BuildRequest(spec, config) for spec in (DENSE, DENSE, other, other, DENSE)))
    assert _take(waiting, None, set())[0] == 0
    assert _take(waiting, None, {DENSE})[0] == 2
    assert _take(waiting, other, {DENSE})[0] == 3
    assert _take(waiting, other, {DENSE})[0] == 1, "nothing else is left"
    assert _take(waiting, DENSE, {DENSE})[0] == 4
    assert not waiting


def test_a_stream_left_early_leaves_no_stale_answers() -> None:
    configs = [DotConfig(1, width, 1, LoopOrder.IMAGES) for width in (1, 2, 3, 4)]
    with BuildPool(BACKEND, workers=2) as pool:
        for _ in pool.stream([(DENSE, c) for c in configs]):
            break
        results = pool.build([(DENSE, c) for c in reversed(configs)])
        assert len(pool._workers) == 2
    assert [r.config for r in results] == [to_text(c) for c in reversed(configs)]


def test_a_compiler_that_aborts_its_process_is_a_failure() -> None:
    """LLVM ends the process where it cannot select an instruction: VNNI code for a target without VNNI."""

    class Unselectable(CpuBackend):
        def __reduce__(self) -> tuple[object, ...]:
            return _abort, ()

    config = DotConfig(1, 1, 1, LoopOrder.IMAGES)
    with BuildPool(BACKEND, workers=1) as pool:
        assert isinstance(pool.build([(DENSE, config)])[0], Artifact)
        pool._workers[0].stop()
        pool._workers[0]._backend = Unselectable(BACKEND.target)
        pool._workers[0]._start()
        failed = pool.build([(DENSE, config)])[0]
    assert isinstance(failed, BuildFailure)
    assert failed.kind is FailureKind.COMPILE
    assert str(-signal.SIGABRT) in failed.message


def _abort() -> None:
    os.abort()


def test_a_killed_worker_is_replaced() -> None:
    config = DotConfig(1, 1, 1, LoopOrder.IMAGES)
    with BuildPool(BACKEND, workers=1) as pool:
        assert isinstance(pool.build([(DENSE, config)])[0], Artifact)
        os.kill(pool._workers[0]._process.pid, signal.SIGKILL)
        assert isinstance(pool.build([(DENSE, config)])[0], Artifact), "a kill from outside says nothing of the config"


def test_a_compiler_that_hangs_is_stopped() -> None:
    config = DotConfig(1, 1, 1, LoopOrder.IMAGES)
    with BuildPool(BACKEND, workers=1, timeout_s=60) as pool:
        pool.build([(DENSE, config)])
        os.kill(pool._workers[0]._process.pid, signal.SIGSTOP)
        pool._timeout_s = 0.2
        failed = pool.build([(DENSE, config)])[0]
        pool._timeout_s = 60
        assert isinstance(failed, BuildFailure)
        assert failed.kind is FailureKind.TIMEOUT
        assert isinstance(pool.build([(DENSE, config)])[0], Artifact)


def test_no_c_compiler_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", sys.executable)
    with BuildPool(BACKEND, workers=1) as pool, pytest.raises(CompilerError, match="no C compiler: install one"):
        pool.build([(DENSE, DotConfig(1, 1, 1, LoopOrder.IMAGES))])
