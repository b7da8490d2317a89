"""The device that a bundle is for: found among those of this machine, compared with the manifest, opened."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from profiler.bundle.box.manifest import Manifest
from profiler.bundle.box.wheels import PYCUDA_ADVICE
from profiler.devices.discover import FoundDevice, Inventory, Vendor, open_device
from profiler.devices.gpu_monitor import GpuMonitor
from profiler.devices.host import HostDevice
from profiler.devices.protocol import Device
from profiler.errors import DeviceError
from profiler.hardware import CpuSpec, host_cpu

_FOR_ARM = "with --device aarch64, or aarch64-neon for one without asimddp"


def find(manifest: Manifest, selector: str | None, inventory: Inventory) -> FoundDevice:
    """The device that the bundle is for; ``selector`` is a GPU's index or UUID, by default the first that fits.

    Raises `DeviceError` in one line if there is none, or if the chosen one is of another model.
    """
    if not manifest.is_gpu:
        if platform.machine() != manifest.machine:
            raise DeviceError(
                f"this bundle is for a CPU of {manifest.machine}, this is {platform.machine()}; "
                f"bundle the model {_FOR_ARM if platform.machine() == 'aarch64' else 'on a machine of this kind'}"
            )
        threads, cpus = manifest.conditions.threads, len(os.sched_getaffinity(0))
        if threads > cpus:
            raise DeviceError(f"the kernels have {threads} threads, but only {cpus} CPUs may be used")
        return inventory.cpu
    if selector is not None:
        found = _chosen(selector, inventory)
        if found.slug != manifest.device:
            raise DeviceError(f"this bundle is for {manifest.device_name} ({manifest.device}), not for {found.text}")
        return found
    fitting = [gpu for gpu in inventory.gpus if gpu.slug == manifest.device]
    if not fitting:
        raise DeviceError(
            f"this bundle is for {manifest.device_name} ({manifest.device}), which is not here; found: {inventory.text}"
        )
    return next((gpu for gpu in fitting if not gpu.obstacle), fitting[0])


def _chosen(selector: str, inventory: Inventory) -> FoundDevice:
    """The GPU of that index, or of the UUID that begins so."""
    wanted = selector.strip().lower()
    matches = [
        gpu
        for gpu in inventory.gpus
        if (gpu.index == int(wanted) if wanted.isdecimal() else wanted and gpu.uuid.lower().startswith(wanted))
    ]
    if len(matches) != 1:
        how_many = f"{len(matches)} GPUs begin with" if matches else "there is no GPU"
        raise DeviceError(f"--gpu: {how_many} {selector!r}; choose one by index or UUID; found: {inventory.text}")
    return matches[0]


def open_found(manifest: Manifest, found: FoundDevice, vendor: Vendor, sustained: bool) -> Device:
    """Ready to load kernels; the caller closes it. ``sustained`` : a GPU without rests, under its power cap.

    Raises `DeviceError` for one that cannot be measured, or whose architecture is not that of the kernels.
    """
    if found.obstacle:
        obstacle = found.obstacle if find_spec(vendor.package) else PYCUDA_ADVICE
        raise DeviceError(f"{found.text} cannot be measured: {obstacle}")
    if manifest.is_gpu:
        device: Device = open_device(found, vendor, sustained=sustained)
    else:  # what it measures is named after what the kernels were built for
        device = HostDevice(replace(host_cpu(), slug=manifest.device))
    try:
        arch = device.fingerprint(manifest.compiler).arch
        if manifest.is_gpu and arch != manifest.arch:
            raise DeviceError(f"the kernels are for {manifest.arch}, {found.text} is {arch}; bundle the model for it")
    except BaseException:
        device.close()
        raise
    return device


def require_driver(manifest: Manifest, driver: str) -> None:
    """Raises `DeviceError` if that driver does not load the bundle's cubins."""
    if driver and version(driver) < version(manifest.least_driver):
        raise DeviceError(
            f"driver {driver} is older than {manifest.least_driver}, which the kernels of {manifest.compiler} need: "
            "update the driver, or make the bundle with --cuda 12"
        )


def driver_of(found: FoundDevice, vendor: Vendor) -> str:
    """Version of the GPU's driver; empty if NVML does not tell."""
    with GpuMonitor(vendor.nvml, found.uuid) as monitor:
        return monitor.facts().driver


def require_features(features: Sequence[str], cpu: CpuSpec | None = None) -> None:
    """Raises `DeviceError` if this CPU lacks any of them."""
    missing = sorted(set(features) - (cpu or host_cpu()).features)
    if missing:
        how = "with --device aarch64-neon" if "asimddp" in missing else "on such a CPU"
        raise DeviceError(f"this CPU lacks {', '.join(missing)}, which the kernels use; bundle the model {how}")


def require_real(cpu: CpuSpec | None = None) -> None:
    """Raises `DeviceError` for a CPU that is emulated: how long its kernels take says nothing about a real one."""
    cpu = cpu or host_cpu()
    if cpu.emulated_on:
        raise DeviceError(f"this CPU is {cpu.model}: nothing is timed here; --check verifies, measure on a real one")


def version(text: str) -> tuple[int, ...]:
    """The numbers of ``535.129.03``, which compare as the versions do."""
    return tuple(int(number) for number in re.findall(r"\d+", text))
