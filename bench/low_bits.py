"""Whole fused 3x3 layers below eight bits against our own INT8, and that against ONNX Runtime, in one run.

All sides of a layer take turns: a sample of each, in the reverse order the next time. A ratio is the median over rounds
of the ratio of two samples of one round. Everything is hot, on the same CPU, each kernel verified bit for bit first.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
from rich.console import Console
from rich.table import Table

from bench.core_rates import Mix, core_rates, products_per_s
from bench.peers import call_overhead_s, peer_layer
from bench.samples import Sample, of_kernel, of_peer, pinned
from bench.tuned import best_artifacts
from profiler.artifact import Artifact
from profiler.devices.host import HostDevice
from profiler.frontend import load_network
from profiler.hardware import host_cpu
from profiler.record import CacheMode
from profiler.units import format_duration
from profiler.workload import Epilogue, KernelSpec, Precision, Workload

PRECISIONS = ("int8", "int4", "a2w2", "a2w1", "a1w1")
GOALS = {"a2w2": 1.25, "a2w1": 2.2, "a1w1": 4.0}
"""Of the geometric mean over the layers, against INT8."""
PEER = "ONNX Runtime INT8"


@dataclass(frozen=True)
class LayerSpeed:
    """Medians in seconds by side, and how many times as fast as INT8 each of them is."""

    workload: Workload
    medians_s: Mapping[str, float]
    speedups: Mapping[str, float]


def bench_low_bits(model: str, trials: int, rounds: int, out: Path) -> list[LayerSpeed]:
    """Tune (or take from ``out``) and compare each distinct 3x3 convolution of the network; batch 1, one thread."""
    network = load_network(model, 1)
    layers = [layer.workload for layer in network.weighted_layers]
    workloads = [w for w in dict.fromkeys(layers) if (w.kernel_h, w.kernel_w, w.groups) == (3, 3, 1)]
    specs = {(w, name): spec_of(w, Precision.parse(name)) for w in workloads for name in PRECISIONS}
    artifacts = best_artifacts(list(specs.values()), 1, trials, CacheMode.HOT, out)
    found = []
    with HostDevice() as device, pinned(sorted(os.sched_getaffinity(0), reverse=True)[:1]):
        overhead_s = call_overhead_s(1)
        for workload in workloads:
            own = {name: artifacts[specs[workload, name]] for name in PRECISIONS}
            found.append(_compared(workload, own, device, overhead_s, rounds))
    _print(found, model)
    _explain(found, core_rates(host_cpu()))
    return found


def spec_of(workload: Workload, precision: Precision) -> KernelSpec:
    """A layer whose input and output are stored in the precision's type, behind a ReLU and with one."""
    activation = precision.activation_dtype(False)
    return KernelSpec(workload, activation, activation, precision.weight_dtype, epilogue=Epilogue.REQUANT_RELU)


def _compared(
    workload: Workload, artifacts: Mapping[str, Artifact], device: HostDevice, overhead_s: float, rounds: int
) -> LayerSpeed:
    samples: dict[str, Sample] = {}
    handles = []
    for name, artifact in artifacts.items():
        handle = device.load(artifact)
        handles.append(handle)
        device.verify(handle)
        samples[name] = of_kernel(device, handle)
    samples[PEER] = of_peer(peer_layer(workload, 1), overhead_s)
    times = in_turn(samples, rounds)
    for handle in handles:
        device.unload(handle)
    return LayerSpeed(
        workload=workload,
        medians_s={side: statistics.median(taken) for side, taken in times.items()},
        speedups={side: speedup(times["int8"], taken) for side, taken in times.items()},
    )


def in_turn(samples: Mapping[str, Sample], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side and round."""
    times: dict[str, list[float]] = {side: [] for side in samples}
    sides = list(samples)
    for _ in range(rounds):
        for side in sides:
            times[side].append(samples[side]())
        sides.reverse()
    return times


def speedup(ours_s: Sequence[float], theirs_s: Sequence[float]) -> float:
    """How many times as fast the second side is."""
    return statistics.median(a / b for a, b in zip(ours_s, theirs_s, strict=True))


def _print(found: Sequence[LayerSpeed], model: str) -> None:
    title = f"{model} batch 1, fused 3x3 layers, 1 thread; how many times as fast as our INT8"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    others = (*PRECISIONS[1:], PEER)
    for column in ("int8", *others):
        table.add_column(column, justify="right")
    for layer in found:
        cells = [f"{format_duration(layer.medians_s[side])} {layer.speedups[side]:.2f}x" for side in others]
        table.add_row(layer.workload.text, format_duration(layer.medians_s["int8"]), *cells)
    console = Console(width=150, highlight=False)
    console.print(table)
    for side in others:
        mean = statistics.geometric_mean([layer.speedups[side] for layer in found])
        goal = f" (goal {GOALS[side]:g})" if side in GOALS else ""
        console.print(f"{side}: geometric mean {mean:.2f}x{goal}, least {min(x.speedups[side] for x in found):.2f}x")
    console.print(f"ONNX Runtime {onnxruntime.__version__}, a call's overhead taken off it")


def _explain(found: Sequence[LayerSpeed], rates: dict[Mix, float]) -> None:
    """How much of what the core's instructions allow each kernel reaches, and what ratio they allow. INT4 is left out,
    being INT8 with unpacking."""
    if not rates:
        return
    names = [name for name in PRECISIONS if name != "int4"]
    allowed = {name: products_per_s(Precision.parse(name), rates) or math.nan for name in names}
    table = Table(
        title="reached of what the innermost instructions alone allow", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("layer", overflow="fold")
    for name in names:
        table.add_column(name, justify="right")
    for layer in found:
        shares = (layer.workload.macs / layer.medians_s[name] / allowed[name] for name in names)
        table.add_row(layer.workload.text, *(f"{share:.0%}" for share in shares))
    console = Console(width=150, highlight=False)
    console.print(table)
    for mix, steps in rates.items():
        console.print(f"{mix.name}: {steps * mix.products / 1e9:.0f} G products a second")
    for name in names[1:]:
        console.print(f"{name}: at most {allowed[name] / allowed['int8']:.2f}x INT8, were both at what is allowed")
