"""Our tuned INT8 layers against ONNX Runtime, one ratio per layer: both hot, same threads, same CPUs, interleaved."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
from rich.console import Console
from rich.table import Table

from bench.peers import PeerLayer, call_overhead_s, peer_layer
from bench.tuned import best_artifacts
from profiler.devices.host import HostDevice
from profiler.frontend import load_network
from profiler.record import CacheMode
from profiler.units import format_duration
from profiler.workload import DType, Epilogue, KernelSpec, Workload

SAMPLE_S = 0.006


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
    with HostDevice() as device:
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # the CPUs that the measuring process takes, which sleeps while the peer runs
        try:
            overhead_s = call_overhead_s(threads)
            for spec in specs:
                handle = device.load(artifacts[spec])
                device.verify(handle)
                peer = peer_layer(spec.workload, threads)
                found.append(_compare(spec.workload, device, handle, peer, overhead_s, rounds))
                device.unload(handle)
        finally:
            os.sched_setaffinity(0, everywhere)
    _print(found, model, batch, threads, overhead_s)
    return found


def _spec(workload: Workload) -> KernelSpec:
    return KernelSpec(workload, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)


def _compare(
    workload: Workload, device: HostDevice, handle: int, peer: PeerLayer, overhead_s: float, rounds: int
) -> Comparison:
    first_s = statistics.median(device.time(handle, 5, CacheMode.HOT))
    launches = max(2, math.ceil(SAMPLE_S / first_s))
    peer.call_s(2)
    calls = max(2, math.ceil(SAMPLE_S / peer.call_s(3)))
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(statistics.fmean(device.time(handle, 1 + launches, CacheMode.HOT)[1:]))
        peer.call_s(1)
        theirs.append((peer.call_s(calls) - overhead_s) / peer.copies)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return Comparison(workload, statistics.median(ours), statistics.median(theirs), statistics.median(ratios))


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
