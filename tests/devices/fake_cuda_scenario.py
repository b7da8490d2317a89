"""What `FakeCuda` plays: the GPU, its driver, and what goes wrong. As a JSON file it goes to the worker process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from profiler.devices.cuda_driver import GpuProperties
from profiler.hardware import GPUS

IDLE_MHZ = 300.0
IDLE_AFTER_S = 0.03
"""Without work, after which the card lowers its clock to that."""


@dataclass(frozen=True)
class Fault:
    """What a kernel does instead of, or beside, what it should.

    code : the launch ends in this error. hang : it never ends. flip : this byte of its output is wrong. writes_at :
    offset of a byte that it overwrites, from the beginning of the argument that it names, which may lie outside.
    right_launches : so many launches are right, before it does any of that.
    """

    code: int = 0
    hang: bool = False
    flip: int | None = None
    writes_at: tuple[str, int] | None = None
    right_launches: int = 0


@dataclass(frozen=True)
class Scenario:
    """The GPU, its driver, and what goes wrong.

    gpu : key of `GPUS`. faults : by `Artifact.sha256`, or by config. start_code : the first call fails with it.
    kernel_s : what every kernel takes; by default what the performance model says. call_s : of the host, per command.
    ramp_s : of work in a row, before the card has raised its clock from `IDLE_MHZ`. graphs : whether there is a package
    for them.
    """

    gpu: str = "t4"
    pci_bus_id: str = "0000:3B:00.0"
    driver_version: tuple[int, int] = (12, 2)
    memory_bytes: int = 1 << 30
    clock_mhz: float = 1590.0
    floor_s: float = 2e-6
    call_s: float = 4e-6
    noise: float = 0.005
    kernel_s: float | None = None
    start_code: int = 0
    ramp_s: float = 0.0
    graphs: bool = True
    faults: Mapping[str, Fault] = field(default_factory=dict)

    @property
    def properties(self) -> GpuProperties:
        spec = GPUS[self.gpu]
        return GpuProperties(
            name=spec.name,
            pci_bus_id=self.pci_bus_id,
            capability=spec.capability,
            driver_version=self.driver_version,
            memory_bytes=self.memory_bytes,
            multiprocessor_count=spec.sms,
            clock_rate_khz=round(spec.boost_mhz * 1e3),
            memory_clock_rate_khz=5001000,
            global_memory_bus_width_bits=256,
            l2_cache_bytes=spec.l2_bytes,
            max_shared_memory_per_multiprocessor_bytes=spec.shared_bytes_per_sm,
            max_shared_memory_per_block_optin_bytes=spec.shared_bytes_per_block,
            max_registers_per_multiprocessor=spec.registers_per_sm,
            max_threads_per_multiprocessor=spec.threads_per_sm,
            max_blocks_per_multiprocessor=spec.blocks_per_sm,
        )

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)))

    @staticmethod
    def read(path: Path) -> Scenario:
        """Inverse of `write`; what is not in the file is as by default."""
        body = json.loads(path.read_text())
        if "driver_version" in body:
            body["driver_version"] = tuple(body["driver_version"])
        faults = {}
        for key, fault in body.pop("faults", {}).items():
            if fault.get("writes_at") is not None:
                fault["writes_at"] = tuple(fault["writes_at"])
            faults[key] = Fault(**fault)
        return Scenario(**body, faults=faults)
