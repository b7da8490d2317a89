"""What runs on a Dask worker: functions that the client submits. The timing itself is in a process of its own (`seat`).

A worker may be daemonic and unable to have children of `multiprocessing`; plain subprocesses it can have. They live as
long as orders come, since a card's context and a compiler take seconds to start, and end some time after the last one.
"""

from __future__ import annotations

import pickle
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from profiler.artifact import Artifact
from profiler.devices.kernel_process import Died, Worker
from profiler.devices.pipe import Header, Overdue
from profiler.errors import DeviceError, ProfilerError
from profiler.fleet.orders import (
    BrokenCompiler,
    BuildOrder,
    Built,
    CardFacts,
    Compiler,
    EnergyOrder,
    Hung,
    Measured,
    MeasureOrder,
    Occupied,
    SeatKey,
    Sight,
    Unusable,
)
from profiler.kernels.backend import Backend
from profiler.kernels.pool_build import BuildPool
from profiler.measure.energy import NoEnergy
from profiler.measure.turns import MachineTurns

IDLE_S = 120.0
"""After so long without an order a worker's processes end: their client has gone."""
_ANSWER_S = 60.0  # listing a machine's devices
_END_S = 5.0  # for giving back a lock of clocks
_GRACE_S = 5.0  # beyond the limits that the other process keeps itself


def look(command: Sequence[str]) -> Sight | Unusable:
    """What this machine has. ``command`` starts the measuring process."""
    with _translated() as trouble:
        process = SeatProcess(command)
        try:
            sight: Sight = process.ask({"request": "list"}, None, _ANSWER_S)
            return sight
        finally:
            process.close()
    return trouble.unusable()


def open_card(command: Sequence[str], key: SeatKey, start_s: float) -> CardFacts | Unusable:
    """Open the card, ready for `measure`. ``start_s`` : seconds that it may take."""
    with _translated() as trouble, _here().seat(command, key, start_s) as seat:
        return seat.facts
    return trouble.unusable()


def measure(
    command: Sequence[str], key: SeatKey, order: MeasureOrder, start_s: float
) -> Measured | Occupied | Unusable | Hung:
    """Measure the kernels of an order on the card; the process that does it is ended where it hangs."""
    with _translated() as trouble, _here().seat(command, key, start_s) as seat:
        return seat.measure(order)
    return trouble.hung or trouble.unusable()


def measure_energy(
    command: Sequence[str], key: SeatKey, order: EnergyOrder, start_s: float
) -> Measured | NoEnergy | Occupied | Unusable | Hung:
    """The same of a kernel's energy."""
    with _translated() as trouble, _here().seat(command, key, start_s) as seat:
        return seat.energy(order)
    return trouble.hung or trouble.unusable()


def build(order: BuildOrder) -> Built | BrokenCompiler:
    """Compile the kernels of an order."""
    try:
        with _here().pool(order.backend) as pool, MachineTurns.of_cpu(order.turn_s).compiling():
            results = pool.build(order.requests)
    except ProfilerError as error:  # a defect of this machine, or somebody who measures it and does not end
        return BrokenCompiler(_dask_worker().address, str(error))
    return Built(tuple(result.to_bytes() if isinstance(result, Artifact) else result for result in results))


def compiler(backend: Backend, turn_s: float) -> Compiler | Unusable:
    """What would compile here. ``turn_s`` : as in `BuildOrder`."""
    try:
        with MachineTurns.of_cpu(turn_s).compiling():  # it imports the compiler
            return Compiler.of(backend)
    except ProfilerError as error:
        return Unusable(str(error))


def release() -> None:
    """End all processes that have nothing to do: the run is over."""
    _here().close_idle()


