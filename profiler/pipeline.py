"""The stages as functions of files. The Makefile and the command line call these, and so can a notebook.

model -> network -> kernels that it can need -> tuned and measured, journaled -> lut/<device>.csv -> table
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from profiler import __version__
from profiler.devices.clock_lock import locked_clocks
from profiler.devices.cuda import CudaDevice
from profiler.devices.discover import FoundDevice, Vendor, discover, find_device, open_device
from profiler.devices.gpu_spec import spec_of
from profiler.devices.host import HostDevice
from profiler.doubts import doubts, why_none
from profiler.errors import DeviceError, ProfilerError
from profiler.frontend import load_network
from profiler.kernels.cache import ArtifactCache
from profiler.kernels.cached_build import CachedBuilds
from profiler.kernels.pool_build import BuildPool
from profiler.lut import store
from profiler.lut.build import build as build_rows
from profiler.lut.demand import Demand, demand
from profiler.lut.table import network_table, prices
from profiler.measure import Run, rules_of
from profiler.measure.turns import MachineTurns
from profiler.output_folder import require_writable
from profiler.pipeline_result import ProfileResult
from profiler.predictor.learned import LearnedModel
from profiler.record import CacheMode, Conditions, Failure, Fingerprint, Measurement
from profiler.targets import CpuTarget, GpuTarget, Target, cuda_for_driver, default_batch, require_driver
from profiler.tuning.database import TuningDatabase
from profiler.tuning.events import Listener, ignore
from profiler.tuning.tuner import Budget, Tuner
from profiler.tuning.workbench import Builder, Workbench
from profiler.workload import INT4, INT8, KernelSpec, Network, Precision

MOST_WORKERS = 8
"""That compile: a batch of candidates has no more."""


@dataclass(frozen=True)
class ProfileRequest:
    """What a user asks of `profile`.

    ``batch`` None is the device's default, ``trials`` None the tuner's; a larger number also extends the search of
    kernels that an earlier run finished. ``out`` gets lut/ and tuning_logs/.

    Of a GPU: ``cuda`` names the compiler (see `CudaBackend`), None is what its driver accepts; ``sustained`` measures
    without rests, under the card's power cap; ``lock_clocks`` holds the SM clock, at ``clock_mhz`` or where the card's
    maker promises it.
    """

    model: str = "resnet18"
    device: str = "auto"
    batch: int | None = None
    precisions: tuple[Precision, ...] = (INT8, INT4)
    trials: int | None = None
    cache_mode: CacheMode = CacheMode.NETWORK
    threads: int = 1
    out: Path = field(default_factory=Path)
    mixed: bool = True
    skip_unsupported: bool = False
    cuda: str | None = None
    sustained: bool = False
    lock_clocks: bool = False
    clock_mhz: int | None = None

    @property
    def conditions(self) -> Conditions:
        return Conditions(self.threads, self.cache_mode)


@dataclass(frozen=True)
class Plan:
    """What a run is about to do, for whoever shows its progress."""

    network: Network
    demands: tuple[Demand, ...]
    device_name: str
    note: str


@dataclass(frozen=True)
class Progress:
    """Where a run reports to: once its plan, then the tuner's events."""

    planned: Callable[[Plan], None] = lambda plan: None
    tuning: Listener = ignore


def profile(request: ProfileRequest, progress: Progress | None = None, vendor: Vendor | None = None) -> ProfileResult:
    """Tune, verify and time every kernel that the network can need, and write the LUT of the device.

    What an earlier run measured on the same instrument under the same conditions is not measured again. Raises
    `ProfilerError` for whatever the user can mend; what was measured until then is in the journals.
    """
    begin = time.monotonic()
    progress, vendor = progress or Progress(), vendor or Vendor()
    choice = find_device(request.device, discover(vendor))
    _check_options(request, choice.device)
    batch = request.batch or default_batch(choice.device.is_gpu)
    network = load_network(request.model, batch, skip_unsupported=request.skip_unsupported)
    demands = demand(network, request.precisions, mixed=request.mixed)
    specs = [d.spec for d in demands]
    luts, logs = request.out / "lut", request.out / "tuning_logs" / choice.device.slug
    for folder in (luts, logs):
        require_writable(folder)
    with _opened(choice.device, request, vendor) as (device, clocks):
        notes = tuple(filter(None, (choice.note, clocks)))
        progress.planned(Plan(network, demands, choice.device.name, "; ".join(notes)))
        target = _target(device, request)
        run = Run(time.strftime("%Y%m%dT%H%M%S-") + uuid.uuid4().hex[:8], __version__, target.backend.compiler)
        fingerprint = device.fingerprint(run.compiler)
        _require_sound_lut(luts, choice.device.slug, fingerprint)
        database = TuningDatabase(logs, fingerprint, request.conditions, run.run_id)
        with _builder(target, request.out) as builder:
            tuner = Tuner(
                bench=Workbench(
                    device,
                    builder,
                    request.conditions,
                    run,
                    MachineTurns.of_device(choice.device),
                    rules_of(choice.device.is_gpu),
                ),
                space=target.space,
                model=LearnedModel(target.device, target.threads),
                database=database,
                budget=_budget(request.trials),
                listener=progress.tuning,
            )
            results = tuner.tune(specs)
    records = _records(database, specs)
    rows = build_rows(records, fingerprint)
    if not rows:
        raise ProfilerError(f"no kernel of {network.name} could be measured: {why_none(results[0], target)}")
    lut_path = store.save(luts, choice.device.slug, fingerprint, rows)
    table = network_table(network, request.precisions, prices(rows, request.conditions))
    return ProfileResult(
        device=choice.device.slug,
        device_name=fingerprint.device_name,
        fingerprint=fingerprint.short,
        conditions=request.conditions,
        table=table,
        kernels=len(results),
        measured=len({r.spec for r in records if isinstance(r, Measurement) and r.run_id == run.run_id}),
        failures=sum(len(result.failures) for result in results),
        elapsed_s=time.monotonic() - begin,
        lut_path=lut_path,
        logs=logs,
        warnings=(
            *filter(None, (*notes, _elsewhere(lut_path, choice.device.slug))),
            *doubts(results, target),
        ),
    )


