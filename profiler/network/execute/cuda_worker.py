"""The process in which a whole network runs on a GPU:
``python -m profiler.network.execute.cuda_worker <PCI bus id> <pid of the parent>``.

How it speaks with its parent is in `devices.worker_loop`. The greeting has the GPU's ``properties``. Requests are those
of `host_worker`: load (payload: parameters and artifacts), inputs (payload: what the network reads), step (one launch;
answers with what it wrote), run (as a graph), outputs, check, time; and work, which keeps the card busy for a while.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from time import monotonic

from profiler.devices.cuda_driver import CudaDriver, DriverError
from profiler.devices.cuda_errors import describe
from profiler.devices.cuda_kernel import blamed
from profiler.devices.cuda_worker import opened
from profiler.devices.pipe import Header
from profiler.devices.worker_loop import Answer, Operation, serve
from profiler.errors import DeviceError
from profiler.network.execute.cuda_network import CardNetwork
from profiler.network.execute.cuda_times import NetworkTimer
from profiler.network.execute.loading import loaded


class NetworkBench:
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
        self._loaded: CardNetwork | None = None

    def greeting(self) -> Header:
        """What the parent wants to know of the GPU."""
        return {"properties": asdict(self._driver.properties)}

    def operations(self) -> dict[str, Operation]:
        """What answers which request."""
        return {
            "load": self._load,
            "inputs": self._inputs,
            "step": self._step,
            "run": self._run,
            "outputs": self._outputs,
            "check": self._check,
            "time": self._time,
            "work": self._work,
        }

    @property
    def _network(self) -> CardNetwork:
        assert self._loaded is not None, "nothing was loaded"
        return self._loaded

    @blamed()
    def _load(self, request: Header, payload: bytes) -> Answer:
        self._loaded = CardNetwork(self._driver, *loaded(request, payload))
        return {}, b""

    def _inputs(self, _: Header, payload: bytes) -> Answer:
        self._network.set_inputs(payload)
        return {}, b""

    def _step(self, request: Header, _: bytes) -> Answer:
        return {}, self._network.step(request["index"])

    def _run(self, _: Header, __: bytes) -> Answer:
        self._network.run()
        return {}, self._network.outputs()

    def _outputs(self, _: Header, __: bytes) -> Answer:
        return {}, self._network.outputs()

    def _check(self, _: Header, __: bytes) -> Answer:
        self._network.check()
        return {}, b""

    def _time(self, request: Header, _: bytes) -> Answer:
        """The payload has nanoseconds of each run, and of marked ones when each step ended, since its run's start."""
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
