"""How well the rows of a table were measured."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.report.content.table import Column, Kind, Table


@dataclass(frozen=True)
class KernelHealth:
    """One row of the table, as it was measured. Whatever is not known is None; ``halfwidth_percent`` is half of the 95%
    interval of the median, ``load`` the machine's load average at that time."""

    kernel: str
    measured_at: float
    latency_s: float
    samples: int
    discarded: int
    halfwidth_percent: float | None
    clock_mhz_low: float | None
    clock_mhz_high: float | None
    power_capped_fraction: float | None
    temperature_c: float | None
    load: float | None


@dataclass(frozen=True)
class Health:
    """``kernels`` in the order in which they were measured; ``repeats_percent`` are the differences of kernels that two
    runs measured (of their mean), empty where none was."""

    kernels: tuple[KernelHealth, ...]
    repeats_percent: tuple[float, ...]


def table_of(health: Health) -> Table:
    """A row per kernel."""
    columns = (
        Column("kernel", "kernel"),
        Column("latency_s", "latency", Kind.SECONDS),
        Column("halfwidth_percent", "+/-", Kind.PERCENT),
        Column("samples", "samples", Kind.NUMBER),
        Column("discarded", "discarded", Kind.NUMBER),
        Column("clock_mhz_low", "clock from (MHz)", Kind.NUMBER),
        Column("clock_mhz_high", "to (MHz)", Kind.NUMBER),
        Column("power_capped_fraction", "power capped", Kind.NUMBER),
        Column("temperature_c", "temperature (C)", Kind.NUMBER),
        Column("load_average", "load", Kind.NUMBER),
    )
    rows = tuple(
        (
            k.kernel,
            k.latency_s,
            k.halfwidth_percent,
            k.samples,
            k.discarded,
            k.clock_mhz_low,
            k.clock_mhz_high,
            k.power_capped_fraction,
            k.temperature_c,
            k.load,
        )
        for k in health.kernels
    )
    return Table(columns, rows)
