"""Measuring on one device: opened once, its kernels tuned in one round or several, the LUT saved after each of them.

choose_device -> opened(device, clocks, target, journals, compiler) -> measure(kernels) -> measure(kernels) -> ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from profiler import __version__
from profiler.devices.clock_lock import locked_clocks
from profiler.devices.cuda import CudaDevice
from profiler.devices.cuda_driver import GpuProperties
from profiler.devices.discover import Choice, FoundDevice, Vendor, discover, find_device, open_device
from profiler.devices.gpu_spec import spec_of
from profiler.devices.host import HostDevice
from profiler.doubts import doubts, energy_doubts
from profiler.errors import DeviceError, InvalidFile
from profiler.lut import store
from profiler.lut.build import build as build_rows
from profiler.lut.build import failed_configs
from profiler.lut.schema import LutRow
from profiler.measure import Run, new_run_id, rules_of
from profiler.measure.energy import ENERGY_RULE, NoEnergy, why_none
from profiler.measure.turns import MachineTurns
from profiler.output_folder import require_writable
from profiler.predictor import model_file
from profiler.predictor.configs.learned import LearnedModel
from profiler.predictor.model_state import ConfigLatency
from profiler.record import CacheMode, Conditions, EnergyMeasurement, Failure, Fingerprint, Measurement
from profiler.targets import CpuTarget, GpuTarget, Target, cuda_for_driver, opened_builds, require_driver
from profiler.tuning.database import TuningDatabase
from profiler.tuning.energies import Energies
from profiler.tuning.events import EnergiesStarted, Listener, ignore
from profiler.tuning.tuner import Budget, SpecResult, Tuner
from profiler.tuning.workbench import Workbench
from profiler.workload import KernelSpec, Workload


@dataclass(frozen=True, kw_only=True)
class MeasureRequest:
    """How a user wants kernels to be measured, whatever kernels they are.

    ``trials`` None is the tuner's; a larger number also extends the search of kernels that an earlier run finished.
    ``out`` gets lut/ and tuning_logs/. ``predictor`` is a fitted model of such a device: the search then begins with
    the latencies of schedule configs that it holds. ``energy``: the joules of each kernel, too, where the device tells
    them.

    Of a GPU: ``cuda`` names the compiler (see `CudaBackend`), None is what its driver accepts; ``sustained`` measures
    without rests, under the card's power cap; ``lock_clocks`` holds the SM clock, at ``clock_mhz`` or where the card's
    maker promises it.
    """

    device: str = "auto"
    trials: int | None = None
    cache_mode: CacheMode = CacheMode.NETWORK
    threads: int = 1
    out: Path = field(default_factory=Path)
    predictor: Path | None = None
    energy: bool = False
    cuda: str | None = None
    sustained: bool = False
    lock_clocks: bool = False
    clock_mhz: int | None = None

    @property
    def conditions(self) -> Conditions:
        return Conditions(self.threads, self.cache_mode)


class Plan(Protocol):
    """What is about to be measured, for whoever shows the progress; a run of several rounds has a plan for each."""

    @property
    def headline(self) -> str: ...

    @property
    def kernels(self) -> int: ...

    @property
    def note(self) -> str:
        """What the user should know of it; often empty."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where a run reports to: its plans, each ahead of the tuner's events."""

    planned: Callable[[Plan], None] = lambda plan: None
    tuning: Listener = ignore


@dataclass(frozen=True)
class Round:
    """What became of some kernels.

    ``measured`` are those that this run timed itself, ``rows`` those of the LUT that have a latency, whoever timed
    them; ``lut_path`` is None if there is none. ``energies`` are those of the best configs that are known, whoever
    measured them, ``metered`` the kernels whose energy this run measured; ``no_energy`` says why it did not go on.
    """

    results: tuple[SpecResult, ...]
    measured: frozenset[KernelSpec]
    rows: tuple[LutRow, ...]
    lut_path: Path | None
    energies: Mapping[KernelSpec, EnergyMeasurement] = field(default_factory=dict)
    metered: frozenset[KernelSpec] = frozenset()
    no_energy: str = ""