class SeatProcess:
    """A `seat` from outside. ``facts`` are those of its card, once it was opened."""

    def __init__(self, command: Sequence[str]) -> None:
        self._worker = Worker(command)
        self.facts: CardFacts

    def open(self, key: SeatKey, start_s: float) -> None:
        self.facts = self.ask({"request": "open"}, key, start_s)

    def measure(self, order: MeasureOrder) -> Measured | Occupied:
        occupied = self._turn(order)
        if occupied is not None:
            return occupied
        answer: tuple[str, ...] | Occupied = self.ask({"request": "measure"}, order, order.limit_s)
        return answer if isinstance(answer, Occupied) else Measured(answer)

    def energy(self, order: EnergyOrder) -> Measured | NoEnergy | Occupied:
        occupied = self._turn(order)
        if occupied is not None:
            return occupied
        found: str | NoEnergy | Occupied = self.ask({"request": "energy"}, order, order.limit_s)
        return Measured((found,)) if isinstance(found, str) else found

    def _turn(self, order: MeasureOrder | EnergyOrder) -> Occupied | None:
        occupied: Occupied | None = self.ask(
            {"request": "turn", "limit_s": order.turn_s}, None, order.turn_s + _GRACE_S
        )
        return occupied

    def ask(self, header: Header, payload: object, limit_s: float) -> Any:
        """Raises `DeviceError` as the process says it, `Died`, and `Overdue`."""
        answer, body = self._worker.ask(header, pickle.dumps(payload), limit_s)
        if answer["ok"]:
            return pickle.loads(body)
        if answer["kind"] == "device":
            raise DeviceError(answer["message"])
        raise RuntimeError(f"the measuring process failed:\n{answer['message']}")

    @property
    def alive(self) -> bool:
        return self._worker.alive

    def close(self) -> None:
        """End it: by the end of its input first, so that it gives back what it holds."""
        with suppress(OSError, subprocess.TimeoutExpired):
            assert self._worker.process.stdin is not None
            self._worker.process.stdin.close()
            self._worker.process.wait(_END_S)
        self._worker.close()


@dataclass
class _Trouble:
    """What went wrong inside of `_translated`."""

    message: str = ""
    hung: Hung | None = None

    def unusable(self) -> Unusable:
        return Unusable(self.hung.message if self.hung else self.message)


@contextmanager
def _translated() -> Iterator[_Trouble]:
    """Errors as values, which survive the way home whatever Dask thinks of exceptions."""
    trouble = _Trouble()
    try:
        yield trouble
    except Overdue:
        trouble.hung = Hung("the measuring process did not answer within its limit, and was ended")
    except Died as death:
        trouble.hung = Hung(f"the measuring process ended: {death}")
    except ProfilerError as error:
        trouble.message = str(error)


@dataclass
class _Processes:
    """Those of this Dask worker: seats by command and card, and compilers that are free."""

    seats: dict[tuple[tuple[str, ...], SeatKey], SeatProcess] = field(default_factory=dict)
    taken: dict[tuple[tuple[str, ...], SeatKey], threading.Lock] = field(default_factory=dict)
    pools: list[tuple[Backend, BuildPool]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    idle: threading.Timer | None = None

    @contextmanager
    def seat(self, command: Sequence[str], key: SeatKey, start_s: float) -> Iterator[SeatProcess]:
        """The card's process, for one order at a time. One that fails is ended; the next order finds a fresh one."""
        name = (tuple(command), key)
        with self.lock:
            taken = self.taken.setdefault(name, threading.Lock())
        with taken, self._busy():
            process = self.seats.pop(name, None)
            if process is not None and not process.alive:
                process.close()
                process = None
            try:
                if process is None:
                    process = SeatProcess(command)
                    process.open(key, start_s)
                yield process
            except BaseException:
                if process is not None:
                    process.close()
                raise
            self.seats[name] = process

    @contextmanager
    def pool(self, backend: Backend) -> Iterator[BuildPool]:
        """A compiler of one process that nobody else uses meanwhile."""
        with self._busy():
            with self.lock:
                free = next((entry for entry in self.pools if entry[0] == backend), None)
                if free is not None:
                    self.pools.remove(free)
            pool = free[1] if free else BuildPool(backend, workers=1)
            try:
                yield pool
            except BaseException:
                pool.close()
                raise
            with self.lock:
                self.pools.append((backend, pool))

    def close_idle(self) -> None:
        """Whoever wants a seat that is being closed waits for its end: it may be giving back a lock of clocks."""
        with self.lock:
            pools, self.pools = self.pools, []
            idle = [(name, self.taken[name]) for name in self.seats]
        for _, pool in pools:
            pool.close()
        for name, taken in idle:
            if taken.acquire(blocking=False):  # else it was just taken for an order
                try:
                    seat = self.seats.pop(name, None)
                    if seat is not None:
                        seat.close()
                finally:
                    taken.release()

    @contextmanager
    def _busy(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self.lock:
                if self.idle is not None:
                    self.idle.cancel()
                self.idle = threading.Timer(IDLE_S, self.close_idle)
                self.idle.daemon = True
                self.idle.start()


def _dask_worker() -> Any:
    from distributed import get_worker  # late: the client reads this module too, to name its functions

    return get_worker()


_NAME = "lowbit_profiler_processes"


def _here() -> _Processes:
    """Of this worker: they are its own, as those of a worker plugin are, and no other client's workers are asked to
    import this package."""
    found: _Processes = _dask_worker().__dict__.setdefault(_NAME, _Processes())
    return found
