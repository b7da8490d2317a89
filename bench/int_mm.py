"""Our tuned INT8 kernels against `torch._int_mm`: the same products on the same card in the same run.

Layers that are a matrix product: dense ones, and convolutions of 1x1 with stride 1. Both sides read int8 and write
int32 without an epilogue, on the same values, caches hot, and both results are checked. One sample of each side per
round, in turn; a sample is the mean over launches that fill some milliseconds, each between two events, launch gaps
kept out on both sides. Nothing is subtracted. What is compared is the ratio of the two samples of a round.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.gemm_layers import HOT, gemm_of, gemm_specs, known_configs
from bench.torch_product import LAUNCHES, TorchProduct, TorchRefusal, TorchTimer, load_torch, torch_index
from profiler import __version__
from profiler.artifact import Artifact
from profiler.devices.cuda import CudaDevice
from profiler.devices.discover import FoundDevice, Vendor, discover, find_device, open_device
from profiler.devices.gpu_facts import GpuFacts
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.gpu_spec import spec_of
from profiler.devices.protocol import Device, KernelFailure
from profiler.doubts import why_none
from profiler.errors import DeviceError, InvalidFile, ProfilerError
from profiler.frontend import load_network
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.cached_build import CachedBuilds
from profiler.lut import store
from profiler.lut.schema import LutRow
from profiler.measure import GPU_RULES, Run
from profiler.measure.turns import MachineTurns
from profiler.predictor.configs.learned import LearnedModel
from profiler.quantize.samples import sample_arguments
from profiler.record import CacheMode
from profiler.space.config import ScheduleConfig, parse_config
from profiler.statistics import Summary, summarize
from profiler.targets import GpuTarget, cuda_for_driver
from profiler.tuning.database import TuningDatabase
from profiler.tuning.tuner import Budget, Tuner
from profiler.tuning.workbench import Workbench
from profiler.units import format_duration
from profiler.workload import KernelSpec

SAMPLE_S = 0.006
WARM_UP_ROUNDS = 2
_CLOCK_STEP_S = 1e-6  # two events so near each other may bear one time
_LEAST_ROUNDS = 6  # fewer have no 95% interval


@dataclass(frozen=True)
class Comparison:
    """A layer on both sides.

    ratio : torch's time by ours, of the two samples of each round; above 1 we are faster. layout : of the weights, as
    torch had them.
    """

    spec: KernelSpec
    ours: Summary
    theirs: Summary
    ratio: Summary
    layout: str

    @staticmethod
    def of(spec: KernelSpec, ours_s: Sequence[float], theirs_s: Sequence[float], layout: str) -> Comparison:
        """From the samples of the rounds, in their order."""
        ratios = [theirs / ours for ours, theirs in zip(ours_s, theirs_s, strict=True)]
        return Comparison(spec, summarize(ours_s), summarize(theirs_s), summarize(ratios), layout)


@dataclass(frozen=True)
class Skipped:
    """A layer without a comparison, and why."""

    spec: KernelSpec
    reason: str


@dataclass
class Beside:
    """What was seen of the card beside our samples."""

    clocks_mhz: list[float] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    rounds: int = 0
    capped: int = 0
    discarded: int = 0

    @property
    def text(self) -> str:
        """One line for people."""
        clocks = f"SM clock {min(self.clocks_mhz):.0f} to {max(self.clocks_mhz):.0f} MHz" if self.clocks_mhz else ""
        capped = f"{self.capped} of {self.rounds} rounds under the power cap" if self.capped else ""
        slowed = f"{self.discarded} of {self.rounds} rounds discarded for a slowdown" if self.discarded else ""
        return ", ".join(filter(None, ("beside our samples: " + (clocks or "no clock known"), capped, slowed)))


@dataclass(frozen=True)
class IntMmRequest:
    """What is compared. ``lut`` : where configs are taken from. ``out`` : folder of tuning records and kernels."""

    gpu: str = "auto"
    model: str = "resnet50"
    batch: int = 8
    trials: int = 16
    rounds: int = 30
    lut: Path | None = None
    out: Path = Path("build/bench")


def bench_int_mm(
    request: IntMmRequest,
    vendor: Vendor | None = None,
    load: Callable[[], Any] | None = None,
    console: Console | None = None,
) -> tuple[Comparison | Skipped, ...]:
    """Tune what is not known, compare layer by layer, and print. ``load`` imports torch.

    Raises `DeviceError` without a GPU or a torch that uses it, and other `ProfilerError` for a model or LUT that cannot
    be used.
    """
    console = console or Console(width=160, highlight=False, markup=False)
    vendor = vendor or Vendor()
    found = _gpu(request.gpu, vendor)
    torch = load_torch(load) if load else load_torch()
    network = load_network(request.model, request.batch)
    specs = gemm_specs(network)
    if not specs:
        raise ProfilerError(f"{network.name} has no layer that is a matrix product (dense, or 1x1 with stride 1)")
    rows = _rows(request.lut, found) if request.lut else ()
    with GpuMonitor(vendor.nvml, found.uuid) as monitor:
        facts = monitor.facts()
    if facts.compute_mode.startswith("exclusive"):
        raise DeviceError(
            f"{found.text} is in compute mode '{facts.compute_mode}', and int_mm uses it from two processes at a time; "
            "set it to default: sudo nvidia-smi -c 0"
        )
    opened = open_device(found, vendor)
    assert isinstance(opened, CudaDevice)
    with opened as device:
        turns = MachineTurns.of_gpu(found.uuid)
        console.print(_headline(found, facts, torch), soft_wrap=True)
        artifacts, skipped = _tuned(device, specs, known_configs(rows, specs), turns, request, console)
        index = torch_index(torch, found.name, found.uuid)
        clock_hz = 1e6 * (facts.max_sm_clock_mhz or device.properties.clock_rate_khz / 1e3)
        beside = Beside()
        with turns.measuring():
            timer = TorchTimer(torch, index, clock_hz)
            compared = {
                spec: _compare(device, artifacts[spec], torch, timer, request.rounds, beside)
                for spec in specs
                if spec in artifacts
            }
    results = tuple({**compared, **skipped}[spec] for spec in specs)
    _print(results, f"{network.name} batch {request.batch}, INT8 to int32, caches hot", beside, console)
    return results


def main(arguments: Sequence[str]) -> None:
    """``python -m bench int_mm ...``."""
    usual = IntMmRequest()
    parser = argparse.ArgumentParser(prog="bench int_mm", description=__doc__)
    parser.add_argument("--gpu", default=usual.gpu, help="auto, a model (t4, a100, h200), an index or a UUID")
    parser.add_argument("--model", default=usual.model)
    parser.add_argument("--batch", type=int, default=usual.batch)
    parser.add_argument("--trials", type=int, default=usual.trials, help="configs of a kernel that the LUT has not")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="interleaved samples of each side")
    parser.add_argument("--lut", type=Path, help="a LUT of this card, whose configs are taken where it has the kernel")
    parser.add_argument("--out", type=Path, default=usual.out, help="folder of tuning records and kernels, used again")
    parsed = parser.parse_args(arguments)
    if parsed.rounds < _LEAST_ROUNDS or parsed.trials < 1 or parsed.batch < 1:
        parser.error(f"--rounds must be at least {_LEAST_ROUNDS}, --trials and --batch at least 1")
    bench_int_mm(IntMmRequest(**vars(parsed)))


def _gpu(selector: str, vendor: Vendor) -> FoundDevice:
    inventory = discover(vendor)
    if not inventory.gpus:
        raise DeviceError(
            f"int_mm needs a machine with an NVIDIA GPU and a CUDA build of torch: no GPU here, {inventory.no_gpus}"
        )
    choice = find_device(selector, inventory)
    if not choice.device.is_gpu:
        raise DeviceError(f"int_mm needs an NVIDIA GPU: {choice.note or f'{choice.device.text} is none'}")
    return choice.device


def _rows(path: Path, device: FoundDevice) -> tuple[LutRow, ...]:
    rows = store.read(path)
    others = [row for row in rows if row.device != device.slug]
    if others:
        raise InvalidFile(f"{path}: is of {others[0].device_name}, not of {device.text}; give the LUT of this card")
    return rows


def _tuned(
    device: CudaDevice,
    specs: Sequence[KernelSpec],
    known: dict[KernelSpec, ScheduleConfig],
    turns: MachineTurns,
    request: IntMmRequest,
    console: Console,
) -> tuple[dict[KernelSpec, Artifact], dict[KernelSpec, Skipped]]:
    """Our kernels, by the configs that are known or else by the product's own tuner; and those that we have not."""
    card = device.properties
    target = GpuTarget(spec_of(card), cuda_for_driver(card.driver_version))
    run = Run(f"bench-{int(time.time())}-{uuid.uuid4().hex[:8]}", __version__, target.backend.compiler)
    with CachedBuilds(target.backend, ArtifactCache(request.out / "kernels" / target.slug)) as builder:
        bench = Workbench(device, builder, HOT, run, turns, GPU_RULES)
        with bench.compiling():
            artifacts = {artifact.spec: artifact for artifact in bench.build(list(known.items())).artifacts}
        unknown = [spec for spec in specs if spec not in artifacts]
        console.print(
            f"{len(artifacts)} configs from the LUT, tuning {len(unknown)} kernels, {request.trials} trials each"
        )
        database = TuningDatabase(
            request.out / "tuning_logs" / target.slug, device.fingerprint(run.compiler), HOT, run.run_id
        )
        tuner = Tuner(bench, target.space, LearnedModel(target.device), database, Budget(trials=request.trials))
        results = tuner.tune(unknown)
        winners = [(r.spec, parse_config(r.best.config)) for r in results if r.best is not None]
        with bench.compiling():
            artifacts.update({artifact.spec: artifact for artifact in bench.build(winners).artifacts})
    reasons = {r.spec: why_none(r, target) for r in results}
    skipped = {s: Skipped(s, f"ours: no kernel, {reasons[s]}") for s in unknown if s not in artifacts}
    return artifacts, skipped


