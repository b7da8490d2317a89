"""What can be measured on this machine, and which device a user means."""

from __future__ import annotations

import re
from dataclasses import dataclass

from profiler.devices.host import HostDevice
from profiler.devices.nvml import GpuList, ListedGpu, Nvml
from profiler.devices.protocol import Device
from profiler.errors import DeviceError
from profiler.hardware import GPUS, CpuSpec, host_cpu

_NOT_YET = "this version measures on the host CPU only"


@dataclass(frozen=True)
class FoundDevice:
    """A device of this machine. ``index`` and ``uuid`` are those of a GPU, None and empty for the host CPU."""

    slug: str
    name: str
    index: int | None = None
    uuid: str = ""

    @property
    def is_gpu(self) -> bool:
        return self.index is not None

    @property
    def obstacle(self) -> str:
        """Why it cannot be measured; empty if it can."""
        return _NOT_YET if self.is_gpu else ""

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


def discover(gpus: GpuList | None = None, cpu: CpuSpec | None = None) -> Inventory:
    """Look around. Never fails for want of a GPU, a driver or a package."""
    host = cpu or host_cpu()
    try:
        listed = (gpus or Nvml()).gpus()
        reason = "" if listed else "the driver lists none"
    except DeviceError as error:
        listed, reason = (), str(error)
    return Inventory(FoundDevice(host.slug, host.model), tuple(_found(gpu) for gpu in listed), reason)


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
    by_uuid = wanted.startswith(("gpu-", "mig-"))
    if not matches:
        if not (wanted in GPUS or wanted.isdigit() or by_uuid):
            known = f"auto, cpu, a GPU model ({', '.join(GPUS)}), or the index or UUID of a GPU"
            raise DeviceError(f"unknown device '{selector}': give {known}; found here: {here.text}")
        asked = f"GPU {selector}" if wanted.isdigit() or by_uuid else selector
        raise DeviceError(
            f"there is no {asked} on this machine; found: {here.text}; "
            f"run with GPU=cpu, or on the machine that has the card"
        )
    if by_uuid and len(matches) > 1:
        raise DeviceError(
            f"'{selector}' is the beginning of {len(matches)} UUIDs: {', '.join(m.uuid for m in matches)}"
        )
    chosen = matches[0]
    if chosen.obstacle:
        raise DeviceError(f"{chosen.text} is here, but {chosen.obstacle}; run with GPU=cpu")
    return Choice(chosen, f"took the first of {len(matches)}: {chosen.text}" if len(matches) > 1 else "")


def open_device(device: FoundDevice) -> Device:
    """Ready to load kernels; the caller closes it. Raises `DeviceError` for one that cannot be measured."""
    if device.obstacle:
        raise DeviceError(f"{device.text}: {device.obstacle}; run with GPU=cpu")
    return HostDevice()


def _automatic(here: Inventory) -> Choice:
    for gpu in here.gpus:
        if not gpu.obstacle:
            return Choice(gpu)
    if here.gpus:
        names = ", ".join(gpu.text for gpu in here.gpus)
        return Choice(here.cpu, f"{names} found, but {_NOT_YET}: measuring on {here.cpu.text}")
    return Choice(here.cpu)


def _matches(gpu: FoundDevice, wanted: str) -> bool:
    if wanted.isdigit():
        return gpu.index == int(wanted)
    if wanted.startswith(("gpu-", "mig-")):
        return gpu.uuid.lower().startswith(wanted)
    return gpu.slug == wanted


def _found(gpu: ListedGpu) -> FoundDevice:
    return FoundDevice(gpu_slug(gpu.name), gpu.name, gpu.index, gpu.uuid)


def gpu_slug(name: str) -> str:
    """A file-name safe model: ``NVIDIA A100-SXM4-40GB`` is ``a100``, ``NVIDIA GeForce RTX 4090`` is ``rtx-4090``."""
    words: list[str] = re.findall(r"[a-z0-9]+", name.lower())
    for word in words:
        if word in GPUS:
            return word
    rest = [word for word in words if word not in ("nvidia", "tesla", "geforce", "quadro", "graphics")]
    return "-".join(rest) or "gpu"
