"""The stages as functions of files. The Makefile and the command line call these, and so can a notebook.

model -> network -> kernels that it can need -> tuned and measured, journaled -> lut/<device>.csv -> table
"""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from profiler import __version__
from profiler.devices.discover import find_device, open_device
from profiler.devices.protocol import Device
from profiler.errors import DeviceError, ProfilerError
from profiler.frontend import load_network
from profiler.hardware import CpuSpec, DotIsa, host_cpu
from profiler.kernels.backend import CpuBackend
from profiler.kernels.cpu.build import compiler_version
from profiler.kernels.cpu.target import target_of
from profiler.kernels.pool_build import BuildPool
from profiler.lut import store
from profiler.lut.build import build as build_rows
from profiler.lut.demand import Demand, demand
from profiler.lut.table import network_table, prices
from profiler.measure import Run
from profiler.output_folder import require_writable
from profiler.pipeline_result import ProfileResult
from profiler.predictor.learned import LearnedModel
from profiler.record import CacheMode, Conditions, Failure, Fingerprint, Measurement
from profiler.space.config import ScheduleConfig
from profiler.space.cpu import config_space, reason_unsupported
from profiler.tuning.database import TuningDatabase
from profiler.tuning.events import Listener, ignore
from profiler.tuning.tuner import Budget, SpecResult, Tuner
from profiler.tuning.turns import MachineTurns
from profiler.tuning.workbench import SpaceOf, Workbench
from profiler.workload import INT4, INT8, KernelSpec, Network, Precision

CPU_BATCH, GPU_BATCH = 1, 8


@dataclass(frozen=True)
class ProfileRequest:
    """What a user asks of `profile`.

    ``batch`` None is the device's default, ``trials`` None the tuner's; a larger number also extends the search of
    kernels that an earlier run finished. ``out`` gets lut/ and tuning_logs/.
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


def profile(request: ProfileRequest, progress: Progress | None = None) -> ProfileResult:
    """Tune, verify and time every kernel that the network can need, and write the LUT of the device.

    What an earlier run measured on the same instrument under the same conditions is not measured again. Raises
    `ProfilerError` for whatever the user can mend; what was measured until then is in the journals.
    """
    begin = time.monotonic()
    progress = progress or Progress()
    choice = find_device(request.device)
    batch = request.batch or (GPU_BATCH if choice.device.is_gpu else CPU_BATCH)
    network = load_network(request.model, batch, skip_unsupported=request.skip_unsupported)
    _check_threads(request.threads)
    demands = demand(network, request.precisions, mixed=request.mixed)
    luts, logs = request.out / "lut", request.out / "tuning_logs" / choice.device.slug
    for folder in (luts, logs):
        require_writable(folder)
    progress.planned(Plan(network, demands, choice.device.name, choice.note))
    cpu = host_cpu()
    with open_device(choice.device) as device:
        run = Run(time.strftime("%Y%m%dT%H%M%S-") + uuid.uuid4().hex[:8], __version__, compiler_version())
        fingerprint = device.fingerprint(run.compiler)
        _require_sound_lut(luts, choice.device.slug, fingerprint)
        database = TuningDatabase(logs, fingerprint, request.conditions)
        results = _tune([d.spec for d in demands], request, cpu, device, run, database, progress)
    records = _records(database, [d.spec for d in demands])
    rows = build_rows(records, fingerprint)
    if not rows:
        raise ProfilerError(f"no kernel of {network.name} could be measured: {_why_none(results[0], cpu.isa)}")
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
        warnings=_warnings((choice.note, _elsewhere(lut_path, choice.device.slug)), results, cpu.isa),
    )


def _tune(
    specs: Sequence[KernelSpec],
    request: ProfileRequest,
    cpu: CpuSpec,
    device: Device,
    run: Run,
    database: TuningDatabase,
    progress: Progress,
) -> tuple[SpecResult, ...]:
    workers = max(1, min(8, len(os.sched_getaffinity(0))))
    with BuildPool(CpuBackend(target_of(cpu), request.threads), workers) as pool:
        tuner = Tuner(
            bench=Workbench(device, pool, request.conditions, run, MachineTurns.of_device(device.slug)),
            space=_spaces(cpu, request.threads),
            model=LearnedModel(cpu, request.threads),
            database=database,
            budget=_budget(request.trials),
            listener=progress.tuning,
        )
        return tuner.tune(specs)


def _budget(trials: int | None) -> Budget:
    if trials is None:
        return Budget()
    return Budget(trials=trials, sibling_trials=min(trials, Budget.sibling_trials), extend=trials > Budget.trials)


def _spaces(cpu: CpuSpec, threads: int) -> SpaceOf:
    def space(spec: KernelSpec) -> tuple[ScheduleConfig, ...]:
        return config_space(spec, cpu.isa, threads)

    return space


def _records(database: TuningDatabase, specs: Sequence[KernelSpec]) -> tuple[Measurement | Failure, ...]:
    """Everything that the journals of these workloads hold, the kernels of earlier runs included."""
    workloads = dict.fromkeys(spec.workload for spec in specs)
    return tuple(record for workload in workloads for record in database.records(workload))


def _elsewhere(lut_path: Path, slug: str) -> str:
    if lut_path.name == f"{slug}.csv":
        return ""
    usual = lut_path.with_name(f"{slug}.csv")
    return f"{usual} is of another instrument (an older version or another machine); this run's rows are in {lut_path}"


def _why_none(result: SpecResult, isa: DotIsa) -> str:
    failures = Counter(failure.kind.value for failure in result.failures)
    counted = ", ".join(f"{count} {kind}" for kind, count in failures.items())
    last = f" ({result.failures[-1].message})" if result.failures else ""
    return f"{result.spec.key}: {reason_unsupported(result.spec, isa) or counted + last or 'no valid config'}"


def _warnings(notes: Sequence[str], results: Sequence[SpecResult], isa: DotIsa) -> tuple[str, ...]:
    found = [note for note in notes if note]
    unmeasured = [result for result in results if result.best is None]
    if unmeasured:
        found.append(f"no latency for {len(unmeasured)} of {len(results)} kernels; {_why_none(unmeasured[0], isa)}")
    finals = [result.best for result in results if result.best is not None]
    disturbed = [m for m in finals if any(note.startswith("other processes") for note in m.circumstances.notes)]
    if disturbed:
        found.append(f"other processes were busy while {len(disturbed)} of {len(results)} kernels were measured")
    doubtful = [m for m in finals if m.summary.contaminated]
    if doubtful:
        found.append(
            f"something else ran on the machine: the medians of {len(doubtful)} of {len(results)} kernels lie far "
            "above their minima; the same command measures those again, best on an idle machine"
        )
    return tuple(found)


def _check_threads(threads: int) -> None:
    cpus = len(os.sched_getaffinity(0))
    if threads > cpus:
        raise DeviceError(f"{threads} threads do not fit the {cpus} CPUs that this process may use; say THREADS={cpus}")


def _require_sound_lut(folder: Path, device: str, fingerprint: Fingerprint) -> None:
    """Refuse to start with a damaged file that the rows shall be added to in the end."""
    path = store.path_for(folder, device, fingerprint.short)
    if path.exists():
        store.read(path)