@contextmanager
def _opened(
    device: FoundDevice, request: ProfileRequest, vendor: Vendor
) -> Iterator[tuple[HostDevice | CudaDevice, str]]:
    """The device, and what a reader should know of its clocks."""
    with ExitStack() as stack:
        locked = None
        if request.lock_clocks:
            locked = stack.enter_context(locked_clocks(vendor.nvml, device.uuid, request.clock_mhz))
        mhz = locked.mhz if locked else None
        opened = open_device(device, vendor, sustained=request.sustained, locked_sm_clock_mhz=mhz)
        stack.callback(opened.close)
        yield opened, locked.text if locked else ""


def _target(device: HostDevice | CudaDevice, request: ProfileRequest) -> Target:
    if isinstance(device, HostDevice):
        return CpuTarget(device.cpu, request.threads)
    card = device.properties
    target = GpuTarget(spec_of(card), request.cuda or cuda_for_driver(card.driver_version))
    require_driver(target.cuda_major, card.driver_version)
    return target


@contextmanager
def _builder(target: Target, out: Path) -> Iterator[Builder]:
    """A GPU's kernels are kept: `make kernels` may have built them before, and a run that goes on finds its own."""
    workers = min(MOST_WORKERS, len(os.sched_getaffinity(0)))
    if isinstance(target, GpuTarget):
        with CachedBuilds(target.backend, ArtifactCache(out / "kernels" / target.slug), workers) as builds:
            yield builds
    else:
        with BuildPool(target.backend, workers) as pool:
            yield pool


def _budget(trials: int | None) -> Budget:
    if trials is None:
        return Budget()
    return Budget(trials=trials, sibling_trials=min(trials, Budget.sibling_trials), extend=trials > Budget.trials)


def _records(database: TuningDatabase, specs: Sequence[KernelSpec]) -> tuple[Measurement | Failure, ...]:
    """Everything that the journals of these workloads hold, the kernels of earlier runs included."""
    workloads = dict.fromkeys(spec.workload for spec in specs)
    return tuple(record for workload in workloads for record in database.records(workload))


def _elsewhere(lut_path: Path, slug: str) -> str:
    if lut_path.name == f"{slug}.csv":
        return ""
    usual = lut_path.with_name(f"{slug}.csv")
    return f"{usual} is of another instrument (an older version or another machine); this run's rows are in {lut_path}"


def _check_options(request: ProfileRequest, device: FoundDevice) -> None:
    """Refuse what the device does not have."""
    of_gpu = {"--cuda": request.cuda, "--sustained": request.sustained, "--lock-clocks": request.lock_clocks}
    wrong = [name for name, value in of_gpu.items() if value]
    if wrong and not device.is_gpu:
        raise DeviceError(f"{wrong[0]} is for GPUs, and {device.text} is none; leave it out, or choose one with GPU=")
    if request.clock_mhz and not request.lock_clocks:
        raise DeviceError("--clock-mhz is the clock of --lock-clocks; say both")
    if device.is_gpu and request.threads > 1:
        raise DeviceError("threads are of a CPU; leave THREADS out for a GPU")
    cpus = len(os.sched_getaffinity(0))
    if request.threads > cpus:
        raise DeviceError(
            f"{request.threads} threads do not fit the {cpus} CPUs that this process may use; say THREADS={cpus}"
        )


def _require_sound_lut(folder: Path, device: str, fingerprint: Fingerprint) -> None:
    """Refuse to start with a damaged file that the rows shall be added to in the end."""
    path = store.path_for(folder, device, fingerprint.short)
    if path.exists():
        store.read(path)
