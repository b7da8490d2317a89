"""The command line on a machine that pretends to have GPUs: python -m tests.rehearsal.machine MACHINE.json ARGUMENT...

Everything is real but NVIDIA's two libraries: NVML is `tests.devices.fake_nvml`, and the driver behind the worker is
`tests.devices.fake_cuda`, which plays real cubins: what it says of their speed is modelled and noise.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler import campaign
from profiler.cli import main
from profiler.devices import discover
from profiler.devices.discover import Vendor
from profiler.devices.nvml import Nvml
from profiler.environment import doctor
from profiler.measure import Rules, StoppingRule
from profiler.measure.energy import EnergyRule
from profiler.network_stages import bench, run
from tests.devices.fake_cuda import Scenario
from tests.devices.fake_cuda_network_worker import network_worker_command
from tests.devices.fake_cuda_worker import worker_command
from tests.devices.fake_nvml import FakeGpu, FakeNvml

if TYPE_CHECKING:
    from tests.e2e.command import Place

PRESENT = "json"
"""In place of PyCUDA: a package that is there."""


@dataclass(frozen=True)
class Machine:
    """GPUs as NVML shows them (arguments of `FakeGpu`), and how the driver behaves on each of them.

    ``quick``: kernels and networks are sampled less than on a real card. The pretended one is slow, being Python, and
    its times are only modelled. Its energy counter counts what its sensor says, in the time of this machine.
    """

    gpus: tuple[dict[str, Any], ...] = ({"name": "Tesla T4"},)
    scenario: Scenario = field(default_factory=Scenario)
    quick: bool = True

    def command(self, folder: Path, *arguments: str) -> list[str]:
        """Runs the profiler there; the description is written into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        scenario, path = folder / "scenario.json", folder / "machine.json"
        workers = {
            "worker": worker_command(self.scenario, scenario),
            "network_worker": network_worker_command(self.scenario, scenario),
        }
        path.write_text(json.dumps({"gpus": self.gpus, **workers, "quick": self.quick}))
        return [sys.executable, "-m", "tests.rehearsal.machine", str(path), *arguments]

    def start(self, place: Place, *arguments: str) -> subprocess.Popen[str]:
        """The same, running in that place, in a process group of its own."""
        command, pipe = self.command(place.folder / "machine", *arguments), subprocess.PIPE
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=place.environment,
            start_new_session=True,
        )  # fmt: skip


_SCREEN = StoppingRule(sample_s=1e-4, min_samples=6, max_samples=6, target=0.1, budget_s=0.02)
_FINAL = StoppingRule(sample_s=1e-4, min_samples=8, max_samples=12, target=0.02, budget_s=0.1, least_samples=7)
QUICK = Rules(_SCREEN, _FINAL)
QUICK_NETWORK = StoppingRule(sample_s=1e-4, min_samples=4, max_samples=8, target=0.1, budget_s=0.1)


QUICK_ENERGY = EnergyRule(window_s=0.005, windows=2, settle_s=0.0, idle_s=0.05, sample_every_s=0.001)


def count_energy(gpu: FakeGpu) -> None:
    """From now on its counter goes on by itself."""
    begin_s = time.monotonic()

    class Counting(FakeGpu):
        @property
        def energy_j(self) -> float:  # type: ignore[override]
            return self.power_w * (time.monotonic() - begin_s)

        @energy_j.setter
        def energy_j(self, value: float) -> None: ...

    gpu.__class__ = Counting


def vendor_of(described: Any) -> Vendor:
    fake = FakeNvml(gpus=[FakeGpu(**gpu) for gpu in described["gpus"]])
    for gpu in fake.gpus:
        count_energy(gpu)
    workers = (tuple(described[name]) for name in ("worker", "network_worker"))
    return Vendor(Nvml(load=lambda: fake), *workers, PRESENT)


if __name__ == "__main__":
    described = json.loads(Path(sys.argv.pop(1)).read_text())
    vendor = vendor_of(described)
    if described["quick"]:
        campaign.rules_of = lambda gpu: QUICK
        campaign.ENERGY_RULE = QUICK_ENERGY
        run.run = partial(run.run, rule=QUICK_NETWORK)
    for module in (campaign, doctor, discover, bench):
        module.Vendor = lambda: vendor  # type: ignore[attr-defined]
    main()
