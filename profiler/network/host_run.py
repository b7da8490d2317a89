"""A whole network on the host CPU, one thread, in a worker process (`execute.host_worker`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from profiler.artifact import Artifact
from profiler.hardware import CpuSpec, host_cpu
from profiler.network.device_network import DeviceNetwork
from profiler.network.execute.host_watch import WORKER, HostWatch, require_runnable
from profiler.network.integer_network import IntegerNetwork
from profiler.workload import KernelSpec


class HostNetwork(DeviceNetwork):
    """A network that is loaded on the host CPU; one thread.

    cpu : what this machine is; read from the system by default. command : how the worker is started.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        artifacts: Mapping[KernelSpec, Artifact],
        cpu: CpuSpec | None = None,
        time_limit_s: float = 10.0,
        run_limit_s: float = 60.0,
        command: Sequence[str] = WORKER,
    ) -> None:
        """Raises `UnsupportedModel` where a kernel cannot read or write a value as it lies, and `NetworkFailure` for
        kernels of several threads or of another CPU."""
        cpu = cpu or host_cpu()
        super().__init__(network, artifacts, command, HostWatch(cpu), time_limit_s, run_limit_s)
        for spec in dict.fromkeys(step.spec for step in network.steps):
            require_runnable(network.name, artifacts[spec], cpu)
