"""Invented points. No number in here was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from profiler.throughput.file import Throughputs
from profiler.throughput.point import Point, Window

WINDOW_S = 3.0


def windows(run_s: float, joules: float | None = None, spread: float = 0.002) -> tuple[Window, ...]:
    """Six, whose runs take so long and a little more or less."""
    factors = [1 + spread * step for step in (-2, 0, 1, -1, 2, 0)]
    return tuple(Window(1000, 1000 * run_s * f, None if joules is None else 1000 * joules) for f in factors)


def point(batch: int = 1, run_s: float = 0.004, **changes: Any) -> Point:
    made: dict[str, Any] = {
        "network": "tiny",
        "network_digest": "0123abcd",
        "batch": batch,
        "configuration": "int8",
        "bits_digest": "",
        "windows": windows(run_s),
        "cache_mode": "network",
        "by_default": 0,
        "lut_sum_s": run_s,
        "no_energy": "",
        "notes": (),
        "run_id": "run",
        "tool_version": "0",
        "measured_at": 1.75e9,
    }
    return Point(**(made | changes))


def content(points: Sequence[Point], fingerprint: str = "01234567") -> Throughputs:
    return Throughputs("cpu", "Invented CPU", "avx512_vnni", fingerprint, tuple(points))
