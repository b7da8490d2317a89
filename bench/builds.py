"""How fast CUDA kernels are built: candidates a second from schedule to cubin, with nothing cached."""

from __future__ import annotations

import os
import time
from collections import Counter

from rich.console import Console
from rich.table import Table

from profiler.artifact import Artifact
from profiler.frontend import load_network
from profiler.hardware import GPUS
from profiler.kernels.backend import CudaBackend
from profiler.kernels.pool_build import BuildPool
from profiler.lut.demand import demand
from profiler.space.config import ScheduleConfig
from profiler.space.gpu import config_space
from profiler.workload import INT4, INT8, DType, Epilogue, KernelSpec, Op, Workload

_TINY = KernelSpec(Workload(Op.CONVERT, 1, 1, 1, 8, 8), DType.INT8, DType.INT8, epilogue=Epilogue.REQUANT)
"""Not among what is timed: a worker keeps the reference output of a kernel that it has built."""


def bench_builds(model: str, batch: int, device: str, configs: int) -> None:
    """Build configs spread over the space of every layer's kernels, and print the rate."""
    gpu = GPUS[device]
    network = load_network(model, batch)
    requests: list[tuple[KernelSpec, ScheduleConfig]] = []
    for wanted in demand(network, (INT8, INT4), mixed=False):
        space = config_space(wanted.spec, gpu)
        requests += [(wanted.spec, space[i * len(space) // configs]) for i in range(min(configs, len(space)))]
    workers = len(os.sched_getaffinity(0))
    with BuildPool(CudaBackend(gpu), workers=workers) as pool:
        pool.build([(_TINY, config_space(_TINY, gpu)[0])] * workers)  # the workers start, which a run pays once
        begin = time.perf_counter()
        results = pool.build(requests)
        elapsed_s = time.perf_counter() - begin
    built = [result for result in results if isinstance(result, Artifact)]
    failures = Counter(result.kind.value for result in results if not isinstance(result, Artifact))
    title = f"building kernels of {model}, batch {batch}, for {gpu.name}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("candidates", "built", "failed", "seconds", "workers", "candidates per second"):
        table.add_column(column, justify="right")
    failed = ", ".join(f"{count} {kind}" for kind, count in failures.items()) or "0"
    table.add_row(
        str(len(results)), str(len(built)), failed, f"{elapsed_s:.1f}", str(workers), f"{len(results) / elapsed_s:.2f}"
    )
    Console(width=120, highlight=False).print(table)
