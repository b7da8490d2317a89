"""A worker's measuring process that behaves as FLEET_TEST says: a JSON object in the environment of its Dask worker.

``machine``, ``microcode``, ``version``: what it pretends to be. ``stuck``: seconds that each measurement takes longer.
``mark``: a file that is made when a measurement begins. ``broken``: each measurement ends with an error of ours.
``stopped``: seconds for others that are stopped.
``power_w``: what the processor draws, by its counter; without it there is none. ``stuck_at_energy`` and
``mark_at_energy``: as ``stuck`` and ``mark``.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from profiler.devices.discover import FoundDevice
from profiler.devices.host import HostDevice
from profiler.fleet import seat
from profiler.fleet.orders import EnergyOrder, MeasureOrder, Sight
from profiler.hardware import host_cpu
from profiler.measure import turns
from profiler.measure.energy import NoEnergy

SAID: dict[str, Any] = json.loads(os.environ.get("FLEET_TEST", "{}"))


class PretendedSeat(seat.Seat):
    def list(self) -> Sight:
        sight = super().list()
        return replace(sight, host=sight.machine, version=SAID.get("version", sight.version))

    def measure(self, order: MeasureOrder) -> tuple[str, ...]:
        if "mark" in SAID:
            Path(SAID["mark"]).touch()
        time.sleep(SAID.get("stuck", 0))
        if "broken" in SAID:
            raise RuntimeError("nobody has foreseen this")
        return super().measure(order)

    def energy(self, order: EnergyOrder) -> str | NoEnergy:
        if "mark_at_energy" in SAID:
            Path(SAID["mark_at_energy"]).touch()
        time.sleep(SAID.get("stuck_at_energy", 0))
        return super().energy(order)


class Meter:
    """Counts ``power_w`` at all times."""

    name = "meter"
    refusals: tuple[str, ...] = () if "power_w" in SAID else ("no counter there",)

    def read_j(self) -> float | None:
        return SAID["power_w"] * time.monotonic() if "power_w" in SAID else None

    def power_w(self) -> None:
        return None


def _open(device: FoundDevice, *_: object, **__: object) -> HostDevice:
    cpu = host_cpu()
    return HostDevice(replace(cpu, microcode=SAID.get("microcode", cpu.microcode)), time_limit_s=5.0, counter=Meter())


if __name__ == "__main__":
    turns.STOPPED_S = SAID.get("stopped", turns.STOPPED_S)
    seat.open_device = _open  # type: ignore[assignment]
    seat.serve(PretendedSeat(machine=SAID.get("machine", "here")))