@dataclass(frozen=True)
class Campaign:
    """A device that is open, with all that it takes to measure kernels on it. ``notes`` are what the user should know
    of the device that was chosen and of its clocks. ``energies`` measures them, where they are asked for and the device
    tells them; ``no_energy`` says why it does not."""

    tuner: Tuner
    target: Target
    luts: Path
    notes: tuple[str, ...]
    energies: Energies | None = None
    no_energy: str = ""

    @property
    def fingerprint(self) -> Fingerprint:
        return self.database.fingerprint

    @property
    def conditions(self) -> Conditions:
        return self.database.conditions

    @property
    def database(self) -> TuningDatabase:
        return self.tuner.database

    def compiling(self) -> AbstractContextManager[None]:
        """The turn for whatever takes processor time between two rounds."""
        return self.tuner.bench.compiling()

    def measure(self, specs: Sequence[KernelSpec]) -> Round:
        """Tune, verify and time each of the kernels, and write its row.

        What was measured on the same instrument under the same conditions before is not measured again. Errors as
        those of `Tuner.tune` and `store.save`; what was measured until then is in the journals.
        """
        workloads = tuple(dict.fromkeys(spec.workload for spec in specs))  # with the kernels of earlier runs
        results = self.tuner.tune(specs)
        rows, lut_path = self._saved(workloads)
        no_energy = self.no_energy
        while self.energies is not None and not no_energy:
            failed, no_energy = self._meter(self.energies, specs)
            if failed:  # at work, so that the next config takes its place
                results = self.tuner.tune(specs)
            rows, lut_path = self._saved(workloads)
            if not failed:
                break
        records = tuple(record for workload in workloads for record in self.database.records(workload))
        own = [record for record in records if record.run_id == self.tuner.bench.run.run_id]
        known = {result.spec: self._energy(result) for result in results}
        return Round(
            results=results,
            measured=frozenset(record.spec for record in own if isinstance(record, Measurement)),
            rows=rows,
            lut_path=lut_path,
            energies={spec: energy for spec, energy in known.items() if energy is not None},
            metered=frozenset(record.spec for record in own if isinstance(record, EnergyMeasurement)),
            no_energy=no_energy,
        )

    def _meter(self, energies: Energies, specs: Sequence[KernelSpec]) -> tuple[bool, str]:
        """Measure the energies that are missing, and write each into its row; whether a config failed at it, and why
        the device told none."""
        missing = energies.missing(specs)
        if missing:
            energies.listener(EnergiesStarted(len(missing), len(missing) * ENERGY_RULE.total_s))
        failed = False
        for spec in missing:
            found = energies.measure(spec)
            if isinstance(found, NoEnergy):
                return failed, found.reason
            failed |= isinstance(found, Failure)
            self._saved((spec.workload,))
        return failed, ""

    def _energy(self, result: SpecResult) -> EnergyMeasurement | None:
        known = self.database.tried(result.spec.workload).get(result.spec)
        return None if known is None else known.energy

    def _saved(self, workloads: Sequence[Workload]) -> tuple[tuple[LutRow, ...], Path | None]:
        """What the journals of these workloads hold, as rows, and the LUT that has them now; None if there are none."""
        records = [record for workload in workloads for record in self.database.records(workload)]
        rows = build_rows(records, self.fingerprint)
        failed = failed_configs(records, self.fingerprint)
        if not rows and not (failed and self.rows()):
            return rows, None
        path = store.save(self.luts, self.target.slug, self.fingerprint, rows, failed)
        return rows, path if rows else None

    def rows(self) -> tuple[LutRow, ...]:
        """All that the LUT of this instrument holds now. Raises `InvalidFile` for a damaged one."""
        path = store.path_for(self.luts, self.target.slug, self.fingerprint.short)
        return store.read(path) if path.exists() else ()

    def warnings(self, rounds: Sequence[Round], lut_path: Path) -> tuple[str, ...]:
        """What a reader of these results should know, a line each."""
        elsewhere = _elsewhere(lut_path, self.target.slug)
        results = [result for done in rounds for result in done.results]
        energies = [energy for done in rounds for energy in done.energies.values()]
        stopped = [no_energies(d.no_energy) for d in rounds if d.no_energy and d.no_energy != self.no_energy]
        return (
            *self.notes,
            *filter(None, (elsewhere,)),
            *doubts(results, self.target),
            *stopped[:1],
            *(energy_doubts(energies) if self.energies is not None else ()),
        )


def choose_device(request: MeasureRequest, vendor: Vendor | None = None) -> Choice:
    """The device that is meant. Raises `DeviceError` if there is none, or if it has not what is asked of it."""
    choice = find_device(request.device, discover(vendor))
    device = choice.device
    require_options(request, device.is_gpu, f", and {device.text} is none; leave it out, or choose one with GPU=")
    cpus = len(os.sched_getaffinity(0))
    if request.threads > cpus:
        raise DeviceError(
            f"{request.threads} threads do not fit the {cpus} CPUs that this process may use; say THREADS={cpus}"
        )
    return choice


