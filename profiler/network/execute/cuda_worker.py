"""The process in which a whole network runs on a GPU:
``python -m profiler.network.execute.cuda_worker <PCI bus id> <pid of the parent>``.

How it speaks with its parent is in `devices.worker_loop`. The greeting has the GPU's ``properties``. Requests are those
of `network_worker`; a run is one graph.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from time import monotonic

from profiler.artifact import Artifact
from profiler.devices.cuda_driver import CudaDriver, DriverError
from profiler.devices.cuda_errors import describe
from profiler.devices.cuda_kernel import blamed
from profiler.devices.cuda_worker import opened
from profiler.devices.pipe import Header
from profiler.devices.worker_loop import Answer, Operation, serve
from profiler.errors import DeviceError
from profiler.network.execute.cuda_network import CardNetwork
from profiler.network.execute.cuda_times import NetworkTimer
from profiler.network.execute.network_worker import NetworkWorker
from profiler.network.execute.planned import Plan


class NetworkBench(NetworkWorker[CardNetwork]):
    """A network on an open GPU. clock : seconds of host time.

    Raises `DeviceError` if not even the probe kernels run there.
    """

    def __init__(self, driver: CudaDriver, clock: Callable[[], float] = monotonic) -> None:
        self._driver = driver
        gpu = driver.properties
        try:
            self._timer = NetworkTimer(driver, clock)
        except DriverError as error:
            raise DeviceError(f"{gpu.name} ({gpu.pci_bus_id}) does not work: {describe(error)}") from None

    def greeting(self) -> Header:
        """What the parent wants to know of the GPU."""
        return {"properties": asdict(self._driver.properties)}

    @blamed()
    def _made(self, plan: Plan, parameters: bytes, artifacts: Sequence[Artifact]) -> CardNetwork:
        return CardNetwork(self._driver, plan, parameters, artifacts)

    def _time(self, request: Header, _: bytes) -> Answer:
        network, runs = self._network, request["runs"]
        times = self._timer.marked(network, runs) if request["marks"] else self._timer.undisturbed(network, runs)
        header: Header = {
            "clocks_mhz": times.clocks_mhz,
            "floors_s": times.floors_s,
            "stream_launch_s": None if request["marks"] else self._timer.launched(network),
        }
        return header, times.totals_ns.tobytes() + times.ends_ns.tobytes()

    def _work(self, request: Header, _: bytes) -> Answer:
        return asdict(self._timer.work(self._network, request["duration_s"])), b""


def start(pci_bus_id: str) -> tuple[Header, Mapping[str, Operation]]:
    """Open the GPU; the greeting, and what answers which request."""
    bench = NetworkBench(opened(pci_bus_id))
    return bench.greeting(), bench.operations()


if __name__ == "__main__":
    serve(int(sys.argv[2]), lambda: start(sys.argv[1]))
