"""Whole networks in INT8 against ONNX Runtime on the same CPU, one ratio per network and batch.

Both sides have the same real weights, quantized to 8 bits by each side's own quantizer, read the same 8-bit images with
channels last, and write integer logits; one thread each, pinned to the same CPU. Ours is verified bit for bit first,
and that both compute the same network shows in their logits. Samples alternate: some runs of one side, as many of the
other, who begins changes every round. Nothing is subtracted from either. What is compared is the ratio of the medians
of a round.
"""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from rich.console import Console
from rich.table import Table

from bench.network_peer import PeerNetwork, executed, in_float, peer_model, peer_network
from bench.samples import pinned
from bench.tuned import host_bench
from profiler.artifact import Artifact
from profiler.devices.host_worker import choose_cpus
from profiler.errors import ProfilerError
from profiler.frontend import load_network
from profiler.lut.schema import LutRow
from profiler.lut.store import read
from profiler.lut.table import prices
from profiler.measure.rule import StoppingRule
from profiler.measure.turns import MachineTurns
from profiler.network.host_run import HostNetwork
from profiler.network.integer_network import IntegerNetwork
from profiler.network.quantized import integer_network
from profiler.network.random_weights import random_images
from profiler.network.real_numbers import quantized_inputs, real_values
from profiler.network_stages.deployments import uniform_deployment
from profiler.network_stages.kernels_of import chosen_configs, kernels_of
from profiler.network_stages.trained import ModelRequest, trained_network
from profiler.record import CacheMode, Conditions
from profiler.space.config import parse_config
from profiler.statistics import Summary, summarize
from profiler.targets import CpuTarget
from profiler.units import format_duration
from profiler.workload import INT8, KernelSpec

Array = npt.NDArray[Any]

RUNS = 5
"""Of each side, that make a sample."""
SAMPLE_RULE = StoppingRule(
    sample_s=0.02, min_samples=RUNS, max_samples=RUNS, target=0.0, budget_s=1.0, least_samples=RUNS
)
CONDITIONS = Conditions(1, CacheMode.NETWORK)
_CALIBRATION_IMAGES, _CALIBRATION_SEED, _SEED = 2, 0, 1
_DISTURBED = 1.1
"""A whole that takes so many times its steps was interrupted."""


@dataclass(frozen=True)
class Sample:
    """Of one round, in seconds: medians of runs on both sides, and of our steps, whose clock is read in runs of their
    own."""

    ours_s: float
    theirs_s: float
    steps_s: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """A network on both sides. ``agreement`` is the correlation of both sides' logits, ``executed`` what ONNX Runtime's
    run is made of, ``in_float`` how many of its convolutions and dense layers are no integer kernels."""

    network: str
    batch: int
    rounds: tuple[Sample, ...]
    agreement: float
    executed: Counter[str]
    in_float: int

    @property
    def ours(self) -> Summary:
        return summarize([r.ours_s for r in self.rounds])

    @property
    def theirs(self) -> Summary:
        return summarize([r.theirs_s for r in self.rounds])

    @property
    def speedup(self) -> Summary:
        """Their time by ours, of each round; above 1 we are faster. No seconds, in spite of its fields' names."""
        return summarize([r.theirs_s / r.ours_s for r in self.rounds])

    @property
    def steps_s(self) -> float:
        """The sum over our steps of each one's median over the rounds."""
        return sum(float(statistics.median(step)) for step in zip(*(r.steps_s for r in self.rounds), strict=True))

    @property
    def busy(self) -> bool:
        """Whether something else ran on the machine meanwhile: the ratio then says more than the times."""
        slowed = self.ours.median_s > _DISTURBED * self.steps_s
        return slowed or self.ours.contaminated or self.theirs.contaminated


def bench_networks(
    models: Sequence[str],
    batches: Sequence[int],
    trials: int,
    rounds: int,
    lut: Path | None,
    out: Path,
    console: Console | None = None,
) -> list[Comparison]:
    """Compare and print. The configs of kernels are those of the table ``lut`` where it has them, and else tuned, or
    taken from the records of ``out``. Raises `ProfilerError`, e.g. for a table of another machine."""
    console = console or Console(width=140, highlight=False, markup=False)
    rows = () if lut is None else read(lut)
    found = []
    for model in models:
        for batch in batches:
            found.append(_bench_network(model, batch, trials, rounds, rows, out))
            console.print(_told(found[-1]), soft_wrap=True)
    console.print(_table(found))
    return found


