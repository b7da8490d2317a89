"""What can be measured on this machine, and which device a user means."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field

from profiler.devices.cuda import CudaDevice
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.gpu_spec import LEAST_CAPABILITY, gpu_slug, too_old
from profiler.devices.host import HostDevice
from profiler.devices.nvml import ListedGpu, Nvml
from profiler.errors import DeviceError
from profiler.hardware import ARM_CPUS, GPUS, CpuSpec, host_cpu

_NO_PYCUDA = "PyCUDA is not installed (on a machine with a GPU make installs it; `make doctor` says what it needs)"


@dataclass(frozen=True)
class Vendor:
    """How NVIDIA's GPUs are reached. worker, network_worker : start the process in which kernels, and in which a whole
    network runs; the bus id is appended. package : what these processes import."""

    nvml: Nvml = field(default_factory=Nvml)
    worker: tuple[str, ...] = (sys.executable, "-m", "profiler.devices.cuda_worker")
    network_worker: tuple[str, ...] = (sys.executable, "-m", "profiler.network.execute.cuda_worker")
    package: str = "pycuda"

    @property
    def obstacle(self) -> str:
        """Why no GPU can be measured; empty if one can."""
        return "" if importlib.util.find_spec(self.package) else _NO_PYCUDA


@dataclass(frozen=True)
class FoundDevice:
    """A device of this machine. ``index``, ``uuid`` and ``pci_bus_id`` are those of a GPU, None and empty for the host
    CPU. ``obstacle`` says why it cannot be measured; empty if it can."""

    slug: str
    name: str
    index: int | None = None
    uuid: str = ""
    pci_bus_id: str = ""
    obstacle: str = ""

    @property
    def is_gpu(self) -> bool:
        return self.index is not None

    @property
    def text(self) -> str:
        """For people, e.g. ``Tesla T4 (t4, index 0)``."""
        return f"{self.name} ({self.slug}, index {self.index})" if self.is_gpu else f"{self.name} ({self.slug})"


@dataclass(frozen=True)
class Inventory:
    """The devices of this machine, and where no GPU is listed why."""

    cpu: FoundDevice
    gpus: tuple[FoundDevice, ...] = ()
    no_gpus: str = ""

    @property
    def devices(self) -> tuple[FoundDevice, ...]:
        return (*self.gpus, self.cpu)

    @property
    def text(self) -> str:
        """All of it in one line."""
        found = ", ".join(device.text for device in self.devices)
        return found if self.gpus else f"{found}, no NVIDIA GPU: {self.no_gpus}"


@dataclass(frozen=True)
class Choice:
    """The device that was chosen, and what the user should know about the choice (often nothing)."""

    device: FoundDevice
    note: str = ""


def discover(vendor: Vendor | None = None, cpu: CpuSpec | None = None) -> Inventory:
    """Look around. Never fails for want of a GPU, a driver or a package."""
    host, vendor = cpu or host_cpu(), vendor or Vendor()
    listed: tuple[ListedGpu, ...] = ()
    try:
        listed = vendor.nvml.gpus()
        reason = "" if listed else "the driver lists none"
    except DeviceError as error:
        reason = str(error)
    return Inventory(FoundDevice(host.slug, host.model), tuple(_found(gpu, vendor) for gpu in listed), reason)


def find_device(selector: str, inventory: Inventory | None = None) -> Choice:
    """The device that is meant by ``auto``, ``cpu``, a GPU model (``t4``), a GPU's index or its UUID.

    A UUID may be cut short as long as it stays unique. Raises `DeviceError` if there is no such device, or if it
    cannot be measured; the text is one line.
    """
    here = inventory or discover()
    wanted = selector.strip().lower()
    if wanted == "cpu":
        return Choice(here.cpu)
    if wanted == "auto":
        return _automatic(here)
    matches = [gpu for gpu in here.gpus if _matches(gpu, wanted)]
    by_uuid = wanted.startswith("gpu-")
    if not matches:
        if not (wanted in GPUS or wanted in ARM_CPUS or wanted.isdigit() or by_uuid):
            known = f"auto, cpu, a GPU model ({', '.join(GPUS)}), or the index or UUID of a GPU"
            raise DeviceError(f"unknown device '{selector}': give {known}; found here: {here.text}")
        asked = f"GPU {selector}" if wanted.isdigit() or by_uuid else selector
        raise DeviceError(
            f"there is no {asked} on this machine; found: {here.text}; run with GPU=cpu, or on the machine that "
            "has the card: `python -m profiler bundle` packs a run for one where nothing is installed"
        )
    if by_uuid and len(matches) > 1:
        raise DeviceError(
            f"'{selector}' is the beginning of {len(matches)} UUIDs: {', '.join(m.uuid for m in matches)}"
        )
    chosen = matches[0]
    if chosen.obstacle:
        raise DeviceError(f"{chosen.text} is here, but {chosen.obstacle}; run with GPU=cpu")
    return Choice(chosen, f"took the first of {len(matches)}: {chosen.text}" if len(matches) > 1 else "")


def open_device(
    device: FoundDevice, vendor: Vendor | None = None, sustained: bool = False, locked_sm_clock_mhz: int | None = None
) -> HostDevice | CudaDevice:
    """Ready to load kernels; the caller closes it. Raises `DeviceError` for one that cannot be measured.

    sustained : without rests, under the card's power cap. locked_sm_clock_mhz : at which the caller holds it.
    """
    if device.obstacle:
        raise DeviceError(f"{device.text}: {device.obstacle}; run with GPU=cpu")
    if not device.is_gpu:
        return HostDevice()
    vendor = vendor or Vendor()
    return CudaDevice(
        device.slug,
        (*vendor.worker, device.pci_bus_id),
        open_monitor(device, vendor),
        sustained=sustained,
        locked_sm_clock_mhz=locked_sm_clock_mhz,
    )


def open_monitor(device: FoundDevice, vendor: Vendor) -> GpuMonitor:
    """Watches a whole card: its parts have no identity of their own in a fingerprint. Raises `DeviceError`."""
    monitor = GpuMonitor(vendor.nvml, device.uuid)
    try:
        if monitor.facts().mig:
            raise DeviceError(
                f"{device.text} is split (MIG mode), and only whole cards are measured: "
                f"sudo nvidia-smi -i {device.index} -mig 0, or choose another one"
            )
    except BaseException:
        monitor.close()
        raise
    return monitor


def _automatic(here: Inventory) -> Choice:
    for gpu in here.gpus:
        if not gpu.obstacle:
            others = len(here.gpus) - 1
            return Choice(gpu, f"took {gpu.text} of {others + 1} GPUs; another one: GPU=index" if others else "")
    if here.gpus:
        found = "; ".join(f"{gpu.text}: {gpu.obstacle}" for gpu in here.gpus)
        return Choice(here.cpu, f"measuring on {here.cpu.text}, because no GPU can be measured: {found}")
    return Choice(here.cpu)


def _matches(gpu: FoundDevice, wanted: str) -> bool:
    if wanted.isdigit():
        return gpu.index == int(wanted)
    if wanted.startswith("gpu-"):
        return gpu.uuid.lower().startswith(wanted)
    return gpu.slug == wanted


def _found(gpu: ListedGpu, vendor: Vendor) -> FoundDevice:
    old = gpu.capability is not None and gpu.capability < LEAST_CAPABILITY
    obstacle = too_old(gpu.name, gpu.capability) if old and gpu.capability else vendor.obstacle
    return FoundDevice(gpu_slug(gpu.name), gpu.name, gpu.index, gpu.uuid, gpu.pci_bus_id, obstacle)