@contextmanager
def opened(
    request: MeasureRequest, choice: Choice, listener: Listener = ignore, vendor: Vendor | None = None
) -> Iterator[Campaign]:
    """The campaign on that device, for as long as the context lasts; its clocks are given back whatever ends it.

    Raises `DeviceError` for a device that cannot be opened or that the predictor is not of, `OutputError` for a folder
    that takes no files, and `InvalidFile` for a damaged predictor, or LUT that rows shall be added to in the end.
    """
    luts, logs = request.out / "lut", request.out / "tuning_logs" / choice.device.slug
    for folder in (luts, logs):
        require_writable(folder)
    with ExitStack() as stack:
        device, clocks = _opened_device(choice.device, request, vendor or Vendor(), stack)
        target = _target(device, request)
        run = Run(new_run_id(), __version__, target.backend.compiler)
        fingerprint = device.fingerprint(run.compiler)
        require_sound_lut(luts, target.slug, fingerprint)
        known = known_configs(request.predictor, fingerprint, request.conditions)
        bench = Workbench(
            device,
            stack.enter_context(opened_builds(target, request.out)),
            request.conditions,
            run,
            MachineTurns.of_device(choice.device),
            rules_of(choice.device.is_gpu),
            ENERGY_RULE,
        )
        tuner = Tuner(
            bench=bench,
            space=target.space,
            model=LearnedModel(target.device, target.threads, known),
            database=TuningDatabase(logs, fingerprint, request.conditions, run.run_id),
            budget=budget_of(request.trials),
            listener=listener,
        )
        no_energy = why_none(device.counter) if request.energy else ""
        energies = Energies(bench, tuner.database, listener) if request.energy and not no_energy else None
        notes = tuple(filter(None, (choice.note, clocks, no_energy and no_energies(no_energy))))
        yield Campaign(tuner, target, luts, notes, energies, no_energy)


def known_configs(predictor: Path | None, instrument: Fingerprint, conditions: Conditions) -> tuple[ConfigLatency, ...]:
    """Of a model file. Raises `InvalidFile` for what is none, `DeviceError` for one of another device."""
    if predictor is None:
        return ()
    state = model_file.read(predictor).state
    if not state.origin.is_of(instrument.device, instrument.arch, conditions):
        of = f"{state.origin.device} ({state.origin.arch}), {state.origin.conditions.describe()}"
        here = f"{instrument.device} ({instrument.arch}), {conditions.describe()}"
        raise DeviceError(f"{predictor}: a model of {of}, and this is {here}; fit one to rows of such a device")
    if not state.configs:
        raise InvalidFile(
            f"{predictor} holds no latencies of schedule configs, from which a search could learn; fit it with --logs"
        )
    return state.configs


def _opened_device(
    device: FoundDevice, request: MeasureRequest, vendor: Vendor, stack: ExitStack
) -> tuple[HostDevice | CudaDevice, str]:
    """The device, which ``stack`` closes, and what a reader should know of its clocks."""
    locked = None
    if request.lock_clocks:
        locked = stack.enter_context(locked_clocks(vendor.nvml, device.uuid, request.clock_mhz))
    mhz = locked.mhz if locked else None
    opened = open_device(device, vendor, sustained=request.sustained, locked_sm_clock_mhz=mhz)
    stack.callback(opened.close)
    return opened, locked.text if locked else ""


def _target(device: HostDevice | CudaDevice, request: MeasureRequest) -> Target:
    if isinstance(device, HostDevice):
        return CpuTarget(device.cpu, request.threads)
    target = gpu_target(device.properties, request)
    require_driver(target.cuda_major, device.properties.driver_version)
    return target


def gpu_target(card: GpuProperties, request: MeasureRequest) -> GpuTarget:
    """What kernels for that card are built for. Raises `DeviceError` for a driver that loads no cubins of ours."""
    return GpuTarget(spec_of(card), request.cuda or cuda_for_driver(card.driver_version))


def no_energies(reason: str) -> str:
    """On a line, for people."""
    return f"no energies: {reason}"


def budget_of(trials: int | None) -> Budget:
    if trials is None:
        return Budget()
    return Budget(trials=trials, sibling_trials=min(trials, Budget.sibling_trials), extend=trials > Budget.trials)


def _elsewhere(lut_path: Path, slug: str) -> str:
    if lut_path.name == f"{slug}.csv":
        return ""
    usual = lut_path.with_name(f"{slug}.csv")
    return f"{usual} is of another instrument (an older version or another machine); this run's rows are in {lut_path}"


def require_options(request: MeasureRequest, gpu: bool, instead: str) -> None:
    """Refuse what a GPU, or a CPU, does not have. ``instead`` ends the sentence "... is for GPUs". Raises
    `DeviceError`."""
    of_gpu = {"--cuda": request.cuda, "--sustained": request.sustained, "--lock-clocks": request.lock_clocks}
    wrong = [name for name, value in of_gpu.items() if value]
    if wrong and not gpu:
        raise DeviceError(f"{wrong[0]} is for GPUs{instead}")
    if request.clock_mhz and not request.lock_clocks:
        raise DeviceError("--clock-mhz is the clock of --lock-clocks; say both")
    if gpu and request.threads > 1:
        raise DeviceError("threads are of a CPU; leave THREADS out for a GPU")


def require_sound_lut(folder: Path, device: str, fingerprint: Fingerprint) -> None:
    """Refuse to start with a damaged file that the rows shall be added to in the end."""
    path = store.path_for(folder, device, fingerprint.short)
    if path.exists():
        store.read(path)
