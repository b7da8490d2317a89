"""A whole network on a GPU: a worker process (`execute.cuda_worker`), and NVML beside it (`execute.cuda_watch`).

As a graph, kernels run without the host. So a network's latency is that of one graph, and the times of its steps come
from the same kernels launched one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from profiler.artifact import Artifact
from profiler.devices.cuda import Monitor
from profiler.network.device_network import DeviceNetwork
from profiler.network.execute.cuda_watch import CudaWatch
from profiler.network.integer_network import IntegerNetwork
from profiler.workload import KernelSpec

Array = npt.NDArray[Any]


class CudaNetwork(DeviceNetwork):
    """A network that is loaded on a GPU.

    artifacts : for each distinct spec of the network's steps. command : starts the worker on that GPU
    (`discover.Vendor.network_worker`, with the bus id). monitor : of the same GPU; whoever opened it closes it.
    sustained : whether it is measured under its power cap on purpose, without rests. time_limit_s, run_limit_s : the
    longest that one kernel, and that a run of all of them may take. clock, sleep : of this process, while it waits.

    Timing waits, bounded, while the card is slowed down for heat or by the hardware; a slowdown that outlasts it is a
    `NetworkFailure` (UNSTABLE). A card or driver on which no kernel works is a `DeviceError`, and so is a missing
    package for graphs.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        artifacts: Mapping[KernelSpec, Artifact],
        command: Sequence[str],
        monitor: Monitor,
        sustained: bool = False,
        time_limit_s: float = 10.0,
        run_limit_s: float = 60.0,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises `UnsupportedModel` where a kernel cannot read or write a value as it lies."""
        self._cuda_watch = CudaWatch(monitor, sustained, clock, sleep)
        super().__init__(network, artifacts, command, self._cuda_watch, time_limit_s, run_limit_s)

    @property
    def stream_launch_s(self) -> float | None:
        """Seconds of a run whose kernels are launched one by one while it runs, as a program without graphs does it
        from Python; None before the first `latency`."""
        return self._cuda_watch.stream_launch_s
