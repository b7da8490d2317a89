"""The device that networks run on, for all configurations of a command: this machine's CPU, or one of its GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

from profiler.artifact import Artifact
from profiler.devices.cuda import CudaDevice
from profiler.devices.discover import FoundDevice, Vendor, open_device, open_monitor
from profiler.devices.gpu_spec import spec_of
from profiler.devices.host import HostDevice
from profiler.devices.protocol import EnergyCounter
from profiler.devices.rapl import RaplCounter
from profiler.measure.turns import MachineTurns
from profiler.network.cuda_run import CudaNetwork
from profiler.network.device_network import DeviceNetwork
from profiler.network.host_run import HostNetwork
from profiler.network.integer_network import IntegerNetwork
from profiler.record import Fingerprint
from profiler.targets import CpuTarget, GpuTarget, Target, cuda_for_driver, require_driver
from profiler.workload import KernelSpec


class NetworkDevice(Protocol):
    """A device that is open."""

    @property
    def target(self) -> Target:
        """What its kernels are built for."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """Of this device with the target's compiler."""
        ...

    @property
    def turns(self) -> MachineTurns: ...

    @property
    def counter(self) -> EnergyCounter:
        """Of this device's energy."""
        ...

    def network(self, integers: IntegerNetwork, artifacts: Mapping[KernelSpec, Artifact]) -> DeviceNetwork:
        """Errors as those of `DeviceNetwork`."""
        ...

    def close(self) -> None: ...


class NetworkCpu:
    """The CPU of this machine; one thread."""

    def __init__(self) -> None:
        self._device = HostDevice()
        self.target = CpuTarget(self._device.cpu, 1)
        self.turns = MachineTurns.of_cpu()

    @cached_property
    def counter(self) -> EnergyCounter:
        return RaplCounter()

    @property
    def fingerprint(self) -> Fingerprint:
        return self._device.fingerprint(self.target.backend.compiler)

    def network(self, integers: IntegerNetwork, artifacts: Mapping[KernelSpec, Artifact]) -> DeviceNetwork:
        return HostNetwork(integers, artifacts, self._device.cpu)

    def close(self) -> None:
        self._device.close()


class NetworkGpu:
    """A GPU of this machine. ``cuda`` names the compiler, None is what its driver accepts."""

    def __init__(self, found: FoundDevice, cuda: str | None, vendor: Vendor) -> None:
        """Raises `DeviceError` for a card that cannot be measured, or a driver that is too old."""
        with open_device(found, vendor) as device:  # its worker would count as another process beside the network's
            assert isinstance(device, CudaDevice)
            card = device.properties
            self.target = GpuTarget(spec_of(card), cuda or cuda_for_driver(card.driver_version))
            require_driver(self.target.cuda_major, card.driver_version)
            self.fingerprint = device.fingerprint(self.target.backend.compiler)
        self.counter = self._monitor = open_monitor(found, vendor)
        self._command = (*vendor.network_worker, found.pci_bus_id)
        self.turns = MachineTurns.of_gpu(found.uuid)

    def network(self, integers: IntegerNetwork, artifacts: Mapping[KernelSpec, Artifact]) -> DeviceNetwork:
        return CudaNetwork(integers, artifacts, self._command, self._monitor)

    def close(self) -> None:
        self._monitor.close()


def open_network_device(found: FoundDevice, cuda: str | None, vendor: Vendor) -> NetworkDevice:
    """Ready to run networks; the caller closes it. Errors as those of `NetworkGpu`."""
    return NetworkGpu(found, cuda, vendor) if found.is_gpu else NetworkCpu()
