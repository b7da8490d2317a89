"""The GPU's worker process with a fake driver.

python -m tests.devices.fake_cuda_worker SCENARIO.json [PCI_BUS_ID] PID
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from profiler.artifact import Artifact
from profiler.devices.cuda_worker import CudaBench
from profiler.devices.pipe import Header
from profiler.devices.worker_loop import Answer, Operation, serve

from .fake_cuda import FakeCuda
from .fake_cuda_scenario import Scenario


def worker_command(scenario: Scenario, path: Path) -> tuple[str, ...]:
    """Starts a worker in that scenario, which is written to ``path``."""
    scenario.write(path)
    return (sys.executable, "-m", "tests.devices.fake_cuda_worker", str(path))


def played(path: Path, *pci_bus_id: str) -> Scenario:
    """The scenario of that file, on the GPU of that place if one is given."""
    scenario = Scenario.read(path)
    for given in pci_bus_id:
        scenario = replace(scenario, pci_bus_id=given)
    return scenario


def start(path: Path, *pci_bus_id: str) -> tuple[Header, Mapping[str, Operation]]:
    """A bench on the fake, which learns every artifact that is loaded."""
    driver = FakeCuda(played(path, *pci_bus_id))
    bench = CudaBench(driver, lambda: driver.host_s)
    operations = bench.operations()
    load = operations["load"]

    def learn_and_load(request: Header, payload: bytes) -> Answer:
        driver.learn(Artifact.from_bytes(payload))
        return load(request, payload)

    return bench.greeting(), {**operations, "load": learn_and_load}


if __name__ == "__main__":
    path, *pci_bus_id, parent = sys.argv[1:]
    serve(int(parent), lambda: start(Path(path), *pci_bus_id))
