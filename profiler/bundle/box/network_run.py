"""The bundle's networks on the device: verified by digests, step by step and in a row, then timed."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Callable

import numpy as np

from profiler.bundle.box.archive import Archive
from profiler.bundle.box.manifest import Configuration
from profiler.bundle.box.network_record import NetworkFault, NetworkRecord, NetworkRound, StepMedian
from profiler.bundle.box.packed import Expected, LoadedNetwork, digest
from profiler.devices.cuda import CudaDevice
from profiler.devices.discover import FoundDevice, Vendor, open_monitor
from profiler.devices.protocol import Device
from profiler.hardware import host_cpu
from profiler.measure import Run
from profiler.measure.rule import StoppingRule
from profiler.network.execute.cuda_watch import CudaWatch
from profiler.network.execute.host_watch import WORKER, HostWatch, require_runnable
from profiler.network.execute.process import NetworkFailure, NetworkProcess
from profiler.network.execute.timed import NetworkLatency, Watch, timed_network
from profiler.quantize.spare_bits import SpareBits
from profiler.record import FailureKind

ROUND_RULE = StoppingRule(
    sample_s=0.02, min_samples=30, max_samples=60, target=0.002, budget_s=2.0, least_samples=7, repeats=1
)
"""Of one round; a network gets several, in turn with the others."""


@dataclass(frozen=True)
class NetworkDevice:
    """Where networks run. command : starts the worker. watch : of the same device. own_processes : of ours, beside the
    worker, whose load is not that of others. require_runnable : raises `NetworkFailure` for artifacts that the device
    cannot run, given the network's name."""

    command: Sequence[str]
    watch: Watch
    own_processes: Callable[[], Collection[int | None]] = lambda: (os.getpid(),)
    require_runnable: Callable[[str, LoadedNetwork], None] = lambda name, network: None


@contextmanager
def opened_network_device(
    found: FoundDevice,
    device: Device,
    vendor: Vendor,
    sustained: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[NetworkDevice]:
    """Where networks run: the CPU, or the card that kernels are measured on as ``device``.

    sustained : a card without rests, under its power cap. sleep : waits so many seconds. Raises `DeviceError`.
    """
    if not found.is_gpu:
        yield NetworkDevice(WORKER, HostWatch(host_cpu()), require_runnable=_require_cpu)
        return

    def own_processes() -> Collection[int | None]:
        """With the worker of today: one that a kernel has ended was followed by another."""
        return (os.getpid(), device.worker_pid if isinstance(device, CudaDevice) else None)

    with closing(open_monitor(found, vendor)) as monitor:
        watch = CudaWatch(monitor, sustained, sleep=sleep)
        yield NetworkDevice((*vendor.network_worker, found.pci_bus_id), watch, own_processes)


def _require_cpu(name: str, network: LoadedNetwork) -> None:
    cpu = host_cpu()
    for artifact in network.artifacts:
        require_runnable(name, artifact, cpu)


class NetworkRunner:
    """Runs configurations of a bundle, each in a process of its own that ends with the call. ``rule`` is of a round."""

    rule = ROUND_RULE

    def __init__(self, archive: Archive, device: NetworkDevice) -> None:
        self._archive, self._device = archive, device

    def verify(self, configuration: Configuration) -> tuple[int, int]:
        """Steps and bytes that were compared. Raises `NetworkFailure`, which names the step that is wrong, and
        `InvalidFile` for a network that is not as the manifest says."""
        network = self._archive.network(configuration)
        with self._opened(configuration, network) as process:
            return len(network.packed.steps), _verified(process, network)

    def round(self, configuration: Configuration, run: Run, fingerprint: str) -> NetworkRecord:
        """Verified and timed once; whatever goes wrong with the network is in the record. Raises `InvalidFile` as
        `verify` does, and `DeviceError` for a device that does not work at all."""
        network = self._archive.network(configuration)
        try:
            with self._opened(configuration, network) as process:
                verified_bytes = _verified(process, network)
                latency = timed_network(process, self._device.watch, network.inputs, self._pids(process), self.rule)
        except NetworkFailure as failure:
            return NetworkFault(
                configuration=configuration.name,
                fingerprint=fingerprint,
                kind=failure.kind,
                message=str(failure),
                step=failure.step,
                run_id=run.run_id,
                measured_at=time.time(),
                tool_version=run.tool_version,
            )
        return _round(configuration, network, latency, verified_bytes, run, fingerprint)

    def _opened(self, configuration: Configuration, network: LoadedNetwork) -> NetworkProcess:
        name = f"{self._archive.manifest.network}, {configuration.name}"
        self._device.require_runnable(name, network)
        return NetworkProcess(name, network.packed.plan, network.parameters, network.artifacts, self._device.command)

    def _pids(self, process: NetworkProcess) -> Callable[[], Collection[int]]:
        return lambda: tuple(pid for pid in (*self._device.own_processes(), process.pid) if pid is not None)


def stored_sha256(raw: bytes, spare: SpareBits) -> str:
    """As in `Expected`."""
    return digest(spare.cleared(np.frombuffer(raw, np.uint8)).tobytes())


def _verified(process: NetworkProcess, network: LoadedNetwork) -> int:
    """Bytes that were compared. Each step is launched on what the steps before it wrote."""
    packed, nbytes = network.packed, 0
    process.set_inputs(network.inputs)
    for index, expected in enumerate(packed.steps):
        raw = process.step(index)
        if not _as_expected(raw, expected):
            text = f"what it wrote ({len(raw)} bytes) is not what the integer oracle says"
            raise process.failure(FailureKind.WRONG_OUTPUT, text, index)
        nbytes += len(raw)
    process.check()
    process.set_inputs(network.inputs)
    outputs, at = process.run(), 0
    process.check()
    for value, expected in zip(packed.plan.outputs, packed.outputs):
        if not _as_expected(outputs[at : at + value.place.nbytes], expected):
            text = f"each step by itself is right, but '{value.name}' is not when all of them run in a row"
            raise process.failure(FailureKind.WRONG_OUTPUT, text)
        at += value.place.nbytes
    return nbytes


def _as_expected(raw: bytes, expected: Expected) -> bool:
    return stored_sha256(raw, expected.spare) == expected.sha256


def _round(
    configuration: Configuration,
    network: LoadedNetwork,
    latency: NetworkLatency,
    verified_bytes: int,
    run: Run,
    fingerprint: str,
) -> NetworkRound:
    times, plan = latency.times, network.packed.plan
    steps = [
        StepMedian(step.name, step.layer, plan.kernels[step.kernel], artifact_sha256, median_s)
        for step, artifact_sha256, median_s in zip(plan.steps, configuration.steps, times.step_medians_s)
    ]
    return NetworkRound(
        configuration=configuration.name,
        narrow_layers=configuration.narrow_layers,
        fingerprint=fingerprint,
        samples_s=times.samples_s,
        marked_s=times.marked_s,
        steps=tuple(steps),
        discarded=times.discarded,
        verified_bytes=verified_bytes,
        run_id=run.run_id,
        measured_at=time.time(),
        tool_version=run.tool_version,
        circumstances=latency.circumstances,
    )
