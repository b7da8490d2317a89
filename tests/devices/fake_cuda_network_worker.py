"""The process in which a network runs on a GPU, with a fake driver, whose kernels compute what the oracle says.

python -m tests.devices.fake_cuda_network_worker SCENARIO.json [PCI_BUS_ID] PID
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from profiler.artifact import Artifact
from profiler.devices.pipe import Header
from profiler.devices.worker_loop import Answer, Operation, serve
from profiler.network.execute.cuda_worker import NetworkBench

from .fake_cuda import FakeCuda
from .fake_cuda_scenario import Scenario
from .fake_cuda_worker import played


def network_worker_command(scenario: Scenario, path: Path) -> tuple[str, ...]:
    """Starts a worker in that scenario, which is written to ``path``."""
    scenario.write(path)
    return (sys.executable, "-m", "tests.devices.fake_cuda_network_worker", str(path))


def learning(driver: FakeCuda, bench: NetworkBench) -> dict[str, Operation]:
    """The bench's operations; the fake learns the kernels of every network that is loaded."""
    operations = bench.operations()
    load = operations["load"]

    def learn_and_load(request: Header, payload: bytes) -> Answer:
        at = request["plan"]["parameter_nbytes"]
        for nbytes in request["artifacts"]:
            driver.learn(Artifact.from_bytes(payload[at : at + nbytes]))
            at += nbytes
        return load(request, payload)

    return {**operations, "load": learn_and_load}


def start(path: Path, *pci_bus_id: str) -> tuple[Header, Mapping[str, Operation]]:
    """A bench on the fake."""
    driver = FakeCuda(played(path, *pci_bus_id), networks=True)
    bench = NetworkBench(driver, lambda: driver.host_s)
    return bench.greeting(), learning(driver, bench)


if __name__ == "__main__":
    path, *pci_bus_id, parent = sys.argv[1:]
    serve(int(parent), lambda: start(Path(path), *pci_bus_id))
