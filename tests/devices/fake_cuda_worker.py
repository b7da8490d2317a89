"""The GPU's worker process with a fake driver.

python -m tests.devices.fake_cuda_worker SCENARIO.json [PCI_BUS_ID] PID
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from profiler.artifact import Artifact
from profiler.devices.cuda_worker import CudaBench
from profiler.devices.pipe import Header
from profiler.devices.worker_loop import Answer, Operation, serve

from .fake_cuda import FakeCuda, Fault, Scenario


def worker_command(scenario: Scenario, path: Path) -> tuple[str, ...]:
    """Starts a worker in that scenario, which is written to ``path``."""
    path.write_text(json.dumps(asdict(scenario)))
    return (sys.executable, "-m", "tests.devices.fake_cuda_worker", str(path))


def read_scenario(path: Path) -> Scenario:
    """Inverse of what `worker_command` writes; what is not in the file is as by default."""
    body = json.loads(path.read_text())
    if "driver_version" in body:
        body["driver_version"] = tuple(body["driver_version"])
    faults = {}
    for key, fault in body.pop("faults", {}).items():
        if fault.get("writes_at") is not None:
            fault["writes_at"] = tuple(fault["writes_at"])
        faults[key] = Fault(**fault)
    return Scenario(**body, faults=faults)


def start(path: Path, *pci_bus_id: str) -> tuple[Header, Mapping[str, Operation]]:
    """A bench on the fake, which learns every artifact that is loaded."""
    scenario = read_scenario(path)
    for given in pci_bus_id:
        scenario = replace(scenario, pci_bus_id=given)
    driver = FakeCuda(scenario)
    bench = CudaBench(driver)
    operations = bench.operations()
    load = operations["load"]

    def learn_and_load(request: Header, payload: bytes) -> Answer:
        driver.learn(Artifact.from_bytes(payload))
        return load(request, payload)

    return bench.greeting(), {**operations, "load": learn_and_load}


if __name__ == "__main__":
    path, *pci_bus_id, parent = sys.argv[1:]
    serve(int(parent), lambda: start(Path(path), *pci_bus_id))
