"""The process on a worker's machine that holds one card and measures on it: python -m profiler.fleet.seat PARENT

    Dask worker                    this process                       kernels' process (`devices.kernel_process`)
    list                    -->    what this machine has
    open CARD               -->    the card, opened             -->   started
    turn                    -->    waits until nobody else measures the card
    measure KERNELS         -->    loads, verifies, times them  -->   ...
         <-- a record of each; the turn ends
    turn, energy KERNEL     -->    the same, in windows of energy
         <-- its record, or why the card tells none

Requests are read by a thread of their own, so that the end of the Dask worker, however it comes, ends this process in
the middle of a measurement: an orphan would disturb whoever measures next. A lock of clocks is given back then.
"""

from __future__ import annotations

import os
import pickle
import platform
import queue
import signal
import sys
import threading
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from profiler import __version__
from profiler.artifact import Artifact
from profiler.devices.clock_lock import locked_clocks
from profiler.devices.cuda import CudaDevice
from profiler.devices.discover import FoundDevice, Inventory, Vendor, discover, open_device
from profiler.devices.host import HostDevice
from profiler.devices.pipe import Closed, Header, Pipe
from profiler.errors import DeviceError, ProfilerError
from profiler.fleet.orders import CardFacts, EnergyOrder, MeasureOrder, Occupied, SeatKey, Sight, code_sha256
from profiler.measure import measure
from profiler.measure.energy import NoEnergy, why_none
from profiler.measure.kernel_energy import measure_energy
from profiler.measure.turns import MachineTurns, NoTurn
from profiler.record import encode

COMMAND = (sys.executable, "-m", "profiler.fleet.seat")
"""Starts one; the process id of the parent is appended."""

UNUSED_S = 10.0
"""A turn ends after so long without the kernels to be measured, which come at once."""

Message = tuple[Header, bytes]
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Seat:
    """What the process does for each request. ``machine`` is the name that tells this machine from others."""

    def __init__(self, vendor: Vendor | None = None, machine: str = "") -> None:
        self._vendor = vendor or Vendor()
        self._machine = machine or _boot_id()
        self._held = ExitStack()
        self._turn: ExitStack | None = None
        self._device: HostDevice | CudaDevice | None = None
        self._found: FoundDevice | None = None

    def answer(self, header: Header, payload: bytes) -> object:
        """Raises `ProfilerError` for what the machine does not do."""
        request = header["request"]
        if request == "list":
            return self.list()
        if request == "open":
            return self.open(pickle.loads(payload))
        if request == "turn":
            return self.turn(header["limit_s"])
        if request == "energy":
            return self.energy(pickle.loads(payload))
        return self.measure(pickle.loads(payload))

    def list(self) -> Sight:
        here = self._inventory()
        return Sight(
            host=platform.node(),
            machine=self._machine,
            arch=platform.machine(),
            cpus=len(os.sched_getaffinity(0)),
            version=__version__,
            code=code_sha256(),
            devices=here.devices,
            no_gpus=here.no_gpus,
        )

    def open(self, key: SeatKey) -> CardFacts:
        self._found = found = next((d for d in self._inventory().devices if d.uuid == key.uuid), None)
        if found is None:
            raise DeviceError(f"the card {key.uuid} is not here any more")
        locked = None
        if key.options.lock_clocks:
            lock = locked_clocks(self._vendor.nvml, found.uuid, key.options.clock_mhz)
            locked = self._held.enter_context(lock)
        mhz = locked.mhz if locked else None
        device = open_device(found, self._vendor, sustained=key.options.sustained, locked_sm_clock_mhz=mhz)
        self._held.callback(device.close)
        self._device = device
        hardware = device.cpu if isinstance(device, HostDevice) else device.properties
        clocks = locked.text if locked else ""
        return CardFacts(device.fingerprint(compiler=""), hardware, clocks, why_none(device.counter))

    @property
    def has_turn(self) -> bool:
        return self._turn is not None

    def turn(self, limit_s: float) -> Occupied | None:
        """Take it for the kernels that come next."""
        assert self._found is not None, "a card is opened first"
        self.give_back()
        turn = ExitStack()
        try:
            turn.enter_context(MachineTurns.of_device(self._found, limit_s).measuring())
        except NoTurn as error:
            return Occupied(str(error))
        self._turn = turn
        return None

    def give_back(self) -> None:
        """The turn, if this process has it."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.close()

    def measure(self, order: MeasureOrder) -> tuple[str, ...] | Occupied:
        """Lines of a journal, one for each artifact."""
        assert self._device is not None, "a card is opened first"
        if not self.has_turn:
            return _came_late()
        try:
            artifacts = [Artifact.from_bytes(data) for data in order.artifacts]
            records = measure(self._device, artifacts, order.conditions, order.rule, order.stage, order.run)
        finally:
            self.give_back()
        return tuple(encode(record) for record in records)

    def energy(self, order: EnergyOrder) -> str | NoEnergy | Occupied:
        """A line of a journal."""
        assert self._device is not None, "a card is opened first"
        if not self.has_turn:
            return _came_late()
        try:
            artifact = Artifact.from_bytes(order.artifact)
            found = measure_energy(self._device, artifact, order.conditions, order.run, order.rule)
        finally:
            self.give_back()
        return found if isinstance(found, NoEnergy) else encode(found)

    def close(self) -> None:
        self.give_back()
        self._held.close()

    def _inventory(self) -> Inventory:
        return discover(self._vendor)


def _came_late() -> Occupied:
    return Occupied(f"no kernels came within {UNUSED_S:g} s of the turn, which was given back")


def serve(seat: Seat) -> None:
    """Answer requests on standard input until it ends. What is printed goes to standard error."""
    pipe = Pipe(os.dup(0), os.dup(1))
    os.dup2(2, 1)
    requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
    pipe.send({"ok": True})
    threading.Thread(target=_read, args=(pipe, requests), daemon=True).start()
    try:
        while True:
            try:
                header, payload = requests.get(timeout=UNUSED_S if seat.has_turn else None)
            except queue.Empty:
                seat.give_back()  # whoever asked for the turn is stopped: others need not wait for it
                continue
            pipe.send(*_answered(seat, header, payload))
    except Closed:
        pass
    finally:
        seat.close()


def _read(pipe: Pipe, requests: queue.SimpleQueue[Message]) -> None:
    try:
        while True:
            requests.put(pipe.receive())
    except Closed:
        os.kill(os.getpid(), signal.SIGTERM)  # `locked_clocks` catches it where there is something to give back


def _answered(seat: Seat, header: Header, payload: bytes) -> Message:
    try:
        answer: Any = seat.answer(header, payload)
    except ProfilerError as error:
        return {"ok": False, "kind": "device", "message": str(error)}, b""
    except Exception:
        return {"ok": False, "kind": "defect", "message": traceback.format_exc()}, b""
    return {"ok": True}, pickle.dumps(answer)


def _boot_id() -> str:
    """Another one on every machine, and one for all containers of a machine."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return platform.node()


if __name__ == "__main__":
    serve(Seat())
