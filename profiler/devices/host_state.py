"""What went on on this machine beside our measurements, as far as Linux tells."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from profiler.record import Circumstances

_NOTEWORTHY_CPUS = 0.1  # of others' work
_NOTEWORTHY_STEAL = 0.01  # of the time of all CPUs
_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "x86_pkg_temp", "soc_thermal")


@dataclass(frozen=True)
class CpuTime:
    """Ticks of /proc/stat, summed over all CPUs, and those of our own processes by their id."""

    total: int
    busy: int
    stolen: int
    own: Mapping[int, int]

    @staticmethod
    def now(processes: Iterable[int], proc: Path) -> CpuTime | None:
        with suppress(OSError, ValueError, IndexError):
            user, nice, system, idle, iowait, irq, softirq, steal = _ticks(proc / "stat")
            busy = user + nice + system + irq + softirq
            own = {pid: _process_ticks(proc / str(pid) / "stat") for pid in processes}
            return CpuTime(busy + idle + iowait + steal, busy, steal, own)
        return None


class HostObserver:
    """Tells what happened since it was asked last."""

    def __init__(
        self,
        virtual: bool,
        proc: Path = Path("/proc"),
        sysfs: Path = Path("/sys"),
        cgroup: Path = Path("/sys/fs/cgroup"),
    ) -> None:
        self._virtual = virtual
        self._proc, self._sysfs, self._cgroup = proc, sysfs, cgroup
        self._before: CpuTime | None = None

    def observe(self, own_processes: tuple[int, ...], clocks_mhz: tuple[float, ...]) -> Circumstances:
        """Circumstances since the last call.

        own_processes : whose load is not that of others. clocks_mhz : what was seen of the measuring cores' clock.
        """
        now = CpuTime.now(own_processes, self._proc)
        notes = [*self._standing_notes()]
        if now and self._before:
            notes += _busy_notes(self._before, now)
        self._before = now
        load: float | None = None
        with suppress(OSError, ValueError, IndexError):
            load = float((self._proc / "loadavg").read_text().split()[0])
        return Circumstances(
            sm_clock_mhz_low=min(clocks_mhz, default=None),
            sm_clock_mhz_high=max(clocks_mhz, default=None),
            temperature_c=_temperature_c(self._sysfs),
            load_average=load,
            notes=tuple(notes),
        )

    def _standing_notes(self) -> Iterable[str]:
        if self._virtual:
            yield "virtual machine"
        with suppress(OSError, ValueError):
            quota, period = (self._cgroup / "cpu.max").read_text().split()
            if quota != "max":
                yield f"limited to {int(quota) / int(period):g} CPUs by its control group"


def _busy_notes(before: CpuTime, now: CpuTime) -> Iterable[str]:
    elapsed = now.total - before.total
    if elapsed <= 0:
        return
    share = elapsed / (os.cpu_count() or 1)  # ticks of one CPU
    own = sum(max(0, ticks - before.own.get(pid, 0)) for pid, ticks in now.own.items())
    others = (now.busy - before.busy - own) / share
    if others > _NOTEWORTHY_CPUS:
        yield f"other processes kept {others:.1f} CPUs busy"
    stolen = (now.stolen - before.stolen) / elapsed
    if stolen > _NOTEWORTHY_STEAL:
        yield f"the hypervisor took {stolen:.0%} of the CPU time"


def _ticks(stat: Path) -> list[int]:
    return [int(field) for field in stat.read_text().split("\n", 1)[0].split()[1:9]]


def _process_ticks(stat: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        fields = stat.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])  # user and system time
    return 0


def _temperature_c(sysfs: Path) -> float | None:
    found: list[float] = []
    for folder, name, pattern in (("class/hwmon", "name", "temp*_input"), ("class/thermal", "type", "temp")):
        for sensor in sorted((sysfs / folder).glob("*")):
            with suppress(OSError, ValueError):
                if (sensor / name).read_text().strip() in _SENSORS:
                    found += [int(path.read_text()) / 1000 for path in sorted(sensor.glob(pattern))]
    return max(found, default=None)
