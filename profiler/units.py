"""Formatting of SI quantities for people. Everywhere else numbers are plain SI: seconds, bytes, hertz."""

from __future__ import annotations

import math


def format_duration(seconds: float) -> str:
    """A latency in the unit that keeps it between 1 and 1000, e.g. ``format_duration(3.21e-4) == "321 us"``."""
    if not math.isfinite(seconds):
        return "-"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if abs(seconds) >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def format_count(count: float) -> str:
    """A count with an SI prefix, e.g. ``format_count(1.8e9) == "1.80 G"``."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= factor:
            return f"{count / factor:.2f} {prefix}"
    return f"{count:.0f}"


def format_rate(per_s: float) -> str:
    """Four digits, or all ahead of the point, e.g. ``format_rate(12345.6) == "12,346"``."""
    return f"{per_s:,.0f}" if per_s >= 1000 else f"{per_s:.4g}"


def format_energy(joules: float) -> str:
    """In the unit that keeps it between 1 and 1000, e.g. ``format_energy(0.0321) == "32.1 mJ"``."""
    for factor, unit in ((1.0, "J"), (1e-3, "mJ")):
        if abs(joules) >= factor:
            return f"{joules / factor:.3g} {unit}"
    return f"{joules / 1e-6:.3g} uJ"
