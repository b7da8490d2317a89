"""What the stages hand back: values for the command line, without the packages that made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from profiler.lut.table import NetworkTable
from profiler.record import Conditions


@dataclass(frozen=True)
class EnergyCount:
    """Kernels whose energy is ``known``, ``measured`` of them by this run, and the ``counters`` that told it.
    ``why_none`` says why this run, which was asked for them, did not measure them all; it is empty where it did, or was
    not asked. ``idle_w`` is the least and the most that the device drew idle, None where that is not known."""

    known: int = 0
    measured: int = 0
    counters: tuple[str, ...] = ()
    why_none: str = ""
    idle_w: tuple[float, float] | None = None


@dataclass(frozen=True)
class ProfileResult:
    """A profiled network. ``measured`` counts the kernels that this run timed itself, ``failures`` its candidates that
    did not compile, crashed, hung or computed something else; ``warnings`` are lines that a reader should know."""

    device: str
    device_name: str
    fingerprint: str
    conditions: Conditions
    table: NetworkTable
    kernels: int
    measured: int
    failures: int
    elapsed_s: float
    lut_path: Path
    logs: Path
    warnings: tuple[str, ...] = ()
    energies: EnergyCount = EnergyCount()
