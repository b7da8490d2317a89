"""The search: seconds per trial, and trials until within 5% of the best of the whole space."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.tuned import host_bench
from profiler.frontend import load_network
from profiler.record import CacheMode, Measurement
from profiler.space.cpu import config_space
from profiler.tuning.efficiency import sweep, trials_until
from profiler.units import format_duration
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload


def bench_search(model: str, threads: int, trials: int, limit: int) -> None:
    """For a few layers of the network: a search from nothing, against a sweep of the space (or a random part of it)."""
    table = Table(title="the search, from nothing", title_justify="left", box=None, pad_edge=False)
    for column in (
        "layer",
        "configs",
        "swept",
        "best of sweep",
        "best found",
        "trials",
        "until within 5%",
        "s per trial",
    ):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for workload in _some_layers(model):
        spec = KernelSpec(workload, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)
        table.add_row(*_row(spec, threads, trials, limit))
    Console(width=120, highlight=False).print(table)


def _some_layers(model: str) -> list[Workload]:
    """One of each kind: the most work first."""
    kinds: dict[tuple[object, ...], Workload] = {}
    layers = sorted(load_network(model, 1).weighted_layers, key=lambda layer: -layer.workload.macs)
    for layer in layers:
        w = layer.workload
        kinds.setdefault((w.op, w.kernel_h, w.kernel_w), w)
    return [w for w in kinds.values() if w.op in (Op.CONV2D, Op.DENSE)]


def _row(spec: KernelSpec, threads: int, trials: int, limit: int) -> list[str]:
    with host_bench(threads, CacheMode.HOT) as bench, tempfile.TemporaryDirectory() as folder:
        space = config_space(spec, bench.cpu.isa, threads, bench.cpu.features)
        swept = sweep(bench.workbench, spec, space, limit)
        best_s = min(r.summary.median_s for r in swept if isinstance(r, Measurement))
        tuner = bench.tuner(Path(folder), trials)
        begin = time.perf_counter()
        (result,) = tuner.tune([spec])
        elapsed_s = time.perf_counter() - begin
        records = [
            r for r in tuner.database.records(spec.workload) if not (isinstance(r, Measurement) and r.stage == "final")
        ]
    found_s = min(r.summary.median_s for r in records if isinstance(r, Measurement))
    until = trials_until(records, 0.05, min(best_s, found_s))
    return [
        spec.workload.text, str(len(space)), str(len(swept)), format_duration(best_s), format_duration(found_s),
        str(result.tried), str(until or "-"), f"{elapsed_s / max(1, result.tried):.2f}",
    ]  # fmt: skip