def _compare(
    device: CudaDevice, artifact: Artifact, torch: Any, timer: TorchTimer, rounds: int, beside: Beside
) -> Comparison | Skipped:
    spec, gemm = artifact.spec, gemm_of(artifact.spec.workload)
    assert gemm is not None
    drawn = sample_arguments(spec, artifact.check.seed)
    a, b = (drawn[name].astype(np.int8) for name in ("input", "weight"))
    try:
        product = TorchProduct(torch, timer, a.reshape(gemm.m, gemm.k), b.reshape(gemm.n, gemm.k))
    except TorchRefusal as refusal:
        return Skipped(spec, f"torch: {refusal}")
    try:
        handle = device.load(artifact)
        try:
            device.verify(handle)
            return in_turn(device, handle, spec, product, rounds, beside)
        finally:
            device.unload(handle)
    except KernelFailure as failure:
        return Skipped(spec, f"ours: {failure.kind.value}, {failure.message}")


class Product(Protocol):
    """The other side, as `TorchProduct` is."""

    layout: str

    def time(self, launches: int) -> tuple[float, ...]: ...


def in_turn(
    device: Device, handle: int, spec: KernelSpec, product: Product, rounds: int, beside: Beside
) -> Comparison | Skipped:
    """One sample of each side per round; who begins changes every round. Rounds in which the card was slowed down do
    not count. Raises `KernelFailure` as `Device.time`."""
    ours_launches = launches(statistics.median(device.time(handle, 5, CacheMode.HOT)))
    their_launches = launches(statistics.median(product.time(5)))
    ours_s, theirs_s = [], []
    for index in range(-WARM_UP_ROUNDS, rounds):
        if index % 2:
            their_s = _sample(product.time(1 + their_launches))
        our_s = _sample(device.time(handle, 1 + ours_launches, CacheMode.HOT))
        held_back = device.throttling()
        if not index % 2:
            their_s = _sample(product.time(1 + their_launches))
        if index < 0:
            continue
        beside.rounds += 1
        beside.capped += held_back is not None and held_back.power_capped
        if held_back is not None and held_back.slowdown:
            beside.discarded += 1
            continue
        ours_s.append(our_s)
        theirs_s.append(their_s)
    seen = device.circumstances()
    beside.clocks_mhz += [mhz for mhz in (seen.sm_clock_mhz_low, seen.sm_clock_mhz_high) if mhz is not None]
    beside.notes.update(dict.fromkeys(seen.notes))
    if len(ours_s) < _LEAST_ROUNDS:
        return Skipped(
            spec, f"the card was slowed down in {rounds - len(ours_s)} of {rounds} rounds; see to its cooling"
        )
    return Comparison.of(spec, ours_s, theirs_s, product.layout)


