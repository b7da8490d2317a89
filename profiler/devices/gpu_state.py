"""What a GPU does at a moment, as NVML tells it, and what held it back between two moments.

NVML knows that in two ways, and neither is enough alone. The clock reasons are those of the moment, so what begins and
ends within a timed batch does not show. The violation counters add up the time spent below the application clock, so a
card that boosts above it, but less far than it would, is held back and counts nothing; and many cards have no counters.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from profiler.devices.nvml import Reader
from profiler.devices.protocol import Throttling

_SM, _MEMORY = 1, 2  # kinds of clock
_GPU_SENSOR = 0
_POLICIES = {"power": 0, "thermal": 1, "board_limit": 3}  # numbers of NVML's performance policies


class ClockReason(IntFlag):
    """Why the clock is not higher, by NVML's names and bits."""

    GPU_IDLE = 0x001
    APPLICATIONS_CLOCKS_SETTING = 0x002
    SW_POWER_CAP = 0x004
    HW_SLOWDOWN = 0x008
    SYNC_BOOST = 0x010
    SW_THERMAL_SLOWDOWN = 0x020
    HW_THERMAL_SLOWDOWN = 0x040
    HW_POWER_BRAKE_SLOWDOWN = 0x080
    DISPLAY_CLOCK_SETTING = 0x100
    BOARD_LIMIT = 0x200
    RELIABILITY = 0x400

    @property
    def names(self) -> tuple[str, ...]:
        """NVML's spelling, e.g. ``SwPowerCap``."""
        return tuple("".join(w.capitalize() for w in r.name.split("_")) for r in ClockReason if r.name and r in self)


_SLOWDOWNS = (
    ClockReason.HW_SLOWDOWN
    | ClockReason.SW_THERMAL_SLOWDOWN
    | ClockReason.HW_THERMAL_SLOWDOWN
    | ClockReason.HW_POWER_BRAKE_SLOWDOWN
)
_POWER_CAPS = ClockReason.SW_POWER_CAP | ClockReason.BOARD_LIMIT
_KNOWN = ClockReason(sum(ClockReason))


@dataclass(frozen=True)
class GpuProcess:
    """A process on the card. ``name`` is empty where this system does not show it (another container, another user),
    ``memory_bytes`` None where the driver does not say."""

    pid: int
    name: str = ""
    memory_bytes: int | None = None


@dataclass(frozen=True)
class GpuLimits:
    """What holds the clock back: cheap to read, so it is read around every timed batch. None is what NVML refused.

    reasons : those of this moment. The counters are the nanoseconds that the card ever spent below its application
    clock for the power limit, for heat, and for a limit of the board.
    """

    reasons: ClockReason | None = None
    power_violation_ns: int | None = None
    thermal_violation_ns: int | None = None
    board_violation_ns: int | None = None


@dataclass(frozen=True)
class GpuState(GpuLimits):
    """All that changes. None is what NVML refused; `unreadable` says why, one short text each.

    energy_j : since the driver was loaded. others : processes on the card that are not ours.
    """

    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    energy_j: float | None = None
    others: tuple[GpuProcess, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """For a record: who else was there, and what could not be read."""
        named = sorted({process.name.rpartition("/")[2] or "?" for process in self.others if process.name})
        hidden = sum(not process.name for process in self.others)
        found = []
        if named:
            found.append(f"other processes on the card: {', '.join(named)}")
        if hidden:
            found.append(f"{hidden} process{'es' if hidden > 1 else ''} on the card that this system does not show")
        return (*found, *(f"not readable: {text}" for text in self.unreadable))


def compare(before: GpuLimits, after: GpuLimits) -> Throttling | None:
    """What held the card back between the two readings; None if NVML told neither reasons nor counters.

    Thermal and hardware slowdown (the power brake is one) go by their names. The power limit and the limit of the
    board make a power cap. An idle card, application and display clocks, boost in step with another card and voltage
    reliability are not throttling.
    """
    thermal = _grown(before.thermal_violation_ns, after.thermal_violation_ns)
    power = _grown(before.power_violation_ns, after.power_violation_ns)
    board = _grown(before.board_violation_ns, after.board_violation_ns)
    if all(told is None for told in (before.reasons, after.reasons, thermal, power, board)):
        return None
    earlier, reasons = before.reasons or ClockReason(0), after.reasons or ClockReason(0)
    # A hardware slowdown without a cause is also reported while an idle card raises its clock, as it does when a batch
    # begins; so what was before the batch does not count for that one.
    seen = reasons | (earlier & ~ClockReason.HW_SLOWDOWN)
    names = (seen & _SLOWDOWNS).names
    if not names and thermal:
        names = ("thermal violation counter",)
    return Throttling(", ".join(names), bool(seen & _POWER_CAPS or power or board))


def read_limits(read: Reader) -> GpuLimits:
    """Raises `DeviceError` if the GPU is lost."""
    return GpuLimits(_reasons(read), *(_violation_ns(read, name) for name in _POLICIES))


def read_state(read: Reader, own_pids: Collection[int]) -> GpuState:
    """Raises `DeviceError` if the GPU is lost."""
    limits = read_limits(read)
    power_mw = read.card("power", "nvmlDeviceGetPowerUsage")
    energy_mj = read.card("energy counter", "nvmlDeviceGetTotalEnergyConsumption")
    return GpuState(
        reasons=limits.reasons,
        power_violation_ns=limits.power_violation_ns,
        thermal_violation_ns=limits.thermal_violation_ns,
        board_violation_ns=limits.board_violation_ns,
        sm_clock_mhz=read.card("SM clock", "nvmlDeviceGetClockInfo", arguments=(_SM,)),
        memory_clock_mhz=read.card("memory clock", "nvmlDeviceGetClockInfo", arguments=(_MEMORY,)),
        temperature_c=read.card("temperature", "nvmlDeviceGetTemperature", arguments=(_GPU_SENSOR,)),
        power_w=power_mw / 1000 if power_mw is not None else None,
        energy_j=energy_mj / 1000 if energy_mj is not None else None,
        others=_others(read, own_pids),
        unreadable=read.unreadable,
    )


def _grown(before: int | None, after: int | None) -> bool | None:
    return None if before is None or after is None else after > before


def _reasons(read: Reader) -> ClockReason | None:
    bits = read.card(
        "clock reasons", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"
    )
    return None if bits is None else ClockReason(bits & _KNOWN)


def _violation_ns(read: Reader, policy: str) -> int | None:
    what = f"{policy.replace('_', ' ')} violation counter"
    status = read.card(what, "nvmlDeviceGetViolationStatus", arguments=(_POLICIES[policy],))
    return None if status is None else int(status.violationTime)


def _others(read: Reader, own_pids: Collection[int]) -> tuple[GpuProcess, ...]:
    """Who computes or draws on the card, by process number."""
    found: dict[int, Any] = {}
    for kind in ("Compute", "Graphics"):
        name = f"nvmlDeviceGet{kind}RunningProcesses"
        for process in read.card(f"{kind.lower()} processes", name, f"{name}_v2") or ():
            found[process.pid] = process
    return tuple(
        GpuProcess(pid, read.optional("nvmlSystemGetProcessName", pid) or "", found[pid].usedGpuMemory)
        for pid in sorted(found)
        if pid not in own_pids
    )
