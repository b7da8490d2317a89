"""Our tuned INT8 layers against ONNX Runtime, one ratio per layer: both hot, same threads, same CPUs, interleaved."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
from rich.console import Console
from rich.table import Table

from bench.peers import call_overhead_s, peer_layer
from bench.samples import Sample, of_kernel, of_peer, pinned
from bench.tuned import best_artifacts
from profiler.devices.host import HostDevice
from profiler.frontend import load_network
from profiler.record import CacheMode
from profiler.units import format_duration
from profiler.workload import DType, Epilogue, KernelSpec, Workload


@dataclass(frozen=True)
class Comparison:
    """Medians in seconds; the speedup is the median of the ratios of neighbouring samples."""

    workload: Workload
    ours_s: float
    peer_s: float
    speedup: float


def bench_layers(model: str, batch: int, threads: int, trials: int, rounds: int, out: Path) -> list[Comparison]:
    """Tune (or take from ``out``) and compare each distinct convolution and dense layer of the network."""
    network = load_network(model, batch)
    workloads = tuple(dict.fromkeys(layer.workload for layer in network.weighted_layers))
    specs = [_spec(workload) for workload in workloads]
    artifacts = best_artifacts(specs, threads, trials, CacheMode.HOT, out)
    cpus = sorted(os.sched_getaffinity(0), reverse=True)[:threads]
    found: list[Comparison] = []
    with HostDevice() as device, pinned(cpus):
        overhead_s = call_overhead_s(threads)
        for spec in specs:
            handle = device.load(artifacts[spec])
            device.verify(handle)
            ours, theirs = of_kernel(device, handle), of_peer(peer_layer(spec.workload, threads), overhead_s)
            found.append(_compare(spec.workload, ours, theirs, rounds))
            device.unload(handle)
    _print(found, model, batch, threads, overhead_s)
    return found


def _spec(workload: Workload) -> KernelSpec:
    return KernelSpec(workload, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)


def _compare(workload: Workload, ours: Sample, theirs: Sample, rounds: int) -> Comparison:
    times_s = [(ours(), theirs()) for _ in range(rounds)]
    return Comparison(
        workload=workload,
        ours_s=statistics.median(our_s for our_s, _ in times_s),
        peer_s=statistics.median(their_s for _, their_s in times_s),
        speedup=statistics.median(their_s / our_s for our_s, their_s in times_s),
    )


def _print(found: Sequence[Comparison], model: str, batch: int, threads: int, overhead_s: float) -> None:
    title = f"{model} batch {batch}, INT8, {threads} thread(s), against ONNX Runtime {onnxruntime.__version__}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("layer")
    for column in ("ours", "GOP/s", "ONNX Runtime", "speedup"):
        table.add_column(column, justify="right")
    for c in found:
        rate = f"{2 * c.workload.macs / c.ours_s / 1e9:.0f}"
        table.add_row(c.workload.text, format_duration(c.ours_s), rate, format_duration(c.peer_s), f"{c.speedup:.2f}x")
    console = Console(width=120, highlight=False)
    console.print(table)
    mean = statistics.geometric_mean([c.speedup for c in found])
    slowest = min(c.speedup for c in found)
    console.print(
        f"geometric mean {mean:.2f}x, slowest {slowest:.2f}x; a call's {format_duration(overhead_s)} taken off the peer"
    )
