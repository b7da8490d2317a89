"""A worker's measuring process that behaves as FLEET_TEST says: a JSON object in the environment of its Dask worker.

``machine``, ``microcode``, ``version``: what it pretends to be. ``stuck``: seconds that each measurement takes longer.
``mark``: a file that is made when a measurement begins. ``broken``: each measurement ends with an error of ours.
``stopped``: seconds for others that are stopped.
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
from profiler.fleet.orders import MeasureOrder, Sight
from profiler.hardware import host_cpu
from profiler.measure import turns

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


def _open(device: FoundDevice, *_: object, **__: object) -> HostDevice:
    cpu = host_cpu()
    return HostDevice(replace(cpu, microcode=SAID.get("microcode", cpu.microcode)), time_limit_s=5.0)


if __name__ == "__main__":
    turns.STOPPED_S = SAID.get("stopped", turns.STOPPED_S)
    seat.open_device = _open  # type: ignore[assignment]
    seat.serve(PretendedSeat(machine=SAID.get("machine", "here")))