def launches(launch_s: float) -> int:
    """Launches that fill a sample, with one more in a batch."""
    return max(2, min(LAUNCHES - 1, math.ceil(SAMPLE_S / max(launch_s, _CLOCK_STEP_S))))


def _sample(times_s: Sequence[float]) -> float:
    """The first one finds the caches as the other side left them, and does not count."""
    return statistics.fmean(times_s[1:])


def _headline(device: FoundDevice, facts: GpuFacts, torch: Any) -> str:
    limit = f", power limit {facts.power_limit_w:g} W" if facts.power_limit_w is not None else ""
    return (
        f"{device.text}, {device.uuid}, driver {facts.driver or 'unknown'}{limit}; "
        f"torch {torch.__version__} (CUDA {torch.version.cuda})"
    )


def _print(results: Sequence[Comparison | Skipped], title: str, beside: Beside, console: Console) -> None:
    compared = [result for result in results if isinstance(result, Comparison)]
    if compared:
        console.print(_table(compared, title))
        ratios = [result.ratio.median_s for result in compared]
        console.print(
            f"geometric mean {statistics.geometric_mean(ratios):.2f}x over {len(ratios)} layers, from "
            f"{min(ratios):.2f}x to {max(ratios):.2f}x; above 1 our kernel is faster"
        )
        for line in (beside.text, *beside.notes):
            console.print(line, soft_wrap=True)
    for result in results:
        if isinstance(result, Skipped):
            console.print(f"not compared: {result.spec.workload.text}: {result.reason}", soft_wrap=True)


def _table(compared: Sequence[Comparison], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("layer")
    for column in ("M x K x N", "ours", "torch._int_mm", "torch / ours", "95% interval"):
        table.add_column(column, justify="right")
    table.add_column("torch's weights")
    for c in compared:
        gemm = gemm_of(c.spec.workload)
        assert gemm is not None
        table.add_row(
            c.spec.workload.text,
            gemm.text,
            *(f"{format_duration(s.median_s)} ±{s.relative_halfwidth:.1%}" for s in (c.ours, c.theirs)),
            f"{c.ratio.median_s:.2f}x",
            f"{c.ratio.ci95_low_s:.2f} to {c.ratio.ci95_high_s:.2f}",
            c.layout,
        )
    return table