def in_turn(
    ours: Callable[[], tuple[float, tuple[float, ...]]], theirs: Callable[[], float], rounds: int
) -> tuple[Sample, ...]:
    """One sample of each side per round; who begins changes every round. The first round does not count."""
    found = []
    for index in range(rounds + 1):
        their_s = theirs() if index % 2 else 0.0
        our_s, steps_s = ours()
        if not index % 2:
            their_s = theirs()
        found.append(Sample(our_s, their_s, steps_s))
    return tuple(found[1:])


def _bench_network(model: str, batch: int, trials: int, rounds: int, rows: Sequence[LutRow], out: Path) -> Comparison:
    trained, _ = trained_network(ModelRequest(model), load_network(model, batch))
    network = trained.network
    latencies = prices(rows, CONDITIONS)
    integers = integer_network(trained, uniform_deployment(network, INT8, latencies))
    kernels = _kernels(integers, rows, trials, out)
    images = random_images(network, batch, _SEED).inputs[integers.inputs[0]]
    calibration = random_images(network, _CALIBRATION_IMAGES, _CALIBRATION_SEED)
    model_there = peer_model(network, trained.weights, calibration)
    inputs = quantized_inputs(integers, {integers.inputs[0]: images})
    with HostNetwork(integers, kernels) as here, MachineTurns.of_cpu().measuring():
        outputs = here.verify(inputs).outputs
        with pinned(choose_cpus(os.sched_getaffinity(0))[:1]):
            nodes = executed(model_there, images)
            there = peer_network(model_there, images)
            samples = in_turn(lambda: _ours(here, inputs), lambda: _theirs(there), rounds)
    logits = real_values(integers, integers.outputs[0], outputs[integers.outputs[0]])
    return Comparison(
        network=network.name,
        batch=batch,
        rounds=samples,
        agreement=float(np.corrcoef(logits.reshape(-1), there.logits().reshape(-1))[0, 1]),
        executed=nodes,
        in_float=in_float(network, nodes),
    )


def _ours(network: HostNetwork, inputs: Mapping[str, Array]) -> tuple[float, tuple[float, ...]]:
    times = network.latency(inputs, SAMPLE_RULE).times
    return times.summary.median_s, times.step_medians_s


def _theirs(network: PeerNetwork) -> float:
    network.times_s(2)  # what the other side left in the caches does not count, on ours neither
    return statistics.median(network.times_s(RUNS))


def _kernels(network: IntegerNetwork, rows: Sequence[LutRow], trials: int, out: Path) -> Mapping[KernelSpec, Artifact]:
    with host_bench(1, CONDITIONS.cache_mode) as bench:
        compiler = bench.workbench.run.compiler
        fingerprint = bench.workbench.device.fingerprint(compiler)
        chosen = chosen_configs(network, rows, CONDITIONS, fingerprint, CpuTarget(bench.cpu), allow_default=True)
        configs = {}
        for result in bench.tuner(out, trials).tune([kernel.spec for kernel in chosen if kernel.row is None]):
            if result.best is None:
                raise ProfilerError(f"kernel {result.spec.key} has no config that works; its journal in {out} says why")
            configs[result.spec] = parse_config(result.best.config)
        chosen = tuple(replace(kernel, config=configs.get(kernel.spec, kernel.config)) for kernel in chosen)
        with bench.workbench.compiling():
            return kernels_of(chosen, bench.workbench.builder, compiler)


def _told(c: Comparison) -> str:
    """A line on what ran."""
    kernels = ", ".join(f"{count} {name}" for name, count in c.executed.most_common())
    lacking = f"; {c.in_float} of its convolutions and dense layers did NOT run as integer kernels" * bool(c.in_float)
    busy = "; the machine was BUSY with something else, and the times are too long" * c.busy
    return (
        f"{c.network} batch {c.batch}: ours bit-exact; logits of both correlate with {c.agreement:.4f}; "
        f"ONNX Runtime ran {kernels}{lacking}{busy}"
    )


def _table(found: Sequence[Comparison]) -> Table:
    title = (
        f"whole networks, INT8, 1 thread, against ONNX Runtime {onnxruntime.__version__} "
        "(QDQ by its own quantizer: uint8 activations, int8 weights per channel)"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("network")
    columns = ("batch", "ours", "ONNX Runtime", "speedup", "95% interval", "our steps", "beyond them")
    for column in columns:
        table.add_column(column, justify="right")
    for c in found:
        table.add_row(
            c.network,
            str(c.batch),
            *(f"{format_duration(s.median_s)} ±{s.relative_halfwidth:.1%}" for s in (c.ours, c.theirs)),
            f"{c.speedup.median_s:.2f}x",
            f"{c.speedup.ci95_low_s:.2f} to {c.speedup.ci95_high_s:.2f}",
            format_duration(c.steps_s),
            f"{c.ours.median_s / c.steps_s - 1:+.1%}",
        )
    return table
