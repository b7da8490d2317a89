"""``--lock-clocks``: the one setting of a card that a run changes, because it was asked to, and gives back.

NVML sets and resets a lock of the SM clock, and has no function that reads one. So a lock that somebody else had set
before cannot be seen, and is gone afterwards; the lock and its reset need root.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from profiler.devices.gpu_facts import GpuFacts, read_facts
from profiler.devices.nvml import Nvml, NvmlSession, Reader, Refused
from profiler.errors import DeviceError

_CATCHABLE = (signal.SIGTERM, signal.SIGHUP)  # they end Python without its clean-up; Ctrl-C does not


@dataclass(frozen=True)
class LockedClocks:
    """The lock that is set. ``promised``: it is no higher than the base clock, which a card is made to hold under load
    within its power limit."""

    uuid: str
    mhz: int
    promised: bool

    @property
    def text(self) -> str:
        """One line for the user: what was set, and how to undo it should this process be killed."""
        doubt = "" if self.promised else " (it may fall below under load)"
        return f"SM clock locked at {self.mhz} MHz{doubt}; if this run is killed, undo it with: {_undo(self.uuid)}"


def _undo(uuid: str) -> str:
    return f"sudo nvidia-smi -i {uuid} -rgc"


@contextmanager
def locked_clocks(nvml: Nvml, uuid: str, mhz: int | None = None) -> Iterator[LockedClocks]:
    """Hold the SM clock of that card at ``mhz`` MHz; whatever ends the block, Ctrl-C, SIGTERM and SIGHUP included,
    resets the lock. After SIGKILL or a crash of the interpreter it stays: `LockedClocks.text` says how to undo it.

    Without ``mhz`` it is the default application clock. On a card like the T4 that is its base clock (585 MHz), which
    it is made to hold under load within its power limit, so that two runs meet the same clock. A card that names none
    is locked at its highest.

    Raises `DeviceError` if the card does not do it or the user may not, and if the reset fails.
    """
    session = nvml.open()
    try:
        handle = session.handle(uuid)
        lock = _choose(session, handle, read_facts(Reader(session, handle)), mhz)
        former = _raise_on_signals()
        held = True  # unless it is refused: an interruption may come when the call has returned
        try:
            try:
                session.call("nvmlDeviceSetGpuLockedClocks", handle, lock.mhz, lock.mhz)
            except Refused as refused:
                held = False
                advice = "it needs root: use sudo, or leave out --lock-clocks" if refused.permission else str(refused)
                raise DeviceError(f"the SM clock cannot be locked at {lock.mhz} MHz: {advice}") from None
            yield lock
        finally:
            _ignore(former)
            try:
                if held:
                    _reset(session, handle, uuid)
            finally:
                _restore(former)
    finally:
        session.close()


def _choose(session: NvmlSession, handle: Any, facts: GpuFacts, mhz: int | None) -> LockedClocks:
    base, highest = facts.base_sm_clock_mhz, facts.max_sm_clock_mhz
    if mhz is None:
        chosen = base or highest
        if chosen is None:
            raise DeviceError(f"{facts.name} does not name its clocks: say which one with --clock-mhz")
        return LockedClocks(facts.uuid, int(chosen), _promised(chosen, facts))
    known = _supported_mhz(session, handle)
    if known and mhz not in known:
        near = ", ".join(str(clock) for clock in sorted(sorted(known, key=lambda clock: abs(clock - mhz))[:2]))
        raise DeviceError(
            f"{facts.name} has no SM clock of {mhz} MHz: it has {min(known)} to {max(known)} MHz, near it {near}"
        )
    return LockedClocks(facts.uuid, mhz, _promised(mhz, facts))


def _promised(mhz: float, facts: GpuFacts) -> bool:
    """A default application clock that is the highest clock too is that of a boost, and no base."""
    base, highest = facts.base_sm_clock_mhz, facts.max_sm_clock_mhz
    return base is not None and mhz <= base and (highest is None or base < highest)


def _supported_mhz(session: NvmlSession, handle: Any) -> frozenset[int]:
    """Clocks that go with the highest memory clock; empty if the card does not list them."""
    try:
        memory_mhz = max(session.call("nvmlDeviceGetSupportedMemoryClocks", handle), default=0)
        return frozenset(session.call("nvmlDeviceGetSupportedGraphicsClocks", handle, memory_mhz))
    except Refused:
        return frozenset()


def _reset(session: NvmlSession, handle: Any, uuid: str) -> None:
    try:
        session.call("nvmlDeviceResetGpuLockedClocks", handle)
    except Refused as refused:
        raise DeviceError(f"the SM clock stays locked: {refused}; undo it with: {_undo(uuid)}") from None


def _raise_on_signals() -> dict[signal.Signals, Any]:
    """Have the catchable signals end the block by an exception. Returns the handlers that were there, Ctrl-C's too.

    Only the main thread may, and a handler of somebody else is left to do its work.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    interrupt = signal.getsignal(signal.SIGINT)
    former: dict[signal.Signals, Any] = {} if interrupt is None else {signal.SIGINT: interrupt}
    for number in _CATCHABLE:
        if signal.getsignal(number) is signal.SIG_DFL:
            former[number] = signal.signal(number, _leave)
    return former


def _ignore(former: dict[signal.Signals, Any]) -> None:
    """Nothing, not a second Ctrl-C either, comes between the block and the reset."""
    for number in former:
        signal.signal(number, signal.SIG_IGN)


def _restore(former: dict[signal.Signals, Any]) -> None:
    for number, handler in former.items():
        signal.signal(number, handler)


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
