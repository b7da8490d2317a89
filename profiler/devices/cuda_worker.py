"""The process in which kernels run on a GPU: ``python -m profiler.devices.cuda_worker <PCI bus id> <pid of parent>``.

How it speaks with its parent is in `worker_loop`. The greeting has the GPU's ``properties``. Requests: load (payload:
the artifact), verify, time, work, recheck, unload.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict
from time import monotonic

from profiler.artifact import Artifact
from profiler.devices.arguments import SampleArguments
from profiler.devices.cuda_driver import CudaDriver, DriverError
from profiler.devices.cuda_errors import describe
from profiler.devices.cuda_kernel import CudaKernel, blamed
from profiler.devices.cuda_timing import Timer
from profiler.devices.cuda_work import BackToBack
from profiler.devices.pipe import Header
from profiler.devices.pycuda_driver import open_pycuda
from profiler.devices.rotation import Rotation, rotation
from profiler.devices.worker_loop import Operation, serve
from profiler.errors import DeviceError
from profiler.record import CacheMode


class CudaBench:
    """Kernels by handle on an open GPU. clock : seconds of host time.

    Raises `DeviceError` if not even the probe kernels run there.
    """

    def __init__(self, driver: CudaDriver, clock: Callable[[], float] = monotonic) -> None:
        self._driver = driver
        self._kernels: dict[int, CudaKernel] = {}
        self._at_work: dict[int, tuple[Rotation, BackToBack]] = {}
        self._arguments = SampleArguments()
        gpu = driver.properties
        try:
            self._timer = Timer(driver, clock)
        except DriverError as error:
            raise DeviceError(f"{gpu.name} ({gpu.pci_bus_id}) does not work: {describe(error)}") from None

    def greeting(self) -> Header:
        """What the parent wants to know of the GPU."""
        return {"properties": asdict(self._driver.properties)}

    def operations(self) -> dict[str, Operation]:
        """What answers which request."""
        return {
            "load": self._load,
            "verify": self._verify,
            "time": self._time,
            "work": self._work,
            "recheck": self._recheck,
            "unload": self._unload,
        }

    @blamed()
    def _load(self, request: Header, payload: bytes) -> tuple[Header, bytes]:
        artifact = Artifact.from_bytes(payload)
        self._kernels[request["handle"]] = CudaKernel(self._driver, artifact, self._arguments.of(artifact))
        return {}, b""

    @blamed()
    def _verify(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        """The kernel is about to be timed, so the card is woken here, in nobody's budget."""
        elapsed_s = self._kernels[request["handle"]].verify()
        self._timer.wake()
        return {"elapsed_s": elapsed_s}, b""

    @blamed()
    def _time(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        """The payload has the seconds of each launch, as doubles."""
        kernel = self._kernels[request["handle"]]
        kernel.ready()
        timing = self._timer.time(kernel, request["launches"], CacheMode(request["mode"]))
        return {"clocks_mhz": timing.clocks_mhz, "floors_s": timing.floors_s}, array("d", timing.times_s).tobytes()

    @blamed()
    def _work(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        handle = request["handle"]
        kernel = self._kernels[handle]
        kernel.ready()
        rotated = rotation(kernel.artifact.args, CacheMode(request["mode"]), self._driver.properties.l2_cache_bytes)
        known = self._at_work.get(handle)
        if known is None or known[0] != rotated:
            self._rest(handle)
            known = (rotated, BackToBack(self._driver, kernel, rotated, kernel.launch_s))
            self._at_work[handle] = known
        runs, clock_mhz = self._timer.work(known[1], request["duration_s"])
        return {"runs": runs, "note": known[1].note, "clocks_mhz": [clock_mhz]}, b""

    @blamed()
    def _recheck(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        self._kernels[request["handle"]].recheck()
        return {}, b""

    @blamed()
    def _unload(self, request: Header, _: bytes) -> tuple[Header, bytes]:
        self._rest(request["handle"])
        self._kernels.pop(request["handle"]).close()
        return {}, b""

    def _rest(self, handle: int) -> None:
        """Give back what working takes."""
        if handle in self._at_work:
            self._at_work.pop(handle)[1].close()


def opened(pci_bus_id: str) -> CudaDriver:
    """The GPU. Raises `DeviceError`."""
    try:
        return open_pycuda(pci_bus_id)
    except DriverError as error:
        raise DeviceError(f"the GPU {pci_bus_id} cannot be opened: {describe(error)}") from None


def start(pci_bus_id: str) -> tuple[Header, Mapping[str, Operation]]:
    """Open the GPU; the greeting, and what answers which request."""
    bench = CudaBench(opened(pci_bus_id))
    return bench.greeting(), bench.operations()


if __name__ == "__main__":
    serve(int(sys.argv[2]), lambda: start(sys.argv[1]))
