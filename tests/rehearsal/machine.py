"""The command line on a machine that pretends to have GPUs: python -m tests.rehearsal.machine MACHINE.json ARGUMENT...

Everything is real but NVIDIA's two libraries: NVML is `tests.devices.fake_nvml`, and the driver behind the worker is
`tests.devices.fake_cuda`, which plays real cubins: what it says of their speed is modelled and noise.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profiler import pipeline
from profiler.cli import main
from profiler.devices import discover
from profiler.devices.discover import Vendor
from profiler.devices.nvml import Nvml
from profiler.environment import doctor
from tests.devices.fake_cuda import Scenario
from tests.devices.fake_cuda_worker import worker_command
from tests.devices.fake_nvml import FakeGpu, FakeNvml

PRESENT = "json"
"""In place of PyCUDA: a package that is there."""


@dataclass(frozen=True)
class Machine:
    """GPUs as NVML shows them (arguments of `FakeGpu`), and how the driver behaves on each of them."""

    gpus: tuple[dict[str, Any], ...] = ({"name": "Tesla T4"},)
    scenario: Scenario = field(default_factory=Scenario)

    def command(self, folder: Path, *arguments: str) -> list[str]:
        """Runs the profiler there; the description is written into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        worker = worker_command(self.scenario, folder / "scenario.json")
        path = folder / "machine.json"
        path.write_text(json.dumps({"gpus": self.gpus, "worker": worker}))
        return [sys.executable, "-m", "tests.rehearsal.machine", str(path), *arguments]


def _vendor(path: Path) -> Vendor:
    described = json.loads(path.read_text())
    fake = FakeNvml(gpus=[FakeGpu(**gpu) for gpu in described["gpus"]])
    return Vendor(Nvml(load=lambda: fake), tuple(described["worker"]), PRESENT)


if __name__ == "__main__":
    vendor = _vendor(Path(sys.argv.pop(1)))
    for module in (pipeline, doctor, discover):
        module.Vendor = lambda: vendor  # type: ignore[attr-defined]
    main()
